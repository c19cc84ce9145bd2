"""Nothing is collected for which nobody can say what it is and why."""

import re

import pytest

from carojournal import events, own_events
from carojournal.schema_cddl import cddl
from carojournal.schema_docs import CONTROL_DOCS, ENVELOPE_DOCS, EVENT_DOCS, FIELD_DOCS, undocumented
from carojournal.schema_markdown import events_markdown


def test_every_event_field_and_key_is_described_and_nothing_else():
    assert undocumented() == []


def test_a_new_field_without_a_reason_is_noticed(monkeypatch):
    fields = dict(events.EVENTS["session_end"][1], mood=("count", events.MINIMAL, False, ""))
    monkeypatch.setitem(own_events.ALL_EVENTS, "session_end", (events.MINIMAL, fields))
    assert undocumented() == ["session_end.mood"]


def test_a_reason_for_a_field_that_is_gone_is_noticed(monkeypatch):
    monkeypatch.delitem(events.EVENTS["session_end"][1], "retries")
    assert undocumented() == ["session_end.retries"]


@pytest.mark.parametrize("event", sorted(FIELD_DOCS))
def test_texts_say_something_and_fit_a_table(event):
    texts = [text for pair in FIELD_DOCS[event].values() for text in pair]
    for text in (*texts, *EVENT_DOCS[event], *(text for row in ENVELOPE_DOCS.values() for text in row)):
        assert 3 < len(text) <= 120, text
        assert "|" not in text, text
        assert "\n" not in text, text
    for means, why in FIELD_DOCS[event].values():
        assert means != why
        assert not re.match("(?i)(because|to )", why), f"{why}: reads after 'it ...'"


def test_control_records_have_the_keys_of_the_cddl():
    for record, (_, keys) in CONTROL_DOCS.items():
        body = re.search(rf"^{record} = {{\n(.*?)^}}", cddl(), re.DOTALL | re.MULTILINE)
        assert body is not None
        assert re.findall('^  "([a-z0-9_]+)":', body[1], re.MULTILINE) == ["record", *keys]


def test_headers_and_losses_that_are_written_have_the_documented_keys():
    from carojournal import held, rotation
    from carojournal.codec import loads

    header = loads(rotation.encode_header(bytes(16), 0, 0, 0, None))
    assert set(header) == {"record", *CONTROL_DOCS["header"][1]}
    loss = loads(held.encode_loss("evicted", bytes(16), 1, 2, 2, 60, {"evicted": [1, 2, 3]}))
    assert set(loss) == {"record", *CONTROL_DOCS["loss"][1]}


def test_the_dictionary_says_what_a_dot_means():
    text = " ".join(events_markdown().split())
    assert '`safety_result.risk_level` is `{"safety_result": {"risk_level": ...}}`' in text
