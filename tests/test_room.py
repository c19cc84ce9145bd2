"""Who makes room: one process at a time, and nobody waits long for it."""

import errno
import os

import pytest
import segments_by_hand as by_hand
from carobatch_journals import bounded

from carojournal import Journal, lanes, policy, spool

CAP = 700_000  # 40 segments would be below the minimum: segments of 17,500 bytes, quick to fill.


@pytest.fixture
def small(home, clock, monkeypatch):
    """A journal whose spool is bounded at CAP."""
    monkeypatch.setattr(policy, "resolve", bounded(CAP))
    with Journal.open(clock=clock, admin="/nonexistent") as opened:
        yield opened


def fill(journal, clock, events, generated):
    for _ in range(events):
        clock.advance(1)
        assert journal.record("command_generated", **generated)


def test_one_at_a_time_makes_room(journal, root):
    assert spool.lock_room(root) == -1, "nothing is there yet"
    journal.record("session_start", caro_version="1.1.0", os="linux")
    room = spool.lock_room(root)
    assert room >= 0
    assert spool.lock_room(root, 2) == -1
    spool.unlock_room(room)
    again = spool.lock_room(root)
    assert again >= 0
    spool.unlock_room(again)


def test_who_makes_room_holds_the_lock_until_the_files_are_gone(small, root, clock, generated, monkeypatch):
    remove, held = spool.remove, []

    def looked(victims):
        held.append(spool.lock_room(root, 1) == -1)
        remove(victims)

    monkeypatch.setattr(spool, "remove", looked)
    fill(small, clock, 3_000, generated)
    assert set(held) == {True}
    monkeypatch.undo()
    room = spool.lock_room(root, 1)
    assert room >= 0
    spool.unlock_room(room)


def test_who_starts_a_segment_holds_the_lock_until_its_first_records_are_written(
    small, root, clock, generated, monkeypatch
):
    """They may be more than a lane counts for: whoever makes room next must see them."""
    fill(small, clock, 1, generated)
    write, held = os.write, []

    def looked(descriptor, data):
        held.append((len(data), spool.lock_room(root, 1) == -1))
        return write(descriptor, data)

    monkeypatch.setattr(lanes.os, "write", looked)
    events = [("command_generated", generated)] * 500
    small.append_many(events)
    monkeypatch.undo()
    assert [locked for _, locked in held] == [True, True], "the header, then the records"
    assert held[1][0] > policy.segment_limit(CAP, 0)


def test_a_lock_that_cannot_be_given_back_costs_no_event(small, root, clock, generated, monkeypatch):
    """The event is written by then: to call it dropped would count it twice."""
    flock, close, failed = spool.flock, os.close, []

    def fails(descriptor, operation):
        if operation == spool.LOCK_UN:
            failed.append(descriptor)
            raise OSError(errno.EIO, "Input/output error")
        flock(descriptor, operation)

    def fails_too(descriptor):
        close(descriptor)
        if failed and descriptor == failed[-1]:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(spool, "flock", fails)
    monkeypatch.setattr(spool.os, "close", fails_too)
    fill(small, clock, 500, generated)
    monkeypatch.undo()
    monkeypatch.setattr(policy, "resolve", bounded(CAP))
    assert len(failed) > 2
    assert small.stats["dropped"] == 0
    assert len(by_hand.events(root)) == 500


def test_a_host_goes_on_while_somebody_who_makes_room_is_stopped(small, root, clock, generated, monkeypatch):
    monkeypatch.setattr(spool.time, "sleep", lambda _: None)
    fill(small, clock, 1, generated)
    room = spool.lock_room(root)
    fill(small, clock, 500, generated)
    spool.unlock_room(room)


def test_a_segment_grows_a_little_rather_than_wait_for_somebody_who_makes_room(
    small, root, clock, generated, monkeypatch
):
    """Up to 5/4 of its limit; then, and at midnight, the host waits."""
    waits = []
    monkeypatch.setattr(spool.time, "sleep", waits.append)
    fill(small, clock, 1, generated)
    limit = policy.segment_limit(CAP, 0)
    lane = os.path.join(root, "lanes", "0.seg")
    room = spool.lock_room(root)
    inode = os.stat(lane).st_ino
    while os.stat(lane).st_ino == inode:
        assert os.path.getsize(lane) <= limit * 5 // 4
        grown, waited = os.path.getsize(lane), len(waits)
        fill(small, clock, 1, generated)
    spool.unlock_room(room)
    assert grown > limit * 5 // 4 - 300, "all but one record of what it may take"
    assert not waited
    assert len(waits) == spool.ROOM_TRIES - 1
