"""`export --clear` goes by the file that it has written, and by nothing else."""

import gzip
import json
import os
import threading

import pytest
from conftest import NOON_MS
from one_of_each import records

from carojournal import Journal, JournalReader, closed, export, export_clear, policy
from carojournal.cli import main
from carojournal.errors import JournalBusy, OutputError
from carojournal.locks import batch_lock


def test_clear_removes_what_the_file_holds_and_verify_can_explain_it(kept, journal, tmp_path, generated, capsys):
    path = tmp_path / "e.json.gz"
    assert main(["export", "-o", str(path), "--clear"]) == 0
    assert json.loads(gzip.decompress(path.read_bytes()))["event_count"] == 6
    assert "Removed 6 events in 1 file" in capsys.readouterr().out
    assert records(kept) == []
    (loss,) = JournalReader(kept).losses()
    assert (loss["reason"], loss["events"]) == ("cleared", 6)
    assert journal.record("command_generated", **generated)  # Its header names the segment that is gone.
    assert main(["verify"]) == 0
    # The record of what was removed is itself never removed by an export.
    assert main(["export", "-o", str(path), "--clear", "--force"]) == 0
    assert {loss["reason"] for loss in JournalReader(kept).losses()} == {"cleared"}
    assert sum(loss["events"] for loss in JournalReader(kept).losses()) == 7
    assert main(["verify"]) == 0


