"""The schema's literals keep the promises that `redact` and the generated files are built on."""

import re
import subprocess
import sys

import pytest

from carojournal import events, redact
from carojournal.codec import loads
from carojournal.shape import is_plain

KINDS = {"enum": 2, "words": 3, "int": 4, "bool": 1, "version": 1, "model": 1, "code": 1, "score": 1}

# Section 2 of caro's telemetry specification, field by field, and the words of its enums.
SPECIFIED = {
    "session_start": "caro_version platform.os platform.arch platform.shell backend_config.primary "
    "backend_config.fallback_enabled safety_level output_format is_first_run",
    "session_end": "session_duration_ms commands_generated commands_executed errors_encountered exit_reason "
    "safety_blocks retries",
    "command_generated": "backend_used inference_time_ms safety_result.risk_level safety_result.patterns_matched "
    "model_name input_token_count output_token_count confidence_score retry_count",
    "command_executed": "execution_mode modified_before_execution exit_code_category execution_time_ms",
    "safety_triggered": "risk_level pattern_category action_taken user_override safety_level_config",
    "error_occurred": "error_category error_code component backend recoverable fallback_attempted",
}
SPECIFIED_WORDS = {
    "os": "macos linux windows unknown",
    "arch": "aarch64 x86_64 arm unknown",
    "shell": "bash zsh fish sh powershell cmd unknown",
    "backend": "embedded-mlx embedded-cpu ollama vllm exo mock",
    "risk_level": "safe moderate high critical",
    "exit_reason": "user_complete user_abort error timeout",
    "execution_mode": "confirmed auto_confirm dry_run interactive",
    "exit_code_category": "success error timeout",
    "pattern_category": "filesystem_destruction privilege_escalation disk_operation network_exfiltration "
    "system_modification service_control config_modification other",
    "safety_action": "blocked warned allowed",
    "error_category": "backend_timeout backend_connection backend_parse model_load config_error validation_error "
    "execution_error unknown",
}


def every_field():
    return [(event, name, *field) for event, (_, fields) in events.EVENTS.items() for name, field in fields.items()]


def test_every_field_of_the_specification_has_its_place_and_group():
    for event, paths in SPECIFIED.items():
        for path in paths.split():
            group, _, name = path.rpartition(".")
            assert events.EVENTS[event][1][name][3] == group, (event, path)


@pytest.mark.parametrize("kind", SPECIFIED_WORDS)
def test_every_word_of_the_specification_is_allowed(kind):
    assert set(SPECIFIED_WORDS[kind].split()) <= set(events.TYPES[kind][1])


@pytest.mark.parametrize(
    ("event", "name"),
    [
        ("session.start", "session_start"),
        ("session.end", "session_end"),
        ("command.generated", "command_generated"),
        ("command.executed", "command_executed"),
        ("safety.triggered", "safety_triggered"),
        ("error.occurred", "error_occurred"),
        ("command_generation", "command_generated"),
        ("safety_validation", "safety_triggered"),
        ("backend_error", "error_occurred"),
    ],
)
def test_both_documents_names_of_an_event_are_understood(event, name):
    assert redact.event_name(event) == name


def test_every_type_is_well_formed_and_used():
    used = {kind for _, _, kind, *_ in every_field()}
    used |= {spec[1] for spec in events.TYPES.values() if spec[0] == "words"}
    assert used == set(events.TYPES)
    for kind, spec in events.TYPES.items():
        assert len(spec) == KINDS[spec[0]], kind


def test_enum_words_are_distinct_and_have_the_shape_of_telemetry():
    for kind, spec in events.TYPES.items():
        if spec[0] == "enum":
            assert len(set(spec[1])) == len(spec[1]), kind
            assert all(is_plain(word) for word in spec[1]), kind


def test_numbers_are_bounded_far_below_telephone_and_card_numbers():
    for kind, spec in events.TYPES.items():
        if spec[0] == "int":
            _, most, exact, step = spec
            assert 0 < exact <= most < 10**8, kind
            assert exact < 10**5, kind
            assert step >= 1, kind
            assert (most % step, exact == most or step > 1) == (0, True), f"{kind}: the largest value survives rounding"


def test_fields_name_a_type_a_level_and_a_known_group():
    for event, name, kind, level, required, group in every_field():
        where = f"{event}.{name}"
        assert re.fullmatch("[a-z][a-z_]*[a-z]", name), where
        assert kind in events.TYPES, where
        assert events.EVENTS[event][0] <= level <= events.DETAILED, where
        assert not required or level == events.EVENTS[event][0], f"{where}: a level would drop a required field"
        assert group in ("", *events.GROUPS), where


def test_every_event_has_a_required_field():
    """An event without one would be accepted empty whatever the caller meant."""
    assert {event for event, _, _, _, required, _ in every_field() if required} == set(events.EVENTS)


def test_event_aliases_point_to_events_and_shadow_none():
    assert set(events.EVENT_ALIASES.values()) <= set(events.EVENTS)
    assert not set(events.EVENT_ALIASES) & set(events.EVENTS)


def test_field_aliases_point_to_fields_and_shadow_none():
    assert set(events.FIELD_ALIASES) == set(events.EVENTS)
    for event, aliases in events.FIELD_ALIASES.items():
        fields = events.EVENTS[event][1]
        assert set(aliases.values()) <= set(fields), event
        assert not set(aliases) & set(fields), event


def test_word_aliases_point_to_words_and_shadow_none():
    for kind, aliases in events.ALIASES.items():
        words = events.TYPES[kind][1]
        assert set(aliases.values()) <= set(words), kind
        assert not set(aliases) & set(words), kind
        assert all(is_plain(alias) for alias in aliases), kind


def test_level_aliases_are_the_progress_documents():
    assert events.LEVEL_ALIASES == {"normal": "standard", "verbose": "detailed"}
    assert events.LEVELS[events.STANDARD] == "standard"


def test_no_name_means_two_things():
    """A field named like a key of the recorder, or like a control record's mark, would make a record ambiguous."""
    reserved = {*events.ENVELOPE, *events.RECORDER_OWNED, "record", "generation_id"}
    for event, name, *_ in every_field():
        assert name not in reserved, f"{event}.{name}"
    for event, aliases in events.FIELD_ALIASES.items():
        assert not set(aliases) & reserved, event
    # "platform" is a group, and a plain word of the older document: told apart by the value's type.
    assert [alias for aliases in events.FIELD_ALIASES.values() for alias in aliases if alias in events.GROUPS] == [
        "platform"
    ]


@pytest.mark.parametrize("event", sorted(events.EVENTS))
def test_keys_are_stored_in_the_order_of_their_encodings(event):
    """RFC 8949 section 4.2.1; the strict decoder refuses any other order, so decoding is the check."""
    samples = {"words": [], "int": 1, "bool": True, "version": "1.1.0", "model": "other", "code": "E0001", "score": 0.5}
    fields = events.EVENTS[event][1]
    specs = {name: events.TYPES[kind] for name, (kind, *_) in fields.items()}
    given = {name: spec[1][0] if spec[0] == "enum" else samples[spec[0]] for name, spec in specs.items()}
    record = loads(redact.check(event, given).payload(1, bytes(16), bytes(16), 1))
    assert set(record) == {*fields, *events.ENVELOPE}
    assert list(record) == sorted(record, key=lambda key: (len(key), key))


def test_the_schema_imports_nothing():
    """Every host pays for it at start-up."""
    program = (
        "import sys; before = set(sys.modules); import carojournal.events;print(*sorted(set(sys.modules) - before))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["carojournal", "carojournal.events"]
