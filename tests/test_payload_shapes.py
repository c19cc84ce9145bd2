"""What the pattern of frequent shapes matches is what the long way accepts, and it is made by itself."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schema_strategies import any_event, payload
from test_payload_pattern import rewritten

from carojournal import payload_pattern
from carojournal.cbor import encode_int
from carojournal.payload_shapes import PATIENCE, Shapes, uint_pattern
from carojournal.redact import GENERATION_MAX

RANGES = [
    *((0, 23), (0, 24), (24, 255), (255, 256), (0, 9_999), (10_000, 1_000_000), (65_535, 65_536), (0, 99_999)),
    *((100_000, 3_600_000), (100_000, 86_400_000), (1, GENERATION_MAX), (0x01_0203, 0x7FFF_FF00), (0, 2**32 - 1)),
]


def encodings(value):
    """Every encoding of an unsigned number (RFC 8949 section 3), shortest or not."""
    short = [bytes([value])] if value < 24 else []
    sizes = ((0x18, 1), (0x19, 2), (0x1A, 4), (0x1B, 8))
    return short + [bytes([head]) + value.to_bytes(size, "big") for head, size in sizes if value < 256**size]


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_a_numbers_pattern_is_its_range_in_shortest_encodings(low, high):
    match = re.compile(uint_pattern(low, high), re.DOTALL).fullmatch
    near = {edge + step for edge in (low, high, 23, 255, 65_535, 2**16 * 5, 2**24) for step in range(-3, 4)}

    @settings(max_examples=300)
    @given(st.one_of(st.sampled_from(sorted(near)), st.integers(0, 2**32 - 1)).filter(lambda value: 0 <= value < 2**32))
    def holds(value):
        for raw in encodings(value):
            assert bool(match(raw)) == (low <= value <= high and raw == encode_int(value))

    holds()


@pytest.fixture
def shapes(monkeypatch):
    """What `payload_pattern` remembers, nothing so far."""
    fresh = Shapes()
    monkeypatch.setattr(payload_pattern, "_shapes", fresh)
    return fresh


def learned(*raws):
    """The pattern of the shapes of these payloads."""
    fresh = Shapes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(payload_pattern, "_shapes", fresh)
        assert payload_pattern.unrecognised(raws) == []
    fresh.compile()
    return fresh.known


def is_known(known, raw):
    found = known.fullmatch(raw)
    return found is not None and known.is_good(found)


@settings(max_examples=200)
@given(any_event(), any_event(), st.integers(0, 9_999))
def test_a_shape_that_was_accepted_is_known(one, other, generation):
    raws = [payload(*one, generation=generation), payload(*other)]
    known = learned(*raws)
    assert all(is_known(known, raw) for raw in raws)


@settings(max_examples=500)
@given(any_event(), st.data())
def test_whatever_is_known_is_what_the_recorder_would_write(event, data):
    raw = bytearray(payload(*event, generation=3))
    known = learned(bytes(raw))
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    found = known.match(bytes(raw))
    if found is not None and known.is_good(found):
        assert rewritten(found[0]) == found[0]


@pytest.mark.parametrize(
    "value", [*range(0, 1_200, 7), 9_999, 10_000, 10_001, 99_999, 100_000, 100_500, 101_000, 10**7]
)
def test_numbers_are_known_exactly_where_the_recorder_keeps_them(generated, value):
    """Beyond the exact ones only what is rounded, and nothing above the most."""
    given_before = {**generated, "inference_time_ms": 843}
    raw = payload("command_generated", given_before)
    known = learned(raw)
    old = b"\x19\x03\x4b"
    assert raw.count(old) == 1
    changed = raw.replace(old, encode_int(value))
    assert is_known(known, changed) == (rewritten(changed) == changed)


def test_another_text_takes_the_long_way_and_is_judged_there(shapes, generated):
    raw = payload("command_generated", generated)
    assert payload_pattern.unrecognised([raw]) == []
    shapes.compile()
    other, bad = raw.replace(b"illama3:8b", b"imistral:7"), raw.replace(b"illama3:8b", b"isecret-ab")
    assert other != raw != bad
    assert [is_known(shapes.known, each) for each in (raw, other, bad)] == [True, False, False]
    assert payload_pattern.unrecognised([raw, other, bad]) == [2]
    assert payload_pattern.count_payloads(raw + other) == 2
    assert payload_pattern.count_payloads(raw + bad + other) == -1


def test_the_pattern_is_made_when_it_pays(shapes, generated):
    raw = payload("command_generated", generated)
    for count in (PATIENCE - 1, 1):
        assert not is_known(shapes.known, raw)
        assert payload_pattern.count_payloads(raw * count) == count
    assert is_known(shapes.known, raw)


def test_many_shapes_and_texts_make_no_larger_pattern(shapes, generated):
    """What is rare stays on the long way; what is kept for counting is bounded."""
    raw = payload("command_generated", generated)
    others = [raw.replace(b"illama3:8b", b"illama3:%02d" % number) for number in range(10, 100)]
    others = [
        *others,
        *(other.replace(b":", b"-") for other in others),
        *(other.replace(b":", b".") for other in others),
    ]
    assert payload_pattern.unrecognised([raw, raw, *others]) == []
    shapes.compile()
    assert is_known(shapes.known, raw)
    assert sum(is_known(shapes.known, other) for other in others) == 15
    assert payload_pattern.unrecognised(others) == []
