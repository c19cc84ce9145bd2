"""What caro 1.1 recorded is taken over once, through the same check, and never by way of its ids."""

import gzip
import json
import os

import pytest
from conftest import NOON_MS
from old_queues import DAY_MS, HOUR_MS, SESSION, events_of, old_event, queue, queue_of_five, take

from carojournal import JournalReader, policy, spool
from carojournal.cli import main
from carojournal.errors import JournalBusy
from carojournal.stored import check_payload
from carojournal.times import utc_text


@pytest.fixture
def five(tmp_path):
    """The five events of the progress document."""
    return queue_of_five(tmp_path / "events.db")


def test_the_five_events_arrive_under_todays_names(five, root):
    report = take(five, root)
    assert (report.read, report.taken) == (6, 5)
    assert report.refused == {("<unknown>", "event", "unknown_event"): 1}
    found = {value["event"]: value for value in events_of(root)}
    assert {key: found["session_start"][key] for key in ("caro_version", "os", "shell", "backend_available")} == {
        "caro_version": "1.1.0-beta",
        "os": "linux",
        "shell": "bash",
        "backend_available": ["embedded", "static"],
    }
    assert found["command_generated"]["error_category"] == "backend_timeout"
    assert found["command_generated"]["generation"] == 1
    assert found["safety_triggered"]["risk_level"] == "moderate"
    assert found["safety_triggered"]["pattern_category"] == "filesystem_destruction"
    assert found["error_occurred"]["error_category"] == "backend_timeout"
    assert found["session_end"]["session_duration_ms"] == 9000
    assert report.mapped["command_generation -> command_generated"] == 1
    assert report.mapped["session_start.shell: letter case of bash"] == 1


def test_what_is_stored_is_what_the_recorder_could_have_written(five, root):
    take(five, root)
    records = list(JournalReader(root).records())
    assert [check_payload(record.payload) for record in records if record.is_event] == [None] * 5
    info = JournalReader(root).segments()[0]
    assert (info.consent_ms, info.sealed, info.previous) == (0, True, None)


def test_no_id_of_the_old_queue_is_taken_over(five, root):
    take(five, root)
    data = b""
    for folder, _, names in os.walk(root):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                data += file.read()
    assert SESSION.encode() not in data
    assert bytes.fromhex(SESSION) not in data
    assert len({value["session_id"] for value in events_of(root)}) == 1
    assert len({value["run_id"] for value in events_of(root)}) == 1


