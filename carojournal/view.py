"""The JSON view of an event: what `inspect -o json`, exports and every other reader outside of Python gets to see.

    {"event", "event_id", "timestamp", "session_id", "run_id", "generation", fields ...}

Keys come in that order, fields in the schema's.  `event_id` is the UUID derived from the record's identity, `timestamp`
RFC 3339 UTC with milliseconds, ids are lower-case hexadecimal, `generation` is there if the record has one.  A record
of another writer may hold what the schema does not know: it is shown, in order of its keys, bytes as hexadecimal.
"""

from typing import TYPE_CHECKING

from carojournal.events import ENVELOPE
from carojournal.own_events import ALL_EVENTS
from carojournal.times import utc_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carojournal.reader import Record

__all__ = ["event_view", "record_view"]

_AS_IT_IS = frozenset((str, int, bool, type(None)))  # Of nearly all fields; the rest is looked at one by one.


def event_view(value: "Mapping[str, object]", event_id: str) -> dict[str, object]:
    """Return the JSON view of one event's decoded payload."""
    event = value.get("event")
    time_ms = value.get("timestamp")
    view: dict[str, object] = {
        "event": _plain(event),
        "event_id": event_id,
        "timestamp": utc_text(time_ms) if type(time_ms) is int else _plain(time_ms),
        "session_id": _plain(value.get("session_id")),
        "run_id": _plain(value.get("run_id")),
    }
    if "generation" in value:
        view["generation"] = _plain(value["generation"])
    declared = ALL_EVENTS[event][1] if type(event) is str and event in ALL_EVENTS else {}
    for key in declared:
        if key in value:
            view[key] = _plain(value[key])
    for key in sorted(value):
        if key not in declared and key not in ENVELOPE and key not in view:
            view[key] = _plain(value[key])
    return view


def record_view(record: "Record") -> dict[str, object]:
    """Return the JSON view of an event record."""
    return event_view(record.value, record.event_id)


def _plain(value: object) -> object:
    """Return *value* as JSON can hold it."""
    if type(value) in _AS_IT_IS:
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):  # noqa: PLR0124
        return str(value)  # JSON has no NaN and no infinities.
    return value
