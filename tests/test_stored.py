"""The second check: what the recorder writes passes, everything else is refused without repeating a value."""

import cbor2
import forge
import pytest
from forge import canonical
from hypothesis import given, settings
from hypothesis import strategies as st

from carojournal import redact
from carojournal.stored import REASONS, TIME_MS_MAX, TIME_MS_MIN, check_payload, check_stored

NOON_MS = forge.NOON_US // 1000
ENVELOPE = {"timestamp": NOON_MS, "session_id": b"s" * 16, "run_id": b"r" * 16}
FULL = {
    "backend_used": "ollama",
    "inference_time_ms": 843,
    "risk_level": "safe",
    "patterns_matched": 0,
    "model_name": "llama3:8b",
    "success": True,
    "confidence_score": 0.91,
}


def payload(event="command_generated", envelope=ENVELOPE, **fields):
    return canonical({"event": event, **envelope, **fields})


def only(refusals):
    ((_, field, reason),) = refusals
    return field, reason


def test_what_the_recorder_writes_passes():
    accepted = redact.check("command_generated", {**FULL, "generation": 7})
    stored = accepted.payload(NOON_MS, b"s" * 16, b"r" * 16, 7)
    assert check_payload(stored) is None
    assert check_stored(cbor2.loads(stored)) == ()


@pytest.mark.parametrize("time_ms", [TIME_MS_MIN, TIME_MS_MAX - 1, 2_300_000_000_000])
def test_times_within_bounds_pass(time_ms):
    assert check_payload(payload(envelope={**ENVELOPE, "timestamp": time_ms}, **FULL)) is None


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"timestamp": TIME_MS_MIN - 1}, "timestamp", "time"),
        ({"timestamp": TIME_MS_MAX}, "timestamp", "time"),
        ({"timestamp": 4_111_111_111_111_111}, "timestamp", "time"),
        ({"timestamp": float(NOON_MS)}, "timestamp", "type"),
        ({"timestamp": None}, "timestamp", "missing"),
        ({"session_id": b"s" * 15}, "session_id", "type"),
        ({"session_id": "s" * 16}, "session_id", "type"),
        ({"run_id": None}, "run_id", "missing"),
        ({"generation": 0}, "generation", "range"),
        ({"generation": 10_000}, "generation", "range"),
        ({"generation": True}, "generation", "type"),
        ({"backend_used": "v_llm"}, "backend_used", "value"),
        ({"backend_used": "sk-live-1234"}, "backend_used", "value"),
        ({"inference_time_ms": 123_456}, "inference_time_ms", "value"),
        ({"inference_time_ms": 843.0}, "inference_time_ms", "type"),
        ({"confidence_score": 0.911}, "confidence_score", "value"),
        ({"model_name": "jane doe"}, "model_name", "shape"),
        ({"duration_ms": 843}, "<unknown>", "value"),
        ({"safety_result": {"risk_level": "safe"}}, "<unknown>", "value"),
        ({"event_id": "x"}, "<unknown>", "value"),
        ({"surprise": 1}, "<unknown>", "unknown_field"),
    ],
)
def test_what_it_does_not_write_is_refused_by_field_and_reason(changes, field, reason):
    value = {"event": "command_generated", **ENVELOPE, **FULL, **changes}
    raw = canonical(value)
    assert only(check_payload(raw)) == (field, reason)
    assert check_stored(value) == check_payload(raw)
    assert reason in REASONS


def test_missing_required_field_is_refused():
    fields = {key: value for key, value in FULL.items() if key != "backend_used"}
    assert only(check_payload(payload(**fields))) == ("backend_used", "missing")


@pytest.mark.parametrize("name", ["command.generated", "command_generation", "nope", "", 5, None, b"x"])
def test_alias_or_unknown_event_is_refused(name):
    assert check_payload(payload(event=name, **FULL)) == (("<unknown>", "<unknown>", "unknown_event"),)


def test_other_encodings_of_a_good_event_are_refused():
    good = payload(**FULL)
    value = cbor2.loads(good)
    assert check_payload(good) is None
    others = [
        good + b"\x00",
        good[:-1],
        cbor2.dumps(dict(reversed(value.items()))),
        b"\xb8" + bytes([len(value)]) + good[1:],
        good.replace(b"\x19\x03\x4b", b"\x1a\x00\x00\x03\x4b"),
        b"\xbf" + good[1:] + b"\xff",
        canonical([value]),
        b"",
    ]
    for other in others:
        assert other != good
        assert only(check_payload(other))[1] in ("encoding", "type")


def test_numbers_that_equal_a_field_but_are_of_another_type_are_refused():
    assert only(check_payload(payload(**{**FULL, "confidence_score": 1}))) == ("<unknown>", "encoding")
    assert only(check_payload(payload(**{**FULL, "success": 1}))) == ("success", "type")


@pytest.mark.parametrize("value", [{}, {"event": "session_end"}, {1: 2}, {"event": {}}, {"event": "session_end", 5: 1}])
def test_no_map_makes_it_raise(value):
    assert check_stored(value)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats()
    | st.text(max_size=70)
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from([*FULL, *ENVELOPE, "generation", "x"]), values, max_size=4))
def test_refusals_hold_no_value(changes):
    value = {"event": "command_generated", **ENVELOPE, **FULL, **changes}
    for event, field, reason in check_stored(value):
        assert event in ("command_generated", "<unknown>")
        assert field in (*FULL, *ENVELOPE, "generation", "<unknown>")
        assert reason in REASONS


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(raw):
    assert check_payload(raw)
