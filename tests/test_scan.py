"""What damage costs, over bytes alone: exactly the records it touches, wherever and whatever it is."""

import sys

import forge
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carojournal.scan import REASONS, scan, scan_records

UUID = bytes(range(16))
OTHER = bytes(range(16, 32))
# Sizes at the edges of CBOR heads, one whose record has 128 bytes, one whose length ends in a zero byte.
PAYLOADS = [b"\xa0", forge.event(1), b"x" * 23, b"y" * 103, b"\x84\x1a" * 60, b"z" * 231, forge.event(2)]
OPEN = forge.segment_bytes(UUID, PAYLOADS)
SEALED = forge.segment_bytes(UUID, PAYLOADS, sealed=True)


def read(data):
    return {(seq, data[start:end]) for _, seq, start, end in scan(data, UUID).records}


def contents(data):
    """What a healthy segment holds, by its own layout."""
    return [(seq, data[start + 20 : end - 5]) for seq, (start, end) in enumerate(forge.places(data))]


def assert_tiled(data, found):
    """Every byte is part of the label, of one record, or of reported damage; `order` reports what is also a record."""
    pieces = [(place.offset, place.end + 5) for place in found.records]
    pieces += [(span.offset, span.offset + span.size) for span in found.spans if span.reason != "order"]
    if data and not any(span.reason == "label" for span in found.spans):
        pieces.append((0, len(forge.LABEL)))
    at = 0
    for start, end in sorted(pieces):
        assert start == at
        at = end
    assert at == len(data)


@pytest.mark.parametrize("data", [OPEN, SEALED], ids=["open", "sealed"])
def test_healthy_segment_is_read_in_full(data):
    found = scan(data, UUID)
    assert [(place.seq, data[place.start : place.end]) for place in found.records] == contents(data)
    assert (found.spans, found.gaps, found.end) == ([], [], len(data))


@pytest.mark.parametrize("data", [OPEN, SEALED], ids=["open", "sealed"])
def test_every_truncation_costs_only_the_record_it_cuts_and_is_torn(data):
    whole = contents(data)
    ends = [end for _, end in forge.places(data)]
    for size in range(len(data)):
        found = scan(data[:size], UUID)
        kept = sum(end <= size for end in ends)
        assert read(data[:size]) == set(whole[:kept])
        assert_tiled(data[:size], found)
        last = max([0 if size < 12 else 12, *(end for end in ends if end <= size)])
        assert [span[:2] for span in found.spans] == ([(last, size - last)] if last < size else [])
        assert all(span.torn for span in found.spans)
        assert found.gaps == []


@pytest.mark.parametrize("data", [OPEN, SEALED], ids=["open", "sealed"])
def test_every_flipped_bit_is_found_and_costs_only_the_record_it_hits(data):
    whole = contents(data)
    ends = [end for _, end in forge.places(data)]
    for at in range(len(data)):
        hit = None if at < 12 else sum(end <= at for end in ends)
        expected = {pair for pair in whole if pair[0] != hit}
        for bit in range(8):
            broken = bytearray(data)
            broken[at] ^= 1 << bit
            broken = bytes(broken)
            found = scan(broken, UUID)
            assert read(broken) == expected
            assert any(span.offset <= at < span.offset + span.size for span in found.spans)
            assert not any(span.torn for span in found.spans)
            assert found.gaps == []
            assert_tiled(broken, found)


def test_zero_filled_tail_is_torn_wherever_it_begins():
    start, end = forge.places(OPEN)[-1]
    for size in range(start, end):
        for zeros in (512, end - size):
            broken = OPEN[:size] + bytes(zeros)
            found = scan(broken, UUID)
            assert read(broken) == set(contents(OPEN)[:-1])
            assert len(found.spans) == 1
            assert found.spans[0].torn or zeros < 5


