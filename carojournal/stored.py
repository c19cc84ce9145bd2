"""Check stored events again: before packing, export, upload, on import, and when a damaged journal is salvaged.

A stored event is acceptable if the recorder could have written exactly these bytes: envelope and fields within their
bounds, no alias, nothing that `redact.check` would change, in deterministic encoding.  Most payloads are known good
after one match of a pattern (`payload_pattern`); the others are decoded here, judged, and refused with reasons.
"""

from typing import TYPE_CHECKING

from carojournal import codec, redact, refusal
from carojournal.errors import MalformedCBOR
from carojournal.events import DETAILED, ENVELOPE
from carojournal.own_events import OWN_EVENTS, refusals_of
from carojournal.payload_pattern import payload_end
from carojournal.redact import GENERATION_MAX, UNKNOWN

if TYPE_CHECKING:
    from typing import Any

__all__ = ["REASONS", "TIME_MS_MAX", "TIME_MS_MIN", "Refusals", "check_payload", "check_stored"]

TIME_MS_MIN = 1 << 40  # November 2004: a clock that was never set says 1970 or 2000.
TIME_MS_MAX = 4_102_444_800_000  # 2100-01-01: a larger number is no time, and must not carry anything else.

REASONS = refusal.REASONS | {
    "encoding": "the bytes are not those that the recorder writes for these values",
    "time": "the timestamp is not between 2004-11-03 and 2100-01-01",
}

Refusals = tuple[tuple[str, str, str], ...]


def check_payload(payload: bytes) -> Refusals | None:
    """Return None if *payload* is an event as the recorder writes it, else why not.

    A refusal is (event, field, reason) without any value; reasons are keys of REASONS.  Never raises.
    """
    if payload_end(payload) == len(payload):
        return None
    return _check_slowly(payload)


def check_stored(value: dict[str, object]) -> Refusals:
    """Return why the event record *value* may not be kept, empty if it may.  Never raises."""
    try:
        payload = codec.dumps(value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return ((UNKNOWN, UNKNOWN, "encoding"),)
    return check_payload(payload) or ()


def _check_slowly(payload: bytes) -> Refusals | None:
    try:
        value = codec.loads(payload)
    except MalformedCBOR:
        return ((UNKNOWN, UNKNOWN, "encoding"),)
    if type(value) is not dict:
        return ((UNKNOWN, UNKNOWN, "type"),)
    event = value.get("event")
    if type(event) is str and event in OWN_EVENTS:
        return (*_envelope(event, value), *refusals_of(event, value)) or None
    name = redact.event_name(event)
    if name is None or event != name:
        return ((UNKNOWN, UNKNOWN, "unknown_event"),)
    return _check_hosts(name, value, payload)


def _check_hosts(name: str, value: "dict[str, Any]", payload: bytes) -> Refusals | None:
    """Return why an event of a host's is not what the recorder would have written."""
    refusals = _envelope(name, value)
    fields = {key: part for key, part in value.items() if key not in ENVELOPE}
    found = redact.check(name, fields, DETAILED)
    if found is None or refusals or found.refusals:
        return (*refusals, *(found.refusals if found else ()))
    assert isinstance(found, redact.Accepted)
    again = found.payload(value["timestamp"], value["session_id"], value["run_id"], value.get("generation", 0))
    if again == payload:
        return None
    kept = found.fields
    # An alias or a nested object is a key that is not kept; a number that gets rounded, or an alias of a word, is a
    # value that is kept otherwise.
    changed = [key for key in fields if key not in kept or kept[key] != fields[key]]
    return tuple((name, key if key in kept else UNKNOWN, "value") for key in changed) or ((name, UNKNOWN, "encoding"),)


def _envelope(name: str, value: dict[str, object]) -> Refusals:
    refusals = []
    for key in ("session_id", "run_id"):
        raw = value.get(key)
        if type(raw) is not bytes or len(raw) != 16:
            refusals.append((name, key, "missing" if raw is None else "type"))
    time_ms = value.get("timestamp")
    if type(time_ms) is not int:
        refusals.append((name, "timestamp", "missing" if time_ms is None else "type"))
    elif not TIME_MS_MIN <= time_ms < TIME_MS_MAX:
        refusals.append((name, "timestamp", "time"))
    if "generation" in value:
        ordinal = value["generation"]
        if type(ordinal) is not int or not 1 <= ordinal <= GENERATION_MAX:
            refusals.append((name, "generation", "type" if type(ordinal) is not int else "range"))
    return tuple(refusals)
