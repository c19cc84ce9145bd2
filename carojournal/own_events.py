"""Events of the journal's own, and the whole schema: what a host may record, and what only carobatch does.

    OWN_EVENTS, OWN_TYPES    as `events.EVENTS` and `events.TYPES`
    ALL_EVENTS, ALL_TYPES    both together: what may be stored, packed, sent and imported

`journal_health` tells how much is missing from everything else, in powers of ten.  A host cannot record it: the
recorder knows `events.EVENTS` alone and refuses it as it refuses any unknown event.  It stands in a file of its own
because an append needs none of it.
"""

from typing import TYPE_CHECKING

from carojournal.events import ENVELOPE, EVENTS, MINIMAL, TYPES
from carojournal.frame import encode_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ALL_EVENTS", "ALL_TYPES", "HEALTH", "OWN_EVENTS", "OWN_TYPES", "admitter", "bucket", "refusals_of"]

HEALTH = "journal_health"
_REASONS = (
    *("refused_unknown", "refused_value", "refused_id"),
    *("dropped_full", "dropped_denied", "dropped_busy", "dropped_time", "dropped_io", "dropped_bug"),
    *("lost_evicted", "lost_corrupt"),
)
_BUCKETS = ("up_to_9", "up_to_99", "up_to_999", "up_to_9999", "overflow")

OWN_TYPES: dict[str, tuple[object, ...]] = {"quantity": ("enum", _BUCKETS)}
OWN_EVENTS: dict[str, tuple[int, dict[str, tuple[str, int, bool, str]]]] = {
    HEALTH: (
        MINIMAL,
        {"total": ("quantity", MINIMAL, True, "")} | dict.fromkeys(_REASONS, ("quantity", MINIMAL, False, "")),
    ),
}
ALL_EVENTS = EVENTS | OWN_EVENTS
ALL_TYPES = TYPES | OWN_TYPES


def bucket(count: int) -> str:
    """Return the word of the type *quantity* for *count*, 1 or more."""
    return _BUCKETS[min(len(str(count)), len(_BUCKETS)) - 1]


def admitter(key: str, kind: str) -> "Callable[[object], bytes | str]":
    """Return the check of an own type, as `redact` has them: the encoded *key* and value, or the reason why not."""
    words = OWN_TYPES[kind][1]

    def admit(value: object) -> bytes | str:
        if type(value) is not str:
            return "type"
        return encode_text(key) + encode_text(value) if value in words else "value"  # type: ignore[operator]

    return admit


def refusals_of(event: str, value: "Mapping[str, object]") -> tuple[tuple[str, str, str], ...]:
    """Return why the own *event* may not be kept as it is stored; empty if nothing but its envelope could forbid it."""
    declared = OWN_EVENTS[event][1]
    bad = []
    for key, part in value.items():
        if key in declared:
            found = admitter(key, declared[key][0])(part)
            bad += [(event, key, found)] if isinstance(found, str) else []
        elif key not in ENVELOPE or key == "generation":
            bad.append((event, "<unknown>", "unknown_field"))
    bad += [(event, key, "missing") for key, field in declared.items() if field[2] and key not in value]
    return tuple(bad)
