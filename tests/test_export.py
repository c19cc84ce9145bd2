"""An export is caro's own document, whole, checked, and the only thing that `--clear` goes by."""

import gzip
import hashlib
import json
import os
import uuid

import pytest
from conftest import NOON_MS
from forge import OLD_MODEL, WITH_OLD_MODEL
from one_of_each import START, records

from carojournal import JournalReader, grammars, migrate, policy
from carojournal.cli import main
from carojournal.codec import dumps
from carojournal.document import generation_id
from carojournal.frame import decode_record, encode_record, find_record


def test_the_file_is_the_document_of_the_source(kept, tmp_path, generated, capsys):
    """Expected values are written out from the Rust structs of the implementation document, sections 2 and 3."""
    path = tmp_path / "out.json"
    assert main(["export", "-o", str(path)]) == 0
    document = json.loads(path.read_text())
    assert list(document) == ["export_version", "exported_at", "caro_version", "event_count", "events"]
    assert (document["export_version"], document["caro_version"], document["event_count"]) == ("1.0", "1.1.0-beta", 6)
    start, made, done, safety, error, end = document["events"]
    session, run = (records(kept)[0].value[key] for key in ("session_id", "run_id"))
    when = {"timestamp": "2026-09-21T12:00:00.000Z", "session_id": session.hex()}
    raw = bytearray(hashlib.sha256(run + b"\0\0\0\0\0\0\0\1").digest()[:16])
    raw[6], raw[8] = raw[6] & 0x0F | 0x80, raw[8] & 0x3F | 0x80
    generation = {"generation_id": str(uuid.UUID(bytes=bytes(raw)))}
    assert start == {"event": "session_start", **when, **START}
    detailed = ("input_token_count", "output_token_count", "confidence_score", "retry_count")  # Not at this level.
    standard = {key: value for key, value in generated.items() if key not in detailed}
    assert made == {"event": "command_generated", **when, **generation, **standard}
    modes = {"execution_mode": "confirmed", "modified_before_execution": False}
    assert done == {"event": "command_executed", **when, **generation, **modes}
    block = {"risk_level": "high", "pattern_category": "disk_operation", "action_taken": "blocked"}
    assert safety == {"event": "safety_triggered", **when, **generation, **block}
    failure = {"error_category": "model_load", "error_code": "E0001", "component": "backend"}
    assert error == {"event": "error_occurred", **when, **failure}
    totals = {"session_duration_ms": 5000, "commands_generated": 1, "exit_reason": "user_complete"}
    assert end == {"event": "session_end", **when, **totals}
    assert [list(event)[:3] for event in document["events"]] == [["event", "timestamp", "session_id"]] * 6
    assert path.read_text() == json.dumps(document, indent=2) + "\n"
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert capsys.readouterr().out.startswith("Wrote 6 events to ")


def test_a_generation_id_is_a_uuid_of_version_8():
    found = uuid.UUID(generation_id(bytes(16), 1))
    assert (found.version, found.variant) == (8, uuid.RFC_4122)
    assert generation_id(bytes(16), 1) != generation_id(bytes(16), 2) != generation_id(b"\1" * 16, 2)


def test_every_format_holds_the_same_events(kept, tmp_path, capfd):
    for name in ("e.json", "e.json.gz", "e.ndjson"):
        assert main(["export", "-o", str(tmp_path / name)]) == 0
    events = json.loads((tmp_path / "e.json").read_text())["events"]
    assert json.loads(gzip.decompress((tmp_path / "e.json.gz").read_bytes()))["events"] == events
    assert [json.loads(line) for line in (tmp_path / "e.ndjson").read_text().splitlines()] == events
    assert main(["export", "--format", "json.gz", "-o", str(tmp_path / "any")]) == 0
    assert (tmp_path / "any").read_bytes()[:2] == b"\x1f\x8b"
    capfd.readouterr()
    assert main(["export", "-o", "-"]) == 0
    assert json.loads(capfd.readouterr().out)["events"] == events
    assert main(["export", "-o", "-", "--format", "ndjson"]) == 0
    assert [json.loads(line) for line in capfd.readouterr().out.splitlines()] == events
    assert len(records(kept)) == 6


def test_an_export_can_be_migrated_into_another_journal(kept, tmp_path):
    main(["export", "-o", str(tmp_path / "e.json.gz")])
    other = str(tmp_path / "other")
    local = policy.Policy("local", source="test", level=2)
    report = migrate.migrate(str(tmp_path / "e.json.gz"), other, local, NOON_MS)
    assert (report.taken, report.refused, report.replaced, report.mapped) == (6, {}, {}, {})
    ids = ("session_id", "run_id")
    assert [{key: value for key, value in record.value.items() if key not in ids} for record in records(other)] == [
        {key: value for key, value in record.value.items() if key not in ids} for record in records(kept)
    ]


