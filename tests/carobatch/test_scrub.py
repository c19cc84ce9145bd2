"""Scrubbing: a damaged packed file is written anew while something can be saved, and what cannot be is named."""

import os
import re
from pathlib import Path

import pytest
from carobatch_journals import events_of, fill, squeezed
from faults_by_hand import lives_beyond
from packed_files import CAP, beyond_parity, pack, run
from uploads import names

from carobatch.cli import main
from carobatch.scrub import Scrubbed, scrub
from carobatch.store import PackedStore
from carojournal import held, packed
from carojournal.cbordecode import decode
from carojournal.cli import main as carojournal
from carojournal.reader import JournalReader
from carojournal.recovery import verify
from carojournal.status import losses_by_reason
from carojournal.unfinished import Tellers


@pytest.fixture
def one(root, clock):
    """The path of a packed file of four segments, its bytes, and its events."""
    return pack(root, clock)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole, _: whole[:-30] + bytes([whole[-30] ^ 1]) + whole[-29:],
        lambda whole, start: whole[: start + 70] + bytes(64) + whole[start + 134 :],
        lambda whole, _: whole[:-64],
        lambda whole, _: whole + b"more",
        lambda whole, _: whole[:200] + b"\xff" + whole[201:],
        lambda whole, start: b"\xff" * start + whole[start:],
        lambda whole, _: b"\xff" * 8 + whole[8:-1],
        lambda whole, start: whole[: start - 40] + bytes(64) + whole[start + 24 :],
    ],
    ids=[
        "a byte",
        "a run",
        "the end",
        "too long",
        "the inventory",
        "no inventory",
        "the head and the end",
        "a run into the frame",
    ],
)
def test_what_can_be_put_right_is_what_was_written(root, clock, one, damage):
    path, whole, events = one
    path.write_bytes(damage(whole, packed.read_inventory(str(path)).start))
    assert events_of(root) == events
    assert verify(root).exit_code == 2
    done = run(root, clock)
    assert (done.mended, done.damaged_bytes, done.problems) == (1, 0, [])
    assert path.read_bytes() == whole
    assert verify(root).exit_code == 0
    assert names(root, "quarantine") == []
    assert run(root, clock).mended == 0


def test_what_cannot_is_counted_by_identity(root, clock, one):
    path, _, events = one
    beyond_parity(path)
    damaged = path.read_bytes()
    start = packed.read_inventory(str(path)).start
    left = {}
    for header, records in packed_sections(path):
        left |= {(header["segment"], seq): payload for seq, payload in records}
    assert 0 < len(left) < len(events)
    done = run(root, clock)
    assert done.mended == 1
    assert done.damaged_bytes == len(damaged) - start
    assert [where for where, _ in done.problems] == [str(path)]
    assert events_of(root) == left
    assert verify(root).exit_code == 0
    rows = packed.read_inventory(str(path)).sections
    gone = {
        (row["segment"], seq)
        for row in rows
        for gap in row["gaps"]
        for seq in range(gap["first_seq"], gap["last_seq"] + 1)
        if gap["reason"] == "damaged"
    }
    assert gone == events.keys() - left.keys()
    assert sum(row["events"] for row in rows) == len(left)
    carried = [loss[4].get("damaged", [0, 0, 0])[1] for loss in held.describe(str(path))]
    assert sum(carried) == len(gone)
    [name] = names(root, "quarantine")
    kept = decode(Path(root, "quarantine", name).read_bytes())
    assert [part["data"] for part in kept["damaged"]] == [damaged[start:]]
    again = run(root, clock)
    assert (again.mended, again.problems) == (0, [])


def packed_sections(path):
    found = []
    try:
        for header, records in packed.iter_sections(str(path)):
            found.append((header, list(records)))
    except packed.DamagedData:
        pass
    return found


