"""A journal's segment files as the model sees them: read with struct and zlib alone, and broken on purpose.

Shares no line with the project's readers.  `records_in` tries every place at which a record could begin, which is slow
and cannot be led astray.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Found", "is_mendable", "is_whole", "left_by_a_death", "records_in", "segment_files", "strike", "uuid_of"]

_LABEL = bytes.fromhex("D9D9F8DA434A4C3143424F52")
_OVERHEAD = 25
_PARITY_BLOCK_BYTES = 64  # FORMAT.md section 8: no block of a packed file is smaller.


class Found(NamedTuple):
    """A record that verifies: its bytes [start, end), number and payload."""

    start: int
    end: int
    seq: int
    payload: bytes


def records_in(data: bytes, segment: bytes) -> list[Found]:
    """Return every record of *segment* in *data* that verifies."""
    found = []
    at = data.find(b"\x84\x1a")
    while at >= 0:
        record = _record_at(data, at, bytes(16) if at == len(_LABEL) else segment)
        if record is not None:
            found.append(record)
        at = data.find(b"\x84\x1a", record.end if record else at + 1)
    return found


def _record_at(data: bytes, at: int, key: bytes) -> Found | None:
    if at + _OVERHEAD >= len(data):
        return None
    crc, seq, size = (
        struct.unpack_from(form, data, at + place)[0] for form, place in ((">I", 2), (">Q", 7), (">I", 16))
    )
    end = at + size + _OVERHEAD
    if end > len(data) or zlib.crc32(key + data[at + 6 : end]) != crc:
        return None
    return Found(at, end, seq, data[at + 20 : end - 5])


def is_whole(data: bytes, segment: bytes) -> bool:
    """Tell whether *data* is label and records from 0 on, and nothing else."""
    at, expected = len(_LABEL), 0
    if not data.startswith(_LABEL):
        return False
    for record in records_in(data, segment):
        if (record.start, record.seq) != (at, expected):
            return False
        at, expected = record.end, expected + 1
    return at == len(data) and expected > 0


def segment_files(root: str) -> list[str]:
    """Return the paths of all open and closed segments."""
    found = []
    for folder in ("lanes", "segments"):
        place = os.path.join(root, folder)
        if os.path.isdir(place):
            names = sorted(name for name in os.listdir(place) if name.endswith((".seg", ".seg~")))
            found += [os.path.join(place, name) for name in names]
    return found


def uuid_of(path: str, data: bytes) -> bytes:
    """Return a segment's uuid: from a closed one's name, else from its header, else from its lane's lock file."""
    name = os.path.basename(path)
    if "-" in name:
        return bytes.fromhex(name[17:49])
    header = _record_at(data, len(_LABEL), bytes(16))
    if header is not None:
        at = header.payload.find(b"gsegmentP") + 9
        return header.payload[at : at + 16]
    with open(f"{path[:-4]}.lock", "rb") as file:
        text, _, crc = file.read().rstrip(b"\n").rpartition(b" ")
    return bytes.fromhex(text[:32].decode()) if crc == b"%08x" % zlib.crc32(text) else bytes(16)


def strike(path: str, kind: str, at: int, size: int) -> tuple[int, int]:
    """Break the file at *path* and return which of its old bytes [start, end) are not what they were.

    *kind*: "flip" inverts *size* bytes from *at* on, "zero" clears them, "cut" drops everything from *at* on, "zeros"
    and "again" append *size* zero bytes or the file's own last bytes.
    """
    with open(path, "r+b") as file:
        data = file.read()
        at = min(at, max(len(data) - 1, 0))
        end = min(at + size, len(data))
        if kind in ("flip", "zero"):
            file.seek(at)
            file.write(bytes(byte ^ 0xFF for byte in data[at:end]) if kind == "flip" else bytes(end - at))
            return at, end
        if kind == "cut":
            file.truncate(at)
            return at, len(data)
        file.write(bytes(size) if kind == "zeros" else data[-size:])
        return len(data), len(data)


def is_mendable(data: bytes, kind: str, at: int, size: int) -> bool:
    """Tell whether that damage costs the packed file *data* nothing: parity puts a block of its frame right."""
    at = min(at, max(len(data) - 1, 0))
    hit = {"flip": size, "zero": size, "cut": len(data) - at}.get(kind, 0)
    return not hit or (hit <= _PARITY_BLOCK_BYTES and at >= 8 + int.from_bytes(data[4:8], "little"))


def left_by_a_death(root: str) -> Iterator[str]:
    """Yield the small files in which a death left something half done, which `verify` calls torn and no worse."""
    if len(counters := _content(os.path.join(root, "drops"))) % 128 or b"\0" in counters:
        yield "drops"  # A line is short, or there is a hole behind it.
    lines = _content(os.path.join(root, "journal")).split(b"\n")
    if any(line and line[-8:] != b"%08x" % zlib.crc32(line[:-9]) for line in lines):
        yield "journal"
    for path in segment_files(root):
        if os.path.basename(os.path.dirname(path)) == "lanes":
            data, name = _content(path), f"{path.removesuffix('.seg')}.lock"
            if data and uuid_of(path, data).hex().encode() not in _content(name):
                yield name  # It names the segment before: the new one began, and its name was not written yet.


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""
