"""The hot path's encoder and decoder, held against cbor2."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carojournal import cbor, cbordecode
from carojournal.errors import MalformedCBOR

UINT = st.integers(0, 2**64 - 1)
SCORES = st.integers(0, 100).map(lambda hundredths: hundredths / 100)
LEAVES = st.one_of(UINT, st.text(max_size=300), st.binary(max_size=300), st.booleans(), st.none(), SCORES)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=30), st.dictionaries(st.text(max_size=40), inner, max_size=30)),
    max_leaves=60,
)
CONTROL = st.recursive(
    st.one_of(UINT, st.text(max_size=40), st.binary(max_size=40), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=9), inner, max_size=5)),
    max_leaves=20,
)


@given(VALUES)
def test_encoder_agrees_with_cbor2_canonical(value):
    assert cbor.encode(value) == cbor2.dumps(value, canonical=True)


@pytest.mark.parametrize("edge", [23, 24, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**64 - 1])
def test_heads_are_the_shortest(edge):
    assert cbor.encode_int(edge) == cbor2.dumps(edge)
    assert cbor.encode_head(0xA0, edge)[0] & 0xE0 == 0xA0


def test_every_confidence_score_has_the_shortest_float():
    for hundredths in range(101):
        expected = cbor2.dumps(hundredths / 100, canonical=True)
        assert cbor.encode_score(hundredths) == cbor.encode(hundredths / 100) == expected


@pytest.mark.parametrize("value", [-1, 2**64])
def test_integers_outside_64_bits_are_an_error(value):
    with pytest.raises(ValueError, match=r"negative|64 bits"):
        cbor.encode_int(value)


@pytest.mark.parametrize("value", [object(), {1, 2}, 1j, 0.123, float("nan")])
def test_other_types_are_an_error(value):
    with pytest.raises(TypeError):
        cbor.encode(value)


@given(st.dictionaries(st.text(max_size=20), CONTROL, max_size=8))
def test_decoder_reads_what_cbor2_writes(value):
    assert cbordecode.decode(cbor2.dumps(value, canonical=True)) == value


@given(st.binary(max_size=80))
def test_decoder_answers_or_refuses_any_bytes(data):
    try:
        value = cbordecode.decode(data)
    except MalformedCBOR:
        return
    assert value == cbor2.loads(data)


@pytest.mark.parametrize(
    "data",
    [
        "",  # nothing
        "01",  # no map
        "a10101",  # a key that is no text
        "a1616101ff",  # bytes follow
        "a2616101616102",  # twice the same key
        "bf616101ff",  # indefinite length
        "a16161c101",  # a tag
        "a16161fb7ff0000000000000",  # a float
        "a1616120",  # a negative number
        "a1616181818181818181818101",  # nested too deeply
        "a1647f01",  # cut off
        "a161ff01",  # not UTF-8
    ],
)
def test_decoder_refuses(data):
    with pytest.raises(MalformedCBOR):
        cbordecode.decode(bytes.fromhex(data))
