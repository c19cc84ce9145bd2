"""A refusal: an event that may not be stored, and why, in closed words.  Loaded when the first one happens."""

__all__ = ["REASONS", "Refused"]

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
