"""The JSON Schema takes what the recorder stores, and only that.  jsonschema is the judge."""

import json

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schema_strategies import EVENT_ID, any_event, fields, json_view, payload, values

from carojournal import error_codes, events, own_events, redact
from carojournal.schema_json import int_ranges, json_schema, scores

SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
RECORDERS = {"event", "event_id", "timestamp", "session_id", "run_id", "generation"}

# What a careless or hostile caller might put into any field.
TEXTS = [
    "",
    "other",
    "unknown",
    "macos",
    "MacOS",
    " macos",
    "macos\n",
    "1.1.0\n",
    "E1234\n",
    "E12345",
    "1.1.0.0",
    "1.100.0",
]
TEXTS += [
    "/etc/passwd",
    "rm -rf /",
    "a" * 65,
    "\u0661.1.0",
    "safe\u200b",
    "timeout",
    "ALERT_DESCRIPTION_UNKNOWN_CA",
    "10.0.0",
]
NUMBERS = [-1, 0, 1, 9_999, 10_000, 10_001, 10_050, 99_999, 100_000, 100_500, 101_000, 3_600_000, 3_601_000, 86_400_000]
NUMBERS += [86_401_000, 1_000_000, 1_000_100, 2**63, 2**64, 4_915_112_345_678]
ANYTHING = (
    st.sampled_from(TEXTS)
    | st.sampled_from(NUMBERS)
    | st.integers(-5, 200_000)
    | st.booleans()
    | st.none()
    | st.sampled_from([hundredths / 1000 for hundredths in range(0, 1010, 5)])
    | st.lists(st.sampled_from(["ollama", "mock", "safe", 1]), max_size=4)
    | st.lists(st.sampled_from(events.TYPES["backend"][1]), max_size=13)
    | st.dictionaries(st.sampled_from(["os", "x"]), st.just("macos"), max_size=2)
    | st.sampled_from(sorted({word for spec in events.TYPES.values() if spec[0] == "enum" for word in spec[1]}))
)


def test_it_is_a_valid_schema_that_json_can_carry():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@given(any_event(), st.integers(0, 9_999))
def test_whatever_the_recorder_stores_is_valid(event, generation):
    view = json_view(payload(*event, generation=generation))
    VALIDATOR.validate(json.loads(json.dumps(view)))


def _view(event, given):
    return {
        "event": event,
        "event_id": EVENT_ID,
        "timestamp": "2026-01-31T12:00:00.000Z",
        "session_id": "0" * 32,
        "run_id": "f" * 32,
        **given,
    }


def _integers(value):
    """JSON has no integers: 5.0 is one to JSON Schema, and none to the recorder."""
    return not isinstance(value, float) or not value.is_integer()


@settings(max_examples=300)
@given(st.data())
def test_a_value_is_valid_exactly_when_the_recorder_stores_it_as_it_is(data):
    """The same field of the same event, judged by both; a model's words are what the schema leaves open."""
    event = data.draw(st.sampled_from(sorted(events.EVENTS)))
    given = data.draw(fields(event))
    name = data.draw(st.sampled_from(sorted(events.EVENTS[event][1])))
    kind = events.EVENTS[event][1][name][0]
    given[name] = data.draw(
        (values(kind) | ANYTHING).filter(_integers if events.TYPES[kind][0] == "int" else lambda _: True)
    )
    found = redact.check(event, given)
    stored = found.fields.get(name) if isinstance(found, redact.Accepted) and not found.refusals else None
    kept = stored is not None and type(stored) is type(given[name]) and stored == given[name]
    if events.TYPES[kind][0] == "score":
        kept = stored is not None and stored == given[name]
    if events.TYPES[kind][0] == "words":
        kept = stored is not None and stored == sorted(given[name]) and len(set(given[name])) == len(given[name])
    # The other fields as they are stored, so that only this one decides.
    others = (
        found.fields if isinstance(found, redact.Accepted) else redact.check(event, data.draw(fields(event))).fields
    )
    valid = VALIDATOR.is_valid(_view(event, {**others, name: given[name]}))
    if events.TYPES[kind][0] == "model":
        assert valid or not kept
    else:
        assert valid == kept, (event, name, given[name])


