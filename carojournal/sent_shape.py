"""What the maps in outbox/, sent/ and receipts/ must hold, see `sent`: a file is read whole or counts as damaged."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["is_whole"]

_UINT_MAX = 1 << 64
EVENTS_MAX = 100_000  # Of one batch, as `batch_max_events` may say: bounds what a run of numbers makes a reader hold.


def _uint(value: object) -> bool:
    return type(value) is int and 0 <= value < _UINT_MAX


def _text(value: object) -> bool:
    return type(value) is str and value.isprintable()


def _bytes(size: int) -> "Callable[[object], bool]":
    return lambda value: type(value) is bytes and len(value) == size


def _list(check: "Callable[[object], bool]") -> "Callable[[object], bool]":
    return lambda value: type(value) is list and all(map(check, value))


def _row(*checks: "Callable[[object], bool]") -> "Callable[[object], bool]":
    return lambda value: (
        type(value) is list
        and len(value) == len(checks)
        and all(check(part) for check, part in zip(checks, value, strict=True))
    )


def _run(value: object) -> bool:
    return _PAIR(value) and value[0] <= value[1]  # type: ignore[index]


def _counts(value: object) -> bool:
    return type(value) is dict and all(map(_text, value)) and all(map(_uint, value.values()))


_PAIR = _row(_uint, _uint)
_RUNS = _list(_run)
_RANGES = _list(_row(_bytes(16), _RUNS))
_SENT = {"batch": _bytes(32), "sink": _text, "url": _text, "sha256": _bytes(32), "counts": _counts}
_IDENTITIES = _list(_row(_bytes(16), _RUNS, _bytes(32)))


def _identities(value: object) -> bool:
    if not _IDENTITIES(value):
        return False
    return sum(last - first + 1 for _, runs, _ in value for first, last in runs) <= EVENTS_MAX  # type: ignore[attr-defined]


_KINDS: "dict[str, dict[str, Callable[[object], bool]]]" = {
    "intent": {
        **_SENT,
        "target": _bytes(32),
        "headers": _list(_row(_text, _text)),
        "body": lambda value: type(value) is bytes,
        "day": _uint,
        "consent": _uint,
        "created": _uint,
        "identities": _identities,
        "sessions": _list(_bytes(16)),
    },
    "upload": {
        **_SENT,
        "day": _uint,
        "at": _uint,
        "status": _uint,
        "rejected": _uint,
        "ranges": _RANGES,
        "refused": _RANGES,
    },
    "uploads": {
        "segments": _list(_bytes(16)),
        "ranges": _RANGES,
        "batches": _list(_row(_bytes(32), _uint, _text, _text, _bytes(32), _uint, _uint, _uint, _counts)),
        "earlier": _uint,
    },
}


def is_whole(value: object, kind: str) -> bool:
    """Tell whether *value*, decoded, is a map of that *kind* (a key of _KINDS) with all it must hold."""
    keys = _KINDS[kind]
    if type(value) is not dict or value.get("record") != kind:
        return False
    if type(value.get("version")) is not int or value["version"] != 1:
        return False
    return all(key in value and check(value[key]) for key, check in keys.items())
