"""What a user names as a bundle: a tar.zst, an encrypted one, its parts, or an unpacked bag.

    NAME.tar.zst         as it is
    NAME.tar.zst.age     recognised by its first line; decrypted into an unlinked temporary file
    NAME.tar.zst.sha256  the list of parts, or NAME.tar.zst.001: every part must be there and have its hash
    a directory          an unpacked bag

Nothing here looks into a bundle.
"""

import bisect
import contextlib
import hashlib
import io
import os
import re
import stat
import tempfile
from itertools import accumulate
from typing import TYPE_CHECKING, BinaryIO

from carojournal.errors import DamagedData, JournalUnavailable, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["open_bundle"]

_LIST_BYTES_MAX = 262_144
_PART = re.compile(r"([0-9a-f]{64}) [ *]([^/\0]+)\.(\d{3})")
_CHUNK_BYTES = 1_048_576


class _Joined(io.RawIOBase):
    """Several files as one."""

    def __init__(self, files: "Sequence[BinaryIO]") -> None:
        super().__init__()
        self._files = files
        self._ends = list(accumulate(os.fstat(file.fileno()).st_size for file in files))
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        base = {0: 0, 1: self._at, 2: self._ends[-1]}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        number = bisect.bisect_right(self._ends, self._at)
        if number == len(self._files):
            return 0
        size = min(len(buffer), self._ends[number] - self._at)
        file = self._files[number]
        data = os.pread(file.fileno(), size, os.fstat(file.fileno()).st_size - (self._ends[number] - self._at))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _open(path: str, held: contextlib.ExitStack) -> BinaryIO:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    file = held.enter_context(os.fdopen(descriptor, "rb"))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise UsageError("a bundle is a regular file or a directory")
    return file


def _open_parts(path: str, held: contextlib.ExitStack) -> BinaryIO:
    """Open the parts that the list at *path* names, after all their hashes were checked."""
    with open(path, "rb") as listing:
        lines = listing.read(_LIST_BYTES_MAX).decode("utf-8", "replace").splitlines()
    stem = os.path.basename(path).removesuffix(".sha256")
    parts = [_PART.fullmatch(line) for line in lines]
    numbers = [int(part[3]) for part in parts if part and part[2] == stem]
    if not parts or numbers != list(range(1, len(parts) + 1)):
        raise DamagedData(path, 0, "not a list of all parts in order")
    files = []
    for part in parts:
        assert part
        name = os.path.join(os.path.dirname(path), f"{stem}.{part[3]}")
        try:
            file = _open(name, held)
        except FileNotFoundError as error:
            raise DamagedData(name, 0, "this part is missing") from error
        digest = hashlib.sha256()
        while data := file.read(_CHUNK_BYTES):
            digest.update(data)
        if digest.hexdigest() != part[1]:
            raise DamagedData(name, 0, "the checksum of this part does not hold")
        files.append(file)
    return held.enter_context(io.BufferedReader(_Joined(files)))


@contextlib.contextmanager
def open_bundle(path: str, identity: str = "") -> "Iterator[BinaryIO | str]":
    """Open the bundle at *path*; *identity* is a file with age identities.

    Yields a file that can be read and seeked, or the path of a directory.  Raises DamagedData (parts, decryption),
    JournalUnavailable for an encrypted bundle without an identity, UsageError, OSError.
    """
    from carobatch import age

    if os.path.isdir(path):
        yield path
        return
    with contextlib.ExitStack() as held:
        if re.search(r"\.\d{3}$", path):
            path = f"{path[:-4]}.sha256"
        file = _open_parts(path, held) if path.endswith(".sha256") else _open(path, held)
        head = file.read(len(age.MAGIC))
        file.seek(0)
        if head == age.MAGIC:
            if not identity:
                raise JournalUnavailable(f"{path}: encrypted; name a file with your age identity (--identity)")
            plain = held.enter_context(tempfile.TemporaryFile())
            age.decrypt(file, plain, age.read_identities(identity), path)
            plain.seek(0)
            file = plain
        yield file