def test_without_a_name_it_is_a_dated_file_here(kept, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["export"]) == 0
    (name,) = os.listdir()
    assert name.startswith("telemetry-export-20")
    assert name.endswith(".json.gz")
    assert main(["export"]) == 73
    assert main(["export", "--force"]) == 0
    assert len(records(kept)) == 6


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("e.csv", "or say --format"),
        ("e.json.zip", "or say --format"),
        ("e.ndjson.gz", "or say --format"),
        ("e.tar.zst", "a bundle is made by 'carobatch export'"),
    ],
)
def test_an_ending_that_names_no_format_is_refused_and_not_guessed_at(kept, tmp_path, capsys, name, hint):
    path = tmp_path / name
    assert main(["export", "-o", str(path)]) == 64
    known = ".json, .json.gz, .ndjson, .jsonl"
    assert capsys.readouterr().err == f"carojournal: FILE's ending names no format: it is {known}; {hint}\n"
    assert not path.exists()
    assert main(["export", "-o", str(path), "--format", "ndjson"]) == 0
    assert len(path.read_text().splitlines()) == len(records(kept))


@pytest.mark.usefixtures("kept")
def test_without_an_ending_it_is_json_and_case_does_not_count(tmp_path):
    for name in ("plain", "E.JSON", "e.2.json"):
        assert main(["export", "-o", str(tmp_path / name)]) == 0
        assert json.loads((tmp_path / name).read_text())["event_count"] == 6
    assert main(["export", "-o", str(tmp_path / "E.Json.GZ")]) == 0
    assert json.loads(gzip.decompress((tmp_path / "E.Json.GZ").read_bytes()))["event_count"] == 6


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--format", "bundle"], 64),
        (["--format", "xml"], 64),
        (["-o", "-", "--clear"], 64),
        (["-o", "-", "--format", "json.gz"], 64),
        (["-o", "/nonexistent/x.json"], 73),
        (["-o", "/dev/null"], 73),
        (["-o", "/"], 73),
    ],
)
def test_what_cannot_be_is_said_in_one_line(kept, capsys, words, code):
    assert main(["export", *words]) == code
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert ("carobatch export" in err) == ("bundle" in words)
    assert len(records(kept)) == 6


def test_an_existing_file_is_kept_unless_forced(kept, tmp_path):
    path = tmp_path / "precious.json"
    path.write_text("precious")
    assert main(["export", "-o", str(path), "--clear"]) == 73
    assert (path.read_text(), len(records(kept))) == ("precious", 6)
    assert main(["export", "-o", str(path), "--force"]) == 0
    assert json.loads(path.read_text())["event_count"] == 6


def test_no_events_no_file(home, tmp_path, capsys):
    assert main(["export", "-o", str(tmp_path / "e.json")]) == 0
    assert main(["export", "-o", str(tmp_path / "e.json"), "--clear"]) == 0
    assert sorted(os.listdir(tmp_path)) == ["home"]
    assert os.listdir(home) == []
    assert "no events" in capsys.readouterr().err
    assert main(["export", "-o", "-"]) == 0
    empty = json.loads(capsys.readouterr().out)
    assert (empty["event_count"], empty["events"], empty["caro_version"]) == (0, [], "unknown")


def plant(root, payload):
    """Append a record that a faulty or foreign writer made."""
    path = f"{root}/lanes/0.seg"
    with open(path, "rb") as file:
        data = file.read()
    segment = JournalReader(root).segments()[0].segment
    seq, at = 0, 0
    while (at := find_record(segment, data, at)) is not None:
        seq, _, end = decode_record(segment, data, at)
        at = end + 5
    with open(path, "ab") as file:
        file.write(encode_record(segment, seq + 1, payload))


def test_what_the_check_refuses_is_left_out_counted_and_not_shown(kept, tmp_path, capfd):
    value = dict(records(kept)[0].value) | {"caro_version": "/home/erika"}
    plant(kept, dumps(value))
    path = tmp_path / "e.json"
    assert main(["export", "-o", str(path)]) == 65
    out, err = capfd.readouterr()
    assert "session_start.caro_version" in err
    assert "erika" not in out + err + path.read_text()
    assert json.loads(path.read_text())["event_count"] == 6
    # And a file of the journal that holds such an event is not removed.
    assert main(["export", "-o", str(path), "--clear", "--force"]) == 65
    assert len(records(kept)) == 7


def test_a_model_name_of_an_earlier_release_is_left_out(kept, capfd):
    plant(kept, WITH_OLD_MODEL)
    assert main(["export", "-o", "-"]) == 65
    out, err = capfd.readouterr()
    assert "1 event left out: command_generated.model_name: value" in err
    assert OLD_MODEL not in out + err
    assert json.loads(out)["event_count"] == 6


def test_what_only_the_tripwire_finds_is_left_out_too(kept, capfd, monkeypatch):
    """The schema may have a hole; L2, which trusts no schema, stands behind it on every way out."""
    monkeypatch.setattr(grammars, "is_model", lambda text: text == OLD_MODEL)
    plant(kept, WITH_OLD_MODEL)
    assert main(["export", "-o", "-"]) == 65
    out, err = capfd.readouterr()
    assert "command_generated.model_name: value" in err
    assert OLD_MODEL not in out + err


def test_damage_is_left_out_and_said(kept, tmp_path, capsys):
    with open(f"{kept}/lanes/0.seg", "r+b") as file:
        file.seek(-600, 2)
        file.write(b"\xff" * 20)
    assert main(["export", "-o", str(tmp_path / "e.json"), "--clear"]) == 65
    document = json.loads((tmp_path / "e.json").read_text())
    assert 0 < document["event_count"] == len(document["events"]) < 6
    assert "verify" in capsys.readouterr().err
    assert len(records(kept)) == document["event_count"]
