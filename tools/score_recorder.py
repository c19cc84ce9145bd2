"""The scorer's second mode: every string into every place of the full recorder, then a look at every byte it left."""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterable, Sequence

from carojournal import Journal, check, events
from carojournal.redact import Accepted

__all__ = ["score_recorder"]

# A short word may stand in the journal without having come from the corpus ("May"); those are judged by `check`.
SEARCHED_BYTES_MIN = 8
# What corpus fields are called here; others have the schema's own names or no field of their own.
_BENIGN_FIELDS = {
    "version": ("session_start", "caro_version"),
    "os": ("session_start", "os"),
    "arch": ("session_start", "arch"),
    "shell": ("session_start", "shell"),
    "backend": ("command_generated", "backend_used"),
    "exit_reason": ("session_end", "exit_reason"),
    "risk_level": ("command_generated", "risk_level"),
    "execution_mode": ("command_executed", "execution_mode"),
    "exit_code_category": ("command_executed", "exit_code_category"),
    "pattern_category": ("safety_triggered", "pattern_category"),
    "safety_action": ("safety_triggered", "action_taken"),
    "error_category": ("error_occurred", "error_category"),
    "error_code": ("error_occurred", "error_code"),
    "model_name": ("command_generated", "model_name"),
}
_REQUIRED: dict[str, dict[str, object]] = {
    "session_start": {"caro_version": "1.1.0", "os": "linux"},
    "session_end": {"session_duration_ms": 1},
    "command_generated": {"backend_used": "ollama", "inference_time_ms": 1},
    "command_executed": {"execution_mode": "confirmed"},
    "safety_triggered": {"risk_level": "high", "action_taken": "blocked"},
    "error_occurred": {"error_category": "config_error"},
}


def _places(text: str) -> Iterable[tuple[str, dict[str, object]]]:
    """Yield every event with *text* in every field, in every form, and as a key; and *text* as the event's name."""
    digits = "".join(letter for letter in text if letter in "0123456789")
    forms: list[object] = [text, text.encode(), [text], {text: text}, {"value": text}]
    forms += [int(digits)] if digits and len(digits) < 4_000 else []
    yield text, {}
    for event, (_, fields) in events.EVENTS.items():
        base = _REQUIRED[event]
        for key in (*fields, *events.FIELD_ALIASES[event], *events.RECORDER_OWNED, "generation_id"):
            for form in forms:
                yield event, {**base, key: form}
        yield event, {**base, text: True}
        yield event, {**base, text: text}


def score_recorder(sensitive: Sequence[str], benign: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return counts: tried, recorded, accepted (the text among the accepted fields), stored, echoed, benign_refused.

    "recorded" are events kept without the text in an optional field: proof that the recorder was on.

    "stored" are texts whose bytes stand anywhere under the root, "echoed" those on standard error or in an exception.
    """
    counts = dict.fromkeys(("tried", "recorded", "accepted", "stored", "echoed", "benign", "benign_refused"), 0)
    counts["benign_refused"], counts["benign"] = _benign(benign)
    with tempfile.TemporaryDirectory() as folder:
        root, noise = os.path.join(folder, "journal"), io.StringIO()
        environ = {"CAROJOURNAL_DIR": root, "HOME": folder}
        with (
            contextlib.redirect_stderr(noise),
            Journal.open(root, environ=environ, admin=os.path.join(folder, "admin")) as journal,
        ):
            for text in sensitive:
                for event, fields in _places(text):
                    counts["tried"] += 1
                    counts["accepted"] += _is_in(event, fields, text)
                    journal.record(event, **fields)
                try:
                    journal.append("session_start", caro_version=text, os="linux")
                except Exception as error:  # noqa: BLE001 - whatever it raises must not repeat the text
                    noise.write(f"{error!r} {error.__cause__!r}\n")
            counts["recorded"] = int(str(journal.stats["recorded"]))
        kept = _all_bytes(root)
        said = noise.getvalue().encode()
        searched = [text.encode() for text in set(sensitive) if len(text.encode()) >= SEARCHED_BYTES_MIN]
        counts["stored"] = sum(text in kept for text in searched)
        counts["echoed"] = sum(text in said for text in searched)
    return counts


def _benign(benign: Sequence[tuple[str, str]]) -> tuple[int, int]:
    refused = total = 0
    for field, text in benign:
        if field == "event_type":
            total += 1
            name = events.EVENT_ALIASES.get(text, text)
            refused += not isinstance(check(text, _REQUIRED.get(name, {})), Accepted)
        elif field in _BENIGN_FIELDS:
            event, key = _BENIGN_FIELDS[field]
            total += 1
            found = check(event, {**_REQUIRED[event], key: text})
            refused += not isinstance(found, Accepted) or bool(found.refusals)
    return refused, total


def _is_in(event: str, fields: dict[str, object], text: str) -> bool:
    """Tell whether the recorder would store *text* where it is no word of its own schema."""
    found = check(event, fields)
    if not isinstance(found, Accepted):
        return False
    kept = found.fields
    return any(value == text and fields.get(key) == text for key, value in kept.items() if text not in _words(key))


def _words(key: str) -> tuple[object, ...]:
    for _, fields in events.EVENTS.values():
        if key in fields:
            kind = events.TYPES[fields[key][0]]
            return tuple(kind[1]) if kind[0] == "enum" else ()  # type: ignore[arg-type]
    return ()


def _all_bytes(root: str) -> bytes:
    blocks = []
    for folder, _, names in os.walk(root):
        blocks += [name.encode() for name in names]
        for name in names:
            with open(os.path.join(folder, name), "rb") as stream:
                blocks.append(stream.read())
    return b"\n".join(blocks)
