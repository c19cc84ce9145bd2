"""The schema as bytes patterns: find and check stored payloads at the speed of `re`.

Compaction, verification and import check every event again.  Decoding each one, checking it with `redact` and encoding
it to see that nothing but its deterministic encoding stood there takes 25 microseconds; a pattern over the bytes
says the same in 4, because a stored payload of a closed schema is nearly regular: keys in a fixed order, enum values as
literals.  What is not regular, numbers within bounds and the grammars of versions and models, is judged by `redact`
itself the first time a value occurs, and remembered.  What is frequent has a faster pattern still: `payload_shapes`.

A payload that matches is one that `redact.check` accepts unchanged.  One that does not match need not be bad (a time of
another century, say): the caller then asks `stored`, which decodes and gives reasons.  Tests hold the two together.
"""

import re
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING

from carojournal import events, own_events
from carojournal.cbor import encode_int, encode_text
from carojournal.codec import loads
from carojournal.errors import MalformedCBOR
from carojournal.payload_shapes import ENVELOPE, Shapes
from carojournal.redact import GENERATION_MAX, compile_event, field_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from carojournal.redact import _Field

__all__ = ["Parts", "count_payloads", "field_keys", "parts_of", "payload_end", "payloads", "unrecognised"]

# Event, run id, session id, timestamp (UTC ms), and of each of `field_keys` its encoded key and value, None if absent.
Parts = tuple[str, bytes, bytes, int, tuple[bytes | None, ...]]

# These only find where a value ends; whether it is allowed, and encoded as it must be, is for `learn` to say.  Groups
# are possessive: a value that was found is never given back, so a match takes time linear in the payload.
_UINT = rb"[\x00-\x17]|\x18.|\x19..|\x1a.{4}|\x1b.{8}"
_TEXT = b"|".join(
    [re.escape(bytes([0x60 | size])) + b"[!-~]{%d}+" % size for size in range(1, 24)]
    + [b"\x78" + re.escape(bytes([size])) + b"[!-~]{%d}+" % size for size in range(24, 65)]
)
_FLOAT = rb"\xf9..|\xfa.{4}|\xfb.{8}"
_KNOWN_MAX = 16_384  # Distinct values remembered per event: bounds memory whatever a bundle holds.
_GENERATION = encode_text("generation")
_STARTS_MAX = 64  # More than events there are, and words that stand before an event's name.
_NAME_WITHIN = 64  # Keys shorter than "event" and their values take fewer bytes than that.


class _Pattern:
    """One event's pattern; its groups are the fields, and the generation."""

    def __init__(self, name: str) -> None:
        spec = compile_event(name)
        self.fields: list[_Field | None] = []
        self.labels: list[bytes] = []  # Keys, encoded.
        self.texts: list[bool] = []
        self.known: set[bytes | None] = {None}
        self.name = name
        keys = sorted((*own_events.ALL_EVENTS[name][1], *events.ENVELOPE), key=lambda key: (len(key), key))
        if spec is None:
            keys.remove("generation")  # No run of a host's is behind an event of the journal's own.
        self.keys = tuple(key for key in keys if key not in ENVELOPE and key != "event")
        parts = [self._part(name, key, field_of(spec, key) if spec else _own_field(name, key)) for key in keys]
        self.full = 0xA0 + len(keys)
        assert self.full < 0xB8, "the head of a map with more keys takes two bytes"
        self.match = re.compile(b"." + b"".join(parts), re.DOTALL).match
        self._parts = dict(zip(keys, parts, strict=True))

    @cached_property
    def split(self) -> "Callable[[bytes], re.Match[bytes] | None]":
        """Match a whole payload, with groups for the values of the envelope as well."""
        captured = {key: re.escape(encode_text(key)) + b"%b(%b)" % value for key, value in ENVELOPE.items()}
        return re.compile(b"." + b"".join({**self._parts, **captured}.values()), re.DOTALL).fullmatch

    @cached_property
    def places(self) -> "tuple[Callable[[tuple[bytes, ...]], tuple[bytes, ...]], ...]":
        """Take from the groups of `split` the envelope's values, and the fields."""
        captured = [key for key in self._parts if key != "event"]
        return itemgetter(*map(captured.index, ENVELOPE)), itemgetter(*map(captured.index, self.keys))

    def _part(self, name: str, key: str, field: "_Field | None") -> bytes:
        label = re.escape(encode_text(key))
        if field is None:
            if key != "generation":
                return label + (re.escape(encode_text(name)) if key == "event" else b"%b%b" % ENVELOPE[key])
            self.fields.append(None)
            self.labels.append(_GENERATION)
            self.texts.append(False)
            return b"(" + label + b"(?>" + _UINT + b"))?+"
        kind = own_events.ALL_TYPES[own_events.ALL_EVENTS[name][1][key][0]]
        words = [re.escape(encode_text(word)) for word in kind[1]] if kind[0] == "enum" else []  # type: ignore[attr-defined]
        value = {
            "enum": b"|".join(words),
            "words": b"[\x80-\x97](?>" + _TEXT + b")*+",
            "int": _UINT,
            "bool": rb"\xf4|\xf5",
            "score": _FLOAT,
        }.get(str(kind[0]), _TEXT)
        self.fields.append(field)
        self.labels.append(encode_text(key))
        self.texts.append(kind[0] != "enum")
        return b"(" + label + b"(?>" + value + b"))" + (b"" if field[3] else b"?+")

    def learn(self, at: int, found: bytes) -> bool:
        """Judge a key with its value that has not occurred before; *at* is its place among the groups."""
        field, key = self.fields[at], self.labels[at]
        value = _value(found[len(key) :])
        if field is None:
            good = type(value) is int and 1 <= value <= GENERATION_MAX and key + encode_int(value) == found
        else:
            good = field[-1](value) == found and not (type(value) is str and self._trips(at, value))
        if good:
            if len(self.known) >= _KNOWN_MAX:
                self.known = {None}
            self.known.add(found)
        return good

    def _trips(self, at: int, text: str) -> bool:
        """Tell whether L2 finds something in a text that is no enum member."""
        from carojournal import patterns

        return self.texts[at] and bool(patterns.scan(text))

    def accepts(self, head: int, groups: "tuple[bytes | None, ...]") -> bool:
        """Tell whether the map's first byte *head* and every field in *groups* hold."""
        if self.known.issuperset(groups):
            return head == self.full - groups.count(None)
        for at, found in enumerate(groups):
            if found not in self.known and not self.learn(at, found):  # type: ignore[arg-type]
                return False
        return head == self.full - groups.count(None)


