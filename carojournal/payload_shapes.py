"""The payloads that occur again and again, as one bytes pattern: what a journal has been full of so far.

`payload_pattern` asks of every payload which of an event's fields are there, and whether each is known to be good.  One
journal's events come in few shapes, though: a host gives the same fields every time, and its versions and models are
few.  So each shape that was accepted is remembered, and once there were enough of them a pattern is made that only
these shapes match: the map's head, every key and every word are literals, numbers and scores are within their bounds in
the pattern itself, and texts are those that have been accepted.  Nothing is left to look at but numbers that had to be
rounded.  That is half the work.  Whatever does not match is nothing new, and goes the long way.

A number's class is written so that only its shortest encoding matches (RFC 8949 section 4.2.1).  Tests hold the pattern
against the long way.
"""

import re
from typing import TYPE_CHECKING, TypeVar

from carojournal import own_events
from carojournal.cbor import encode_text
from carojournal.frame import encode_score
from carojournal.redact import GENERATION_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Groups = tuple[bytes | None, ...]

__all__ = ["ENVELOPE", "PATIENCE", "Shapes", "uint_pattern"]

K = TypeVar("K")

ENVELOPE = {  # Head and value; what the values say is for nobody to judge.
    "run_id": (b"P", rb".{16}"),
    "session_id": (b"P", rb".{16}"),
    "timestamp": (rb"\x1b", rb"\x00\x00\x01.{5}"),  # 2004 to 2039 in milliseconds
}
PATIENCE = 4_096  # Payloads that went the long way: to make a pattern takes as long as it saves on these.
_SHAPES_MAX = 16  # In the pattern, which tries one after another where their heads are the same.
_TEXTS_MAX = 16  # Likewise, of one field.
_COUNTED_MAX = 256  # Shapes, and texts of one field, that are counted: bounds memory whatever a bundle holds.
_TEXT_KINDS = ("version", "model", "code", "words")

Texts = dict[tuple[str, str], dict[bytes, int]]  # (event, key) -> key with its value, encoded -> how many


class _Known:
    """A pattern of shapes; `match` and `fullmatch` are those of `re`, and a match counts if `is_good` says so."""

    def __init__(self, pattern: "re.Pattern[bytes]", steps: "Sequence[int]") -> None:
        self.match = pattern.match
        self.fullmatch = pattern.fullmatch
        self._steps = steps

    def is_good(self, found: "re.Match[bytes]") -> bool:
        """Tell whether the numbers that are not exact, the only groups there are, are rounded as they must be."""
        if found.lastindex is not None:
            for raw, step in zip(found.groups(), self._steps, strict=True):
                if raw is not None and int.from_bytes(raw[1:], "big") % step:
                    return False
        return True


class Shapes:
    """What has been accepted, and as `known` the pattern of what of that is frequent."""

    def __init__(self) -> None:
        self.known = _Known(re.compile(b"(?!)"), ())
        self._counts: dict[tuple[str, tuple[bool, ...]], int] = {}  # (event, which keys are there) -> how many
        self._texts: Texts = {}
        self._places: dict[str, list[tuple[int, str]]] = {}  # Where among its keys an event has texts.
        self._keys: dict[str, Sequence[str]] = {}
        self._left = self._patience = PATIENCE
        self._is_new = False

    def note(self, event: str, keys: "Sequence[str]", groups: "Groups") -> None:
        """Count a payload that was accepted; *groups* are its *keys* with their values, encoded, None if absent."""
        if event not in self._keys:
            self._keys[event] = keys
            self._places[event] = [(at, key) for at, key in enumerate(keys) if _kind(event, key)[0] in _TEXT_KINDS]
        self._count(self._counts, (event, tuple([part is not None for part in groups])))
        for at, key in self._places[event]:
            if (part := groups[at]) is not None:
                self._count(self._texts.setdefault((event, key), {}), part)
        self._left -= 1
        if self._left <= 0 and self._is_new:
            self.compile()

    def _count(self, counts: dict[K, int], key: K) -> None:
        if key in counts:
            counts[key] += 1
        elif len(counts) < _COUNTED_MAX:
            counts[key] = 1
            self._is_new = True

    def compile(self) -> None:
        """Make the pattern anew; the next time it takes twice as many payloads until that happens by itself."""
        texts = {place: _most(counts, _TEXTS_MAX) for place, counts in self._texts.items()}
        steps: list[int] = []
        shapes = []
        for event, there in _most(self._counts, _SHAPES_MAX):
            keys = [key for key, is_there in zip(self._keys[event], there, strict=True) if is_there]
            shapes.append(_shape(event, keys, texts, steps))
        self.known = _Known(re.compile(b"|".join(shapes) or b"(?!)", re.DOTALL), steps)
        self._patience *= 2
        self._left, self._is_new = self._patience, False


