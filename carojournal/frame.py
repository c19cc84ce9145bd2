"""Segment framing: the only module that knows how a record sits in a segment (FORMAT.md, section 2).

A segment is a labelled CBOR sequence (RFC 8742, RFC 9277), big-endian:

    offset  size  field
    0       12    D9D9F8 DA434A4C31 43424F52   tag 55800 (tag 0x434A4C31 ('BOR'))
    12      ..    record 0, the header; then records 1, 2, 3 ... without padding

    record: 25 bytes around the payload
    +0        1   84            array(4)
    +1        5   1A crc32      over the segment's uuid and the record's bytes from +6 on (record 0: 16 zero bytes)
    +6        9   1B seq        uint64, contiguous within the segment
    +15       5   5A length     uint32, 1 to 65,536
    +20       n   payload       one deterministic CBOR map
    +20+n     5   1A total      uint32, 25 + n: walk backwards, check a tail in constant time

The uuid in the checksum means that a record of another segment, or bytes inside a payload, never pass for a record
here. Pure functions over bytes: opening, locking and syncing belong to `lanes`.
"""

from zlib import crc32

import carojournal

__all__ = [
    "FIRST_RECORD_OFFSET",
    "LABEL",
    "NO_SEGMENT",
    "PAYLOAD_BYTES_MAX",
    "RECORD_MARK",
    "RECORD_OVERHEAD_BYTES",
    "decode_record",
    "encode_record",
    "find_record",
    "last_record_offset",
]

LABEL = bytes.fromhex("d9d9f8da434a4c3143424f52")
FIRST_RECORD_OFFSET = len(LABEL)
RECORD_OVERHEAD_BYTES = 25
PAYLOAD_BYTES_MAX = 65_536  # Bounds what a reader allocates on the word of a damaged length.
RECORD_MARK = b"\x84\x1a"  # The first two bytes of every record.
NO_SEGMENT = bytes(16)  # Stands for the uuid in the checksum of record 0, which announces the uuid.

_HEAD_BYTES = 20
_TAIL_BYTES = 5

assert FIRST_RECORD_OFFSET == 12
assert RECORD_OVERHEAD_BYTES == _HEAD_BYTES + _TAIL_BYTES


def encode_record(segment: bytes, seq: int, payload: bytes) -> bytes:
    """Return one record, ready for a single `write`.

    *segment* is the uuid (16 bytes; NO_SEGMENT for record 0), *seq* counts from 0.
    Raises RecordTooLarge if *payload* exceeds PAYLOAD_BYTES_MAX.
    """
    size = len(payload)
    if size > PAYLOAD_BYTES_MAX:
        raise carojournal.errors.RecordTooLarge(size, PAYLOAD_BYTES_MAX)
    body = b"\x1b%b\x5a%b%b\x1a%b" % (
        seq.to_bytes(8, "big"),
        size.to_bytes(4, "big"),
        payload,
        (size + RECORD_OVERHEAD_BYTES).to_bytes(4, "big"),
    )
    return RECORD_MARK + crc32(body, crc32(segment)).to_bytes(4, "big") + body


def decode_record(segment: bytes, data: bytes | memoryview, offset: int) -> tuple[int, int, int] | None:
    """Return (seq, payload start, payload end) of the record at *offset*; offsets are bytes into *data*.

    Returns None where *data* ends inside the record: a crash during an append leaves exactly that, and only the caller
    knows whether the segment is sealed, which would make it corruption.  Raises CorruptRecord with the offset and one
    of the reasons "mark", "layout", "length", "total", "checksum" otherwise.
    """
    left = len(data) - offset
    if left < _HEAD_BYTES:
        if bytes(data[offset : offset + 2]) != RECORD_MARK[: max(0, min(left, 2))]:
            raise carojournal.errors.CorruptRecord(offset, "mark")
        return None
    if data[offset] != 0x84 or data[offset + 1] != 0x1A:
        raise carojournal.errors.CorruptRecord(offset, "mark")
    if data[offset + 6] != 0x1B or data[offset + 15] != 0x5A:
        raise carojournal.errors.CorruptRecord(offset, "layout")
    size = int.from_bytes(data[offset + 16 : offset + 20], "big")
    if not 0 < size <= PAYLOAD_BYTES_MAX:
        raise carojournal.errors.CorruptRecord(offset, "length")
    start = offset + _HEAD_BYTES
    end = start + size
    if len(data) < end + _TAIL_BYTES:
        return None
    if data[end] != 0x1A or int.from_bytes(data[end + 1 : end + 5], "big") != size + RECORD_OVERHEAD_BYTES:
        raise carojournal.errors.CorruptRecord(offset, "total")
    stored = int.from_bytes(data[offset + 2 : offset + 6], "big")
    if crc32(data[offset + 6 : end + _TAIL_BYTES], crc32(segment)) != stored:
        raise carojournal.errors.CorruptRecord(offset, "checksum")
    return int.from_bytes(data[offset + 7 : offset + 15], "big"), start, end


def last_record_offset(data: bytes | memoryview) -> int | None:
    """Return where the record that ends *data* would start, by its trailing length, or None if that cannot be."""
    size = len(data)
    if size < RECORD_OVERHEAD_BYTES or data[size - _TAIL_BYTES] != 0x1A:
        return None
    total = int.from_bytes(data[size - 4 : size], "big")
    if RECORD_OVERHEAD_BYTES < total <= min(size, PAYLOAD_BYTES_MAX + RECORD_OVERHEAD_BYTES):
        return size - total
    return None


def find_record(segment: bytes, data: bytes, offset: int) -> int | None:
    """Return the offset of the first whole, valid record at or after *offset*, or None.

    This is how readers step over damage: every candidate is checked in full, so nothing inside a payload can pass.
    """
    while (offset := data.find(RECORD_MARK, offset)) >= 0:
        try:
            if decode_record(segment, data, offset) is not None:
                return offset
        except carojournal.errors.CorruptRecord:
            pass
        offset += 1
    return None