@pytest.mark.parametrize("event", sorted(events.EVENTS))
@pytest.mark.parametrize("key", ["command", "cwd", "", "Event", "record", "id", "user"])
def test_a_key_outside_the_schema_is_refused(event, key):
    minimal = {"session_start": {"caro_version": "1.1.0", "os": "linux"}, "session_end": {"session_duration_ms": 5}}
    minimal["command_generated"] = {"backend_used": "mock", "inference_time_ms": 5}
    minimal["command_executed"] = {"execution_mode": "dry_run"}
    minimal["safety_triggered"] = {"risk_level": "high", "action_taken": "blocked"}
    minimal["error_occurred"] = {"error_category": "unknown"}
    view = _view(event, minimal[event])
    VALIDATOR.validate(view)
    assert not VALIDATOR.is_valid({**view, key: 1})
    for name in view:
        left = {other: value for other, value in view.items() if other != name}
        assert not VALIDATOR.is_valid(left), f"{name} is required"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("event_id", EVENT_ID.replace("-8", "-4")),
        ("event_id", EVENT_ID.replace("-", "")),
        ("event_id", EVENT_ID + "\n"),
        ("event", "session.end"),
        ("event", "anything"),
        ("timestamp", "2026-01-31T12:00:00Z"),
        ("timestamp", "2026-01-31T12:00:00.000+01:00"),
        ("timestamp", "2026-01-31T12:00:00.000Z\n"),
        ("timestamp", 1_767_225_600_123),
        ("session_id", "0" * 31),
        ("session_id", "0" * 33),
        ("session_id", "0" * 32 + "\n"),
        ("session_id", "F" * 32),
        ("run_id", None),
        ("generation", 0),
        ("generation", 10_000),
        ("generation", "1"),
        ("generation", "550e8400-e29b-41d4-a716-446655440000"),
    ],
)
def test_the_recorders_own_keys_are_closed_too(key, value):
    view = _view("session_end", {"session_duration_ms": 5})
    assert VALIDATOR.is_valid(view)
    assert not VALIDATOR.is_valid({**view, key: value})


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("version", "1.1.0-rc.1", "1.1.0-rc.1\n"),
        ("error_code", "E1234", "E1234\n"),
        ("model", "llama3:8b", "llama3:8b\n"),
        ("model", "a" * 64, "a" * 65),
        ("model", "llama-3", "llama 3"),
        ("model", "llama-3", "ll\u0430ma-3"),
        ("backends", ["mock", "ollama"], ["mock", "mock"]),
        ("backends", list(events.TYPES["backend"][1]), [*events.TYPES["backend"][1], "mock"]),
        ("hour_ms", 99_999, 100_001),
        ("hour_ms", 3_600_000, 3_601_000),
        ("tokens", 10_100, 10_101),
        ("flag", True, 1),
        ("score", 0.29, 0.291),
    ],
)
def test_types_end_where_the_recorder_ends(kind, good, bad):
    validator = jsonschema.Draft202012Validator({**SCHEMA["$defs"][kind], "$defs": SCHEMA["$defs"]})
    assert validator.is_valid(good)
    assert not validator.is_valid(bad)


def test_every_word_of_the_schema_and_only_those_are_listed():
    for kind, spec in events.TYPES.items():
        if spec[0] == "enum":
            assert SCHEMA["$defs"][kind] == {"enum": list(spec[1])}
    assert SCHEMA["$defs"]["error_code"]["anyOf"][1] == {"enum": sorted(error_codes.ERROR_CODES)}


def test_every_event_is_closed_and_documented():
    for event, (_, declared) in events.EVENTS.items():
        spec = SCHEMA["$defs"][event]
        assert spec["additionalProperties"] is False
        assert set(spec["properties"]) == {*declared, *RECORDERS}
        assert all(spec["properties"][name]["description"] for name in declared)


def test_no_definition_shadows_another():
    names = [*own_events.ALL_TYPES, *own_events.ALL_EVENTS]
    assert not RECORDERS & set(names)
    assert len(SCHEMA["$defs"]) == len(set(names)) + len(RECORDERS) - 1 == len(names) + len(RECORDERS) - 1


def test_ranges_end_where_the_recorder_rounds():
    """Hand-computed: half a step rounds up."""
    assert int_ranges(9_999, 9_999, 1) == ((0, 9_999), None)
    assert int_ranges(3_600_000, 99_999, 1_000) == ((0, 99_999), (100_000, 3_600_000))
    assert int_ranges(1_000_000, 9_999, 100) == ((0, 9_999), (10_000, 1_000_000))
    assert int_ranges(1_049, 99, 100) == ((0, 99), (100, 1_000))
    assert int_ranges(1_000, 149, 100) == ((0, 149), (200, 1_000))


def test_scores_are_the_hundredths():
    assert scores() == [float(f"{hundredths // 100}.{hundredths % 100:02}") for hundredths in range(101)]
