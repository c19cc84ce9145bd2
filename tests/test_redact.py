"""The allowlist check: what the schema takes, what it refuses, and that no refused value leaves a trace."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carojournal import events, kinds, redact, refusal, shape
from carojournal.redact import Accepted, check
from carojournal.refusal import Refused

SESSION, RUN = bytes(range(16)), bytes(range(16, 32))
START = {"caro_version": "1.1.0", "os": "linux"}
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=80), st.binary(max_size=40)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=20), inner, max_size=4)),
    max_leaves=8,
)
FIELD_NAMES = sorted({name for _, fields in events.EVENTS.values() for name in fields} | set(events.GROUPS))


def stored(accepted, generation=0):
    return cbor2.loads(accepted.payload(1_790_000_000_123, SESSION, RUN, generation))


def test_a_full_event_is_stored_as_one_canonical_map(generated):
    accepted = check("command_generated", generated)
    payload = accepted.payload(1_790_000_000_123, SESSION, RUN, 3)
    value = cbor2.loads(payload)
    assert cbor2.dumps(value, canonical=True) == payload
    assert value == {
        "event": "command_generated",
        "timestamp": 1_790_000_000_123,
        "session_id": SESSION,
        "run_id": RUN,
        "generation": 3,
        "backend_used": "ollama",
        "inference_time_ms": 843,
        "risk_level": "safe",
        "patterns_matched": 0,
        "model_name": "llama3:8b",
        "success": True,
        "input_token_count": 120,
        "output_token_count": 33,
        "confidence_score": 0.91,
        "retry_count": 0,
    }
    assert accepted.fields == {key: value[key] for key in value if key not in events.ENVELOPE}


@given(st.integers(0, 2**41), st.integers(0, 9_999))
def test_payload_agrees_with_cbor2_for_every_time_and_ordinal(time_ms, generation):
    value = {"event": "session_start", "timestamp": time_ms, "session_id": SESSION, "run_id": RUN, **START}
    if generation:
        value["generation"] = generation
    accepted = check("session_start", START)
    assert accepted.payload(time_ms, SESSION, RUN, generation) == cbor2.dumps(value, canonical=True)


@given(st.sampled_from(sorted(events.EVENTS)), st.dictionaries(st.sampled_from(FIELD_NAMES), ANYTHING, max_size=8))
def test_no_value_raises_and_what_is_accepted_is_of_the_schema(event, fields):
    found = check(event, fields)
    if isinstance(found, Refused):
        return
    declared = events.EVENTS[event][1]
    for name, value in stored(found).items():
        if name in events.ENVELOPE:
            continue
        kind = events.TYPES[declared[name][0]]
        if kind[0] == "enum":
            assert value in kind[1]
        elif kind[0] == "int":
            assert type(value) is int
            assert 0 <= value <= kind[1]
        elif kind[0] == "bool":
            assert type(value) is bool
        elif kind[0] == "score":
            assert value == round(value, 2)
        elif kind[0] == "words":
            assert value == sorted(set(value))
            assert set(value) <= set(events.TYPES[kind[1]][1])
        else:
            assert shape.is_plain(value)  # the grammars are closed; L3 holds without being asked


@given(st.sampled_from(sorted(events.EVENTS)), st.sampled_from(FIELD_NAMES), st.text(min_size=4, max_size=80))
def test_no_text_of_the_caller_appears_in_a_refusal(event, field, secret):
    found = check(event, {field: secret, secret: field})
    words = set(events.EVENTS) | set(FIELD_NAMES) | set(refusal.REASONS) | {redact.UNKNOWN}
    assert isinstance(found, Refused)
    assert {word for refusal in found.refusals for word in refusal} <= words


@pytest.mark.parametrize("name", [*events.EVENT_ALIASES, *events.EVENTS])
def test_every_name_and_alias_of_an_event_is_known(name):
    assert redact.event_name(name) in events.EVENTS


@pytest.mark.parametrize(
    "name", ["", "session_start ", "SESSION_START", "x" * 10_000, None, 1, b"session_start", ["a"]]
)
def test_an_unknown_event_is_refused(name):
    found = check(name, {})
    assert isinstance(found, Refused)
    assert found.refusals == (("<unknown>", "<unknown>", "unknown_event"),)


def test_an_unknown_field_refuses_the_event_without_naming_the_key():
    found = check("session_start", {**START, "/home/somebody": 1})
    assert found.refusals == (("session_start", "<unknown>", "unknown_field"),)


def test_an_unknown_member_of_a_group_refuses_the_event():
    found = check("session_start", {"caro_version": "1.1.0", "platform": {"os": "linux", "hostname": "x"}})
    assert found.refusals == (("session_start", "<unknown>", "unknown_field"),)


def test_a_missing_required_field_refuses_the_event():
    assert check("session_start", {"os": "linux"}).refusals == (("session_start", "caro_version", "missing"),)


def test_a_bad_required_field_refuses_the_event():
    found = check("session_start", {**START, "os": "/etc/passwd"})
    assert isinstance(found, Refused)
    assert found.refusals == (("session_start", "os", "value"),)


def test_a_bad_optional_enum_becomes_other_and_is_counted():
    found = check("session_start", {**START, "shell": "my own shell", "safety_level": "yolo"})
    assert stored(found)["shell"] == "unknown"
    assert stored(found)["safety_level"] == "other"
    assert found.refusals == (("session_start", "shell", "shape"), ("session_start", "safety_level", "value"))


def test_a_bad_optional_field_without_other_is_left_out_and_counted():
    found = check("session_end", {"session_duration_ms": 5, "exit_reason": "bored", "commands_generated": -1})
    assert set(stored(found)) == {"event", "timestamp", "session_id", "run_id", "session_duration_ms"}
    assert {refusal[1] for refusal in found.refusals} == {"exit_reason", "commands_generated"}


@pytest.mark.parametrize("owned", events.RECORDER_OWNED)
def test_what_the_recorder_owns_is_never_taken_from_the_caller(owned):
    value = "3f2b8c1e-0000-4000-8000-aaaaaaaaaaaa"
    found = check("session_start", {**START, owned: value})
    assert isinstance(found, Accepted)
    assert value.encode() not in found.payload(1, SESSION, RUN, 0)


@pytest.mark.parametrize(
    ("value", "kept"),
    [(0, 0), (99_999, 99_999), (100_000, 100_000), (100_499, 100_000), (100_500, 101_000), (3_600_000, 3_600_000)],
)
def test_long_times_are_rounded_to_seconds(value, kept):
    found = check("command_generated", {"backend_used": "ollama", "inference_time_ms": value})
    assert stored(found)["inference_time_ms"] == kept


@pytest.mark.parametrize("value", [3_600_001, -1, True, 1.0, "5", b"5", None, 10**30])
def test_a_time_out_of_range_or_of_another_type_is_refused(value):
    found = check("command_generated", {"backend_used": "ollama", "inference_time_ms": value})
    assert isinstance(found, Refused)


@pytest.mark.parametrize("value", [1, 0, "true", None, "yes", 1.0])
def test_booleans_are_strict(value):
    found = check("command_generated", {"backend_used": "ollama", "inference_time_ms": 1, "success": value})
    assert "success" not in stored(found)


@pytest.mark.parametrize(
    ("value", "kept"),
    [(0.914, 0.91), (0.916, 0.92), (0, 0.0), (1, 1.0), (float("nan"), None), (1.01, None), (True, None)],
)
def test_confidence_is_quantised(value, kept):
    found = check("command_generated", {"backend_used": "mock", "inference_time_ms": 1, "confidence_score": value})
    assert stored(found).get("confidence_score") == kept


def test_a_list_of_backends_is_sorted_and_distinct():
    found = check("session_start", {**START, "backend_available": ["v_llm", "ollama", "vllm"]})
    assert stored(found)["backend_available"] == ["ollama", "vllm"]


@pytest.mark.parametrize("value", [["ollama", "mine"], ["ollama"] * 13, "ollama", [["ollama"]], {"ollama": 1}, [None]])
def test_a_list_with_anything_else_is_left_out(value):
    assert "backend_available" not in stored(check("session_start", {**START, "backend_available": value}))


def test_levels_leave_out_events_and_fields(generated):
    assert check("command_generated", generated, events.MINIMAL) is None
    standard = stored(check("command_generated", generated, events.STANDARD))
    detailed = stored(check("command_generated", generated, events.DETAILED))
    assert set(detailed) - set(standard) == {
        "input_token_count",
        "output_token_count",
        "confidence_score",
        "retry_count",
    }


def test_a_field_that_the_level_leaves_out_is_not_even_looked_at(generated):
    generated["retry_count"] = "/home/somebody"
    found = check("command_generated", generated, events.STANDARD)
    assert found.refusals == ()


def test_too_many_fields_are_refused_before_their_keys_are_read():
    found = check("session_start", {f"key{number}": 1 for number in range(65)})
    assert found.refusals == (("session_start", "<unknown>", "too_many"),)


def test_older_names_of_fields_are_taken_over():
    found = check(
        "session_start", {"version": "1.1.0", "platform": "darwin", "shell_type": "pwsh", "backend": "ollama"}
    )
    assert found.fields == {"caro_version": "1.1.0", "os": "macos", "shell": "powershell", "primary": "ollama"}
    assert check("command_generation", {"backend": "static", "duration_ms": 12, "success": True}).fields == {
        "backend_used": "static",
        "inference_time_ms": 12,
        "success": True,
    }


@pytest.mark.parametrize("huge", ["x" * 10_000_000, "/" * 65, "a" * 64 + "\u00e9"])
def test_a_long_text_is_refused_by_its_length(huge):
    found = check("session_start", {**START, "arch": huge, "caro_version": huge})
    assert ("session_start", "caro_version", "shape") in found.refusals


def test_the_limits_of_shape_and_check_agree():
    assert kinds.TEXT_BYTES_MAX == shape.TEXT_BYTES_MAX


@pytest.mark.parametrize(
    "name", ["hermes", "yarn", "Samantha", "opt", "amazon", "\u212aimi", "llama\u0663", "kimi\uff11"]
)
def test_a_bare_word_or_a_look_alike_is_no_model(name):
    found = check("command_generated", {"backend_used": "ollama", "inference_time_ms": 1, "model_name": name})
    assert "model_name" not in stored(found)
    assert found.refusals[0][1] == "model_name"


@pytest.mark.parametrize(
    ("event", "fields", "key", "wanted"),
    [
        ("session_end", {"session_duration_ms": 1, "duration_ms": 2}, "session_duration_ms", 2),
        ("session_end", {"duration_ms": 2, "session_duration_ms": 1}, "session_duration_ms", 1),
        ("session_end", {"duration_ms": 2, "session_duration_ms": None}, "session_duration_ms", 2),
        ("session_start", {**START, "platform": {"os": "macos"}}, "os", "macos"),
        ("session_start", {"platform": {"os": "macos"}, **START}, "os", "linux"),
    ],
)
def test_of_two_names_of_a_field_the_last_one_counts(event, fields, key, wanted):
    """As EVENTS.md says: to look for it would cost every append."""
    assert stored(check(event, fields))[key] == wanted


def test_two_names_of_a_field_of_which_the_last_is_bad_do_not_fall_back():
    found = check("session_start", {**START, "platform": {"os": "jane"}})
    assert isinstance(found, Refused) or stored(found)["os"] != "linux"
