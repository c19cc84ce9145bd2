"""The export of caro's source document, byte for byte as its Rust would write it, and what no coder can leave out.

    serde_json::to_string_pretty(&TelemetryExport {export_version, exported_at, caro_version, event_count, events})

With the types of the document: the enum's tag `event` first; `timestamp` a SystemTime, which serde writes as
{"secs_since_epoch", "nanos_since_epoch"} with the nanoseconds of the clock; `generation_id` a random Uuid, the same for
what belongs to one generation; `confidence_score` an f64; fields in the order of the structs; an absent Option not at
all.  The document's types have no `backend_available`, `success` and `error_category`, so those stay out.  Then gzip at
flate2's default level, 6.

`carojournal export --format json` differs: RFC 3339 milliseconds instead of the two numbers, fields in our schema's
order and with those three, generation ids derived instead of random, members of `backend_config` only where known.

`unavoidable_bytes` bounds from below what any lossless coder needs for the same events in our form: run ids are 16
random bytes each; the times between events and the measured values are drawn independently, so nothing can predict
them.  The entropies are of the samples, which is less than that of what they are drawn from; the order of events and
all that follows from other fields counts nothing.  So the largest ratio that is possible at all is below the quotient.
"""

import json
import math
import zlib
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from carojournal.document import generation_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from random import Random

__all__ = ["gzipped", "pretty_export", "unavoidable_bytes"]

_LEVEL = 6
Value = dict[str, object]

# The structs' fields after timestamp and session_id, in their order; a group is a struct within.
_FIELDS: dict[str, tuple[str | tuple[str, tuple[str, ...]], ...]] = {
    "session_start": (
        "caro_version",
        ("platform", ("os", "arch", "shell")),
        ("backend_config", ("primary", "fallback_enabled")),
        *("safety_level", "output_format", "is_first_run"),
    ),
    "session_end": (
        *("session_duration_ms", "commands_generated", "commands_executed", "errors_encountered"),
        *("exit_reason", "safety_blocks", "retries"),
    ),
    "command_generated": (
        *("generation_id", "backend_used", "inference_time_ms"),
        ("safety_result", ("risk_level", "patterns_matched")),
        *("model_name", "input_token_count", "output_token_count", "confidence_score", "retry_count"),
    ),
    "command_executed": (
        *("generation_id", "execution_mode", "modified_before_execution", "exit_code_category", "execution_time_ms"),
    ),
    "safety_triggered": (
        *("generation_id", "risk_level", "pattern_category", "action_taken", "user_override", "safety_level_config"),
    ),
    "error_occurred": ("error_category", "error_code", "component", "backend", "recoverable", "fallback_attempted"),
}
# What `batch_workload` draws by itself; the rest is constant or follows from other events and fields.
_DRAWN: dict[str, tuple[str, ...]] = {
    "command_generated": (
        *("inference_time_ms", "risk_level", "success", "input_token_count", "output_token_count"),
        *("confidence_score", "retry_count"),
    ),
    "safety_triggered": ("action_taken", "pattern_category"),
    "command_executed": ("modified_before_execution", "exit_code_category", "execution_time_ms"),
    "session_end": ("session_duration_ms", "commands_generated"),
}


def _uuid(rng: "Random") -> str:
    raw = bytearray(rng.randbytes(16))
    raw[6], raw[8] = raw[6] & 0x0F | 0x40, raw[8] & 0x3F | 0x80  # Version 4 (RFC 9562 section 5.4).
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _view(value: "Mapping[str, object]", ids: dict[object, str], rng: "Random", *, nanos: bool) -> Value:
    """Return an event as the document's types hold it."""
    time_ms, session, run = value["timestamp"], value["session_id"], value["run_id"]
    assert isinstance(time_ms, int)
    assert isinstance(session, bytes)
    assert isinstance(run, bytes)
    seconds, milliseconds = divmod(time_ms, 1_000)
    fraction = milliseconds * 1_000_000 + (rng.randrange(1_000_000) if nanos else 0)
    stamp = {"secs_since_epoch": seconds, "nanos_since_epoch": fraction}
    view: Value = {"event": value["event"], "timestamp": stamp, "session_id": session.hex()}
    for field in _FIELDS[str(value["event"])]:
        if isinstance(field, tuple):
            view[field[0]] = {key: value[key] for key in field[1] if key in value}
        elif field == "generation_id":
            ordinal = value.get("generation", 0)
            assert isinstance(ordinal, int)
            known = (run, ordinal)
            view[field] = ids.setdefault(known, _uuid(rng) if nanos else generation_id(run, ordinal))
        elif field in value:
            view[field] = value[field]
    return view


def pretty_export(values: "Iterable[Mapping[str, object]]", rng: "Random", *, nanos: bool = True) -> bytes:
    """Return the export of decoded events; *nanos* False: only what our journal keeps of them, no nanoseconds.

    `json.dumps(indent=2)` and serde_json's pretty printer agree in all that occurs here: two spaces, `": "`, shortest
    decimal of a double.
    """
    ids: dict[object, str] = {}
    events = [_view(value, ids, rng, nanos=nanos) for value in values]
    export = {
        "export_version": "1.0",
        "exported_at": "2026-09-21T12:00:00.000000000Z",
        "caro_version": "1.1.0",
        "event_count": len(events),
        "events": events,
    }
    return json.dumps(export, indent=2, ensure_ascii=False).encode()


def gzipped(data: bytes) -> int:
    """Return the size of *data* as flate2's `Compression::default()` leaves it."""
    packer = zlib.compressobj(_LEVEL, wbits=31)
    return len(packer.compress(data)) + len(packer.flush())


def _bits(samples: "Sequence[object]") -> float:
    """Return the entropy of *samples* times their number."""
    counts = Counter(samples)
    return sum(count * math.log2(len(samples) / count) for count in counts.values())


def unavoidable_bytes(values: "Iterable[Mapping[str, object]]") -> int:
    """Return how many bytes at least no lossless coder of these decoded events can save; see the module."""
    samples: dict[object, list[object]] = defaultdict(list)
    runs = set()
    before = 0
    for value in values:
        runs.add(value["run_id"])
        time_ms, event = value["timestamp"], str(value["event"])
        assert isinstance(time_ms, int)
        samples["time"].append(time_ms - before)
        before = time_ms
        for field in _DRAWN.get(event, ()):
            samples[event, field].append(value.get(field))
    return len(runs) * 16 + int(sum(map(_bits, samples.values())) / 8)
