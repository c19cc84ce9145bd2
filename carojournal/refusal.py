"""A refusal: a field or an event that may not be stored, and why, in closed words.

Part of `redact`, loaded when the first refusal happens.
"""

from carojournal.events import TYPES
from carojournal.frame import encode_text
from carojournal.shape import is_plain

__all__ = ["REASONS", "Refused", "stand_in", "text_reason"]

REASONS = {
    "unknown_event": "no event of the schema has this name",
    "unknown_field": "the event has no field of this name",
    "missing": "a required field was not given",
    "type": "the value is of another type than the field",
    "range": "the number is outside the field's range",
    "shape": "the text is longer, or holds other characters, than any allowed value",
    "value": "the text is none of the field's allowed values",
    "too_many": "more fields, or more list items, than the schema knows",
    "foreign_id": "an identifier that this recorder did not issue",
}


class Refused:
    """An event that may not be stored; `refusals` hold (event, field, reason) with no word of the caller's."""

    __slots__ = ("event", "refusals")

    def __init__(self, event: str, refusals: tuple[tuple[str, str, str], ...]) -> None:
        self.event = event
        self.refusals = refusals


def text_reason(value: object) -> str:
    """Return why *value* is refused by a field that takes certain texts only."""
    if type(value) is not str:
        return "type"
    return "value" if is_plain(value) else "shape"


def stand_in(key: str, kind: str) -> bytes:
    """Return the encoded field that stands for a bad optional value: its type's "unknown" or "other", if it has one."""
    spec = TYPES[kind]
    words = spec[1] if spec[0] == "enum" else ("other",) if spec[0] == "code" else ()
    for word in ("unknown", "other"):
        if word in words:  # type: ignore[operator]
            return encode_text(key) + encode_text(word)
    return b""
