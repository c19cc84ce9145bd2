"""Scrubbing: a damaged packed file is written anew while something can be saved, and what cannot be is named."""

import os
from pathlib import Path

import pytest
from carobatch_journals import DAY_MS, close_lanes, events_of, fill, journal_at, squeezed
from faults_by_hand import lives_beyond
from told_losses import lost
from uploads import names

from carobatch.cli import main
from carobatch.compact import compact
from carobatch.scrub import scrub
from carobatch.store import PackedStore
from carojournal import held, packed
from carojournal.cbordecode import decode
from carojournal.cli import main as carojournal
from carojournal.recovery import verify
from carojournal.unfinished import Tellers

CAP = 10_000_000
EVENTS = 4_000  # Of more than one block of zstd.


@pytest.fixture
def one(root, clock):
    """The path of a packed file of four segments, its bytes, and its events."""
    with journal_at(root, clock) as journal:
        for _ in range(4):
            fill(journal, clock, EVENTS // 4, 10)
            close_lanes(root)
    run(root, clock)
    [name] = names(root, "packed")
    path = Path(root, "packed", name)
    return path, path.read_bytes(), events_of(root)


def run(root, clock, cap=CAP):
    return compact(root, PackedStore(root, cap, 9), clock.now_ms + 100 * DAY_MS, 0)


def beyond_parity(path):
    """Damage that takes the sections of the last third."""
    whole = path.read_bytes()
    inventory = packed.read_inventory(str(path))
    at = inventory.start + inventory.frame_bytes * 2 // 3
    path.write_bytes(whole[:at] + bytes(3 * inventory.parity["block"]) + whole[at + 3 * inventory.parity["block"] :])


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole, _: whole[:-30] + bytes([whole[-30] ^ 1]) + whole[-29:],
        lambda whole, start: whole[: start + 70] + bytes(64) + whole[start + 134 :],
        lambda whole, _: whole[:-64],
        lambda whole, _: whole + b"more",
        lambda whole, _: whole[:200] + b"\xff" + whole[201:],
        lambda whole, start: b"\xff" * start + whole[start:],
    ],
    ids=["a byte", "a run", "the end", "too long", "the inventory", "no inventory"],
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
    path, whole, _ = one
    path.write_bytes(whole[:-1])
    assert carojournal(["verify"]) == 2
    assert "parity puts right: nothing is lost" in capsys.readouterr().out
    assert main(["compact"]) == 0
    assert "1 damaged file mended" in capsys.readouterr().out
    assert carojournal(["verify"]) == 0
    beyond_parity(path)
    capsys.readouterr()
    assert main(["compact"]) == 65
    out, err = capsys.readouterr()
    assert "1 damaged file mended" in out
    assert f"{path}: damaged: what of it holds was written anew" in err
    assert "0 events refused" in err
    assert main(["compact"]) == 0


def test_what_a_host_evicts_meanwhile_stays_gone(root, clock, one, monkeypatch):
    path, whole, _ = one
    path.write_bytes(whole[:-1])
    encode = PackedStore.encode

    def evicted(self, sections):
        path.unlink()
        return encode(self, sections)

    monkeypatch.setattr(PackedStore, "encode", evicted)
    assert scrub(PackedStore(root, CAP), []) == (0, 0)
    assert names(root, "packed") == []


def test_what_is_told_as_lost_is_not_written_anew(root, one, monkeypatch):
    path, whole, _ = one
    path.write_bytes(whole[:-1])
    monkeypatch.setattr(Tellers, "told", lambda _, segments: set(segments))
    assert scrub(PackedStore(root, CAP), []) == (0, 0)
    assert path.read_bytes() == whole[:-1]


def test_without_room_nothing_is_touched_and_that_is_said(root, one):
    path, whole, _ = one
    path.write_bytes(whole[:-1])
    problems = []
    assert scrub(PackedStore(root, len(whole)), problems) == (0, 0)
    assert [(where, "no room" in reason) for where, reason in problems] == [(str(path), True)]
    assert path.read_bytes() == whole[:-1]


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
        assert scrub(PackedStore(root, CAP), [])[0] in (0, 1)
        assert path.read_bytes() == whole
    assert nth > 5
    assert path.read_bytes() == whole
    assert not [name for name in os.listdir(path.parent) if name.endswith(".tmp")] or run(root, clock)


def test_a_file_that_cannot_say_what_it_holds_is_evicted_last(tmp_path, clock):
    """Its events would be gone and no record could say how many; mended, it says so."""
    root, cap = str(tmp_path / "journal"), 100_000
    with squeezed(root, clock, cap) as journal:
        made = []
        for _ in range(2):
            made += fill(journal, clock, 150, 10)
            close_lanes(root)
            run(root, clock, cap)
            clock.advance(DAY_MS)
        made += fill(journal, clock, 10)
        oldest, other = (Path(root, "packed", name) for name in names(root, "packed"))
        whole = oldest.read_bytes()
        oldest.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
        while other.exists():
            made += fill(journal, clock, 50, 10)
        assert oldest.exists()
        assert run(root, clock, cap).mended == 1
        assert oldest.read_bytes() == whole
        while oldest.exists():
            made += fill(journal, clock, 50, 10)
    assert lost(root) + len(events_of(root)) == len(made)
    assert verify(root).exit_code == 0


def test_it_goes_all_the_same_where_nothing_else_can(tmp_path, clock):
    root, cap = str(tmp_path / "journal"), 100_000
    with squeezed(root, clock, cap) as journal:
        fill(journal, clock, 600, 10)
        close_lanes(root)
        run(root, clock, cap)
        [path] = (Path(root, "packed", name) for name in names(root, "packed"))
        data = path.read_bytes()
        path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:] + bytes(cap))
        fill(journal, clock, 600, 10)
        assert not path.exists()
        assert journal.stats["dropped"] == 0