def _most(counts: dict[K, int], most: int) -> list[K]:
    """Return the keys with the largest counts, the largest first."""
    return sorted(counts, key=counts.__getitem__, reverse=True)[:most]


def _kind(event: str, key: str) -> "tuple[object, ...]":
    """Return what sort of value a field has, as `events.TYPES` says it."""
    declared = own_events.ALL_EVENTS[event][1].get(key)
    return own_events.ALL_TYPES[declared[0]] if declared else ("",)


def _shape(
    event: str, fields: "Iterable[str]", texts: "Mapping[tuple[str, str], list[bytes]]", steps: list[int]
) -> bytes:
    """Return the pattern of one shape; *steps* gets what the numbers in its groups must be multiples of."""
    keys = sorted((*fields, *ENVELOPE, "event"), key=lambda key: (len(key), key))
    return _byte(0xA0 + len(keys)) + b"".join(_part(event, key, texts, steps) for key in keys)


def _part(event: str, key: str, texts: "Mapping[tuple[str, str], list[bytes]]", steps: list[int]) -> bytes:
    """Return the pattern of a key and its value."""
    kind = _kind(event, key)
    if kind[0] in _TEXT_KINDS:
        return _one_of(texts[event, key])
    if key in ENVELOPE:
        value = b"%b%b" % ENVELOPE[key]
    elif key == "event":
        value = re.escape(encode_text(event))
    elif key == "generation":
        value = uint_pattern(1, GENERATION_MAX)
    elif kind[0] == "enum":
        value = _one_of(map(encode_text, kind[1]))  # type: ignore[call-overload]
    elif kind[0] == "int":
        value = _number(kind[1:], steps)  # type: ignore[arg-type]
    else:
        value = {"bool": b"[\xf4\xf5]", "score": _one_of(map(encode_score, range(101)))}[str(kind[0])]
    return re.escape(encode_text(key)) + value


def _number(bounds: tuple[int, int, int], steps: list[int]) -> bytes:
    """Return the pattern of a number, with a group for one that is not exact any more."""
    most, exact, step = bounds
    if most == exact:
        return uint_pattern(0, most)
    steps.append(step)
    return b"(?:%b|(%b))" % (uint_pattern(0, exact), uint_pattern(exact + 1, most))


def _byte(low: int, high: int = -1) -> bytes:
    """Return the class of the bytes *low* to *high*."""
    return b"\\x%02x" % low if high in (-1, low) else b"[\\x%02x-\\x%02x]" % (low, high)


def _any_of(choices: "Sequence[bytes]") -> bytes:
    return choices[0] if len(choices) == 1 else b"(?:" + b"|".join(choices) + b")"


def _one_of(values: "Iterable[bytes]") -> bytes:
    """Return a pattern of just these *values*, none of which begins another; what they have in common stands once."""
    tails: dict[int, list[bytes]] = {}
    for value in values:
        if value:
            tails.setdefault(value[0], []).append(value[1:])
    if all(tail == [b""] for tail in tails.values()):
        return (
            b"" if not tails else b"[" + b"".join(map(_byte, sorted(tails))) + b"]" if len(tails) > 1 else _byte(*tails)
        )
    return _any_of([_byte(first) + _one_of(rest) for first, rest in tails.items()])


def uint_pattern(low: int, high: int) -> bytes:
    """Return a pattern of the shortest encodings of the numbers *low* to *high* (at most 2**32 - 1)."""
    choices = [_byte(low, min(high, 23))] if low < 24 else []
    for head, size, least in ((0x18, 1, 24), (0x19, 2, 1 << 8), (0x1A, 4, 1 << 16)):
        first, last = max(low, least), min(high, (1 << 8 * size) - 1)
        if first <= last:
            choices.append(_byte(head) + _between(first.to_bytes(size, "big"), last.to_bytes(size, "big")))
    return _any_of(choices)


def _between(low: bytes, high: bytes) -> bytes:
    """Return a pattern of the strings of one length from *low* to *high*."""
    rest = len(low) - 1
    if not rest:
        return _byte(low[0], high[0])
    first, last, least, most = low[0], high[0], bytes(rest), b"\xff" * rest
    if first == last:
        return _byte(first) + _between(low[1:], high[1:])
    ends = []
    if low[1:] != least:
        ends.append(_byte(first) + _between(low[1:], most))
        first += 1
    if high[1:] != most:
        ends.append(_byte(last) + _between(least, high[1:]))
        last -= 1
    return _any_of([_byte(first, last) + b"." * rest, *ends] if first <= last else ends)