def test_the_verb_says_what_was_mended_and_what_is_gone(root, one, capsys):
    path, whole, events = one
    path.write_bytes(whole[:-1])
    assert carojournal(["verify"]) == 2
    assert "parity puts right: nothing is lost" in capsys.readouterr().out
    assert carojournal(["audit"]) == 0
    capsys.readouterr()
    assert main(["compact"]) == 0
    assert capsys.readouterr().out == "1 damaged file mended\n"
    assert carojournal(["verify"]) == 0
    beyond_parity(path)
    capsys.readouterr()
    assert main(["compact"]) == 65
    out, err = capsys.readouterr()
    assert "1 damaged file mended" in out
    gone = len(events) - len(events_of(root))
    assert gone > 0
    assert f"{path}: damaged: what of it holds was written anew; {gone:,} events are gone, and named" in err
    assert "0 events refused" in err
    assert main(["compact"]) == 0
    capsys.readouterr()
    assert carojournal(["status"]) == 0
    out = capsys.readouterr().out
    assert f"lost\t{gone:,} events\n" in out
    assert re.search(rf"^lost\t{gone:,} damaged \([0-9.]+ kB\)$", out, re.MULTILINE)
    assert "damage\tnone known" in out


def test_what_is_gone_is_counted_the_same_once_the_file_is_evicted(root, clock, one):
    path, _, events = one
    beyond_parity(path)
    run(root, clock)
    left = len(events_of(root))
    before = losses_by_reason(JournalReader(root))
    assert before.keys() == {"damaged"}
    assert before["damaged"][:2] == (0, len(events) - left)
    with squeezed(root, clock, 90_000) as journal:
        made = len(fill(journal, clock, 3_000, 1))
    assert not path.exists()
    after = losses_by_reason(JournalReader(root))
    assert after["damaged"] == before["damaged"]
    assert after["evicted"][1] == left + made - len(events_of(root))


def test_what_a_host_evicts_meanwhile_stays_gone(root, clock, one, monkeypatch):
    path, whole, _ = one
    path.write_bytes(whole[:-1])
    read_frame = packed.read_frame

    def evicted(inventory):
        frame = read_frame(inventory)
        path.unlink()
        return frame

    monkeypatch.setattr(packed, "read_frame", evicted)
    assert scrub(PackedStore(root, CAP), []) == Scrubbed()
    assert names(root, "packed") == []


def test_what_is_told_as_lost_is_not_written_anew(root, one, monkeypatch):
    path, whole, _ = one
    path.write_bytes(whole[:-1])
    monkeypatch.setattr(Tellers, "told", lambda _, segments: set(segments))
    assert scrub(PackedStore(root, CAP), []) == Scrubbed()
    assert path.read_bytes() == whole[:-1]


def test_without_room_nothing_is_touched_and_that_is_said(root, one):
    path, whole, _ = one
    beyond_parity(path)
    damaged = path.read_bytes()
    problems = []
    assert scrub(PackedStore(root, len(whole)), problems) == Scrubbed()
    assert [(where, "no room" in reason) for where, reason in problems] == [(str(path), True)]
    assert path.read_bytes() == damaged
    path.write_bytes(whole[:-1])  # What parity puts right needs none.
    assert scrub(PackedStore(root, len(whole)), problems).mended == 1
    assert path.read_bytes() == whole


def test_what_quarantine_holds_already_stays(root, clock, one):
    path, _, _ = one
    beyond_parity(path)
    held_back = path.read_bytes()
    run(root, clock)
    [name] = names(root, "quarantine")
    before = decode(Path(root, "quarantine", name).read_bytes())
    path.write_bytes(held_back)  # As a kill between the two leaves it.
    run(root, clock)
    assert decode(Path(root, "quarantine", name).read_bytes()) == before
    path.write_bytes(held_back[:-1])
    run(root, clock)
    parts = decode(Path(root, "quarantine", name).read_bytes())["damaged"]
    assert parts[: len(before["damaged"])] == before["damaged"]
    assert len(parts) == len(before["damaged"]) + 1


def test_a_kill_anywhere_loses_nothing_that_could_be_read(root, clock, one):
    path, whole, events = one
    nth = 0
    while True:
        nth += 1
        path.write_bytes(whole[:-1])
        if lives_beyond(nth, lambda: scrub(PackedStore(root, CAP), [])):
            break
        assert events_of(root) == events
        assert scrub(PackedStore(root, CAP), []).mended in (0, 1)
        assert path.read_bytes() == whole
    assert nth > 5
    assert path.read_bytes() == whole
    run(root, clock)  # Which removes what the last kill left half-written.
    assert os.listdir(path.parent) == [path.name]