@pytest.mark.parametrize("zeros", [0, 1, 4, 5, 40])
def test_every_beginning_of_a_record_is_torn_with_zeros_behind_it_too(zeros):
    record = forge.record(UUID, len(PAYLOADS) + 1, forge.event(7))
    for size in range(1, len(record) - 5):
        found = scan(OPEN + record[:size] + bytes(zeros), UUID)
        assert [(span.offset, span.size, span.torn) for span in found.spans] == [(len(OPEN), size + zeros, True)]


@pytest.mark.parametrize("junk", [b"junk!", b"crc.\x1b" + bytes(8) + b"!", b"crc.\x1b" + bytes(8) + b"\x5a\x01"])
def test_junk_behind_a_records_first_bytes_is_no_beginning(junk):
    """No append leaves it, however short it is: every fixed byte that is there must hold."""
    found = scan(OPEN + b"\x84\x1a" + junk, UUID)
    assert [(span.offset, span.size, span.torn) for span in found.spans] == [(len(OPEN), 2 + len(junk), False)]


def test_a_label_that_is_wrong_costs_twelve_bytes():
    found = scan(b"!" + OPEN[1:], UUID)
    assert found.spans == [(0, 12, "label", False)]
    assert [place.seq for place in found.records] == list(range(len(PAYLOADS) + 1))


def test_damage_before_the_end_is_never_called_torn():
    start, end = forge.places(OPEN)[-2]
    broken = OPEN[: start + 9] + bytes(end - start - 9) + OPEN[end:]
    found = scan(broken, UUID)
    assert found.spans == [(start, end - start, "layout", False)]
    assert len(found.records) == len(contents(OPEN)) - 1


def test_duplicated_tail_is_reported_once_and_read_once():
    start, _ = forge.places(OPEN)[-2]
    found = scan(OPEN + OPEN[start:], UUID)
    assert found.spans == [(len(OPEN), len(OPEN) - start, "duplicate", False)]
    assert read(OPEN + OPEN[start:]) == set(contents(OPEN))


def test_first_of_two_records_with_one_number_counts():
    second = forge.record(UUID, 1, b"\xa1\x61a\x01")
    found = scan(OPEN + second, UUID)
    assert found.spans == [(len(OPEN), len(second), "duplicate", False)]
    assert read(OPEN + second) == set(contents(OPEN))


def test_records_of_another_segment_are_damage_here():
    foreign = forge.record(OTHER, 3, forge.event(9))
    for start, _ in forge.places(OPEN)[1:]:
        broken = OPEN[:start] + foreign + OPEN[start:]
        found = scan(broken, UUID)
        assert found.spans == [(start, len(foreign), "checksum", False)]
        assert {pair[0] for pair in read(broken)} == set(range(len(PAYLOADS) + 1))


def test_record_inside_a_payload_is_not_a_record():
    inner = forge.record(OTHER, 2, forge.event(9))
    data = forge.segment_bytes(UUID, [b"\xa1\x61a" + inner, forge.event(1)])
    assert len(scan(data, UUID).records) == 3
    start, end = forge.places(data)[1]
    broken = data[: start + 3] + b"!" + data[start + 4 :]
    found = scan(broken, UUID)
    assert [place.seq for place in found.records] == [0, 2]
    assert found.spans == [(start, end - start, "checksum", False)]


def test_copy_of_an_earlier_record_inside_a_damaged_payload_does_not_count_twice():
    first = forge.record(UUID, 1, forge.event(1))
    data = forge.segment_bytes(UUID, [forge.event(1), b"\xa1\x61a" + first, forge.event(2)])
    start, _ = forge.places(data)[2]
    broken = data[: start + 3] + b"!" + data[start + 4 :]
    assert [place.seq for place in scan(broken, UUID).records] == [0, 1, 3]


def test_swapped_records_are_both_read_and_reported():
    (a, b), (_, c) = forge.places(OPEN)[2:4]
    swapped = OPEN[:a] + OPEN[b:c] + OPEN[a:b] + OPEN[c:]
    found = scan(swapped, UUID)
    assert read(swapped) == set(contents(OPEN))
    assert found.spans == [(a + c - b, b - a, "order", False)]
    assert found.gaps == []


