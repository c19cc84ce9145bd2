"""JSON values out of a file that nobody vouches for, one at a time, gzip or plain.

Takes an array, an object `{"events": [...], ...}`, single objects, or any of these after one another (NDJSON), and
yields the events.  Memory is bounded by one value, never by the file; time by TEXT_BYTES_MAX, which a gzip bomb meets
too.  What JSON allows and no event holds (a key twice, NaN, endless numbers) becomes UNUSABLE, which every later
check refuses.
"""

import codecs
import json
import re
import zlib
from typing import TYPE_CHECKING

from carojournal.errors import DamagedData

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["DECODER", "TEXT_BYTES_MAX", "UNUSABLE", "VALUE_CHARACTERS_MAX", "Scanner", "gunzip"]

TEXT_BYTES_MAX = 536_870_912  # Decompressed: a million events of half a kilobyte.
VALUE_CHARACTERS_MAX = 65_536  # Of one event; the largest possible one has about 1,000.
MEMBERS_MAX = 256  # Of an object whose members are read one by one.
_INT_DIGITS_MAX = 19  # More than any number of ours; Python's own conversion takes quadratic time.
_READ_BYTES = 65_536
_BLANK = re.compile(r"[ \t\r\n]*")


class _Unusable:
    """Stands where JSON allows what no event holds: a key twice, a number without end, NaN.  Every check refuses it."""


UNUSABLE = _Unusable()


def _pairs(pairs: list[tuple[str, object]]) -> object:
    found = dict(pairs)
    return found if len(found) == len(pairs) else UNUSABLE


def _constant(_: str) -> object:
    return UNUSABLE


def _int(text: str) -> object:
    return int(text) if len(text) <= _INT_DIGITS_MAX else UNUSABLE


DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant, parse_int=_int)


class Scanner:
    """JSON values out of a stream of bytes, one at a time; *limit* bounds the bytes (None: a file of our own)."""

    def __init__(self, path: str, read: "Callable[[int], bytes]", limit: int | None) -> None:
        self._path = path
        self._read = read
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("strict").decode
        self._buffer = ""
        self._at = 0
        self._before = 0  # Characters that were in the buffer and are gone.
        self._total = 0
        self._limit = limit
        self._end = False

    def _damaged(self, reason: str) -> DamagedData:
        return DamagedData(self._path, self._before + self._at, reason)

    def _more(self) -> bool:
        """Read on; return False at the end of the input."""
        if self._end:
            return False
        data = self._read(_READ_BYTES)
        self._total += len(data)
        if self._limit is not None and self._total > self._limit:
            raise self._damaged(f"more than {self._limit} bytes of JSON")
        self._end = not data
        try:
            text = self._decode(data, self._end)
        except UnicodeDecodeError:
            raise self._damaged("not UTF-8") from None
        self._before += self._at
        self._buffer, self._at = self._buffer[self._at :] + text, 0
        return True

    def _next(self) -> str:
        """Return the next character that is not blank, "" at the end; it stays the next one."""
        while True:
            blank = _BLANK.match(self._buffer, self._at)
            assert blank is not None
            self._at = blank.end()
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def _expect(self, characters: str) -> str:
        found = self._next()
        if not found or found not in characters:
            raise self._damaged("not JSON" if found else "the JSON is cut off")
        self._at += 1
        return found

    def _value(self) -> object:
        self._next()
        while True:
            try:
                value, end = DECODER.raw_decode(self._buffer, self._at)
                if end < len(self._buffer) or self._end:  # Else a number may go on.
                    long = end - self._at > VALUE_CHARACTERS_MAX
                    self._at = end
                    return UNUSABLE if long else value
            except RecursionError:
                raise self._damaged("nested too deeply") from None
            except ValueError:
                if self._end:
                    raise self._damaged("not JSON, or cut off") from None
            if len(self._buffer) - self._at > VALUE_CHARACTERS_MAX:
                raise self._damaged("not JSON, or a value that is too long")
            self._more()

    def values(self) -> "Iterator[object]":
        """Yield the events; raises DamagedData where the rest cannot be read."""
        while (found := self._next()) != "":
            if found == "[":
                yield from self._array()
            elif found == "{":
                yield from self._object()
            else:
                raise self._damaged("not JSON of caro's")

    def _array(self) -> "Iterator[object]":
        self._at += 1
        if self._next() == "]":
            self._at += 1
            return
        while True:
            yield self._value()
            if self._expect(",]") == "]":
                return

    def _object(self) -> "Iterator[object]":
        """Yield the items of its member `events`, or the object itself if it has none."""
        self._at += 1
        members: dict[str, object] = {}
        streamed = twice = False
        while self._next() != "}":
            key = self._value() if self._next() == '"' else None
            if type(key) is not str or len(members) == MEMBERS_MAX:
                raise self._damaged("not JSON of caro's")
            self._expect(":")
            if key == "events" and self._next() == "[":
                streamed = True
                yield from self._array()
            else:
                twice = twice or key in members
                members[key] = self._value()
            if self._next() != "}":
                self._expect(",")
        self._at += 1
        if not streamed:
            yield UNUSABLE if twice else members


def gunzip(path: str, read: "Callable[[int], bytes]") -> "Callable[[int], bytes]":
    """Return a `read` of the decompressed bytes; never more than asked for is held."""
    state = zlib.decompressobj(31)
    pending, total = b"", 0

    def decompressed(size: int) -> bytes:
        nonlocal state, pending, total
        while True:
            if state.eof:
                pending = state.unused_data or read(_READ_BYTES)
                if not pending.strip(b"\0"):  # The end, or padding after it.
                    return b""
                state = zlib.decompressobj(31)
            data = pending or read(_READ_BYTES)
            if not data:
                raise DamagedData(path, total, "the gzip data is cut off")
            try:
                found = state.decompress(data, size)
            except zlib.error:
                raise DamagedData(path, total, "not gzip data") from None
            pending = state.unconsumed_tail
            total += len(found)
            if found:
                return found

    return decompressed