def _own_field(name: str, key: str) -> "_Field | None":
    """Return for a field of an own event what `field_of` returns for the others; None for one of the envelope."""
    declared = own_events.OWN_EVENTS[name][1].get(key)
    if declared is None:
        return None
    kind, level, required, _ = declared
    return key, 0, level, required, own_events.admitter(key, kind)


def _value(raw: bytes) -> object:
    """Return what *raw* encodes; None, which no field admits, if that cannot be said."""
    if raw[0] < 0x1C:
        return raw[0] if len(raw) == 1 else int.from_bytes(raw[1:], "big")
    try:
        return loads(raw)
    except MalformedCBOR:
        return None


_patterns: dict[bytes, _Pattern] = {}
_shapes = Shapes()
_starts: dict[bytes, _Pattern] = {}  # By the bytes 1 to 8 of a payload, which tell events apart.


def _pattern(data: bytes, at: int) -> _Pattern | None:
    """Return the pattern of the event whose payload is at *at*, None if that is none of the schema's."""
    mark = data.find(b"eevent", at, at + _NAME_WITHIN) + 6
    if mark < 6 or mark >= len(data):
        return None
    name = data[mark + 1 : mark + 1 + (data[mark] & 31)]
    found = _patterns.get(name)
    if found is None and name.isascii() and name.decode() in own_events.ALL_EVENTS:
        found = _patterns[name] = _Pattern(name.decode())
    if found is not None and len(_starts) < _STARTS_MAX:
        _starts[data[at + 1 : at + 9]] = found
    return found


def payload_end(data: bytes, at: int = 0) -> int:
    """Return where the payload at offset *at* of *data* ends, or -1 if it is none that this module recognises."""
    known = _shapes.known
    same = known.match(data, at)
    return same.end() if same is not None and known.is_good(same) else _judge(data, at)


def _judge(data: bytes, at: int) -> int:
    """Return where the payload ends, or -1: what the shapes do not say, the event's whole pattern does."""
    pattern = _starts.get(data[at + 1 : at + 9]) or _pattern(data, at)
    found = pattern.match(data, at) if pattern else None
    if not found or not pattern or not pattern.accepts(data[at], groups := found.groups()):
        return -1
    _shapes.note(pattern.name, pattern.keys, groups)
    return found.end()


def unrecognised(stored: "Iterable[bytes]") -> list[int]:
    """Return the positions in *stored* of the payloads that are not recognised."""
    known = _shapes.known
    fullmatch, is_good = known.fullmatch, known.is_good
    odd = []
    for position, payload in enumerate(stored):
        same = fullmatch(payload)
        if same is not None and (same.lastindex is None or is_good(same)):
            continue
        if _judge(payload, 0) != len(payload):
            odd.append(position)
    return odd


def field_keys(event: str) -> tuple[str, ...]:
    """Return the keys whose parts `parts_of` returns: the event's fields and `generation`, as a payload has them."""
    found = _patterns.get(event.encode())
    if found is None:
        found = _patterns[event.encode()] = _Pattern(event)
    return found.keys


def parts_of(payload: bytes) -> Parts | None:
    """Return what a payload consists of, None if it is none that this module recognises."""
    pattern = _starts.get(payload[1:9]) or _pattern(payload, 0)
    found = pattern.split(payload) if pattern else None
    if not found or not pattern:
        return None
    groups = found.groups()
    envelope, fields = pattern.places
    parts = fields(groups)
    is_known = pattern.known.issuperset(parts) and payload[0] == pattern.full - parts.count(None)
    if not is_known and not pattern.accepts(payload[0], parts):
        return None
    run, session, time = envelope(groups)
    return pattern.name, run, session, int.from_bytes(time, "big"), parts


def count_payloads(body: bytes) -> int:
    """Return how many payloads follow one another in *body*, or -1 if one of them is not recognised."""
    known = _shapes.known
    match, is_good = known.match, known.is_good
    at, size, count = 0, len(body), 0
    while at < size:
        same = match(body, at)
        if same is not None and (same.lastindex is None or is_good(same)):
            at = same.end()
        elif (at := _judge(body, at)) < 0:
            return -1
        count += 1
    return count


def payloads(body: bytes) -> "Generator[tuple[int, int], int, None]":
    """Yield (start, end) of the payloads that follow one another in *body*.

    Where none is recognised, yields (offset, -1); the consumer must `send` the offset to go on from.
    """
    at, size = 0, len(body)
    while at < size:
        end = payload_end(body, at)
        if end < 0:
            at = yield at, -1
        else:
            yield at, end
            at = end
