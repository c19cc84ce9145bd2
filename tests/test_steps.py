"""Whole segments are read in one go, and any other file is left to `scan`: never a record more or less."""

import forge
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carojournal.scan import scan
from carojournal.steps import HEAD_BYTES, intact_payloads, starts_in_step

UUID = bytes(range(16))
PAYLOADS = [b"\xa0", forge.event(1), b"x" * 23, b"\x84\x1a" * 60, b"z" * 231, forge.event(2)]
OPEN = forge.segment_bytes(UUID, PAYLOADS)
SEALED = forge.segment_bytes(UUID, PAYLOADS, sealed=True)
EMPTY = forge.segment_bytes(UUID, [])


@pytest.mark.parametrize("data", [OPEN, SEALED, EMPTY], ids=["open", "sealed", "header alone"])
def test_a_whole_segment_gives_all_its_payloads_in_order(data):
    assert intact_payloads(data, UUID) == [data[start + HEAD_BYTES : end - 5] for start, end in forge.places(data)]


@pytest.mark.parametrize("data", [OPEN, SEALED], ids=["open", "sealed"])
def test_a_cut_anywhere_but_between_records_is_not_whole(data):
    ends = {end for _, end in forge.places(data)}
    assert {size for size in range(len(data) + 1) if intact_payloads(data[:size], UUID) is not None} == ends


def test_no_flipped_bit_passes():
    for at in range(len(SEALED)):
        for bit in range(8):
            broken = bytearray(SEALED)
            broken[at] ^= 1 << bit
            assert intact_payloads(bytes(broken), UUID) is None


def test_another_segments_records_are_none_of_ours():
    assert intact_payloads(OPEN, UUID[::-1]) is None
    assert intact_payloads(OPEN + OPEN[12:], UUID) is None


def test_steps_end_where_numbers_do():
    places = forge.places(OPEN)
    first = places[1][0]
    assert starts_in_step(OPEN, UUID, first, 1) == [*(start + HEAD_BYTES for start, _ in places[1:]), 20 + len(OPEN)]
    assert starts_in_step(OPEN, UUID, first, 2) == [first + HEAD_BYTES]
    without = OPEN[: places[3][0]] + OPEN[places[4][0] :]
    assert starts_in_step(without, UUID, first, 1)[-1] == places[3][0] + HEAD_BYTES


@settings(max_examples=300)
@given(st.data())
def test_it_says_whole_only_where_scan_finds_nothing_amiss_and_the_same_records(data):
    raw = SEALED if data.draw(st.booleans()) else OPEN
    places = forge.places(raw)
    kept = data.draw(st.lists(st.sampled_from(places), max_size=len(places)))
    mixed = raw[: places[0][1]] + b"".join(raw[start:end] for start, end in kept) + data.draw(st.binary(max_size=3))
    found = scan(mixed, UUID)
    numbers = [place.seq for place in found.records]
    whole = not found.spans and not found.gaps and numbers == list(range(len(numbers)))
    expected = [mixed[place.start : place.end] for place in found.records] if whole else None
    assert intact_payloads(mixed, UUID) == expected
