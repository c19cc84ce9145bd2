"""Packed files that are read front to back, so that each is decompressed once while its sections are asked for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PackedStreams"]


class PackedStreams:
    """Packed files that are being read front to back, so that each is decompressed once."""

    def __init__(self) -> None:
        self._open: dict[str, Iterator[tuple[dict[str, object], Iterator[tuple[int, bytes]]]]] = {}

    def section(self, path: str, segment: bytes) -> "Iterator[tuple[int, bytes]]":
        """Return (seq, payload) of one section.  Raises FileNotFoundError, OSError, JournalError."""
        from carojournal.packed import iter_sections

        for fresh in (False, True):
            if fresh or path not in self._open:
                self._open[path] = iter(iter_sections(path))
            for header, pairs in self._open[path]:
                if header.get("segment") == segment:
                    return pairs
        return iter(())

    def close(self) -> None:
        """Forget all files."""
        self._open.clear()
