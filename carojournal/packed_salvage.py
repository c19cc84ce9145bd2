"""Packed files whose inventory is damaged: the content has a checksum of its own, and is all that counts.

The inventory only repeats what the section headers say, so its damage costs no record.  Where the skippable frame's own
length is damaged, the zstd frame is looked for.
"""

import io
from typing import TYPE_CHECKING

from carojournal import zstd
from carojournal.errors import DamagedData
from carojournal.packed import CONTENT_BYTES_MAX, Section, iter_content
from carojournal.segment_file import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["iter_salvaged"]

_MAGIC = b"\x28\xb5\x2f\xfd"
_TRIES_MAX = 64  # Bytes of an inventory look like a frame's beginning once in 2**32.


def iter_salvaged(path: str) -> "Iterator[Section]":
    """Yield the sections of the packed file at *path* without a look at its inventory.  Raises DamagedData, OSError."""
    data = read_file(path)
    at = -1
    for _ in range(_TRIES_MAX):
        at = data.find(_MAGIC, at + 1)
        if at < 0:
            break
        try:
            content = zstd.decompress(data[at:], CONTENT_BYTES_MAX, path)
        except DamagedData:
            continue
        yield from iter_content(io.BytesIO(content).read, len(content), path)
        return
    raise DamagedData(path, 0, "neither the inventory nor the content can be read")
