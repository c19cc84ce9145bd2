"""A bundle read front to back, once, as hostile input: its frames, its members, their hashes.

Memory: zstd's window (8 MiB), the tag files (at most TAGS_BYTES_MAX together), member names, and one section of a
payload file (4 MiB) where the caller looks into it.  Nothing is written anywhere.
"""

import hashlib
from typing import TYPE_CHECKING, BinaryIO

from carobatch import ustar
from carobatch.bagit import TAG_BYTES_MAX
from carojournal import zstd
from carojournal.errors import DamagedData

if TYPE_CHECKING:
    from collections.abc import Callable

    PayloadReader = Callable[[str, int, Callable[[int], bytes]], object]

__all__ = ["BUNDLE_BYTES_MAX", "BagArchive"]

BUNDLE_BYTES_MAX = 1 << 36  # 64 GiB unpacked; the ratio cap stops bombs long before.
TAGS_BYTES_MAX = 16_777_216
_CHUNK_BYTES = 262_144


class BagArchive:
    """The bag in a tar.zst; see `bagit.BagFiles` for its methods.

    *payload* (path, size, read) is called for every file below data/ as it comes by; what it does not read is read for
    the hash.  Raises DamagedData for anything that is no such archive.
    """

    def __init__(self, file: BinaryIO, name: str, payload: "PayloadReader | None" = None) -> None:
        self.name = name
        self.folder = ""
        self._tags: dict[str, bytes] = {}
        self._sizes: dict[str, int] = {}
        self._digests: dict[str, str] = {}
        self.frames = _check_frames(file, name)
        reader = zstd.BoundedReader(file, BUNDLE_BYTES_MAX, name)
        left = TAGS_BYTES_MAX
        for member in ustar.read_members(reader.read, name):
            self.folder, slash, path = member.name.partition("/")
            if not slash:
                raise DamagedData(name, member.offset, "a file beside the bag's folder")
            self._sizes[path] = member.size
            if path.startswith("data/"):
                self._digests[path] = _consume(member, path, payload)
                continue
            left -= member.size
            if member.size > TAG_BYTES_MAX or left < 0:
                raise DamagedData(name, member.offset, "a tag file larger than any of a bundle")
            self._tags[path] = member.read(member.size)
            self._digests[path] = hashlib.sha256(self._tags[path]).hexdigest()

    def paths(self) -> list[str]:
        """Return the paths of all regular files."""
        return list(self._sizes)

    def has_folder(self, path: str) -> bool:
        """Tell whether there is such a folder."""
        return any(name.startswith(f"{path}/") for name in self._sizes)

    def size(self, path: str) -> int:
        """Return a file's size in bytes."""
        return self._sizes[path]

    def read(self, path: str) -> bytes:
        """Return a tag file's bytes."""
        return self._tags[path]

    def digest(self, path: str, algorithm: str) -> str:
        """Return the SHA-256 of a file; no other hash is computed on the way."""
        if algorithm != "sha256":
            raise DamagedData(self.name, 0, "a bundle's manifests are SHA-256")
        return self._digests[path]


def _check_frames(file: BinaryIO, name: str) -> int:
    """Walk all frames of *file*, which then stands at its start; return how many they are."""

    def read_at(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    size = file.seek(0, 2)
    count = 0
    total = 0
    for frame in zstd.walk_frames(read_at, size, name):
        count += 1
        total += 0 if frame.is_skippable else frame.content or 0
        if total > BUNDLE_BYTES_MAX:
            raise DamagedData(name, frame.start, "declares more than any bundle holds")
    if not count:
        raise DamagedData(name, 0, "empty")
    file.seek(0)
    return count


def _consume(member: ustar.Member, path: str, payload: "PayloadReader | None") -> str:
    """Let *payload* read a member, read what it left, and return the SHA-256 of all of it."""
    digest = hashlib.sha256()

    def read(size: int) -> bytes:
        data = member.read(size)
        digest.update(data)
        return data

    if payload is not None:
        payload(path, member.size, read)
    while read(_CHUNK_BYTES):
        pass
    return digest.hexdigest()
