"""While carobatch replaces a segment's files, no host evicts it; what was evicted before is not packed after all."""

import os

import pytest
from carobatch_journals import DAY_MS, close_lanes, events_of, fill, journal_at

from carobatch import compact as compaction
from carobatch import merge, spared
from carobatch.compact import compact
from carobatch.store import PackedStore
from carojournal import JournalReader, spool
from carojournal.errors import JournalBusy, SpoolFull

CAP = 10_000_000


@pytest.fixture
def closed(root, clock):
    """A journal of four closed segments of one day; returns their uuids, oldest first."""
    for _ in range(4):
        with journal_at(root, clock) as journal:
            fill(journal, clock)
        close_lanes(root)
    return [info.segment for info in JournalReader(root).segments()]


def pack(root, clock):
    return compact(root, PackedStore(root, CAP), clock.now_ms + 100 * DAY_MS, 0)


def evict_all(root):
    """Evict everything that may go; return how many files went."""
    room = spool.lock_room(root)
    try:
        used = sum(size for *_, size in spool.usage(root))
        victims = []
        for cap in range(used + 16_384, 16_384, -500):
            try:
                victims = spool.make_room(root, cap, 0)
            except SpoolFull:
                break
        spool.remove(victims)
    finally:
        spool.unlock_room(room)
    return len(victims)


def test_hosts_spare_what_the_note_names_and_only_while_it_stands(root, closed):
    with spared.spared(root, closed[:3]):
        assert evict_all(root) == 1
        assert [info.segment for info in JournalReader(root).segments()] == closed[:3]
    assert os.listdir(os.path.join(root, "outbox")) == []
    assert evict_all(root) > 0


def test_a_note_that_a_kill_left_behind_spares_nothing(root, closed):
    with spared.spared(root, closed):
        with open(os.path.join(root, "outbox", spared.NOTE), "rb") as file:
            note = file.read()
        assert evict_all(root) == 0
    with open(os.path.join(root, "outbox", spared.NOTE), "wb") as file:
        file.write(note)
    assert evict_all(root) == 4


def test_whoever_has_chosen_already_is_waited_for(root, closed, monkeypatch):
    monkeypatch.setattr(spared, "PATIENT_S", 0)
    room = spool.lock_room(root)
    with pytest.raises(JournalBusy), spared.spared(root, closed):
        pytest.fail("a host that makes room was not waited for")
    spool.unlock_room(room)
    assert os.listdir(os.path.join(root, "outbox")) == []


def test_a_segment_that_was_evicted_meanwhile_is_not_packed(root, clock, closed, monkeypatch):
    """It is lost, as its loss record says; a packed copy would be lost once more."""
    gone = [info for info in JournalReader(root).segments() if info.segment in closed[:2]]
    inner = compaction.spared

    def late(*arguments):
        for info in gone:
            os.unlink(info.path)
        return inner(*arguments)

    monkeypatch.setattr(compaction, "spared", late)
    assert pack(root, clock).segments == 2
    assert {segment for segment, _ in events_of(root)} == set(closed[2:])


def test_a_packed_file_that_was_evicted_meanwhile_is_not_merged(root, clock, monkeypatch):
    monkeypatch.setattr(compaction, "merge_small", lambda *_: 0)
    for _ in range(3):
        with journal_at(root, clock) as journal:
            fill(journal, clock)
        pack(root, clock)
    paths = sorted({info.path for info in JournalReader(root).segments()})
    assert len(paths) == 3
    inner = merge.spared

    def late(*arguments):
        os.unlink(paths[1])
        return inner(*arguments)

    monkeypatch.setattr(merge, "spared", late)
    problems = []
    assert merge.merge_small(PackedStore(root, CAP), problems) == 1
    assert problems == []
    assert len(events_of(root)) == 20