def test_a_session_of_two_days_becomes_two_and_no_segment_spans_midnight(tmp_path, root):
    events = [old_event(1), old_event(2, NOON_MS - DAY_MS), old_event(3, session="fedcba9876543210")]
    take(queue(tmp_path / "q", events), root)
    assert len({(value["session_id"], value["run_id"]) for value in events_of(root)}) == 3
    days = {}
    for record in JournalReader(root).records(events_only=True):
        days.setdefault(record.segment, set()).add(record.value["timestamp"] // DAY_MS)
        assert record.source.created_us // 1000 // DAY_MS == record.value["timestamp"] // DAY_MS
    assert sorted(len(found) for found in days.values()) == [1, 1]


def test_a_second_run_takes_nothing_and_a_grown_queue_only_what_is_new(tmp_path, root):
    path = queue(tmp_path / "q", [old_event(number) for number in range(10)])
    assert take(path, root).taken == 10
    again = take(path, root)
    assert (again.taken, again.already) == (0, 10)
    queue(path, [old_event(10)])
    more = take(path, root)
    assert (more.taken, more.already) == (1, 10)
    assert len(events_of(root)) == 11


@pytest.mark.parametrize("form", ["array", "object", "ndjson", "gzip", "one", "nested", "rows", "bom"])
def test_a_json_export_holds_the_same_rows(tmp_path, root, form):
    flat = [old_event(number) for number in range(3)]
    nested = [
        {key: event[key] for key in ("id", "session_id", "timestamp")}
        | {"event_type": {key: event[key] for key in ("type", "backend", "duration_ms", "success")}}
        for event in flat
    ]
    rows = [
        {"id": event["id"], "session_id": SESSION, "timestamp": event["timestamp"], "event_type": "command_generation"}
        | {"data": json.dumps({key: event[key] for key in ("backend", "duration_ms", "success")})}
        for event in flat
    ]
    lines = "".join(json.dumps(event) + "\n" for event in flat)
    text = {
        "array": json.dumps(flat, indent=2),
        "object": json.dumps({"export_version": "1.0", "event_count": 3, "events": flat, "more": 1}, indent=2),
        "ndjson": lines,
        "gzip": json.dumps(flat),
        "one": lines,
        "nested": json.dumps(nested),
        "rows": json.dumps(rows),
        "bom": "\ufeff" + json.dumps(flat),
    }[form].encode()
    if form == "gzip":
        text = gzip.compress(text[:40]) + gzip.compress(text[40:])  # Members may follow one another.
    path = tmp_path / "export"
    path.write_bytes(text)
    assert take(queue(tmp_path / "q", flat[:1]), root).taken == 1
    report = take(path, root)
    assert (report.read, report.already, report.taken) == (3, 1, 2)
    assert report.refused == {}
    assert {value["inference_time_ms"] for value in events_of(root)} == {100, 101, 102}


@pytest.mark.parametrize("form", ["json", "json.gz", "ndjson"])
def test_an_export_of_the_same_journal_is_refused_and_doubles_nothing(journal, root, tmp_path, generated, form, capsys):
    journal.append("command_generated", **generated)
    journal.append("session_end", session_duration_ms=1)
    out = str(tmp_path / f"own.{form}")
    assert main(["export", "-o", out, "--format", form]) == 0
    before = events_of(root)
    capsys.readouterr()
    for words in (["migrate", out], ["migrate", "--dry-run", out]):
        assert main(words) == 69
        assert "an export of this very journal" in capsys.readouterr().err
    assert events_of(root) == before
    assert not os.path.exists(f"{root}/migrated")
    # Once it is cleared its events are gone, and may be taken back.
    assert main(["clear", "--force"]) == 0
    assert main(["migrate", out]) == 0
    assert len(events_of(root)) == 2


def test_events_without_ids_are_told_apart_by_content_and_occurrence(tmp_path, root):
    event = {key: value for key, value in old_event(1).items() if key != "id"}
    path = tmp_path / "export.json"
    path.write_text(json.dumps([event, event, event | {"duration_ms": 7}]))
    assert take(path, root).taken == 3
    path.write_text(json.dumps([event | {"duration_ms": 7}, event, event, event]))
    assert take(path, root).taken == 1


def test_generations_of_a_document_keep_together(tmp_path, root):
    uuid = "6f1c2f4e-8f0a-4e53-9a51-0d8f7d1b8a11"
    document = {
        "events": [
            {"event": "command_generated", "timestamp": utc_text(NOON_MS), "session_id": "s", "generation_id": uuid}
            | {"backend_used": "ollama", "inference_time_ms": 5, "safety_result": {"risk_level": "safe"}},
            {"event": "command_executed", "generation_id": uuid, "execution_mode": "confirmed", "session_id": "s"}
            | {"timestamp": {"secs_since_epoch": NOON_MS // 1000, "nanos_since_epoch": 5_000_000}},
            {"event": "command_generated", "timestamp": utc_text(NOON_MS + 9), "session_id": "s"}
            | {"backend_used": "ollama", "inference_time_ms": 5},
        ]
    }
    path = tmp_path / "export.json"
    path.write_text(json.dumps(document))
    assert take(path, root).taken == 3
    assert [(value["event"], value["generation"]) for value in events_of(root)] == [
        ("command_generated", 1),
        ("command_executed", 1),
        ("command_generated", 2),
    ]
    assert uuid.replace("-", "") not in str(events_of(root))


SECRET = "/home/erika/.ssh/id_rsa"


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"backend": SECRET}, ("command_generated", "backend_used", "value")),
        ({"backend": 5}, ("command_generated", "backend_used", "type")),
        ({SECRET: 1}, ("command_generated", "<unknown>", "unknown_field")),
        ({"type": SECRET}, ("<unknown>", "event", "conflict")),
        ({"event": "session_end"}, ("<unknown>", "event", "conflict")),
        ({"timestamp": SECRET}, ("command_generated", "timestamp", "shape")),
        ({"timestamp": "2026-02-30T00:00:00Z"}, ("command_generated", "timestamp", "value")),
        ({"timestamp": "1999-01-01T00:00:00Z"}, ("command_generated", "timestamp", "range")),
        ({"timestamp": "2999-01-01T00:00:00Z"}, ("command_generated", "timestamp", "range")),
        ({"timestamp": 5}, ("command_generated", "timestamp", "type")),
        ({"timestamp": None}, ("command_generated", "timestamp", "missing")),
        ({"duration_ms": 10**30}, ("command_generated", "inference_time_ms", "type")),
        ({"duration_ms": float("nan")}, ("command_generated", "inference_time_ms", "type")),
        ({"backend": "x" * 70_000}, ("<unknown>", "<unknown>", "type")),
        ({"backend": "x" * 300_000}, None),
    ],
)
def test_a_bad_row_costs_itself_and_echoes_nothing(tmp_path, root, capfd, change, refusal):
    event = old_event(1) | change
    path = tmp_path / "export.json"
    path.write_text(json.dumps([old_event(0), event]))
    if refusal is None:
        report = take(path, root)
        assert (report.taken, report.damage.reason) == (1, "not JSON, or a value that is too long")
    else:
        report = take(path, root)
        if refusal[2] == "conflict" and change.get("type") == SECRET:
            refusal = ("<unknown>", "event", "unknown_event")
        assert report.refused == {refusal: 1}
        assert report.taken == 1
    assert main(["migrate", str(path), "--json"]) in (0, 65)
    out, err = capfd.readouterr()
    assert "erika" not in out + err
    stored = b"".join(record.payload for record in JournalReader(root).records())
    assert b"erika" not in stored