def test_losses_that_a_removed_segment_recorded_are_carried_on(root, clock, generated, tmp_path):
    """acked = present + lost + cleared, whatever order things go in."""
    acked = 0
    small = policy.Policy("local", source="test", cap_bytes=200_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("carojournal.policy.resolve", lambda *_, **__: small)
        with Journal.open(clock=clock, admin="/nonexistent") as journal:
            for _ in range(2500):
                acked += journal.record("command_generated", **generated)
    assert acked == 2500
    evicted = sum(
        loss["events"] + sum(row["events"] for row in loss["carried"]) for loss in JournalReader(root).losses()
    )
    present = len(records(root))
    assert evicted
    assert evicted + present == acked
    assert main(["export", "-o", str(tmp_path / "e.json"), "--clear"]) == 0
    assert records(root) == []
    sums = {}
    for loss in JournalReader(root).losses():
        for row in (loss, *loss["carried"]):
            sums[row["reason"]] = sums.get(row["reason"], 0) + row["events"]
    assert sums == {"cleared": present, "evicted": evicted}


def test_what_is_appended_while_it_exports_stays(kept, journal, tmp_path, generated, monkeypatch):
    real = export.export

    def slow(*args, **keywords):
        return real(*args, **keywords, before_commit=lambda: journal.record("command_generated", **generated))

    monkeypatch.setattr("carojournal.cli.export.exporting.export", slow)
    assert main(["export", "-o", str(tmp_path / "e.json"), "--clear"]) == 0
    assert json.loads((tmp_path / "e.json").read_text())["event_count"] == 6
    (left,) = records(kept)
    assert left.value["event"] == "command_generated"


def test_every_event_of_busy_writers_is_in_the_file_or_in_the_journal_never_in_neither(root, tmp_path, generated):
    stop = threading.Event()
    counts = []

    def write():
        made = 0
        with Journal.open(admin="/nonexistent") as host:
            while not stop.is_set() and made < 2000:
                made += host.record("command_generated", **generated)
        counts.append(made)

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    exported = 0
    for number in range(4):
        path = tmp_path / f"{number}.json"
        assert main(["export", "-o", str(path), "--clear"]) == 0
        if path.exists():
            exported += json.loads(path.read_text())["event_count"]
    stop.set()
    for writer in writers:
        writer.join()
    # An open lane's event may be exported twice (it stays), so count what was removed instead.
    cleared = sum(loss["events"] for loss in JournalReader(root).losses())
    assert cleared + len(records(root)) == sum(counts)
    assert cleared <= exported


def test_a_lane_that_grew_and_was_closed_during_the_export_is_not_removed(kept, journal, tmp_path, generated):
    reader = JournalReader(kept)
    plan = export.plan_export(reader)
    path = str(tmp_path / "e.json")
    export.export(reader, plan, path, "json", NOON_MS)
    assert journal.record("command_generated", **generated)
    assert closed.close_lanes(kept, NOON_MS) == []
    assert export_clear.remove_exported(path, reader, plan, NOON_MS).files == 0
    assert len(records(kept)) == 7


@pytest.mark.parametrize("change", ["flip", "cut", "more", "other", "gone"])
def test_a_file_that_does_not_hold_it_clears_nothing(kept, tmp_path, change):
    path = tmp_path / "e.json"
    assert closed.close_lanes(kept, NOON_MS) == []
    reader = JournalReader(kept)
    plan = export.plan_export(reader)
    export.export(reader, plan, str(path), "json", NOON_MS)
    text = path.read_text()
    match change:
        case "flip":
            path.write_text(text.replace("843", "844", 1))
        case "cut":
            path.write_text(text[:-40])
        case "more":
            path.write_text(text.replace('"events": [', '"events": [{"event": "session_end"},'))
        case "other":
            path.write_text("[]")
        case "gone":
            path.unlink()
    with pytest.raises(OutputError, match="nothing was removed"):
        export_clear.remove_exported(str(path), reader, plan, NOON_MS)
    assert len(records(kept)) == 6


def test_events_that_go_meanwhile_make_it_fail_not_lie(kept, tmp_path):
    reader = JournalReader(kept)
    plan = export.plan_export(reader)
    assert main(["clear", "--force"]) == 0
    with pytest.raises(JournalBusy):
        export.export(reader, plan, str(tmp_path / "e.json"), "json", NOON_MS)
    assert sorted(os.listdir(tmp_path)) == ["home"]


def test_what_a_batch_under_way_names_stays(kept, tmp_path):
    os.mkdir(f"{kept}/outbox")
    with open(f"{kept}/outbox/plan", "wb") as file:
        file.write(JournalReader(kept).segments()[0].segment)
    assert main(["export", "-o", str(tmp_path / "e.json"), "--clear"]) == 0
    assert len(records(kept)) == 6
    with batch_lock(kept):
        assert main(["export", "-o", str(tmp_path / "f.json"), "--clear"]) == 75
    assert not (tmp_path / "f.json").exists()


def test_under_off_it_exports_but_does_not_clear(kept, tmp_path, monkeypatch):
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    before = sorted(os.listdir(kept))
    assert main(["export", "-o", str(tmp_path / "e.json"), "--clear"]) == 77
    assert not (tmp_path / "e.json").exists()
    assert main(["export", "-o", str(tmp_path / "e.json")]) == 0
    assert sorted(os.listdir(kept)) == before


def test_a_crash_between_the_record_and_the_removal_counts_nothing_twice(kept, journal, tmp_path, generated):
    def killed(_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("carojournal.spool.remove", killed)
        assert main(["export", "-o", str(tmp_path / "e.json"), "--clear"]) == 130
    assert len(records(kept)) == 6
    assert JournalReader(kept).losses() == []
    assert main(["export", "-o", str(tmp_path / "f.json"), "--clear"]) == 0
    assert records(kept) == []
    assert sum(loss["events"] for loss in JournalReader(kept).losses()) == 6
    assert journal.record("command_generated", **generated)


@pytest.mark.parametrize("make", [os.mkdir, lambda path: os.symlink("/etc/hostname", path)])
def test_an_odd_lane_keeps_no_other_from_being_exported_and_cleared(kept, tmp_path, make):
    make(f"{kept}/lanes/1.seg")
    path = str(tmp_path / "e.json")
    assert main(["export", "-o", path, "--clear"]) == 65
    assert len(json.loads((tmp_path / "e.json").read_text())["events"]) == 6
    assert records(kept) == []
    assert os.path.lexists(f"{kept}/lanes/1.seg")
