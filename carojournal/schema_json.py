"""The JSON Schema (draft 2020-12) of one stored event in its JSON view, made from `events`.

The JSON view (`view`) is what `inspect -o json` and exports hold: the record's keys, identifiers as hexadecimal digits,
the time as RFC 3339 with milliseconds and "Z", and the event's id, which is derived from the record's place in the
journal.  The schema is closed: no other keys, no other words, no other numbers.

Wider than `redact.check` in three places, because JSON Schema cannot say it: a model name needs only the shape of one
(its words are not listed), an integer may be spelled 5.0, and a time may name a day that no calendar has.
"""

from typing import TYPE_CHECKING

from carojournal import error_codes, events, own_events, schema_docs
from carojournal.redact import GENERATION_MAX
from carojournal.shape import TEXT_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ERROR_CODE_PATTERN", "VERSION_PATTERN", "int_ranges", "json_schema", "scores"]

Schema = dict[str, object]

# The same language as `kinds.is_version`.  Anchored here; CDDL's regexp is anchored by definition.
VERSION_PATTERN = r"(0|[1-9])[.](0|[1-9][0-9]?)([.](0|[1-9][0-9]{0,2}))?(-(alpha|beta|rc)([.](0|[1-9][0-9]?))?)?"
ERROR_CODE_PATTERN = "E[0-9]{4}"
# L3 as the characters a text must not hold.  It also keeps out the final newline that some engines' `$` lets pass.
_NOT_PLAIN = "[^A-Za-z0-9._:+/-]"
_ID_PATTERN = "^[0-9a-f]{32}$"
# A UUID of version 8 (RFC 9562 section 5.8): SHA-256 of the segment's id and the sequence number, cut to 122 bits.
_EVENT_ID_PATTERN = "^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
_TIME_PATTERN = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{3}Z$"


def int_ranges(most: int, exact: int, step: int) -> tuple[tuple[int, int], tuple[int, int] | None]:
    """Return the exact range and, if there is one, the rounded range (multiples of *step*), as inclusive bounds."""
    if most <= exact:
        return (0, most), None
    first, last = ((value + step // 2) // step * step for value in (exact + 1, most))
    return (0, exact), (first, last)


def scores() -> list[float]:
    """Return the 101 values of a score, as the recorder rounds them."""
    return [hundredths / 100 for hundredths in range(101)]


def _enum(spec: tuple[object, ...]) -> Schema:
    return {"enum": list(spec[1])}  # type: ignore[call-overload]


def _words(spec: tuple[object, ...]) -> Schema:
    return {"type": "array", "items": {"$ref": f"#/$defs/{spec[1]}"}, "maxItems": spec[2], "uniqueItems": True}


def _int(spec: tuple[object, ...]) -> Schema:
    most, exact, step = (int(part) for part in spec[1:])  # type: ignore[call-overload]
    (low, high), rounded = int_ranges(most, exact, step)
    if rounded is None:
        return {"type": "integer", "minimum": low, "maximum": high}
    first, last = rounded
    return {
        "type": "integer",
        "anyOf": [{"minimum": low, "maximum": high}, {"minimum": first, "maximum": last, "multipleOf": step}],
    }


def _text(pattern: str) -> Schema:
    return {"type": "string", "maxLength": TEXT_BYTES_MAX, "pattern": pattern, "not": {"pattern": _NOT_PLAIN}}


def _bool(_: tuple[object, ...]) -> Schema:
    return {"type": "boolean"}


def _score(_: tuple[object, ...]) -> Schema:
    # Listed, not `multipleOf` 0.01: 0.29 is no multiple of 0.01 in binary floating point.
    return {"enum": list(scores())}


def _version(_: tuple[object, ...]) -> Schema:
    return _text(f"^{VERSION_PATTERN}$")


def _code(_: tuple[object, ...]) -> Schema:
    return {"anyOf": [_text(f"^{ERROR_CODE_PATTERN}$"), {"enum": sorted(error_codes.ERROR_CODES)}]}


def _model(_: tuple[object, ...]) -> Schema:
    comment = "The recorder takes only words of public model names, sizes, versions and quantisations (grammars.py)."
    return {**_text("^[A-Za-z0-9]"), "$comment": comment}


_KINDS: "dict[str, Callable[[tuple[object, ...]], Schema]]" = {
    "enum": _enum,
    "words": _words,
    "int": _int,
    "bool": _bool,
    "score": _score,
    "version": _version,
    "code": _code,
    "model": _model,
}

_ENVELOPE: dict[str, Schema] = {
    "event_id": {"type": "string", "pattern": _EVENT_ID_PATTERN, "maxLength": 36},
    "timestamp": {"type": "string", "pattern": _TIME_PATTERN, "maxLength": 24},
    "session_id": {"type": "string", "pattern": _ID_PATTERN, "maxLength": 32},
    "run_id": {"type": "string", "pattern": _ID_PATTERN, "maxLength": 32},
    "generation": {"type": "integer", "minimum": 1, "maximum": GENERATION_MAX},
}


def _event(name: str) -> Schema:
    _, fields = own_events.ALL_EVENTS[name]
    what, why = schema_docs.EVENT_DOCS[name]
    properties: Schema = {"event": {"const": name}}
    properties |= {key: {"$ref": f"#/$defs/{key}"} for key in _ENVELOPE}
    for field, (kind, level, _, _) in fields.items():
        means, reason = schema_docs.FIELD_DOCS[name][field]
        text = f"{means}; {reason} (level {events.LEVELS[level]})"
        properties[field] = {"$ref": f"#/$defs/{kind}", "description": text}
    required = [
        "event",
        "event_id",
        "timestamp",
        "session_id",
        "run_id",
        *(key for key, field in fields.items() if field[2]),
    ]
    return {
        "description": f"{what} {why}",
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def json_schema() -> Schema:
    """Return the JSON Schema of one stored event, ready for `json.dumps`."""
    about = {key: means for key, (_, means, _) in schema_docs.ENVELOPE_DOCS.items()}
    about["event_id"] = "derived from the identity of the record, not stored: the same in exports, bundles and uploads"
    definitions: Schema = {key: {**spec, "description": about[key]} for key, spec in _ENVELOPE.items()}
    definitions |= {kind: _KINDS[str(spec[0])](spec) for kind, spec in own_events.ALL_TYPES.items()}
    definitions |= {name: _event(name) for name in own_events.ALL_EVENTS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:carojournal:events:v{events.SCHEMA_VERSION}",
        "title": f"One event of a carojournal, schema version {events.SCHEMA_VERSION}, in its JSON view",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in own_events.ALL_EVENTS],
        "$defs": definitions,
    }