def test_a_key_that_stands_twice_refuses_the_row(tmp_path, root):
    path = tmp_path / "e.json"
    path.write_text(
        json.dumps(old_event(0)) + '\n{"type": "session_end", "type": "session_end"}\n' + json.dumps(old_event(1))
    )
    report = take(path, root)
    assert report.taken == 2
    assert report.refused == {("<unknown>", "<unknown>", "type"): 1}


class KilledError(Exception):
    pass


STEPS = ("written", "synced", "noted", "placed", "evicted")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("at", [1, 2])
def test_a_kill_at_any_step_loses_and_doubles_nothing(tmp_path, root, step, at, monkeypatch):
    path = queue(tmp_path / "q", [old_event(number, NOON_MS - number * HOUR_MS * 5) for number in range(12)])
    left = [at]

    def kill(name):
        left[0] -= name == step
        if left[0] == 0:
            # A process that is killed runs no handler: what an exception would clean up stays.
            monkeypatch.setattr("carojournal.durable.DurableFile.abort", lambda _: None)
            raise KilledError

    with pytest.raises(KilledError):
        take(path, root, step=kill)
    monkeypatch.undo()
    between = len(events_of(root))
    report = take(path, root)
    assert report.taken + report.already == 12
    assert report.taken <= 12 - between
    assert sorted(value["inference_time_ms"] for value in events_of(root)) == list(range(100, 112))
    assert [name for name in os.listdir(f"{root}/segments") if name.endswith(".tmp")] == []
    assert take(path, root).already == 12


def test_a_torn_ledger_line_rolls_back(tmp_path, root):
    path = queue(tmp_path / "q", [old_event(number) for number in range(5)])

    def tear(name):
        if name == "noted":
            with open(f"{root}/migrated", "rb+") as file:
                file.truncate(os.path.getsize(f"{root}/migrated") - 2)
            raise KilledError

    with pytest.raises(KilledError):
        take(path, root, step=tear)
    assert take(path, root).taken == 5
    assert len(events_of(root)) == 5


