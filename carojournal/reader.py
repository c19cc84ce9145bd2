"""Read a journal: every record with its identity and place, whatever state the files are in.

    for record in JournalReader().records(events_only=True):
        print(record.event_id, record.value)

Reading takes no lock that a writer waits for, changes nothing, and never fails on what a file holds: damage is stepped
over (`scan`) and kept in `damage`.  A record's identity is (segment uuid, seq), wherever its segment lies; one that
moves while it is read is looked for again, so that no record is met twice or missed.  Only one segment is in memory.

A torn tail of an open lane is damage only if its writer is gone: while the lane's lock is held it is "in progress".
"""

import fcntl
import os
from contextlib import suppress
from heapq import heappush, heapreplace
from typing import TYPE_CHECKING

from carojournal import codec, paths
from carojournal.errors import CorruptRecord, JournalError, MalformedCBOR
from carojournal.frame import RECORD_OVERHEAD_BYTES, decode_record, last_record_offset
from carojournal.record import Record, control_payloads, derive_event_id, event_time_ms
from carojournal.scan import Scan, scan
from carojournal.segment_file import FILE_BYTES_MAX, Damage, SegmentInfo, read_tail
from carojournal.segments import REASONS, list_segments, read_segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["REASONS", "Damage", "JournalReader", "Record", "SegmentInfo", "derive_event_id"]

_DAY_MS = 86_400_000


def _day_overlaps(info: SegmentInfo, since_ms: int | None, until_ms: int | None) -> bool:
    """Tell whether the segment can hold events of the time asked for; a segment never spans midnight UTC."""
    if not info.created_us:
        return True
    start = info.created_us // 1000 // _DAY_MS * _DAY_MS
    return (since_ms is None or start + _DAY_MS > since_ms) and (until_ms is None or start < until_ms)