def test_missing_record_is_a_gap_unless_damage_could_have_held_it():
    (a, b) = forge.places(OPEN)[2]
    assert scan(OPEN[:a] + OPEN[b:], UUID).gaps == [(a, 2, 2)]
    assert scan(OPEN[:a] + b"!" * (b - a) + OPEN[b:], UUID).gaps == []
    assert scan(OPEN[:a] + b"!" + OPEN[b:], UUID).gaps == [(a + 1, 2, 2)]


def test_missing_first_records_are_a_gap():
    start, _ = forge.places(OPEN)[3]
    assert scan(OPEN[: forge.places(OPEN)[0][1]] + OPEN[start:], UUID).gaps == [(forge.places(OPEN)[0][1], 1, 2)]


def test_largest_numbers_do_no_harm():
    data = OPEN + forge.record(UUID, 2**64 - 1, forge.event(3))
    found = scan(data, UUID)
    assert found.gaps == [(len(OPEN), len(PAYLOADS) + 1, 2**64 - 2)]
    assert found.records[-1].seq == 2**64 - 1


def test_scan_of_a_part_starts_at_the_expected_number():
    start, _ = forge.places(OPEN)[4]
    found = scan_records(OPEN, UUID, start, 4)
    assert [place.seq for place in found.records] == list(range(4, len(PAYLOADS) + 1))
    assert (found.spans, found.gaps) == ([], [])


def test_bytes_that_are_no_segment_hold_nothing():
    for data in (b"", b"\0" * 99, b"\xff" * 99, forge.LABEL, b"\x84\x1a" * 500):
        found = scan(data, UUID)
        assert found.records == []
        assert_tiled(data, found)


edits = st.lists(
    st.tuples(
        st.sampled_from(["flip", "overwrite", "zero", "cut", "insert", "delete", "repeat"]),
        st.integers(0, len(SEALED) + 50),
        st.binary(min_size=1, max_size=40),
    ),
    max_size=6,
)


def edited(data, changes):
    for kind, place, raw in changes:
        at = min(place, len(data))
        if kind == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << raw[0] % 8)]) + data[at + 1 :]
        elif kind in ("overwrite", "zero"):
            fill = raw if kind == "overwrite" else bytes(len(raw))
            data = data[:at] + fill[: len(data) - at] + data[at + len(fill) :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "insert":
            data = data[:at] + raw + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + len(raw) :]
        elif kind == "repeat":
            data = data[:at] + data[max(0, at - 5 * len(raw)) : at] + data[at:]
    return data


@settings(max_examples=400)
@given(edits)
def test_random_damage_never_invents_a_record_and_every_byte_is_accounted_for(changes):
    data = edited(SEALED, changes)
    found = scan(data, UUID)
    assert read(data) <= set(contents(SEALED))
    assert len({place.seq for place in found.records}) == len(found.records)
    assert {span.reason for span in found.spans} <= set(REASONS)
    assert_tiled(data, found)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, len(SEALED) - 1), st.binary(min_size=1, max_size=60)), max_size=5))
def test_records_that_no_damage_in_place_touches_are_all_read(changes):
    data = edited(SEALED, [("overwrite", at, raw) for at, raw in changes])
    untouched = {
        pair
        for pair, (start, end) in zip(contents(SEALED), forge.places(SEALED), strict=True)
        if data[start:end] == SEALED[start:end]
    }
    assert read(data) == untouched


def test_megabyte_of_false_marks_is_stepped_over_quickly():
    """Each pair of bytes looks like a record's beginning; judging each in full was half a million calls."""
    data = forge.LABEL + b"\x84\x1a" * 524_288 + forge.record(UUID, 1, forge.event(1))
    calls = 0

    def count(_frame, event, _argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        found = scan(data, UUID)
    finally:
        sys.setprofile(None)
    assert [place.seq for place in found.records] == [1]
    assert calls < 1_000
