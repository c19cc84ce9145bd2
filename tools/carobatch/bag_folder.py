"""A plain bag directory as `BagFiles`; links, devices and anything else that is no regular file are refused."""

import hashlib
import os
import stat
from typing import BinaryIO

from carobatch.bagit import TAG_BYTES_MAX
from carojournal.errors import DamagedData
from carojournal.segment_file import open_file

__all__ = ["FILES_MAX", "BagFolder"]

FILES_MAX = 100_000
_CHUNK_BYTES = 1_048_576


class BagFolder:
    """The bag in the directory *path*.  Raises DamagedData for what no bag may hold, OSError."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._sizes: dict[str, int] = {}
        self._folders: set[str] = set()
        pending = [""]
        while pending:
            folder = pending.pop()
            with os.scandir(os.path.join(path, folder) if folder else path) as entries:
                for entry in entries:
                    inner = f"{folder}/{entry.name}" if folder else entry.name
                    mode = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(mode.st_mode):
                        self._folders.add(inner)
                        pending.append(inner)
                    elif stat.S_ISREG(mode.st_mode):
                        self._sizes[inner] = mode.st_size
                    else:
                        raise DamagedData(path, 0, "holds a link, device or pipe, which no bag may")
                    if len(self._sizes) + len(self._folders) > FILES_MAX:
                        raise DamagedData(path, 0, "more files than any bundle has")

    def paths(self) -> list[str]:
        """Return the paths of all regular files."""
        return sorted(self._sizes)

    def has_folder(self, path: str) -> bool:
        """Tell whether there is such a folder."""
        return path in self._folders

    def size(self, path: str) -> int:
        """Return a file's size in bytes."""
        return self._sizes[path]

    def read(self, path: str) -> bytes:
        """Return a tag file's bytes."""
        if self._sizes[path] > TAG_BYTES_MAX:
            raise DamagedData(self.path, 0, f"a tag file of more than {TAG_BYTES_MAX} bytes")
        with self.open(path) as file:
            return file.read(TAG_BYTES_MAX)

    def open(self, path: str) -> BinaryIO:
        """Return the file, opened for reading."""
        return os.fdopen(open_file(os.path.join(self.path, *path.split("/"))), "rb")

    def digest(self, path: str, algorithm: str) -> str:
        """Return the hash of a file in lower-case hexadecimal."""
        digest = hashlib.new(algorithm, usedforsecurity=False)
        with self.open(path) as file:
            while data := file.read(_CHUNK_BYTES):
                digest.update(data)
        return digest.hexdigest()
