"""One row of caro 1.1's, taken apart: which event it is, when it happened, and which of its words we know otherwise.

    flat      {"id", "session_id", "timestamp", "type": "session_start", "version", "platform": "linux", ...}
    nested    {"id", "session_id", "timestamp", "event_type": {"type": "session_start", ...}}
    row       {"id", "session_id", "timestamp", "event_type": "session_start", "data": {...} or its text}
    document  {"event": "session_start", "timestamp", "session_id", "platform": {"os": ...}, ...}

In a queue the row's columns may stand in for the envelope.  Nothing is judged here but time and name: that is
`redact`'s. Timestamps are taken over, because history without its times is none: RFC 3339, or serde's form of a
SystemTime, between caro's first year and a day from now.
"""

import json
import re
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from carojournal.events import ALIASES, EVENTS, FIELD_ALIASES, TYPES
from carojournal.migrate_sources import Row, parse_text
from carojournal.redact import UNKNOWN, event_name
from carojournal.shape import TEXT_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["REASONS", "TIME_MS_MIN", "OldEvent", "Refusal", "is_own_export", "read_row"]

TIME_MS_MIN = 1_735_689_600_000  # 2025-01-01, before caro's first release.
_AHEAD_MS_MAX = 86_400_000  # A clock that was wrong by a day is a clock; one by more is no source of times.
_TEXT_MAX = 128
_ENVELOPE = ("id", "event_id", "session_id", "run_id", "timestamp", "event", "event_type", "type")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)

REASONS = {
    "json": "the row's data is not JSON, or holds a key twice",
    "too_large": "the row's data is larger than any event",
    "conflict": "the row names two different events",
}  # Besides those of `redact`.

Refusal = tuple[str, str, str]


class OldEvent(NamedTuple):
    """An event of caro 1.1's: canonical name, fields, UTC ms, its session, what identifies the row, what was renamed.

    `key` (16 bytes) is a hash of the row's id, or of its whole content if it has none, which `has_id` tells.
    """

    event: str
    fields: dict[str, object]
    time_ms: int
    session: bytes
    key: bytes
    has_id: bool
    mapped: tuple[str, ...]


def is_own_export(row: Row, sessions: "Collection[str]") -> bool:
    """Tell whether *row* is an event of an export of a journal that has issued *sessions* (32 hexadecimal digits)."""
    session = row.value.get("session_id") if type(row.value) is dict else None
    return type(session) is str and session in sessions


def read_row(row: Row, now_ms: int) -> OldEvent | Refusal:
    """Return the event of *row*, or why there is none, as (event, field, reason) without a word of the row's."""
    value = row.value
    if row.reason or type(value) is not dict:
        return UNKNOWN, UNKNOWN, row.reason or "type"
    if "data" in value:
        found = _unpacked(value)
        if type(found) is not Row:
            return UNKNOWN, "data", str(found)
        row, value = found, found.value
        assert type(value) is dict
    nested = value.get("event_type")
    inner: dict[str, object] = nested if type(nested) is dict else {}
    given = (row.event_type, value.get("event"), value.get("type"), inner.get("type") if inner else nested)
    words = [word for word in given if word is not None]
    names = {event_name(word) for word in words}
    if not words:
        return UNKNOWN, "event", "missing"
    name = names.pop()
    if name is None or names:
        return UNKNOWN, "event", "conflict" if names else "unknown_event"
    time_ms = _time(row.timestamp if row.timestamp is not None else value.get("timestamp"), now_ms)
    if type(time_ms) is str:
        return name, "timestamp", time_ms
    fields = {key: item for key, item in (value | inner).items() if key not in _ENVELOPE}
    mapped = [f"{word} -> {name}" for word in dict.fromkeys(words) if word != name]
    _rename(name, fields, mapped)
    session = row.session_id if row.session_id is not None else value.get("session_id")
    identity = row.id if row.id is not None else value.get("id", value.get("event_id"))
    has_id = type(identity) is str and 0 < len(identity) <= _TEXT_MAX
    return OldEvent(
        name,
        fields,
        int(time_ms),
        _hash(session if type(session) is str else ""),
        _hash(f"id {identity}" if has_id else f"content {_canonical(value)}"),
        has_id,
        tuple(mapped),
    )


def _unpacked(value: "Mapping[str, object]") -> Row | str:
    """Return the row of a queue that was exported as JSON, or why it is none."""
    data = value["data"]
    found = parse_text(data) if type(data) is str else Row(data)
    if found.reason or type(found.value) is not dict or "data" in found.value:
        return found.reason or "type"
    texts = {key: item for key in ("id", "session_id", "timestamp") if type(item := value.get(key)) is str}
    name = value.get("event_type")
    return Row(found.value, "", **texts, event_type=name if type(name) is str else None)


def _time(given: object, now_ms: int) -> int | str:
    """Return UTC milliseconds, or the reason why not."""
    if given is None:
        return "missing"
    if type(given) is dict and given.keys() == {"secs_since_epoch", "nanos_since_epoch"}:
        seconds, nanos = given["secs_since_epoch"], given["nanos_since_epoch"]
        if type(seconds) is not int or type(nanos) is not int or not 0 <= nanos < 1_000_000_000:
            return "type"
        time_ms = seconds * 1000 + nanos // 1_000_000
    elif type(given) is str:
        if len(given) > TEXT_BYTES_MAX or not _RFC3339.fullmatch(given):
            return "shape"
        try:
            moment = datetime.fromisoformat(given.upper())
            time_ms = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
        except (ValueError, OverflowError):
            return "value"
    else:
        return "type"
    return time_ms if TIME_MS_MIN <= time_ms <= now_ms + _AHEAD_MS_MAX else "range"


def _rename(event: str, fields: dict[str, object], mapped: list[str]) -> None:
    """Note which fields and words go by a name of caro 1.1's; bring words that Rust's Debug wrote (`Bash`) to ours.

    What is noted are keys and words of our own tables, never what the row says beyond them.
    """
    declared = EVENTS[event][1]
    for key, value in list(fields.items()):
        field = FIELD_ALIASES[event].get(key, key)
        if field not in declared or type(value) is dict:
            continue
        if field != key:
            mapped.append(f"{event}.{key} -> {field}")
        kind = declared[field][0]
        if TYPES[kind][0] == "words" and type(value) is list:
            kind = str(TYPES[kind][1])
            fields[key] = [_word(f"{event}.{field}", kind, item, mapped) for item in value[:TEXT_BYTES_MAX]]
        elif TYPES[kind][0] == "enum":
            fields[key] = _word(f"{event}.{field}", kind, value, mapped)


def _word(place: str, kind: str, value: object, mapped: list[str]) -> object:
    """Return *value*, in lower case if only that makes it one of the enum's words."""
    if type(value) is not str or len(value) > TEXT_BYTES_MAX:
        return value
    words: tuple[str, ...] = TYPES[kind][1]  # type: ignore[assignment]
    aliases = ALIASES.get(kind, {})
    lower = value.lower()
    if lower in aliases:
        mapped.append(f"{place}: {lower} -> {aliases[lower]}")
    elif lower in words and value != lower:
        mapped.append(f"{place}: letter case of {lower}")
    return lower if lower in aliases or lower in words else value


def _canonical(value: object) -> str:
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), default=lambda _: "")
    except RecursionError:
        return ""  # No event is nested like that: it will be refused.


def _hash(text: str) -> bytes:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
