"""Packed files that are read front to back, so that each is decompressed once while its sections are asked for.

Of one that turns out to be damaged it is remembered which sections hold: asking for another costs nothing more.
"""

from typing import TYPE_CHECKING

from carojournal.errors import DamagedData

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PackedStreams"]


# Of several writers' files of one time; each holds its compressed bytes and zstd's window, 16 MB at most.
_OPEN_MAX = 3


class PackedStreams:
    """Packed files that are being read front to back, so that each is decompressed once."""

    def __init__(self) -> None:
        self._open: dict[str, Iterator[tuple[dict[str, object], Iterator[tuple[int, bytes]]]]] = {}
        self._damaged: dict[str, tuple[set[object], DamagedData]] = {}

    def section(self, path: str, segment: bytes) -> "Iterator[tuple[int, bytes]]":
        """Return (seq, payload) of one section.  Raises FileNotFoundError, OSError, JournalError."""
        from carojournal.packed import iter_sections

        for fresh in (False, True):
            if path in self._damaged and segment not in self._damaged[path][0]:
                error = self._damaged[path][1]
                raise DamagedData(error.path, error.offset, error.reason)
            stream = None if fresh else self._open.pop(path, None)
            is_first = stream is None
            self._open[path] = stream = stream or iter(iter_sections(path))
            while len(self._open) > _OPEN_MAX:
                del self._open[next(iter(self._open))]  # The one that was not asked for longest.
            met: set[object] = set()
            try:
                for header, pairs in stream:
                    met.add(header.get("segment"))
                    if header.get("segment") == segment:
                        return pairs
            except DamagedData as found:
                if is_first:  # Else what is asked for may stand before the place where the last one was found.
                    self._damaged[path] = met, found
                    raise
        return iter(())

    def close(self) -> None:
        """Forget all files."""
        self._open.clear()
        self._damaged.clear()
