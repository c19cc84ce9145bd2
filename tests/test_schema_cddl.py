"""The CDDL describes what really stands in a segment.  pycddl, an implementation in Rust, is the judge.

pycddl 0.6 differs from RFC 8610 in four ways, met here and not in the file: its `.regexp` is not anchored, it takes
only the first of a choice for an array's items, `.size` lets negative numbers pass, and it does not follow `.cbor` into
an array, so a frame's payload is checked on its own.
"""

import re

import cbor2
import pycddl
import pytest
from hypothesis import given
from schema_strategies import any_event, payload

from carojournal import events, held, rotation
from carojournal.frame import NO_SEGMENT, encode_record
from carojournal.schema_cddl import cddl

ID = bytes(range(16))


def judge(root, *, text=None):
    """Return a function that tells whether some CBOR matches the rule *root*."""
    text = cddl() if text is None else text
    text = re.sub(r'\.regexp "([^"]*)"', r'.regexp "^(\1)$"', text)
    backends = " / ".join(f'"{word}"' for word in events.TYPES["backend"][1])
    text = text.replace("[0*12 backend]", f"[0*12 ({backends})]")
    schema = pycddl.Schema(f"judged = {root}\n{text}")

    def matches(data):
        try:
            schema.validate_cbor(data)
        except pycddl.ValidationError:
            return False
        return True

    return matches


JUDGES = {event: judge(event.replace("_", "-")) for event in events.EVENTS}
SAMPLES = {
    "session_start": {"caro_version": "1.1.0", "os": "linux", "backend_available": ["mock", "ollama"]},
    "session_end": {"session_duration_ms": 120_000, "commands_generated": 3},
    "command_generated": {"backend_used": "mock", "inference_time_ms": 5, "confidence_score": 0.29, "success": True},
    "command_executed": {"execution_mode": "dry_run"},
    "safety_triggered": {"risk_level": "high", "action_taken": "blocked"},
    "error_occurred": {"error_category": "unknown", "error_code": "E1234"},
}


@given(any_event())
def test_whatever_the_recorder_stores_matches_its_events_rule(event):
    assert JUDGES[event[0]](payload(*event, generation=7))


@pytest.mark.parametrize("event", sorted(SAMPLES))
def test_an_event_matches_no_other_rule(event):
    raw = payload(event, SAMPLES[event])
    assert [name for name, matches in JUDGES.items() if matches(raw)] == [event]


@pytest.mark.parametrize("event", sorted(SAMPLES))
def test_maps_are_closed_and_required_keys_are_required(event):
    record = cbor2.loads(payload(event, SAMPLES[event]))
    optional = {name for name, field in events.EVENTS[event][1].items() if not field[2]}
    assert not JUDGES[event](cbor2.dumps({**record, "cwd": "x"}))
    for key in record:
        left = {other: value for other, value in record.items() if other != key}
        assert JUDGES[event](cbor2.dumps(left)) == (key in optional), key


@pytest.mark.parametrize(
    ("event", "key", "value"),
    [
        ("session_start", "os", "plan9"),
        ("session_start", "caro_version", "1.1.0.0"),
        ("session_start", "caro_version", "x1.1.0"),
        ("session_start", "fallback_enabled", 1),
        ("session_start", "backend_available", ["mock"] * 13),
        ("session_start", "backend_available", ["plan9"]),
        ("session_start", "session_id", bytes(15)),
        ("session_start", "run_id", "0" * 32),
        ("session_start", "timestamp", -1),
        ("session_start", "generation", 0),
        ("session_end", "session_duration_ms", 86_400_001),
        ("session_end", "commands_generated", 10_000),
        ("command_generated", "confidence_score", 0.295),
        ("command_generated", "confidence_score", 1.5),
        ("command_generated", "model_name", "rm -rf"),
        ("error_occurred", "error_code", "E12345"),
        ("error_occurred", "error_code", "hunter2"),
    ],
)
def test_values_outside_the_schema_match_nothing(event, key, value):
    record = cbor2.loads(payload(event, SAMPLES[event]))
    assert JUDGES[event](cbor2.dumps(record))
    assert not JUDGES[event](cbor2.dumps({**record, key: value}))


@pytest.mark.parametrize("previous", [None, (ID, 5, 1_000), (ID, None, 1_000)])
def test_headers_that_lanes_write_match(previous):
    raw = rotation.encode_header(ID, 1_767_225_600_000_000, 3, 1_767_225_600_000, previous)
    last = "null" if previous is not None and previous[1] is None else "uint"
    assert judge("header", text=cddl().replace("last: (uint / null)", f"last: {last}"))(raw)
    assert not judge("loss")(raw)


@pytest.mark.parametrize("key", ["version", "segment", "created", "lane", "schema", "writer", "consent"])
def test_a_header_needs_all_its_keys(key):
    header = cbor2.loads(rotation.encode_header(ID, 0, 0, 0, None))
    del header[key]
    assert not judge("header")(cbor2.dumps(header))


def test_losses_that_the_spool_writes_match():
    raw = held.encode_loss("evicted", ID, 1, 90, 90, 12_000, {"evicted": [2, 50, 6_000]})
    assert judge("loss")(raw)
    assert not judge("loss")(cbor2.dumps({**cbor2.loads(raw), "reason": "Somebody's words"}))


def test_a_seal_matches():
    seal = {"record": "seal", "count": 12, "bytes": 3_456, "sha256": bytes(32)}
    assert judge("seal")(cbor2.dumps(seal))
    assert not judge("seal")(cbor2.dumps({**seal, "sha256": bytes(31)}))


@pytest.mark.parametrize("event", sorted(SAMPLES))
def test_a_framed_record_matches(event):
    text = cddl().replace("payload: payload-bytes,", "payload: bytes,")
    raw = payload(event, SAMPLES[event])
    record = encode_record(ID, 1, raw)
    assert judge("frame", text=text)(record)
    assert cbor2.loads(record)[2] == raw
    checksum, sequence, _, total = cbor2.loads(record)
    for broken in (
        [checksum, sequence, raw],
        [2**32, sequence, raw, total],
        [checksum, sequence, raw.hex(), total],
        [checksum, sequence, raw, 25],
    ):
        assert not judge("frame", text=text)(cbor2.dumps(broken))


def test_a_framed_header_matches():
    record = encode_record(NO_SEGMENT, 0, rotation.encode_header(ID, 0, 0, 0, None))
    assert judge("frame", text=cddl().replace("payload: payload-bytes,", "payload: bytes,"))(record)


def test_an_embedded_payload_is_followed():
    """The part of `frame` that the test above leaves out."""
    matches = judge("bytes .cbor session-end")
    assert matches(cbor2.dumps(payload("session_end", SAMPLES["session_end"])))
    assert not matches(cbor2.dumps(payload("error_occurred", SAMPLES["error_occurred"])))


def test_the_first_rule_is_the_frame_and_no_rule_is_defined_twice():
    rules = re.findall("^([a-z0-9-]+) = ", cddl(), re.MULTILINE)
    assert rules[:2] == ["frame", "payload-bytes"]
    assert len(set(rules)) == len(rules)


def test_regular_expressions_stay_within_what_xsd_and_others_share():
    """RFC 8610 section 3.8.3: XSD's flavour knows no anchors, look-arounds or lazy repeats."""
    for pattern in re.findall('regexp "([^"]*)"', cddl()):
        assert not re.search(r"[\\^$]|\(\?|[*+?}]\?", pattern), pattern
