"""What an audit sees in bytes: records of segments and packed segments, JSON, lines of text; hits with their positions.

Formats are recognised by their bytes, not by a file's name.  Nothing is believed: a checksum that does not hold makes a
record no less audited, and bytes that decode as nothing of ours are searched for CBOR text strings.

What our own programs made is no finding where it stands in its place and has its exact form: see `audit_own`.
"""

import json
import re
from collections.abc import Iterator

from carojournal import codec, frame
from carojournal.audit_maps import foreign_parts
from carojournal.audit_own import KNOWN_KEYS, foreign, foreign_words, is_own_text
from carojournal.errors import MalformedCBOR
from carojournal.patterns import scan, scan_value
from carojournal.patterns.texts import vetoes

__all__ = ["KNOWN_KEYS", "content_hits"]

_BYTES, _TEXT = 2, 3  # CBOR major types
_PRINTABLE = re.compile(rb"[ -~]{6,}")
_LOOSE_CHARS_MIN = 4  # In undecodable bytes, shorter text strings are chance.


def content_hits(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield (position, rule) of *data*.  A position is `record N/...`, `line N/...` or a JSON pointer."""
    if data.startswith(frame.LABEL):
        yield from _segment(data)
    elif (text := _decoded(data)) is not None:
        yield from _text(text)
    elif data:
        yield from _sequence(data)


def _decoded(data: bytes) -> str | None:
    for encoding in ("utf-8-sig", "utf-16"):
        if encoding == "utf-16" and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
            continue
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return None if "\0" in text else text
    return None


def _segment(data: bytes) -> Iterator[tuple[str, str]]:
    """Find records by their layout alone, wherever they start; search what lies between for strings."""
    offset = start = frame.FIRST_RECORD_OFFSET
    while offset < len(data):
        end = _record_end(data, offset)
        if end is None:
            following = data.find(frame.RECORD_MARK, offset + 1)
            offset = len(data) if following < 0 else following
            continue
        yield from _strings(data[start:offset], f"offset {start}")
        seq = int.from_bytes(data[offset + 7 : offset + 15], "big")
        yield from _payload(data[offset + 20 : end - 5], f"record {seq}")
        offset = start = end
    yield from _strings(data[start:], f"offset {start}")


def _record_end(data: bytes, offset: int) -> int | None:
    head = data[offset : offset + 20]
    if len(head) < 20 or head[:2] != frame.RECORD_MARK or head[6] != 0x1B or head[15] != 0x5A:
        return None
    end = offset + frame.RECORD_OVERHEAD_BYTES + int.from_bytes(head[16:20], "big")
    return end if end <= len(data) else None


def _payload(payload: bytes, where: str) -> Iterator[tuple[str, str]]:
    try:
        value = codec.loads(payload)
    except MalformedCBOR:
        yield from _strings(payload, where)
    else:
        yield from _value(value, where)


def _sequence(data: bytes) -> Iterator[tuple[str, str]]:
    """Return hits of a CBOR sequence: a packed segment's header maps and `[seq, event]` pairs; strings of the rest."""
    end = 0
    try:
        for number, (_, after, item) in enumerate(codec.iter_items(data)):
            end = after
            if isinstance(item, list) and len(item) == 2 and type(item[0]) is int and isinstance(item[1], dict):
                yield from _value(item[1], f"record {number}")
            elif isinstance(item, dict) and number == 0 and end == len(data):
                yield from _value(foreign_parts(item), "record 0")
            else:
                yield from _value(item, f"record {number}")
    except MalformedCBOR:
        yield from _strings(data[end:], f"offset {end}")


def _text(text: str) -> Iterator[tuple[str, str]]:
    if is_own_text(text):
        return
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        for number, line in enumerate(text.splitlines(), 1):
            yield from _line(line, f"line {number}")
    else:
        yield from _value(value, "")


def _line(line: str, where: str) -> Iterator[tuple[str, str]]:
    if not line.strip():
        return
    if line.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            pass
        else:
            yield from _value(value, where)
            return
    yield from ((where, rule) for word in foreign_words(line) for rule in scan(word))


def _value(value: object, where: str) -> Iterator[tuple[str, str]]:
    for hit in scan_value(foreign(value, ""), KNOWN_KEYS):
        pointer = "".join(f"/{part}" for part in hit.path)
        yield (where + pointer) or "/", hit.rule


def _strings(data: bytes, where: str) -> Iterator[tuple[str, str]]:
    """Return hits in bytes that decode as nothing of ours: damaged, cut off or planted.

    Items are walked as far as they make sense, so that the half of a record that a crash left is read like a whole one:
    its text strings are judged, its ids skipped.  Whatever is printable is searched once more, for vetoes alone.
    """
    at = 20 if data.startswith(frame.RECORD_MARK) else 0
    while at < len(data):
        major, start, size = _head(data, at)
        if major in (_BYTES, _TEXT) and size > len(data) - start:
            break  # cut off here, or nothing of CBOR
        if major == _TEXT:
            word = data[start : start + size].decode("utf-8", "replace")
            if len(word) >= _LOOSE_CHARS_MIN and word not in KNOWN_KEYS and word.isprintable():
                yield from ((where, rule) for rule in scan(word))
        at = start + size if major in (_BYTES, _TEXT) else start
    for run in _PRINTABLE.findall(data):
        yield from ((where, rule) for rule in vetoes(run.decode("ascii")))


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """Return (major type, start of content, argument) of the CBOR head at *at* (RFC 8949 section 3)."""
    major, low = data[at] >> 5, data[at] & 0x1F
    if low < 24:
        return major, at + 1, low
    width = 1 << (low - 24) if low < 28 else 0
    return major, at + 1 + width, int.from_bytes(data[at + 1 : at + 1 + width], "big")
