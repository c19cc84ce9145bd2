"""Our CBOR against cbor2: the same bytes out, the same values in, the same refusals but for what we document."""

import io
import math

import cbor2
import forge
import pytest
import schema_strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from carojournal import cbor, codec
from carojournal.cbordecode import decode
from carojournal.errors import MalformedCBOR
from carojournal.payload_pattern import count_payloads, payload_end, payloads
from carojournal.scan import scan
from carojournal.stored import check_payload
from faults.fuzz_mutate import mutated
from faults.fuzz_segments import check_event

SCORES = [hundredths / 100 for hundredths in range(101)]
OURS = (
    st.none()
    | st.booleans()
    | st.integers(0, (1 << 64) - 1)
    | st.sampled_from(SCORES)
    | st.text(max_size=70)
    | st.binary(max_size=70)
)
TREES = st.recursive(
    OURS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=9,
)
MAPS = st.dictionaries(st.text(max_size=30), TREES, max_size=6)
OTHERS = (
    st.integers(-(1 << 64), 1 << 70)
    | st.floats()
    | st.just(cbor2.undefined)
    | st.builds(cbor2.CBORSimpleValue, st.sampled_from([0, 19, 99, 255]))
)
ANY = st.recursive(
    OURS | OTHERS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=9) | st.integers(0, 99) | st.binary(max_size=9), inner, max_size=4)
        | st.builds(cbor2.CBORTag, st.integers(0, 300), inner)
    ),
    max_leaves=9,
)


def depth(value):
    if isinstance(value, dict):
        return 1 + max([max(depth(key), depth(inner)) for key, inner in value.items()], default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list | tuple) else 0


def holds_only_ours(value):
    """What `codec.loads` documents: no tags, no NaN or infinity, no undefined or other simple values."""
    if isinstance(value, dict):
        return all(holds_only_ours(key) and holds_only_ours(inner) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return all(map(holds_only_ours, value))
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return -(1 << 64) <= value < 1 << 64  # Beyond stand tags 2 and 3.
    return value is None or isinstance(value, str | bytes)


def expected(data):
    """What cbor2 makes of *data* under the documented restrictions; raises ValueError for what they exclude."""
    stream = io.BytesIO(data)
    tags = []
    refuse = lambda *found: tags.append(found)  # noqa: E731
    try:
        value = cbor2.CBORDecoder(stream, tag_hook=refuse, allow_indefinite=False, allow_duplicate_keys=False).decode()
        again = cbor2.dumps(value, canonical=True)
    except (cbor2.CBORError, TypeError, OverflowError) as error:
        raise ValueError from error
    if (
        tags
        or again != data
        or stream.tell() != len(data)
        or not holds_only_ours(value)
        or depth(value) > codec.DEPTH_MAX
    ):
        raise ValueError
    return value


def answer(call, data):
    try:
        return "accepted", repr(call(data))
    except (MalformedCBOR, ValueError):
        return "refused", ""


@given(MAPS)
def test_the_encoder_writes_what_cbor2_writes(value):
    assert cbor.encode(value) == cbor.encode_map(value) == cbor2.dumps(value, canonical=True)


@given(ANY)
def test_the_encoder_takes_nothing_that_a_record_may_not_hold(value):
    try:
        raw = cbor.encode(value)
    except (TypeError, ValueError):
        return
    assert raw == cbor2.dumps(value, canonical=True)
    assert holds_only_ours(cbor2.loads(raw))


@given(ANY)
def test_the_strict_reader_agrees_with_cbor2_on_anything_encoded(value):
    data = cbor2.dumps(value, canonical=True)
    assert answer(codec.loads, data) == answer(expected, data)


@settings(max_examples=150)
@given(MAPS | ANY, st.randoms(use_true_random=False))
def test_the_strict_reader_agrees_with_cbor2_on_mutations(value, random):
    data = cbor2.dumps(value, canonical=True)
    data = mutated(random, data, data[::-1], random.choice(("bytes", "cbor")))
    assert answer(codec.loads, data) == answer(expected, data)


@settings(max_examples=150)
@given(MAPS, st.randoms(use_true_random=False))
def test_the_hosts_reader_agrees_with_cbor2_where_both_accept(value, random):
    """`cbordecode` takes any order and any width of heads, and no floats and negative numbers; else the two agree."""
    data = cbor2.dumps(value, canonical=True)
    if random.random() < 0.7:
        data = mutated(random, data, data[::-1])
    kind, found = answer(decode, data)
    if kind == "accepted":
        stream = io.BytesIO(data)
        same = cbor2.CBORDecoder(stream, allow_indefinite=False, allow_duplicate_keys=False).decode()
        assert (repr(same), stream.tell()) == (found, len(data))
    elif answer(expected, data)[0] == "accepted":
        assert not isinstance(expected(data), dict) or not _plain(expected(data))


def _plain(value):
    if isinstance(value, dict):
        return all(type(key) is str and _plain(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(_plain, value))
    return not isinstance(value, float) and not (isinstance(value, int) and value < 0)


@settings(max_examples=80)
@given(st.lists(schema_strategies.any_event(), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_what_the_pattern_accepts_cbor2_reads_as_an_event(drawn, random):
    good = [schema_strategies.payload(event, fields, generation=random.choice((0, 1, 70))) for event, fields in drawn]
    assert count_payloads(b"".join(good)) == len(good)
    data = mutated(random, random.choice(good), random.choice(good), random.choice(("bytes", "cbor")))
    if payload_end(data) == len(data):
        assert check_payload(data) is None
    if check_payload(data) is None:
        check_event(data)
    whole = data + good[0]
    at = 0
    for start, end in payloads(whole):
        if end < 0:
            break
        assert start == at
        check_event(whole[start:end])
        at = end


@given(st.lists(MAPS.filter(bool), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_a_scan_reads_the_records_that_cbor2_reads(values, random):
    segment = random.randbytes(16)
    data = forge.segment_bytes(segment, [cbor2.dumps(value, canonical=True) for value in values])
    stream = io.BytesIO(data)
    cbor2.load(stream)
    theirs = []
    while stream.tell() < len(data):
        at = stream.tell()
        _, seq, payload, _ = cbor2.load(stream)
        theirs.append((at, seq, payload))
    ours = scan(data, segment)
    assert [(place.offset, place.seq, data[place.start : place.end]) for place in ours.records] == theirs
    assert [codec.loads(payload) for _, _, payload in theirs[1:]] == values


@pytest.mark.parametrize(
    "data",
    [
        b"\xa1\x61a\xf9\x80\x00",
        b"\xa1\x61a\xf9\x00\x00",
        b"\xa1\x61a\xc2\x41\x05",
        b"\xa1\x61a\x18\x05",
        b"\xa1\x61a\xf7",
    ],
)
def test_corners_of_the_format_are_judged_alike(data):
    assert answer(codec.loads, data) == answer(expected, data)