def test_two_at_once_are_one_after_the_other(tmp_path, root):
    path = queue(tmp_path / "q", [old_event(number) for number in range(5)])

    def second(name):
        if name == "written":
            with pytest.raises(JournalBusy):
                take(path, root)

    assert take(path, root, step=second).taken == 5


def test_it_comes_back_later_when_a_host_that_makes_room_was_stopped(five, root, monkeypatch):
    take(five, root, policy=policy.Policy("local", source="test", level=0))
    path = queue(os.path.join(os.path.dirname(five), "more"), [old_event(number) for number in range(5)])
    monkeypatch.setattr(spool, "PATIENT_S", 0)
    room = spool.lock_room(root)
    with pytest.raises(JournalBusy):
        take(path, root)
    spool.unlock_room(room)
    assert take(path, root).taken == 5


def test_history_makes_room_by_age_and_never_pushes_out_what_is_newer(tmp_path, root):
    small = policy.Policy("local", source="test", cap_bytes=200_000)
    old = [old_event(number, NOON_MS - 9 * DAY_MS + number) for number in range(600)]
    assert take(queue(tmp_path / "old", old), root, policy=small).taken == 600
    new = [old_event(5000 + number, NOON_MS + number) for number in range(600)]
    report = take(queue(tmp_path / "new", new), root, policy=small)
    assert report.taken == 600
    assert report.evicted
    kept = events_of(root)
    assert sum(value["timestamp"] >= NOON_MS for value in kept) == 600
    lost = sum(loss["events"] + sum(row["events"] for row in loss["carried"]) for loss in JournalReader(root).losses())
    assert lost + len(kept) == 1200
    used = sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(root) for name in names)
    assert used <= 200_000
    # The oldest of all find no room, and are not noted as taken.
    oldest = queue(tmp_path / "oldest", [old_event(9000 + number, NOON_MS - 20 * DAY_MS) for number in range(1000)])
    first = take(oldest, root, policy=small)
    assert first.left > 0
    assert first.taken + first.left == 1000
    assert sum(value["timestamp"] >= NOON_MS for value in events_of(root)) == 600
    again = take(oldest, root, policy=small)
    assert (again.already, again.left) == (first.taken, first.left)


def test_dry_run_says_the_same_and_changes_nothing(five, root):
    report = take(five, root, dry_run=True)
    assert report.taken == 5
    assert not os.path.exists(root)
    take(five, root)
    before = sorted((name, os.stat(f"{root}/{name}").st_mtime_ns) for name in os.listdir(root))
    assert take(five, root, dry_run=True).already == 5
    assert before == sorted((name, os.stat(f"{root}/{name}").st_mtime_ns) for name in os.listdir(root))


def test_the_level_filters(five, root):
    report = take(five, root, policy=policy.Policy("local", source="test", level=0))
    assert {value["event"] for value in events_of(root)} == {"session_start", "session_end", "error_occurred"}
    assert report.filtered == 2


@pytest.mark.usefixtures("root")
def test_the_verb_reports_and_obeys_off(five, capsys, monkeypatch):
    assert main(["migrate", str(five), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["taken"], report["refused"]) == (
        5,
        [{"event": "<unknown>", "field": "event", "reason": "unknown_event", "count": 1}],
    )
    assert main(["migrate", str(five)]) == 0
    assert "rows\tthere already\t5" in capsys.readouterr().out
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    assert main(["migrate", str(five)]) == 77
    assert main(["migrate", str(five.parent / "missing")]) == 77


def test_off_creates_nothing(five, home, monkeypatch):
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    assert main(["migrate", str(five)]) == 77
    assert os.listdir(home) == []


@pytest.mark.parametrize(("words", "code"), [(["migrate"], 64), (["migrate", "missing"], 69), (["migrate", "."], 64)])
def test_exit_codes(home, words, code, capsys):
    assert main(words) == code
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert os.listdir(home) == []
