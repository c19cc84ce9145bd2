"""The patterns agree with `redact`: all that the recorder writes matches, and all that matches it would write."""

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schema_strategies import RUN, SESSION, any_event, payload

from carojournal import payload_pattern, redact
from carojournal.codec import loads
from carojournal.events import ENVELOPE


def rewritten(raw):
    """The payload that the recorder would write for what *raw* says, or None if it would refuse or change it."""
    value = loads(raw)
    found = redact.check(value["event"], {key: value[key] for key in value if key not in ENVELOPE})
    if not isinstance(found, redact.Accepted) or found.refusals:
        return None
    return found.payload(value["timestamp"], value["session_id"], value["run_id"], value.get("generation", 0))


@given(any_event(), st.integers(0, 9_999), st.integers(1_300_000_000_000, 2_000_000_000_000))
def test_everything_that_the_recorder_writes_matches(event, generation, time_ms):
    raw = payload(*event, generation=generation, time_ms=time_ms)
    assert payload_pattern.payload_end(raw) == len(raw)


@settings(max_examples=500)
@given(any_event(), st.data())
def test_whatever_matches_is_what_the_recorder_would_write(event, data):
    raw = bytearray(payload(*event, generation=3))
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    raw = bytes(raw)
    end = payload_pattern.payload_end(raw)
    if end >= 0:
        assert rewritten(raw[:end]) == raw[:end]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\x19\x03\x4b", b"\x1a\x00\x00\x03\x4b"),  # a number in more bytes than it needs
        (b"\x19\x03\x4b", b"\x1a\x00\x36\xee\x81"),  # one above its range
        (b"\x19\x03\x4b", b"\x1a\x00\x01\x86\xa1"),  # one that is not rounded as it must be
        (b"\xae", b"\xaf"),  # a map that announces one entry too many
        (b"illama3:8b", b"isecret-ab"),
        (b"\xf5", b"\x01"),
        (b"jgeneration\x03", b"jgeneration\x00"),
    ],
)
def test_what_the_recorder_would_not_write_does_not_match(generated, old, new):
    raw = payload("command_generated", generated, generation=3)
    assert old in raw or old == b"\xae"
    changed = raw.replace(old, new) if old != b"\xae" else bytes([raw[0] + 1]) + raw[1:]
    assert payload_pattern.payload_end(raw) == len(raw)
    assert payload_pattern.payload_end(changed) == -1


def test_payloads_are_found_one_after_another_and_the_caller_decides_where_to_go_on(generated):
    raw = payload("command_generated", generated)
    size = len(raw)
    assert list(payload_pattern.payloads(raw * 3)) == [(0, size), (size, 2 * size), (2 * size, 3 * size)]
    walk = payload_pattern.payloads(raw + b"\xa0" + raw)
    assert next(walk) == (0, size)
    assert next(walk) == (size, -1)
    assert walk.send(size + 1) == (size + 1, 2 * size + 1)


def test_an_unknown_event_or_noise_does_not_match():
    for raw in (b"", b"\xa0", b"\xa5eeventeeviel", b"\xff" * 100, b"\xa1eevent"):
        assert payload_pattern.payload_end(raw) == -1


@given(any_event(), st.integers(0, 300), st.integers(1_300_000_000_000, 2_000_000_000_000))
def test_parts_are_what_a_payload_consists_of(event, generation, time_ms):
    """The parts of all keys, and the envelope's values, are the map that a CBOR library reads."""
    raw = payload(*event, generation=generation, time_ms=time_ms)
    name, run, session, stamp, fields = payload_pattern.parts_of(raw)
    assert (name, run, session, stamp) == (event[0], RUN, SESSION, time_ms)
    assert len(fields) == len(payload_pattern.field_keys(name))
    read = {"event": name, "run_id": run, "session_id": session, "timestamp": stamp}
    for key, part in zip(payload_pattern.field_keys(name), fields, strict=True):
        if part is not None:
            read |= cbor2.loads(b"\xa1" + part)
            assert list(cbor2.loads(b"\xa1" + part)) == [key]
    assert read == cbor2.loads(raw)


@pytest.mark.parametrize("tail", [b"\x00", b"\xa0", b"jsession_idP" + bytes(16)])
def test_a_payload_with_more_behind_it_has_no_parts(generated, tail):
    raw = payload("command_generated", generated)
    assert payload_pattern.parts_of(raw) is not None
    assert payload_pattern.parts_of(raw + tail) is None
    assert payload_pattern.parts_of(raw[:-1]) is None


def test_an_identifier_that_looks_like_the_envelope_changes_nothing(generated):
    raw = payload("command_generated", generated)
    forged = b"itimestamp\x1b\x00\x00\x01\x02\x03"
    assert len(forged) == 16
    for old in (RUN, SESSION):
        found = payload_pattern.parts_of(raw.replace(old, forged))
        assert found[3] == cbor2.loads(raw)["timestamp"]


def test_a_field_out_of_its_bounds_has_no_parts(generated):
    raw = payload("command_generated", {**generated, "inference_time_ms": 843})
    assert b"\x19\x03\x4b" in raw
    assert payload_pattern.parts_of(raw.replace(b"\x19\x03\x4b", b"\x1a\x00\x00\x03\x4b")) is None


@given(any_event(), any_event())
def test_events_are_told_apart_whichever_comes_first(one, other):
    raws = [payload(*one), payload(*other), payload(*one, generation=1)]
    assert payload_pattern.unrecognised([*raws, b"", b"\xa0", *raws, raws[0] + b"\x00"]) == [3, 4, 8]
