"""The newest events of a journal without reading all of it: from the segments' tails backwards, without the index."""

from contextlib import suppress
from heapq import heappush, heapreplace
from typing import TYPE_CHECKING

from carojournal.errors import CorruptRecord, MalformedCBOR
from carojournal.frame import decode_record, last_record_offset
from carojournal.packed_streams import PackedStreams
from carojournal.record import Record, event_time_ms
from carojournal.segment_file import SegmentInfo, read_tail

if TYPE_CHECKING:
    from collections.abc import Callable

    from carojournal.reader import JournalReader

__all__ = ["newest"]

_DAY_MS = 86_400_000


def newest(reader: "JournalReader", n: int, match: "Callable[[Record], bool] | None") -> list[Record]:
    """Return the newest *n* events that *match*, by (timestamp, segment, seq), the oldest of them first.

    Reads segments from the newest end on and stops when the rest is older, by each segment's last event.  (A clock that
    was set back within a day may hide events that stand before the step.)  Raises JournalIOError.
    """
    best: list[tuple[int, bytes, int, Record]] = []
    streams = PackedStreams()
    bounded = sorted(((_last_ms(group), group) for group in reader.groups()), key=lambda pair: -pair[0])
    for last_ms, group in bounded if n > 0 else ():
        if len(best) == n and last_ms < best[0][0]:
            break
        for record in reversed(list(reader.of_group(group, streams))):
            time_ms = event_time_ms(record.payload)
            key = (time_ms, record.segment, record.seq, record)
            if time_ms < 0 or (len(best) == n and key[:3] < best[0][:3]) or not _matches(reader, record, match):
                continue
            if len(best) == n:
                heapreplace(best, key)
            else:
                heappush(best, key)
    return [key[3] for key in sorted(best, key=lambda key: key[:3])]


def _matches(reader: "JournalReader", record: Record, match: "Callable[[Record], bool] | None") -> bool:
    try:
        return record.is_event and (match is None or match(record))
    except MalformedCBOR:
        reader.report_payload(record)
        return False


def _last_ms(group: list[SegmentInfo]) -> int:
    """Return the time of a segment's last event, or the end of its day where that cannot be told cheaply."""
    info = group[0]
    day_end = (info.created_us // 1000 // _DAY_MS + 1) * _DAY_MS if info.created_us else 1 << 64
    if info.state == "packed":
        times = info.row.get("times")
        return times[1] if type(times) is list and len(times) == 2 and type(times[1]) is int else day_end
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
