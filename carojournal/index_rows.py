"""What the index knows of a file and of a block, as values.  No sqlite and no files here, but for one `lstat`.

A *unit* is what has one row: a segment's own file, or a packed file with all its sections.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from carojournal.own_events import ALL_EVENTS
from carojournal.segment_file import SegmentInfo

__all__ = ["EVENT_NUMBERS", "Block", "FileRow", "Unit", "indexable", "units_of"]

EVENT_NUMBERS = {name: number for number, name in enumerate(ALL_EVENTS)}
FILE_BYTES_MIN = 16_384  # A row and a block take 150 bytes, 1 % of that.
_COUNT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Unit:
    """A file to be indexed; `uuid` is the segment's, or the one in the packed file's name."""

    path: str
    uuid: bytes
    packed: bool
    infos: tuple[SegmentInfo, ...]


def indexable(info: SegmentInfo) -> bool:
    """Tell whether a segment may be worth a row; one in a packed file is, if the whole file is."""
    return info.state == "packed" or info.size >= FILE_BYTES_MIN


def units_of(infos: Iterable[SegmentInfo]) -> tuple[list[Unit], list[SegmentInfo]]:
    """Return the units that *infos* make up, and the segments that are too small for one."""
    small: list[SegmentInfo] = []
    units: list[Unit] = []
    packed: dict[str, list[SegmentInfo]] = {}
    for info in infos:
        if info.state == "packed":
            packed.setdefault(info.path, []).append(info)
        elif indexable(info):
            units.append(Unit(info.path, info.segment, packed=False, infos=(info,)))
        else:
            small.append(info)
    for path, sections in packed.items():
        if sum(info.size for info in sections) < FILE_BYTES_MIN:
            small += sections
        else:
            uuid = bytes.fromhex(os.path.basename(path)[17:49])
            units.append(Unit(path, uuid, packed=True, infos=tuple(sections)))
    return units, small


@dataclass(frozen=True, slots=True)
class FileRow:
    """A row of `file`: `size` bytes are indexed, the last record begins at `last_offset`, `next_seq` comes next.

    `sessions` are ids (16 bytes each) one after another, None if they are too many.
    """

    uuid: bytes
    packed: bool
    device: int
    inode: int
    mtime_ns: int
    size: int
    last_offset: int
    next_seq: int
    sessions: bytes | None

    def values(self) -> tuple[object, ...]:
        """Return the columns in the table's order."""
        place = (self.device, self.inode, self.mtime_ns, self.size, self.last_offset, self.next_seq)
        return (self.uuid, int(self.packed), *place, self.sessions)

    def is_current(self, path: str) -> bool:
        """Tell whether the file at *path* is the one that was indexed, unchanged since."""
        try:
            status = os.lstat(path)
        except OSError:
            return False
        return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size) == (
            self.device,
            self.inode,
            self.mtime_ns,
            self.size,
        )


@dataclass(slots=True)
class Block:
    """A row of `block`.  `counts` are by event in the schema's order, last all others; `runs` None: too many to say."""

    offset: int
    size: int
    first_seq: int
    first_ms: int
    last_ms: int
    counts: list[int]
    runs: bytes | None

    @classmethod
    def of_row(cls, row: Sequence[object]) -> "Block":
        """Return the block of a table's row."""
        *numbers, counts, runs = row
        assert isinstance(counts, bytes)
        split = range(0, len(counts), _COUNT_BYTES)
        each = [int.from_bytes(counts[at : at + _COUNT_BYTES], "big") for at in split]
        return cls(*numbers, each, runs)  # type: ignore[arg-type, call-arg]

    def values(self) -> tuple[object, ...]:
        """Return the columns in the table's order."""
        counts = b"".join(count.to_bytes(_COUNT_BYTES, "big") for count in self.counts)
        return (self.offset, self.size, self.first_seq, self.first_ms, self.last_ms, counts, self.runs)

    def has_any(self, events: frozenset[str] | None) -> bool:
        """Tell whether the block holds one of *events* (None: any event)."""
        if events is None:
            return any(self.counts)
        return any(self.counts[EVENT_NUMBERS[name]] for name in events)
