"""Follow a journal: yield what is appended, lane by lane, whatever happens to the files meanwhile.

A lane's segment is held open while it grows.  Once the lane's path leads elsewhere, nobody writes to the old file any
more (a rename needs the lane's lock), so one last read empties it.  Every poll also looks for segments that came and
went between two polls: closed and packed ones that are not known yet are read whole.  What has been read is remembered
by segment uuid and sequence number, so a segment that moves is not read twice, and a directory that vanishes and
returns, in whatever state, is no end.  An unfinished record at a lane's end is waited for; if its segment is closed, it
is damage.
"""

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from carojournal.errors import JournalError
from carojournal.record import Record, event_time_ms
from carojournal.scan import scan, scan_records
from carojournal.segment_file import CLOSED_NAME, PACKED_NAME, Damage, SegmentInfo, describe_file, open_file
from carojournal.segments import lock_names, packed_infos

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carojournal.reader import JournalReader

__all__ = ["follow"]

_READ_BYTES = 1 << 20  # At least one whole segment of ours.


def follow(
    reader: "JournalReader",
    *,
    poll_s: float,
    sleep: "Callable[[float], object] | None" = None,
    stop: "Callable[[], bool] | None" = None,
) -> "Iterator[Record]":
    """Return an iterator over the records that are appended to *reader*'s journal after this call, controls included.

    Between polls that found nothing it calls *sleep* with *poll_s* seconds; it ends when *stop* answers True.  Records
    of one poll are in order of time.  Whole records with a payload that is none of ours are reported and left out.
    """
    follower = _Follower(reader)
    follower.poll(first=True)
    return _records(follower, poll_s, sleep or time.sleep, stop)


def _records(
    follower: "_Follower", poll_s: float, sleep: "Callable[[float], object]", stop: "Callable[[], bool] | None"
) -> "Iterator[Record]":
    try:
        while stop is None or not stop():
            found = follower.poll()
            yield from sorted(found, key=lambda record: event_time_ms(record.payload))
            if not found:
                sleep(poll_s)
    finally:
        follower.close()


class _Held:
    """An open lane's file that is being read as it grows; `offset` is where its next record begins."""

    __slots__ = ("descriptor", "info", "offset")

    def __init__(self, descriptor: int, info: SegmentInfo) -> None:
        self.descriptor = descriptor
        self.info = info
        self.offset = 0

    def moved(self) -> bool:
        """Tell whether the lane's path no longer leads to this file."""
        ours = os.fstat(self.descriptor)
        try:
            there = os.lstat(self.info.path)
        except OSError:
            return True
        return (ours.st_ino, ours.st_dev) != (there.st_ino, there.st_dev)


class _Follower:
    def __init__(self, reader: "JournalReader") -> None:
        self._reader = reader
        self._held: dict[str, _Held] = {}
        self._next_seq: dict[bytes, int] = {}  # Per segment, how far it was read.
        self._complete: set[bytes] = set()  # Segments that are closed and were read to their end.
        self._files: set[str] = set()  # Packed files that were looked at.
        self._found: list[Record] = []

    def close(self) -> None:
        for held in self._held.values():
            os.close(held.descriptor)
        self._held.clear()

    def poll(self, *, first: bool = False) -> list[Record]:
        """Return what is new.  The *first* poll only learns what is there: everything so far counts as read."""
        self._found = []
        # In the direction in which segments move, so that none can pass by unseen.
        for path, held in list(self._held.items()):
            moved = held.moved()
            self._read_on(held)
            if moved:
                os.close(self._held.pop(path).descriptor)
        for name in self._names("lanes"):
            if name.endswith(".seg") and os.path.join(self._reader.root, "lanes", name) not in self._held:
                self._hold(os.path.join(self._reader.root, "lanes", name))
        for name in self._names("segments"):
            match = CLOSED_NAME.match(name)
            if match is not None and bytes.fromhex(match[2]) not in self._complete:
                path = os.path.join(self._reader.root, "segments", name)
                self._read_closed(path, bytes.fromhex(match[2]), int(match[1]), first=first)
        packed = [name for name in self._names("packed") if PACKED_NAME.match(name)]
        for name in packed:
            if name not in self._files:
                self._read_packed(os.path.join(self._reader.root, "packed", name), first=first)
        self._files = set(packed)
        found, self._found = self._found, []
        return [] if first else [record for record in found if self._is_good(record)]

    def _names(self, folder: str) -> list[str]:
        try:
            return sorted(os.listdir(os.path.join(self._reader.root, folder)))
        except OSError:
            return []

    def _is_good(self, record: Record) -> bool:
        try:
            return record.value is not None
        except JournalError:
            self._reader.report_payload(record)
            return False

    def _hold(self, path: str) -> None:
        try:
            info = describe_file(path, "open", named=lock_names(f"{path[:-4]}.lock"))
            if not isinstance(info, SegmentInfo):
                return  # No header yet; or it is none of ours, which `verify` reports.
            descriptor = open_file(path)
        except OSError:
            return
        held = self._held[path] = _Held(descriptor, info)
        self._read_on(held)

    def _read_on(self, held: _Held) -> None:
        """Read the whole records that were appended; what follows the last one is left for the next poll."""
        info = held.info
        try:
            if os.fstat(held.descriptor).st_size < held.offset:
                held.offset = 0
            data = b""
            while part := os.pread(held.descriptor, _READ_BYTES, held.offset + len(data)):
                data += part
        except OSError:
            return
        base = held.offset
        found = scan(data, info.segment) if base == 0 else scan_records(data, info.segment, 0, self._next(info.segment))
        for span in found.spans:
            if span.offset < found.end:
                self._reader.report(Damage(info.path, base + span.offset, span.size, span.reason))
        for offset, seq, start, end in found.records:
            self._add(Record(info.segment, seq, data[start:end], info.path, base + offset, info))
        held.offset = base + found.end

    def _next(self, segment: bytes) -> int:
        return self._next_seq.get(segment, 0)

    def _add(self, record: Record) -> None:
        if record.seq >= self._next(record.segment):
            self._next_seq[record.segment] = record.seq + 1
            self._found.append(record)

    def _read_closed(self, path: str, segment: bytes, created_us: int, *, first: bool) -> None:
        if first and segment not in self._next_seq:
            self._complete.add(segment)
            return
        try:
            info = describe_file(path, "closed", named=(segment, created_us))
        except FileNotFoundError:
            return  # Packed meanwhile: met further down, or in the next poll.
        except OSError:
            info = None
        if isinstance(info, SegmentInfo):
            for record in self._reader.of_segment(info):
                self._add(record)
        self._complete.add(segment)

    def _read_packed(self, path: str, *, first: bool) -> None:
        with suppress(OSError, JournalError):
            for info in packed_infos(path):
                if info.segment in self._complete:
                    continue
                if not first or info.segment in self._next_seq:
                    for record in self._reader.of_segment(info):
                        self._add(record)
                self._complete.add(info.segment)
