"""The newest events of a journal without reading all of it: from the segments' tails backwards, without the index."""

import re
from contextlib import suppress
from heapq import heappush, heapreplace
from typing import TYPE_CHECKING

from carojournal.errors import CorruptRecord, MalformedCBOR
from carojournal.frame import decode_record, last_record_offset
from carojournal.packed_streams import PackedStreams
from carojournal.record import Record, event_time_ms
from carojournal.segment_file import SegmentInfo, read_file, read_tail

if TYPE_CHECKING:
    from collections.abc import Callable

    from carojournal.reader import JournalReader

__all__ = ["newest"]

_DAY_MS = 86_400_000
_NEVER_MS = 1 << 64
_TIME = re.compile(rb"itimestamp\x1b(.{8})", re.DOTALL)  # Bytes that merely look like it cost a needless look.


def newest(reader: "JournalReader", n: int, match: "Callable[[Record], bool] | None") -> list[Record]:
    """Return the newest *n* events that *match*, by (timestamp, segment, seq), the oldest of them first.

    Reads segments from the newest end on, by the last event of each, and leaves out those that hold nothing newer.
    Which they are is asked of all their events: a clock that was set back leaves newer ones before the last.
    Raises JournalIOError.
    """
    best: list[tuple[int, bytes, int, Record]] = []
    streams = PackedStreams()
    bounded = sorted(((_last_ms(group), group) for group in reader.groups()), key=lambda pair: -pair[0])
    for last_ms, group in bounded if n > 0 else ():
        if len(best) == n and last_ms < best[0][0] and _latest_ms(group, best[0][0]) < best[0][0]:
            continue
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


def _day_end_ms(info: SegmentInfo) -> int:
    return (info.created_us // 1000 // _DAY_MS + 1) * _DAY_MS if info.created_us else _NEVER_MS


def _latest_ms(group: list[SegmentInfo], enough_ms: int) -> int:
    """Return a time that no event of a segment is later than; one before *enough_ms* need not be the nearest."""
    latest = -1
    for info in group:
        found = _day_end_ms(info)
        if found >= enough_ms:
            if info.state == "packed":
                found = _last_ms([info])
            else:
                with suppress(OSError):
                    times = _TIME.findall(read_file(info.path))
                    found = int.from_bytes(max(times), "big") if times else -1
        latest = max(latest, found)
    return latest


def _last_ms(group: list[SegmentInfo]) -> int:
    """Return the time of a segment's last event, or the end of its day where that cannot be told cheaply."""
    info = group[0]
    day_end = _day_end_ms(info)
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