class JournalReader:
    """A reader of the journal at *root* (default: where `Journal.open` writes).  A missing journal has no records.

    `damage` grows with every call that reads; each finding is listed once.
    """

    def __init__(
        self, root: "str | os.PathLike[str] | None" = None, *, environ: "Mapping[str, str] | None" = None
    ) -> None:
        environ = os.environ if environ is None else environ
        self.root = paths.journal_root(environ) if root is None else os.path.abspath(os.fspath(root))
        self._damage: dict[Damage, None] = {}

    @property
    def damage(self) -> list[Damage]:
        """What could not be read so far, in the order it was met."""
        return list(self._damage)

    def report(self, damage: Damage) -> None:
        """Keep a finding, once."""
        self._damage[damage] = None

    def _groups(self) -> list[list[SegmentInfo]]:
        listing = list_segments(self.root)
        for damage in listing.damage:
            self.report(damage)
        return listing.groups

    def segments(self) -> list[SegmentInfo]:
        """Return the segments, oldest first, each once; those in packed files included.  Raises JournalIOError."""
        return [group[0] for group in self._groups()]

    def records(
        self,
        since_ms: int | None = None,
        until_ms: int | None = None,
        events_only: bool = False,
        *,
        decode: bool = True,
    ) -> "Iterator[Record]":
        """Yield the records in file order, oldest segment first.

        *since_ms* (inclusive) and *until_ms* (exclusive) are UTC milliseconds; with either, or with *events_only*,
        control records are left out.  *decode* False saves two thirds of the time and does not look into payloads.
        Raises JournalIOError if a folder cannot be listed.
        """
        streams = _Streams()
        timed = since_ms is not None or until_ms is not None
        low, high = since_ms or 0, until_ms if until_ms is not None else 1 << 64
        try:
            for group in self._groups():
                if not _day_overlaps(group[0], since_ms, until_ms):
                    continue
                for record in self._of_group(group, streams):
                    if decode or timed or events_only:
                        try:
                            value = record.value
                        except MalformedCBOR:
                            self.report_payload(record)
                            continue
                        if "event" not in value:
                            if timed or events_only:
                                continue
                        elif timed and not low <= value["timestamp"] < high:  # type: ignore[operator]
                            continue
                    yield record
        finally:
            streams.close()

    def report_payload(self, record: Record) -> None:
        """Keep the finding that *record* is whole but its payload is none of ours."""
        self.report(Damage(record.path, record.offset, len(record.payload) + RECORD_OVERHEAD_BYTES, "payload"))

    def _of_group(self, group: list[SegmentInfo], streams: "_Streams") -> "Iterator[Record]":
        """Yield the records of one segment, from every place where it lies, each once."""
        if len(group) == 1:
            yield from self.of_segment(group[0], streams)
            return
        seen = set()
        for info in group:
            for record in self.of_segment(info, streams):
                if record.seq not in seen:
                    seen.add(record.seq)
                    yield record

    def of_segment(self, info: SegmentInfo, streams: "_Streams | None" = None, tries: int = 3) -> "Iterator[Record]":
        """Yield the records of one segment, payloads unchecked; nothing if it was evicted or cleared meanwhile."""
        try:
            if info.state == "packed":
                yield from self._of_packed(info, streams or _Streams())
                return
            got = read_segment(self.root, info)
            if got is not None:
                yield from self._of_file(info, *got)
                return
        except FileNotFoundError:
            pass
        except OSError:
            self.report(Damage(info.path, 0, info.size, "unreadable"))
            return
        except JournalError:
            self.report(Damage(info.path, 0, info.size, "packed"))
            return
        if tries:
            for group in self._groups():
                if group[0].segment == info.segment:
                    yield from self.of_segment(group[-1], streams, tries - 1)

    def _of_packed(self, info: SegmentInfo, streams: "_Streams") -> "Iterator[Record]":
        segment, path = info.segment, info.path
        for seq, payload in streams.section(path, segment):
            yield Record(segment, seq, payload, path, 0, info)

    def _of_file(self, info: SegmentInfo, data: bytes, path: str) -> "Iterator[Record]":
        segment = info.segment
        data, found = self._settled(info, data, path)
        self._report_spans(info, path, data, found)
        for offset, seq, start, end in found.records:
            yield Record(segment, seq, data[start:end], path, offset, info)

    def _report_spans(self, info: SegmentInfo, path: str, data: bytes, found: Scan) -> None:
        may_be_torn = (info.state == "open" and path == info.path) or path.endswith("~")
        for span in found.spans:
            self.report(Damage(path, span.offset, span.size, span.reason, span.torn and may_be_torn))
        if len(data) == FILE_BYTES_MAX < info.size:
            self.report(Damage(path, len(data), info.size - len(data), "too_large"))

    def _settled(self, info: SegmentInfo, data: bytes, path: str) -> tuple[bytes, Scan]:
        """Return the bytes and what they hold, without a torn tail that its writer is still working on.

        Under the lane's lock nobody is in the middle of an append: a tail that is torn then was torn by a crash.
        """
        found = scan(data, info.segment)
        if info.state != "open" or path != info.path or not found.spans or not found.spans[-1].torn:
            return data, found
        try:
            lock = os.open(f"{path[:-4]}.lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return data, found
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            again = read_segment(self.root, info)
        except OSError:
            # A writer holds the lock: what follows the last whole record is in progress.
            end = found.end
            return data[:end], found._replace(spans=[span for span in found.spans if not span.torn])
        finally:
            os.close(lock)
        return (again[0], scan(again[0], info.segment)) if again else (data, found)

    def losses(self) -> list[dict[str, object]]:
        """Return the loss records that count: the first for a segment, and only if that segment is really gone."""
        groups = self._groups()
        present = {group[0].segment for group in groups}
        counted: dict[bytes, dict[str, object]] = {}
        for group in groups:
            for info in group:
                for loss in self._losses_of(info):
                    segment = loss.get("segment")
                    if type(segment) is bytes and segment not in present:
                        counted.setdefault(segment, loss)
        return list(counted.values())

    def _losses_of(self, info: SegmentInfo) -> "Iterator[dict[str, object]]":
        if info.state == "packed":
            with suppress(OSError, JournalError):
                # The inventory says whether the section's header, which has to be decompressed, lists any.
                header = _Streams().header(info.path, info.segment) if info.row.get("carried") else {}
                kept = header.get("losses")
                yield from kept if type(kept) is list else ()
            return
        try:
            got = read_segment(self.root, info)
        except OSError:
            return
        for payload in control_payloads(got[0], info.segment) if got else ():
            with suppress(MalformedCBOR):
                value = codec.loads_fast(payload)
                if type(value) is dict and value.get("record") == "loss":
                    yield value

    def tail(self, n: int, match: "Callable[[Record], bool] | None" = None) -> list[Record]:
        """Return the newest *n* events that *match*, by (timestamp, segment, seq), the oldest of them first.

        Reads segments from the newest end on and stops when the rest is older, by each segment's last event.  (A clock
        that was set back within a day may hide events that stand before the step.)  Raises JournalIOError.
        """
        best: list[tuple[int, bytes, int, Record]] = []
        streams = _Streams()
        try:
            bounded = sorted(((_last_ms(group), group) for group in self._groups()), key=lambda pair: -pair[0])
            for last_ms, group in bounded if n > 0 else ():
                if len(best) == n and last_ms < best[0][0]:
                    break
                for record in reversed(list(self._of_group(group, streams))):
                    time_ms = event_time_ms(record.payload)
                    key = (time_ms, record.segment, record.seq, record)
                    if time_ms < 0 or (len(best) == n and key[:3] < best[0][:3]) or not self._matches(record, match):
                        continue
                    heapreplace(best, key) if len(best) == n else heappush(best, key)
        finally:
            streams.close()
        return [key[3] for key in sorted(best, key=lambda key: key[:3])]

    def _matches(self, record: Record, match: "Callable[[Record], bool] | None") -> bool:
        try:
            return record.is_event and (match is None or match(record))
        except MalformedCBOR:
            self.report_payload(record)
            return False

    def follow(
        self,
        *,
        poll_s: float = 0.25,
        sleep: "Callable[[float], object] | None" = None,
        stop: "Callable[[], bool] | None" = None,
    ) -> "Iterator[Record]":
        """Yield the records that are appended from now on, in any lane; see `follow.follow`."""
        from carojournal.follow import follow

        return follow(self, poll_s=poll_s, sleep=sleep, stop=stop)


def _last_ms(group: list[SegmentInfo]) -> int:
    """Return the time of a segment's last event, or the end of its day where that cannot be told cheaply."""
    info = group[0]
    day_end = (info.created_us // 1000 // _DAY_MS + 1) * _DAY_MS if info.created_us else 1 << 64
    if info.state == "packed":
        last = info.row.get("last_ms")
        return last if type(last) is int else day_end
    with suppress(OSError, CorruptRecord):
        data = read_tail(info.path)
        for _ in range(2):  # A seal may stand after the last event.
            at = last_record_offset(data)
            found = decode_record(info.segment, data, at) if at is not None else None
            if found is None:
                break
            time_ms = event_time_ms(data[found[1] : found[2]])
            if time_ms >= 0:
                return time_ms
            data = data[:at]
    return day_end


class _Streams:
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

    def header(self, path: str, segment: bytes) -> dict[str, object]:
        """Return the header of one section, empty if it is not there.  Raises OSError, JournalError."""
        from carojournal.packed import iter_sections

        return next((header for header, _ in iter_sections(path) if header.get("segment") == segment), {})

    def close(self) -> None:
        """Forget all files."""
        self._open.clear()
