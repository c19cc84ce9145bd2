"""`carojournal status` does not call sent what has left already, as long as its file is still here."""

import json
import os
import shutil

import pytest
from receivers import Receiver
from uploads import YES_MS, configure, fill, names, record, upload

from carobatch import deliveries
from carobatch.cli import main as carobatch
from carojournal import JournalReader, sent
from carojournal.cli import main as carojournal
from carojournal.errors import JournalIOError


@pytest.fixture
def plain(home):
    with Receiver() as made:
        yield made


@pytest.fixture
def pending(root, home, capsys):
    """Return (pending, sendable) as --json says, which the table must say, too; the yes holds that events are under."""
    configure(home, "")

    def call():
        capsys.readouterr()
        assert carojournal(["status", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert carojournal(["status"]) == 0
        lines = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
        count, sendable = found["pending"], found["sendable"]
        if count is not None:
            events = "1 event" if count == 1 else f"{count:,} events"
            assert lines["pending"] == f"{events} not sent, of which {sendable:,} may be"
        return count, sendable

    return call


def some_sent(root, plain, clock, events=5, most=2):
    """Record events in one segment and send the first *most* of them."""
    record(root, clock, events)
    outcome = upload(root, plain.url, clock, events_max=most, batches_max=1)
    assert (outcome.kind, outcome.events) == ("more", most)
    return outcome


def test_what_was_sent_is_not_pending_while_its_file_is_here(root, plain, clock, pending):
    some_sent(root, plain, clock)
    assert pending() == (3, 3)
    assert carobatch(["compact"]) == 0
    assert names(root, "packed") != []
    assert pending() == (3, 3)
    upload(root, plain.url, clock)
    assert pending() == (0, 0)


def test_receipts_that_were_folded_count_as_well(root, plain, clock, pending):
    some_sent(root, plain, clock)
    present = {info.segment for info in JournalReader(root).segments()}
    deliveries.fold(root, present, receipts_max=0)
    assert names(root, "receipts") == ["uploads.cbor"]
    assert pending() == (3, 3)


def test_a_segment_that_lies_in_two_places_counts_once(root, plain, clock, pending, tmp_path):
    some_sent(root, plain, clock)
    shutil.copytree(os.path.join(root, "segments"), tmp_path / "before")
    assert carobatch(["compact"]) == 0
    for name in os.listdir(tmp_path / "before"):
        shutil.copy(tmp_path / "before" / name, os.path.join(root, "segments", name))
    assert [len(group) for group in JournalReader(root).groups()] == [2]
    assert pending() == (3, 3)


def test_what_a_receipt_names_and_is_not_there_is_not_subtracted(root, plain, clock, pending):
    """One of the two events that were sent is damaged: of four that are kept one has left."""
    some_sent(root, plain, clock)
    [path] = [one.path for one in JournalReader(root).segments()]
    [first, *_] = JournalReader(root).records(events_only=True)
    with open(path, "r+b") as file:
        file.seek(first.offset + 30)
        file.write(b"\xff")
    assert len(list(JournalReader(root).records(events_only=True))) == 4
    assert pending() == (3, 3)


def test_events_that_the_receiver_refused_are_not_pending(root, plain, clock, pending):
    record(root, clock, 3)
    plain.script = lambda request: (200, {}, json.dumps({"rejected": [request.events()[0]["event_id"]]}).encode())
    assert upload(root, plain.url, clock, events_max=2, batches_max=1).quarantined == 1
    assert pending() == (1, 1)


def test_what_only_a_bundle_has_carried_is_not_sent(root, home, clock, pending, tmp_path):
    fill(root, clock, 4)
    before = pending()
    for words in (
        ["export", "-o", str(tmp_path)],
        ["import", "--into", str(tmp_path / "taken"), "*.tar.zst"],
        ["ack", "*/received/*.json"],
    ):
        found = [str(path) for path in tmp_path.rglob(words[-1])] if "*" in words[-1] else [words[-1]]
        assert carobatch(words[:-1] + found) == 0
    assert before == pending() == (4, 4)


def test_what_cannot_be_told_is_not_guessed(root, plain, clock, pending, monkeypatch, capsys):
    some_sent(root, plain, clock)

    def refuse(path, _):
        raise JournalIOError("read", path, 5, "Input/output error")

    monkeypatch.setattr(sent, "read_map", refuse)
    assert pending() == (None, None)
    assert carojournal(["status"]) == 0
    assert "pending\tcannot be told: a receipt cannot be read\n" in capsys.readouterr().out


def test_receipts_of_what_has_gone_are_not_decoded(root, plain, clock, pending, monkeypatch):
    """There may be thousands of them in one file, for years."""
    record(root, clock, 3)
    upload(root, plain.url, clock)
    record(root, clock, 2)
    assert "uploads.cbor" in names(root, "receipts")
    monkeypatch.setattr(sent, "read_map", None)
    assert pending() == (2, 2)


@pytest.mark.parametrize("packed", [False, True])
def test_only_what_an_upload_would_take_may_be_sent(root, home, clock, receiver, pending, packed):
    """It counted what was recorded under any yes, also when none held any more."""
    fill(root, clock, 3)
    if packed:
        assert carobatch(["compact", "--idle", "0"]) == 0
    assert pending() == (3, 3)
    for verb in ("local", "off"):
        assert carojournal([verb]) == 0
        assert pending() == (3, 0)
    again = YES_MS + 86_400_000
    configure(home, receiver.settings, again)
    assert pending() == (3, 0)
    wanted = fill(root, clock, 2, again)[-2:]
    assert pending() == (5, 2)
    assert carobatch(["upload"]) == 0
    assert receiver.events == dict.fromkeys(wanted, 1)
    assert pending() == (3, 0)


def test_a_variable_that_narrows_holds_back_everything(root, home, clock, pending, monkeypatch):
    fill(root, clock, 3)
    monkeypatch.setenv("CARO_TELEMETRY", "local")
    assert pending() == (3, 0)


def test_the_index_counts_by_the_yes_that_holds(root, home, clock, pending, monkeypatch):
    monkeypatch.setattr("carojournal.index.JOURNAL_BYTES_MIN", 0)
    record(root, clock, 3_000)
    assert pending() == (3_000, 3_000)
    assert os.path.exists(os.path.join(root, "index.sqlite3"))
    configure(home, "", YES_MS + 1)
    assert pending() == (3_000, 0)
