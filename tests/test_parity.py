"""Parity: any damaged run that is no longer than a block is put right, and nothing else is made up."""

from functools import reduce
from operator import xor
from random import Random
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carojournal import packed_header, parity

FRAMES = [1, 63, 64, 65, 128, 129, 1_000, 8_191, 8_192, 8_193, 41_003]


def frame_of(size):
    return Random(size).randbytes(size)


@pytest.mark.parametrize("size", FRAMES)
def test_parity_is_what_the_format_says(size):
    """Byte by byte, as FORMAT.md section 8 describes it."""
    frame = frame_of(size)
    found = parity.parity_of(frame)
    block = found["block"]
    assert block == max(64, (size + 127) // 128)
    blocks = [frame[at : at + block] for at in range(0, size, block)]
    assert found["crcs"] == b"".join(crc32(part).to_bytes(4, "big") for part in blocks)
    filled = [part + bytes(block - len(part)) for part in blocks]
    for name, first in (("even", 0), ("odd", 1)):
        assert found[name] == bytes(reduce(xor, (part[at] for part in filled[first::2]), 0) for at in range(block))


@pytest.mark.parametrize("size", FRAMES)
@given(st.data())
def test_any_run_no_longer_than_a_block_is_put_right(size, data):
    frame = frame_of(size)
    known = parity.parity_of(frame)
    length = data.draw(st.integers(1, min(size, known["block"])))
    at = data.draw(st.integers(0, size - length))
    noise = data.draw(st.binary(min_size=length, max_size=length))
    damaged = frame[:at] + noise + frame[at + length :]
    assert parity.mend(damaged, size, known) == frame
    bad = parity.bad_blocks(damaged, known)
    changed = [place for place in range(size) if damaged[place] != frame[place]]
    assert bad == sorted({place // known["block"] for place in changed})


@pytest.mark.parametrize("size", FRAMES)
def test_an_end_that_is_missing_or_too_long_is_put_right(size):
    frame = frame_of(size)
    known = parity.parity_of(frame)
    for missing in {1, min(size, known["block"])}:
        assert parity.mend(frame[: size - missing], size, known) == frame
    assert parity.mend(frame + b"more", size, known) == frame


@given(st.integers(0, 124), st.integers(1, 60))
def test_two_blocks_of_one_parity_are_too_many(first, distance):
    frame = frame_of(41_003)
    known = parity.parity_of(frame)
    damaged = bytearray(frame)
    second = (first + 2 * distance) % 128
    for number in (first, second):
        damaged[number * known["block"]] ^= 1
    assert parity.mend(bytes(damaged), len(frame), known) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"block": 0},
        {"block": 65},
        {"block": -64},
        {"crcs": bytes(4)},
        {"crcs": bytes(4 * 129)},
        {"even": bytes(63)},
        {"odd": b""},
        {"even": 1},
        {"more": 1},
    ],
)
def test_parity_of_another_size_is_none(changed):
    known = parity.parity_of(frame_of(1_000))
    sizes = {"bytes": 1_000, "sha256": bytes(32)}
    inventory = {"crc": bytes(4), "version": 1, "sections": [], "content": sizes, "frame": sizes, "checked": bytes(32)}
    assert packed_header.inventory_misfit({**inventory, "parity": known}) == ""
    assert "parity" in packed_header.inventory_misfit({**inventory, "parity": {**known, **changed}})
