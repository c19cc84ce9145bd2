"""Text files of ours in which every line is closed by its CRC-32: the reading half of `identity.line`."""

from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["good_lines"]


def good_lines(data: bytes) -> "Iterator[list[str]]":
    """Yield the words of every line of *data* whose CRC-32 holds, without it; torn and foreign lines are left out."""
    for raw in data.split(b"\n"):
        text, _, crc = raw.rpartition(b" ")
        if text and crc == b"%08x" % crc32(text):
            yield text.decode(errors="replace").split(" ")
