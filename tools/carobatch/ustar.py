"""USTAR (POSIX, pax(1), 'ustar Interchange Format'): written with fixed metadata, read as hostile input.

    offset  size  field          written as
    0       100   name           ASCII, no directory entries; the path fits without a prefix
    100     8     mode           0644
    108     8     uid, 116 8 gid 0
    124     12    size           octal; at most 8 GiB
    136     12    mtime          seconds of the newest event
    148     8     checksum       sum of the header's bytes, these eight taken as blanks
    156     1     type           '0', regular file
    257     8     magic          "ustar" NUL "00"

Everything else is zero.  Equal members give equal bytes.  The reader takes regular files and directories, nothing else:
no links, devices, sparse files, pax or GNU extensions, no absolute path, no "..", no names that differ only in case.
"""

import re
from typing import TYPE_CHECKING, NamedTuple

from carojournal.errors import DamagedData

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BLOCK_BYTES", "END", "MEMBERS_MAX", "Member", "encode_header", "padding", "read_members"]

BLOCK_BYTES = 512
END = bytes(20 * BLOCK_BYTES)  # Two zero blocks end an archive; tar reads records of twenty.
MEMBERS_MAX = 20_000  # A bundle has one member per packed file; bounds names kept in memory.
SIZE_MAX = 8**11 - 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+ -]{0,127}")
_CHUNK_BYTES = 262_144


class Member(NamedTuple):
    """A regular file of the archive.  `read(n)` gives its next bytes, b"" at its end; what is not read is skipped."""

    name: str
    size: int
    offset: int
    read: "Callable[[int], bytes]"


def encode_header(name: str, size: int, mtime: int) -> bytes:
    """Return the header of a regular file.  *name* has at most 100 ASCII bytes, *size* less than 8 GiB."""
    raw = name.encode("ascii")
    if len(raw) > 100 or not 0 <= size <= SIZE_MAX:
        raise ValueError("does not fit a ustar header")
    head = raw.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"%011o\0" % mtime
    tail = b"0" + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2 + bytes(167)
    return head + b"%06o\0 " % sum(head + b" " * 8 + tail) + tail


def padding(size: int) -> bytes:
    """Return the zero bytes that follow a member of *size* bytes."""
    return bytes(-size % BLOCK_BYTES)


class _Source:
    def __init__(self, read: "Callable[[int], bytes]", name: str) -> None:
        self._read = read
        self.name = name
        self.at = 0

    def exactly(self, size: int) -> bytes:
        data = self._read(size)
        if len(data) != size:
            raise DamagedData(self.name, self.at, "the archive is cut off")
        self.at += size
        return data


def read_members(read: "Callable[[int], bytes]", name: str) -> "Iterator[Member]":
    """Yield the regular files of the archive that `read(n)` gives front to back; *name* is its path in errors.

    Raises DamagedData at anything that this module would not have to accept.
    """
    source = _Source(read, name)
    seen: set[str] = set()
    top = ""
    while True:
        at = source.at
        block = source.exactly(BLOCK_BYTES)
        if not block.strip(b"\0"):
            break
        if len(seen) >= MEMBERS_MAX:
            raise DamagedData(name, at, "more members than any bundle has")
        path, size, is_folder = _parse(block, name, at)
        if path.casefold() in seen:
            raise DamagedData(name, at, "two members of one name, or of names that differ only in case")
        seen.add(path.casefold())
        top = top or path.split("/")[0]
        if path.split("/")[0] != top:
            raise DamagedData(name, at, "members outside the bag's folder")
        if is_folder:
            continue
        left = [size]

        def part(length: int, left: list[int] = left) -> bytes:
            data = source.exactly(min(length, left[0]))
            left[0] -= len(data)
            return data

        yield Member(path, size, at, part)
        while left[0]:
            part(_CHUNK_BYTES)
        if source.exactly(-size % BLOCK_BYTES).strip(b"\0"):
            raise DamagedData(name, source.at, "padding that is not zero")
    _check_end(read, source)


def _check_end(read: "Callable[[int], bytes]", source: _Source) -> None:
    if source.exactly(BLOCK_BYTES).strip(b"\0"):
        raise DamagedData(source.name, source.at, "the archive ends in the middle")
    while data := read(_CHUNK_BYTES):
        if data.strip(b"\0"):
            raise DamagedData(source.name, source.at, "bytes follow the archive's end")


def _parse(block: bytes, name: str, at: int) -> tuple[str, int, bool]:
    """Return (path, size, whether a directory) of a header."""
    stored = _octal(block[148:156])
    if stored is None or stored != sum(block[:148]) + sum(block[156:]) + 8 * 0x20:
        raise DamagedData(name, at, "not a tar header: its checksum does not hold")
    if block[257:263] not in (b"ustar\0", b"ustar "):
        raise DamagedData(name, at, "not a ustar header")
    kind = block[156:157]
    if kind not in (b"0", b"\0", b"5"):
        raise DamagedData(name, at, "a member that is no regular file: links, devices and extensions are refused")
    size = _octal(block[124:136])
    if size is None or (kind == b"5" and size):
        raise DamagedData(name, at, "a member whose size cannot be read")
    prefix = block[345:500] if block[257:263] == b"ustar\0" else b""
    raw = (prefix.rstrip(b"\0") + b"/" if prefix.strip(b"\0") else b"") + block[:100].rstrip(b"\0")
    path = raw.decode("ascii", "replace").removeprefix("./").removesuffix("/" if kind == b"5" else "")
    if path == "" and kind == b"5":
        path = "."
    parts = path.split("/")
    if path != "." and not all(_NAME.fullmatch(part) and not part.endswith((".", " ")) for part in parts):
        raise DamagedData(name, at, "a member whose name is none that a bundle may have")
    return path, size, kind == b"5"


def _octal(raw: bytes) -> int | None:
    text = raw.strip(b"\0 ")
    return int(text, 8) if text and not text.strip(b"01234567") else None
