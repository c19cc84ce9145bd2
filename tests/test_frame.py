"""Record framing against the byte table of FORMAT.md, built here with struct, cbor2 and zlib alone."""

import io
import struct
import zlib

import cbor2
import pytest
from counted import interrupted
from hypothesis import given
from hypothesis import strategies as st

from carojournal import frame
from carojournal.errors import CorruptRecord, RecordTooLarge

SEGMENT = bytes(range(16))
PAYLOAD = cbor2.dumps({"event": "session_end"}, canonical=True)


def by_the_book(segment, seq, payload):
    body = struct.pack(">BQBI", 0x1B, seq, 0x5A, len(payload)) + payload + struct.pack(">BI", 0x1A, len(payload) + 25)
    return struct.pack(">BBI", 0x84, 0x1A, zlib.crc32(segment + body)) + body


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**64 - 1), st.binary(min_size=1, max_size=400))
def test_encode_follows_the_byte_table(segment, seq, payload):
    record = frame.encode_record(segment, seq, payload)
    assert record == by_the_book(segment, seq, payload)
    assert frame.decode_record(segment, record, 0) == (seq, 20, 20 + len(payload))
    assert frame.last_record_offset(record) == 0


def test_a_record_is_one_cbor_item():
    record = frame.encode_record(SEGMENT, 7, PAYLOAD)
    crc, seq, payload, total = cbor2.loads(record)
    assert (seq, payload, total) == (7, PAYLOAD, len(record))
    assert crc == zlib.crc32(SEGMENT + record[6:])


def test_the_label_is_rfc_9277s():
    stream = io.BytesIO(frame.LABEL)
    label = cbor2.load(stream)
    assert (label.tag, label.value.tag, label.value.value) == (55800, 0x434A4C31, b"BOR")
    assert stream.tell() == frame.FIRST_RECORD_OFFSET == 12


def test_the_largest_payload_fits_and_one_more_byte_does_not():
    frame.encode_record(SEGMENT, 0, bytes(65_536))
    with pytest.raises(RecordTooLarge) as caught:
        frame.encode_record(SEGMENT, 0, bytes(65_537))
    assert (caught.value.size, caught.value.limit) == (65_537, 65_536)


def test_every_truncation_is_incomplete_not_corrupt():
    record = frame.encode_record(SEGMENT, 7, PAYLOAD)
    for size in range(1, len(record)):
        assert frame.decode_record(SEGMENT, record[:size], 0) is None


def test_every_single_bit_flip_is_noticed():
    record = frame.encode_record(SEGMENT, 7, PAYLOAD)
    for bit in range(len(record) * 8):
        damaged = bytearray(record)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            # A longer length asks for bytes that are not there: incomplete, which the reader then tells from torn.
            assert frame.decode_record(SEGMENT, bytes(damaged), 0) is None
        except CorruptRecord as error:
            assert error.reason in {"mark", "layout", "length", "total", "checksum"}


def test_a_record_of_another_segment_does_not_pass():
    with pytest.raises(CorruptRecord, match="checksum"):
        frame.decode_record(bytes(16), frame.encode_record(SEGMENT, 7, PAYLOAD), 0)


def test_zero_bytes_never_start_a_record():
    with pytest.raises(CorruptRecord, match="mark"):
        frame.decode_record(SEGMENT, bytes(64), 0)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_find_record_steps_over_anything(before, after):
    record = frame.encode_record(SEGMENT, 3, PAYLOAD)
    assert frame.find_record(SEGMENT, before + record + after, 0) == len(before)


def test_a_record_inside_a_payload_is_not_found_for_this_segment():
    inner = frame.encode_record(bytes(16), 1, PAYLOAD)
    outer = frame.encode_record(SEGMENT, 1, cbor2.dumps({"x": inner}, canonical=True))
    assert frame.find_record(SEGMENT, outer[1:], 0) is None


@pytest.mark.parametrize("data", [b"", bytes(24), bytes(30), b"\x1a\xff\xff\xff\xff".rjust(30, b"x")])
def test_a_tail_that_cannot_be_one_has_no_last_record(data):
    assert frame.last_record_offset(data) is None


@given(st.lists(st.binary(max_size=900), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_the_checksum_is_zlibs_by_table_and_after_it(pieces, value):
    """With and without a start value, in one piece and in several, before and after the table gives way to zlib."""
    crc32, frame._by_table_bytes = frame.crc32, 0
    try:
        frame.crc32 = frame._crc32
        for piece in pieces:
            expected = zlib.crc32(piece, value)
            assert frame._crc32(piece, value) == frame._crc32(memoryview(piece), value) == expected
            value = expected
        assert (frame.crc32 is zlib.crc32) == (2 * sum(map(len, pieces)) > frame._BY_TABLE_BYTES_MAX)
    finally:
        frame.crc32 = crc32


def test_a_checksum_that_is_interrupted_at_any_line_spoils_no_later_one(monkeypatch):
    """The tables that the first one makes are there, all of them or none."""
    monkeypatch.setattr(frame, "_tables", [])
    monkeypatch.setattr(frame, "crc32", frame._crc32)
    nth = 0
    while True:
        nth += 1
        frame._tables.clear()
        monkeypatch.setattr(frame, "_by_table_bytes", 0)
        came = interrupted(lambda: frame._crc32(b"123456789"), nth, frame.__file__)
        assert frame._crc32(b"123456789") == 0xCBF43926  # The check value that every catalogue of CRCs has.
        if not came:
            break
    assert nth > 20
