"""Select events: with or without the index, the newest few or all of them, in order.

Without the index every segment is read, from the newest end on where a few events of any kind are wanted.  With it,
only blocks that can hold a match are.  What the index leads to is verified record by record; at the first oddity the
whole segment is read instead, which also says what is wrong.  So both ways find the same events.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from heapq import heappush, heapreplace
from itertools import groupby
from typing import TYPE_CHECKING

from carojournal.cursor import Cursor
from carojournal.errors import MalformedCBOR
from carojournal.packed_streams import PackedStreams
from carojournal.query import Query, merged, order_of
from carojournal.reader import JournalReader, Record
from carojournal.scan import scan_records
from carojournal.segment_file import SegmentInfo, open_file

if TYPE_CHECKING:
    from carojournal.index import Index
    from carojournal.index_queries import Candidate

__all__ = ["newest", "ordered", "unread"]


def newest(reader: JournalReader, query: Query, limit: int, index: "Index | None" = None) -> list[Record]:
    """Return the newest *limit* events that match, the oldest of them first.  Raises JournalIOError."""
    if limit <= 0:
        return []
    matches = _matcher(reader, query)
    if index is None:
        if query.everything:
            return reader.tail(limit)
        return _best(limit, filter(matches, reader.records(decode=False)))
    best: list[tuple[tuple[int, bytes, int], int, Record]] = []
    for candidate in sorted(index.candidates(query), key=lambda found: -found.last_ms):
        if len(best) == limit and candidate.last_ms < best[0][0][0]:
            break
        _keep(best, limit, filter(matches, _read(reader, candidate)))
    return [item[2] for item in sorted(best)]


def _best(limit: int, records: Iterable[Record]) -> list[Record]:
    best: list[tuple[tuple[int, bytes, int], int, Record]] = []
    _keep(best, limit, records)
    return [item[2] for item in sorted(best)]


def _keep(best: list[tuple[tuple[int, bytes, int], int, Record]], limit: int, records: Iterable[Record]) -> None:
    """Keep in *best*, a heap, the newest *limit* of what is there and of *records*."""
    for record in records:
        key = order_of(record)
        if len(best) < limit:
            heappush(best, (key, len(best), record))
        elif key > best[0][0]:
            heapreplace(best, (key, best[0][1], record))


def ordered(reader: JournalReader, query: Query, index: "Index | None" = None) -> Iterator[Record]:
    """Yield all events that match, in order.  Raises JournalIOError."""
    matches = _matcher(reader, query)
    if index is None:
        segments = groupby(reader.records(decode=False), key=lambda record: record.source)
        return merged((info.created_us // 1000, filter(matches, records)) for info, records in segments)
    found = sorted(index.candidates(query), key=lambda candidate: candidate.infos[0].created_us)
    return merged(
        (candidate.infos[0].created_us // 1000, filter(matches, _read(reader, candidate))) for candidate in found
    )


def unread(
    reader: JournalReader, query: Query, cursor: Cursor, seen: dict[bytes, int], infos: Iterable[SegmentInfo]
) -> Iterator[Record]:
    """Yield, in order, all events of *infos* after *cursor* that match.

    *seen* learns the last number read of every segment, matching or not.
    """
    matches = _matcher(reader, query)
    streams = PackedStreams()

    def fresh(info: SegmentInfo) -> Iterator[Record]:
        start = cursor.first_unread(info.segment, info.created_us)
        if start is None:
            return
        for record in reader.of_segment(info, streams):
            seen[info.segment] = max(record.seq, seen.get(info.segment, -1))
            if record.seq >= start and matches(record):
                yield record

    return merged((info.created_us // 1000, fresh(info)) for info in infos)


def _matcher(reader: JournalReader, query: Query) -> Callable[[Record], bool]:
    def matches(record: Record) -> bool:
        try:
            return query.matches(record) and record.is_event
        except MalformedCBOR:
            reader.report_payload(record)
            return False

    return matches


def _read(reader: JournalReader, candidate: "Candidate") -> Iterator[Record]:
    """Return the records of a candidate."""
    if candidate.size is not None:
        records = _block(candidate)
        if records is not None:
            return iter(records)
        whole = reader.of_segment(candidate.infos[0])
        return (record for record in whole if candidate.first_seq <= record.seq < candidate.end_seq)
    streams = PackedStreams()
    return (record for info in candidate.infos for record in reader.of_segment(info, streams))


def _block(candidate: "Candidate") -> list[Record] | None:
    """Return the records of one block, None if its bytes are not what the index says."""
    info = candidate.infos[0]
    with suppress(OSError):
        descriptor = open_file(info.path)
        try:
            data = os.pread(descriptor, candidate.size or 0, candidate.offset)
        finally:
            os.close(descriptor)
        found = scan_records(data, info.segment, 0, candidate.first_seq)
        if len(data) == candidate.size and not found.spans and not found.gaps:
            base = candidate.offset
            return [
                Record(info.segment, seq, data[start:end], info.path, base + offset, info)
                for offset, seq, start, end in found.records
            ]
    return None
