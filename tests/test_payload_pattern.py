"""The patterns agree with `redact`: all that the recorder writes matches, and all that matches it would write."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schema_strategies import any_event, payload

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
