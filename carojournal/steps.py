"""Records that follow one another without a break, which is all of nearly every segment: one look at each.

`scan` begins with this and judges what is left; who needs no more than the payloads of whole segments takes them here.
The layout is that of `frame`.  Framing only, no files.
"""

from itertools import pairwise
from struct import Struct
from zlib import crc32

from carojournal.errors import CorruptRecord
from carojournal.frame import (
    FIRST_RECORD_OFFSET,
    LABEL,
    NO_SEGMENT,
    PAYLOAD_BYTES_MAX,
    RECORD_OVERHEAD_BYTES,
    decode_record,
)

__all__ = ["HEAD_BYTES", "TAIL_BYTES", "intact_payloads", "starts_in_step"]

HEAD_BYTES = 20
_TAIL = Struct(">BI")
TAIL_BYTES = _TAIL.size
# What stands between two payloads: a tail, marks, crc, mark with the first byte of the sequence number, the other seven
# with the mark behind them, length.
_STEP = Struct(">BIHIHQI")
_MARKS = 0x841A
_SEQ_MARK = 0x1B00
_LENGTH_MARK = 0x5A
_RECORD_BYTES_MIN = RECORD_OVERHEAD_BYTES + 1

assert _STEP.size == RECORD_OVERHEAD_BYTES == HEAD_BYTES + TAIL_BYTES


def starts_in_step(data: bytes, segment: bytes, at: int, seq: int) -> list[int]:
    """Return where the payloads of the valid records from *at* on start that are numbered from *seq* without a break.

    The last number is where a further one would start: HEAD_BYTES after the end of these records.  Each record costs
    one look at its fixed bytes, which includes the tail of the one before, one copy and one checksum.
    """
    starts = [at + HEAD_BYTES]
    if not _is_first(data, segment, at, seq):
        return starts
    add, unpack, key, between = starts.append, _STEP.unpack_from, crc32(segment), _STEP.size
    last = len(data) - _RECORD_BYTES_MIN - TAIL_BYTES
    length = int.from_bytes(data[at + 16 : at + 20], "big")
    at += HEAD_BYTES + length
    for number in range((seq + 1) << 8 | _LENGTH_MARK, 1 << 64, 1 << 8):
        if at > last:
            break
        tail, before, marks, crc, seq_mark, found, after = unpack(data, at)
        start = at + between
        end = start + after
        if (
            found != number
            or before != length + RECORD_OVERHEAD_BYTES
            or tail != 0x1A
            or marks != _MARKS
            or seq_mark != _SEQ_MARK
            or not 0 < after <= PAYLOAD_BYTES_MAX
            or crc32(data[at + 11 : end + TAIL_BYTES], key) != crc
        ):
            break
        add(start)
        at, length = end, after
    # The tail of the last one is still to be looked at.
    if data[at : at + TAIL_BYTES] == _TAIL.pack(0x1A, length + RECORD_OVERHEAD_BYTES):
        add(at + _STEP.size)
    return starts


def _is_first(data: bytes, segment: bytes, at: int, seq: int) -> bool:
    """Tell whether the record *seq* stands at *at*, whole and valid."""
    try:
        found = decode_record(segment, data, at)
    except CorruptRecord:
        return False
    return found is not None and found[0] == seq


def intact_payloads(data: bytes, segment: bytes) -> list[bytes] | None:
    """Return the payloads of the whole file *data* of *segment* (16 bytes), by sequence number, that of record 0 too.

    None if it holds anything but its label and records from 0 on, each valid: then `scan` says what.
    """
    if not data.startswith(LABEL) or not _is_first(data, NO_SEGMENT, FIRST_RECORD_OFFSET, 0):
        return None
    start = FIRST_RECORD_OFFSET + HEAD_BYTES
    after = start + RECORD_OVERHEAD_BYTES + int.from_bytes(data[start - 4 : start], "big")
    starts = [start, *starts_in_step(data, segment, after - HEAD_BYTES, 1)]
    if starts[-1] - HEAD_BYTES != len(data):
        return None
    return [data[start : after - RECORD_OVERHEAD_BYTES] for start, after in pairwise(starts)]
