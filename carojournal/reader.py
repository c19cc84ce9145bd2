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
from typing import TYPE_CHECKING, NamedTuple

from carojournal import codec, policy
from carojournal.errors import DamagedData, MalformedCBOR, UsageError
from carojournal.frame import RECORD_OVERHEAD_BYTES
from carojournal.packed_streams import PackedStreams
from carojournal.record import Record, control_payloads, derive_event_id
from carojournal.root import open_file
from carojournal.scan import Scan, scan
from carojournal.segment_file import FILE_BYTES_MAX, Damage, SegmentInfo
from carojournal.segments import REASONS, list_segments, read_segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["REASONS", "Damage", "JournalReader", "Record", "SegmentBytes", "SegmentInfo", "derive_event_id"]

_DAY_MS = 86_400_000


def _day_overlaps(info: SegmentInfo, since_ms: int | None, until_ms: int | None) -> bool:
    """Tell whether the segment can hold events of the time asked for; a segment never spans midnight UTC."""
    if not info.created_us:
        return True
    start = info.created_us // 1000 // _DAY_MS * _DAY_MS
    return (since_ms is None or start + _DAY_MS > since_ms) and (until_ms is None or start < until_ms)


class SegmentBytes(NamedTuple):
    """The bytes of a segment's file, its path, and what they hold."""

    data: bytes
    path: str
    found: Scan


class JournalReader:
    """A reader of the journal at *root* (default: where `Journal.open` writes).  A missing journal has no records.

    An empty *root* is a UsageError, a default that has no place a ConfigError.  `damage` grows with every call that
    reads; each finding is listed once.
    """

    def __init__(
        self, root: "str | os.PathLike[str] | None" = None, *, environ: "Mapping[str, str] | None" = None
    ) -> None:
        if root == "":
            raise UsageError("root is empty: leave it out for the default")
        environ = os.environ if environ is None else environ
        self.root = policy.journal_root(environ) if root is None else os.path.abspath(os.fspath(root))
        self._damage: dict[Damage, None] = {}

    @property
    def damage(self) -> list[Damage]:
        """What could not be read so far, in the order it was met."""
        return list(self._damage)

    def report(self, damage: Damage) -> None:
        """Keep a finding, once."""
        self._damage[damage] = None

    def groups(self) -> list[list[SegmentInfo]]:
        """Return every segment with all places where it lies, oldest first; see `segments`.  Raises JournalIOError."""
        listing = list_segments(self.root)
        for damage in listing.damage:
            self.report(damage)
        return listing.groups

    def segments(self) -> list[SegmentInfo]:
        """Return the segments, oldest first, each once; those in packed files included.  Raises JournalIOError."""
        return [group[0] for group in self.groups()]

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
        streams = PackedStreams()
        timed = since_ms is not None or until_ms is not None
        low, high = since_ms or 0, until_ms if until_ms is not None else 1 << 64
        try:
            for group in self.groups():
                if not _day_overlaps(group[0], since_ms, until_ms):
                    continue
                for record in self.of_group(group, streams):
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

    def of_group(self, group: list[SegmentInfo], streams: PackedStreams) -> "Iterator[Record]":
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

    def of_segment(self, info: SegmentInfo, streams: PackedStreams | None = None, tries: int = 3) -> "Iterator[Record]":
        """Yield the records of one segment, payloads unchecked; nothing if it was evicted or cleared meanwhile."""
        try:
            if info.state == "packed":
                segment, path = info.segment, info.path
                for seq, payload in (streams or PackedStreams()).section(path, segment):
                    yield Record(segment, seq, payload, path, 0, info)
                return
            got = self.scan_segment(info)
            if got is not None:
                segment, data, path = info.segment, got.data, got.path
                for offset, seq, start, end in got.found.records:
                    yield Record(segment, seq, data[start:end], path, offset, info)
                return
        except FileNotFoundError:
            pass
        except OSError:
            self.report(Damage(info.path, 0, info.size, "unreadable"))
            return
        except DamagedData as error:
            self.report(Damage(info.path, error.offset, info.size, "packed"))
            return
        for group in self.groups() if tries else ():
            if group[0].segment == info.segment:
                yield from self.of_segment(group[-1], streams, tries - 1)

    def scan_segment(self, info: SegmentInfo) -> SegmentBytes | None:
        """Return the bytes of an open or closed segment and what they hold; damage is reported.

        None if it was packed, evicted or cleared meanwhile.  Raises OSError.
        """
        read = read_segment(self.root, info)
        if read is None:
            return None
        got = self._settled(info, SegmentBytes(*read, scan(read[0], info.segment)))
        may_be_torn = (info.state == "open" and got.path == info.path) or got.path.endswith("~")
        for span in got.found.spans:
            self.report(Damage(got.path, span.offset, span.size, span.reason, span.torn and may_be_torn))
        if len(got.data) == FILE_BYTES_MAX < info.size:
            self.report(Damage(got.path, FILE_BYTES_MAX, info.size - FILE_BYTES_MAX, "too_large"))
        return got

    def _settled(self, info: SegmentInfo, got: SegmentBytes) -> SegmentBytes:
        """Return *got* without a torn tail that its writer is still working on.

        Under the lane's lock nobody is in the middle of an append: a tail that is torn then was torn by a crash.
        """
        data, path, found = got
        if info.state != "open" or path != info.path or not found.spans or not found.spans[-1].torn:
            return got
        try:
            lock = open_file(f"{path[:-4]}.lock")
        except OSError:
            return got
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            again = read_segment(self.root, info)
        except OSError:
            # A writer holds the lock: what follows the last whole record is in progress.
            settled = found._replace(spans=[span for span in found.spans if not span.torn])
            return SegmentBytes(data[: found.end], path, settled)
        finally:
            with suppress(OSError):  # A child that was forked meanwhile has the descriptor too.
                fcntl.flock(lock, fcntl.LOCK_UN)
            os.close(lock)
        return SegmentBytes(*again, scan(again[0], info.segment)) if again else got

    def losses(self, groups: list[list[SegmentInfo]] | None = None) -> list[dict[str, object]]:
        """Return the loss records that count: the first for a segment, and only if that segment is really gone.

        *groups* are those of `groups`, where they have been listed already.
        """
        groups = self.groups() if groups is None else groups
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
            kept = info.row.get("losses")
            yield from (loss for loss in kept if type(loss) is dict) if type(kept) is list else ()
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
        """Return the newest *n* events that *match*, the oldest of them first; see `newest.newest`."""
        from carojournal.newest import newest

        return newest(self, n, match)

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
