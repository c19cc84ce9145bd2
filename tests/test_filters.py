"""Filters as people type them."""

import pytest

from carojournal.errors import UsageError
from carojournal.events import EVENTS
from carojournal.filters import event_choice, id_prefix, parse_filters
from carojournal.query import FIELDS


def test_the_same_field_is_or_and_different_fields_are_and():
    query = parse_filters(["risk_level=high", "risk_level=critical", "event=safety_triggered"])
    assert query.fields == {"risk_level": {"high", "critical"}}
    assert query.events == {"safety_triggered"}


@pytest.mark.parametrize(
    ("word", "name", "value"),
    [
        ("os=darwin", "os", "macos"),
        ("shell=pwsh", "shell", "powershell"),
        ("backend_available=ollama", "backend_available", "ollama"),
        ("success=True", "success", True),
        ("recoverable=false", "recoverable", False),
        ("retries=007", "retries", 7),
        ("generation=2", "generation", 2),
        ("confidence_score=0.914", "confidence_score", 0.91),
        ("caro_version=1.1.0", "caro_version", "1.1.0"),
        ("error_code=E1234", "error_code", "E1234"),
        ("model_name=llama3:8b", "model_name", "llama3:8b"),
        ("model_name=other", "model_name", "other"),
        (" risk_level = safe ", "risk_level", "safe"),
    ],
)
def test_values_become_what_is_stored(word, name, value):
    (found,) = parse_filters([word]).fields[name]
    assert found == value
    assert type(found) is type(value)


MISFITS = """
secret|=|=x|password=hunter2|risk_level=hunter2|risk_level=|event=hunter2|success=hunter2|success=1|retries=-1
retries=1e3|retries=9999999999|confidence_score=nan|confidence_score=2|caro_version=hunter2|error_code=hunter2
model_name=hunter2 and more|session_id=abc|run_id=zzzz|timestamp=1|platform=linux|generation=\u0663
"""


@pytest.mark.parametrize("word", ["session_id=" + "a" * 33, *MISFITS.strip().replace("\n", "|").split("|")])
def test_anything_else_is_refused_naming_what_is_allowed_and_not_what_was_typed(word):
    with pytest.raises(UsageError) as caught:
        parse_filters([word])
    assert "hunter2" not in str(caught.value)
    assert " is " in str(caught.value) or " takes " in str(caught.value)


def test_unknown_fields_and_enum_values_get_the_whole_list():
    with pytest.raises(UsageError) as caught:
        parse_filters(["nope=1"])
    assert all(name in str(caught.value) for name in (*FIELDS, "session_id", "event", "generation"))
    with pytest.raises(UsageError, match="safe, moderate, high, critical"):
        parse_filters(["risk_level=nope"])
    with pytest.raises(UsageError) as caught:
        event_choice("nope")
    assert all(name in str(caught.value) for name in EVENTS)


def test_events_take_their_aliases_and_ids_their_dashes():
    assert event_choice("session.start") == "session_start"
    assert id_prefix("0B2DEE7D-ebfe", "run_id") == "0b2dee7debfe"
    assert parse_filters(["event_id=850ad179-1278"]).ids == {"event_id": {"850ad1791278"}}
