"""A reader that notes what it reads, so that nothing is read again only to be removed."""

import os
from bisect import bisect_right
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Self

from carobatch.sections import runs_of
from carojournal.reader import JournalReader
from carojournal.record import control_payloads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carojournal.packed_streams import PackedStreams
    from carojournal.reader import SegmentBytes
    from carojournal.record import Record
    from carojournal.scan import Scan
    from carojournal.segment_file import SegmentInfo

__all__ = ["NotingReader", "ReadFile", "state_of"]

_CONTROL = b"frecord"  # The key that only the journal's own records have.
_start = attrgetter("start")
Runs = list[list[int]]


@dataclass(slots=True)
class ReadFile:
    """A file that may go: its segments, the losses it records, its newest segment's time.

    Of a closed segment also `runs`, its events, None where something in it is damaged, and `state`, see `state_of`.
    """

    path: str
    segments: list[bytes]
    losses: list[bytes] = field(default_factory=list)
    created_us: int = 0
    runs: Runs | None = None
    state: tuple[int, int, int] | None = None

    @classmethod
    def of_closed(cls, info: "SegmentInfo", data: bytes, found: "Scan", state: tuple[int, int, int]) -> Self:
        """Return what the closed segment *info* with the bytes *data* is."""
        if found.spans or found.gaps:
            return cls(info.path, [info.segment], state=state)  # `compact` keeps what is damaged in quarantine first.
        controls = set()
        at = data.find(_CONTROL)
        while at >= 0:
            place = found.records[max(0, bisect_right(found.records, at, key=_start) - 1)]
            if place.start <= at < place.end:
                controls.add(place.seq)
            at = data.find(_CONTROL, max(at + 1, place.end))
        runs = runs_of(place.seq for place in found.records if place.seq not in controls)
        losses = [payload for payload in control_payloads(data, info.segment) if b"dloss" in payload]
        return cls(info.path, [info.segment], losses, info.created_us, runs, state)


class NotingReader(JournalReader):
    """A reader that notes what it has read, so that nothing is read again only to be removed.

    `noted` maps the path of a file that was read to a segment in it and, unless it is packed, what it held; `present`
    holds the segments that the listing found, less those that were removed since.
    """

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.noted: dict[str, tuple[SegmentInfo, ReadFile | None]] = {}
        self.present: set[bytes] = set()

    def groups(self) -> "list[list[SegmentInfo]]":
        """Return every segment; see `JournalReader`."""
        found = super().groups()
        self.present = {group[0].segment for group in found}
        return found

    def of_segment(
        self, info: "SegmentInfo", streams: "PackedStreams | None" = None, tries: int = 3
    ) -> "Iterator[Record]":
        """Yield the records of one segment; see `JournalReader`."""
        if info.state == "packed" and info.consent_ms:
            self.noted.setdefault(info.path, (info, None))
        return super().of_segment(info, streams, tries)

    def scan_segment(self, info: "SegmentInfo") -> "SegmentBytes | None":
        """Return the bytes of a segment and what they hold; see `JournalReader`."""
        state = state_of(info.path) if info.state == "closed" and info.consent_ms else None
        got = super().scan_segment(info)
        if got is not None and state is not None and got.path == info.path:
            self.noted[info.path] = info, ReadFile.of_closed(info, got.data, got.found, state)
        return got


def state_of(path: str) -> tuple[int, int, int] | None:
    """Return what changes when a file does: inode, size, time of the last change (ns); None if it is gone."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
