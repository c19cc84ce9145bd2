"""Where a bundle is written: one file, or parts for small media with a list that `sha256sum -c` checks.

    NAME.tar.zst                     or, encrypted, NAME.tar.zst.age
    NAME.tar.zst.001 .002 ...        with --split; NAME.tar.zst.sha256 lists them and appears last

Files appear complete and synced or not at all, and nothing that stands there is overwritten.
"""

import contextlib
import hashlib
import io
import os
from typing import TYPE_CHECKING, Protocol

from carobatch.ahead import ahead
from carojournal.durable import DurableFile, write_file
from carojournal.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["PARTS_MAX", "ChunkReader", "Media", "parse_size", "write_media"]

PARTS_MAX = 999
_GATHERED_BYTES = 1_048_576  # Written at a time; a bundle's chunks are headers of 200 bytes and frames of some 50 kB.
PART_BYTES_MIN = 4_096
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def parse_size(text: str) -> int:
    """Return the bytes that *text* names: a whole number, then k, M, G (SI) or Ki, Mi, Gi.  Raises UsageError."""
    digits = text.strip().rstrip("bBkKmMgGiI")
    unit = text.strip()[len(digits) :].lower().removesuffix("b")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 15 or unit not in _UNITS:
        raise UsageError("--split takes a size such as 700M, 4G or 650Mi")
    size = int(digits) * _UNITS[unit]
    if size < PART_BYTES_MIN:
        raise UsageError(f"--split takes at least {PART_BYTES_MIN} bytes")
    return size


class ChunkReader(io.RawIOBase):
    """The bytes of an iterator of chunks as a readable file."""

    def __init__(self, chunks: "Iterator[bytes]") -> None:
        super().__init__()
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        """Say that this can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to *size* bytes, all that is left for a negative number."""
        while (size < 0 or len(self._rest) < size) and (chunk := next(self._chunks, None)) is not None:
            self._rest += chunk
        size = len(self._rest) if size < 0 else size
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill *buffer* as far as there are bytes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _gathered(chunks: "Iterator[bytes]") -> "Iterator[bytes]":
    """Yield the bytes of *chunks* in pieces of about _GATHERED_BYTES."""
    parts, size = [], 0
    for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size >= _GATHERED_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)


class Media(Protocol):
    """Takes a bundle's bytes; `commit` puts the files in place and returns their paths; `abort` leaves nothing."""

    def write(self, data: bytes) -> object:
        """Append *data*."""

    def commit(self) -> list[str]:
        """Make the files durable under their names."""

    def abort(self) -> None:
        """Remove what was begun; idempotent."""


class _Whole:
    def __init__(self, path: str) -> None:
        self._file = DurableFile(path)

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def commit(self) -> list[str]:
        self._file.commit()
        return [self._file.path]

    def abort(self) -> None:
        self._file.abort()


class _Parts:
    def __init__(self, path: str, part_bytes: int) -> None:
        self._path = path
        self._part_bytes = part_bytes
        self._files: list[DurableFile] = []
        self._digests: list[hashlib._Hash] = []

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            if not self._files or self._files[-1].size == self._part_bytes:
                self._open()
            piece = bytes(view[: self._part_bytes - self._files[-1].size])
            self._files[-1].write(piece)
            self._digests[-1].update(piece)
            view = view[len(piece) :]

    def _open(self) -> None:
        if len(self._files) == PARTS_MAX:
            raise UsageError(f"more than {PARTS_MAX} parts: choose a larger --split")
        self._files.append(DurableFile(f"{self._path}.{len(self._files) + 1:03d}"))
        self._digests.append(hashlib.sha256())

    def commit(self) -> list[str]:
        for file in self._files:
            file.commit()
        names = [os.path.basename(file.path) for file in self._files]
        lines = [f"{digest.hexdigest()}  {name}\n" for digest, name in zip(self._digests, names, strict=True)]
        write_file(f"{self._path}.sha256", "".join(lines).encode())
        return [*(file.path for file in self._files), f"{self._path}.sha256"]

    def abort(self) -> None:
        for file in self._files:
            file.abort()


class _Watched:
    """Passes writes on and tells how many bytes there were."""

    def __init__(self, media: Media, told: "Callable[[int], object]") -> None:
        self._media = media
        self._told = told
        self.count = 0

    def write(self, data: bytes) -> int:
        self._media.write(data)
        self.count += len(data)
        self._told(self.count)
        return len(data)

    def flush(self) -> None:
        """Do nothing: `commit` syncs."""


def write_media(
    chunks: "Iterator[bytes]",
    path: str,
    *,
    part_bytes: int = 0,
    encrypt: "Callable[[ChunkReader, _Watched], object] | None" = None,
    before_commit: "Callable[[], object]" = lambda: None,
    told: "Callable[[int], object]" = lambda _: None,
) -> tuple[list[str], int]:
    """Write *chunks* to *path*, or to parts of *part_bytes* beside it; return the files' paths and the bytes written.

    *encrypt* (reader, writer) transforms them on the way, *before_commit* is called when all is written and nothing is
    in place yet, *told* hears how many bytes were written so far.  Raises OutputError and what *chunks* raises.
    """
    media: Media = _Parts(path, part_bytes) if part_bytes else _Whole(path)
    watched = _Watched(media, told)
    try:
        if encrypt:
            encrypt(ChunkReader(chunks), watched)
        else:
            # What comes next is read and hashed while this is written.
            with contextlib.closing(ahead(_gathered(chunks))) as pieces:
                for piece in pieces:
                    watched.write(piece)
        before_commit()
        return media.commit(), watched.count
    finally:
        media.abort()
