"""Scan a segment's bytes into records, and say of every other byte that it is damage.  Framing only, no files.

The grammar and the layout are those of `frame`.  Three rules, each with its reason:

* Damage ends at the next record that verifies in full, wherever that is: a record that no damaged byte touches is never
  lost, and nothing inside a payload can pass for a record because the checksum covers the segment's uuid.
* A record counts once, by its sequence number, and the first one counts.  One that comes late is kept and reported
  ("order"), a second copy is reported and left out ("duplicate").
* A *torn* tail is what a crash during an append leaves: a proper beginning of a record, or zero bytes that the file
  system filled in, and nothing valid after it.  Everything else is damage.  Whether a tail is still being written only
  a caller who can look at locks knows.
"""

import re
from itertools import pairwise
from typing import NamedTuple

from carojournal.errors import CorruptRecord
from carojournal.frame import (
    FIRST_RECORD_OFFSET,
    LABEL,
    NO_SEGMENT,
    RECORD_OVERHEAD_BYTES,
    decode_record,
    last_record_offset,
)
from carojournal.steps import HEAD_BYTES, TAIL_BYTES, starts_in_step

__all__ = ["REASONS", "Gap", "Place", "Scan", "Span", "next_record", "scan", "scan_records"]

REASONS = {
    "label": "the file does not begin with the format's label",
    "mark": "no record begins here",
    "layout": "the fixed bytes of a record are wrong",
    "length": "a record's length is outside its limits",
    "total": "a record's trailing length does not match",
    "checksum": "a record's checksum does not match",
    "cut": "the file ends inside a record",
    "duplicate": "a second record with a sequence number that was already read",
    "order": "a record that stands after later ones; it was read",
}

# A record's fixed bytes and the two high bytes of a length up to 65,536.  Finding them with `re` before a candidate is
# judged makes a file full of false marks cost milliseconds; judging each, as `frame.find_record` does, 1.5 s a MB.
_BEGINS = re.compile(rb"\x84\x1a.{4}\x1b.{8}\x5a\x00[\x00\x01]", re.DOTALL)
_RECORD_BYTES_MIN = RECORD_OVERHEAD_BYTES + 1
# A record ends in 1A and a number above 25, so no whole record ends in five zero bytes, nor after one flipped bit.
_ZEROS_MIN = 5


class Place(NamedTuple):
    """Where a record stands: offset of the record, its sequence number, and its payload's bytes [start, end)."""

    offset: int
    seq: int
    start: int
    end: int


class Span(NamedTuple):
    """Bytes that are no part of any record that counts; `reason` is a key of REASONS."""

    offset: int
    size: int
    reason: str
    torn: bool = False


class Gap(NamedTuple):
    """Sequence numbers that are missing though no damage before `offset` is large enough to have held them."""

    offset: int
    first_seq: int
    last_seq: int


class Scan(NamedTuple):
    """What a run of bytes holds.  `end` is the offset after the last valid record, where an append would go."""

    records: list[Place]
    spans: list[Span]
    gaps: list[Gap]
    end: int


def scan(data: bytes, segment: bytes) -> Scan:
    """Return what the whole file *data* of the segment with uuid *segment* (16 bytes) holds, record 0 included."""
    if not data:
        return Scan([], [], [], 0)
    spans: list[Span] = []
    at, header = FIRST_RECORD_OFFSET, None
    if not data.startswith(LABEL):
        torn = LABEL.startswith(data) or not data.strip(b"\0")
        spans.append(Span(0, min(len(data), FIRST_RECORD_OFFSET), "label", torn))
    try:
        header = decode_record(NO_SEGMENT, data, at) if at < len(data) else None
    except CorruptRecord:
        header = None
    if header is not None and header[0] == 0:
        place = Place(at, *header)
        found = scan_records(data, segment, place.end + 5, 1)
        return Scan([place, *found.records], spans + found.spans, found.gaps, found.end)
    if at >= len(data):
        return Scan([], spans, [], 0)
    found = scan_records(data, segment, at, 1)
    if found.spans and found.spans[0].offset == at:
        # Judge the header by its own key: the segment's would call every header a checksum error.
        first = found.spans[0]
        reason = _reason(NO_SEGMENT, data, at)
        torn = not found.records and _is_torn(NO_SEGMENT, data, at)
        found.spans[0] = Span(at, first.size, reason, torn)
    return Scan(found.records, spans + found.spans, found.gaps, found.end)


