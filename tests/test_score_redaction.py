"""The scorer: counts what it is given, repeats none of it, and notices a recorder that lets something in."""

import base64
import json

import pytest

import score_recorder
import score_redaction
from carojournal.redact import Accepted
from obfuscations import OBFUSCATIONS

TEXTS = {"email": "jane.doe@example.com", "phone": "+12025550143", "command": "rm -rf build"}


@pytest.fixture
def corpus(tmp_path):
    rows = [{"b64": base64.b64encode(text.encode()).decode(), "class": kind} for kind, text in TEXTS.items()]
    rows.append({"b64": base64.b64encode(b"linux").decode(), "class": "missed"})
    (tmp_path / "sensitive").write_text("".join(json.dumps(row) + "\n" for row in rows))
    benign = [
        {"text": "linux", "field": "os", "tier": "must"},
        {"text": "1.1.0", "field": "version", "tier": "must"},
        {"text": "not telemetry", "field": "version", "tier": "should"},
    ]
    (tmp_path / "benign").write_text("".join(json.dumps(row) + "\n" for row in benign))
    return ["--sensitive", str(tmp_path / "sensitive"), "--benign", str(tmp_path / "benign")]


def test_hits_misses_and_false_positives_are_counted_apart(corpus, capsys):
    assert score_redaction.main([*corpus, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["class"] == {"command": [1, 1], "email": [1, 1], "missed": [0, 1], "phone": [1, 1]}
    assert scores["false_positives"] == {"must os": [0, 1], "must version": [0, 1], "should version": [1, 1]}
    assert scores["obfuscation"]["base64"] == [4, 4]
    assert scores["obfuscation"]["number"] == [1, 1]


@pytest.mark.parametrize("options", [[], ["--json"], ["--recorder"]])
def test_no_sensitive_value_is_printed(corpus, capsys, options):
    score_redaction.main([*corpus, *options])
    said = "".join(capsys.readouterr())
    assert said
    assert not [text for text in TEXTS.values() if text in said]


def test_there_are_twenty_disguises_and_each_changes_the_text():
    assert len(OBFUSCATIONS) == 20
    text = "Jane Doe, +1 202 555 0143"
    hidden = {name: disguise(text) for name, disguise in OBFUSCATIONS.items()}
    assert all(value is not None and value != {"value": text} for value in hidden.values())
    assert len({repr(value) for value in hidden.values()}) == 20


@pytest.mark.parametrize("text", ["a", "\u524a\u9664", "\U0001f600\U0001f600", "", "0"])
def test_a_disguise_that_does_not_apply_is_none(text):
    for disguise in OBFUSCATIONS.values():
        if text:
            disguise(text)
    assert OBFUSCATIONS["number"](text) is None
    assert OBFUSCATIONS["split_list"](text) is None


def test_the_recorder_lets_nothing_in_and_keeps_the_rest():
    counts = score_recorder.score_recorder(list(TEXTS.values()), [("os", "linux"), ("event_type", "session.start")])
    assert counts["recorded"] > 0
    assert {key: counts[key] for key in ("accepted", "stored", "echoed", "benign_refused", "benign")} == {
        "accepted": 0,
        "stored": 0,
        "echoed": 0,
        "benign_refused": 0,
        "benign": 2,
    }


def test_a_recorder_that_lets_a_text_in_is_noticed(monkeypatch):
    """With the version grammar switched off, a mail address gets in as a version, and every count says so."""
    monkeypatch.setattr("carojournal.shape.is_plain", lambda _: True)
    monkeypatch.setattr("carojournal.kinds.is_version", lambda _: True)
    monkeypatch.setattr("carojournal.redact._compiled", {})  # What is let in here must not be remembered as good.
    counts = score_recorder.score_recorder([TEXTS["email"]], [])
    assert counts["accepted"] > 0
    assert counts["stored"] == 1


def test_a_benign_value_that_is_refused_is_counted(monkeypatch):
    real = score_recorder.check
    monkeypatch.setattr(score_recorder, "check", lambda event, fields: None if "os" in fields else real(event, fields))
    assert isinstance(real("session_start", {"caro_version": "1.1.0", "os": "linux"}), Accepted)
    assert score_recorder._benign([("os", "linux")]) == (1, 1)