def scan_records(data: bytes, segment: bytes, at: int, expected: int) -> Scan:
    """Return the records of *segment* in *data* from offset *at* on; *expected* is the next sequence number."""
    size = len(data)
    records, end_of_last = _in_step(data, segment, at, expected)
    if end_of_last == size:
        return Scan(records, [], [], size)
    first_expected, start_at = expected, at
    seen, expected, at = {record.seq for record in records}, expected + len(records), end_of_last
    spans: list[Span] = []
    while at < size:
        found = _record(segment, data, at)
        if found is None:
            following = next_record(segment, data, at + 1)
            torn = following is None and _is_torn(segment, data, at)
            following = size if following is None else following
            spans.append(Span(at, following - at, _reason(segment, data, at), torn))
            at = following
            continue
        after = found.end + TAIL_BYTES
        if found.seq in seen or found.seq < first_expected:
            _extend(spans, at, after - at, "duplicate")
        else:
            if found.seq < expected:
                _extend(spans, at, after - at, "order")
            seen.add(found.seq)
            records.append(found)
            expected = max(expected, found.seq + 1)
        at = end_of_last = after
    return Scan(records, spans, _gaps(records, spans, first_expected, start_at), end_of_last)


def _in_step(data: bytes, segment: bytes, at: int, seq: int) -> tuple[list[Place], int]:
    """Return the valid records from *at* on that are numbered from *seq* on without a break, and where they end."""
    starts = starts_in_step(data, segment, at, seq)
    new = tuple.__new__
    records = [
        new(Place, (start - HEAD_BYTES, number, start, after - RECORD_OVERHEAD_BYTES))
        for number, (start, after) in enumerate(pairwise(starts), seq)
    ]
    return records, starts[-1] - HEAD_BYTES


def _record(segment: bytes, data: bytes, at: int) -> Place | None:
    """Return the whole, valid record at *at*, None if there is none."""
    try:
        found = decode_record(segment, data, at)
    except CorruptRecord:
        return None
    return None if found is None else Place(at, *found)


def next_record(segment: bytes, data: bytes, at: int) -> int | None:
    """Return the offset of the first whole, valid record of *segment* at or after *at*, or None."""
    while (found := _BEGINS.search(data, at)) is not None:
        at = found.start()
        try:
            if decode_record(segment, data, at) is not None:
                return at
        except CorruptRecord:
            pass
        at += 1
    return None


def _extend(spans: list[Span], offset: int, size: int, reason: str) -> None:
    """Append a span, or let the last one grow: a duplicated tail is one finding, not a thousand."""
    if spans and spans[-1].reason == reason and spans[-1].offset + spans[-1].size == offset:
        offset, size = spans[-1].offset, spans[-1].size + size
        spans.pop()
    spans.append(Span(offset, size, reason))


def _reason(segment: bytes, data: bytes, at: int) -> str:
    try:
        decode_record(segment, data, at)
    except CorruptRecord as error:
        return error.reason
    return "cut"


def _is_torn(segment: bytes, data: bytes, at: int) -> bool:
    """Tell whether the bytes from *at* to the end, in which no record begins, are what an interrupted append leaves."""
    rest = data[at:]
    written = rest.rstrip(b"\0")
    if not written:
        return True
    # So short that no record could be whole, what ends in zeros can only be a beginning.
    if len(rest) >= _RECORD_BYTES_MIN and len(rest) - len(written) < _ZEROS_MIN:
        if last_record_offset(data) == at:
            return False  # The record's end is there: its own length field is what is wrong.
        written = rest
    try:
        return decode_record(segment, written, 0) is None
    except CorruptRecord:
        return False


def _gaps(records: list[Place], spans: list[Span], expected: int, at: int) -> list[Gap]:
    """Return the missing sequence numbers that the damage between their neighbours is too small to explain."""
    gaps = []
    holes = [span for span in spans if span.reason not in ("duplicate", "order")]
    before = at
    for record in sorted(records, key=lambda record: record.seq):
        if record.seq > expected:
            room = sum(span.size for span in holes if before <= span.offset < record.offset)
            if room < (record.seq - expected) * _RECORD_BYTES_MIN:
                gaps.append(Gap(record.offset, expected, record.seq - 1))
        expected = record.seq + 1
        before = record.end
    return gaps
