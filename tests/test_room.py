"""Who makes room: one process at a time, and nobody waits long for it."""

import errno
import os

import pytest
import segments_by_hand as by_hand
from carobatch_journals import bounded
from small_journals import CAP, fill, used

from carojournal import lanes, policy, spool
from carojournal.errors import JournalBusy


def is_held(root):
    try:
        spool.unlock_room(spool.lock_room(root, 0))
    except JournalBusy:
        return True
    return False


def test_one_at_a_time_makes_room(journal, root):
    with pytest.raises(FileNotFoundError):
        spool.lock_room(root)
    journal.record("session_start", caro_version="1.1.0", os="linux")
    os.rmdir(os.path.join(root, "segments"))
    room = spool.lock_room(root)
    assert is_held(root)
    spool.unlock_room(room)
    assert not is_held(root)


def test_who_makes_room_holds_the_lock_until_the_files_are_gone(narrow, root, clock, generated, monkeypatch):
    remove, held = spool.remove, []

    def looked(victims):
        held.append(is_held(root))
        remove(victims)

    monkeypatch.setattr(spool, "remove", looked)
    fill(narrow, clock, 3_000, generated)
    assert set(held) == {True}
    assert not is_held(root)


def test_who_starts_a_segment_holds_the_lock_until_its_first_records_are_written(
    narrow, root, clock, generated, monkeypatch
):
    """They may be more than a lane counts for: whoever makes room next must see them."""
    fill(narrow, clock, 1, generated)
    write, held = os.write, []

    def looked(descriptor, data):
        held.append((len(data), is_held(root)))
        return write(descriptor, data)

    monkeypatch.setattr(lanes.os, "write", looked)
    events = [("command_generated", generated)] * 500
    narrow.append_many(events)
    monkeypatch.undo()
    assert [locked for _, locked in held] == [True, True], "the header, then the records"
    assert held[1][0] > policy.segment_limit(CAP, 0)


def test_a_lock_that_cannot_be_given_back_costs_no_event(narrow, root, clock, generated, monkeypatch):
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
    fill(narrow, clock, 500, generated)
    monkeypatch.undo()
    monkeypatch.setattr(policy, "resolve", bounded(CAP))
    assert len(failed) > 2
    assert narrow.stats["dropped"] == 0
    assert len(by_hand.events(root)) == 500


class Waits:
    """Stands for the module `time`: a sleep takes no time, and is noted."""

    def __init__(self):
        self.slept_s = 0.0

    def sleep(self, seconds):
        self.slept_s += seconds

    def monotonic(self):
        return self.slept_s


@pytest.fixture
def waits(monkeypatch):
    monkeypatch.setattr(spool, "time", Waits())
    return spool.time


def test_a_host_goes_on_while_somebody_who_makes_room_is_stopped(narrow, root, clock, generated, waits):
    """As long as there is room: it waits once, for a tenth of a second, and evicts nothing."""
    fill(narrow, clock, 1, generated)
    room = spool.lock_room(root)
    fill(narrow, clock, 500, generated)
    assert len(os.listdir(os.path.join(root, "segments"))) > 3
    assert waits.slept_s == pytest.approx(spool.ROOM_WAIT_S, abs=0.001)
    assert len(by_hand.events(root)) == 501
    spool.unlock_room(room)


def test_a_host_waits_again_when_the_lock_was_free_meanwhile(narrow, root, clock, generated, waits):
    fill(narrow, clock, 1, generated)
    for times in (1, 2):
        room = spool.lock_room(root)
        fill(narrow, clock, 300, generated)
        spool.unlock_room(room)
        fill(narrow, clock, 300, generated)
        assert waits.slept_s == pytest.approx(times * spool.ROOM_WAIT_S, abs=0.001)


def test_nothing_is_evicted_while_somebody_who_makes_room_is_stopped(narrow, root, clock, generated, waits):
    """Of two who evict at the same time each could tell the same loss: what does not fit is dropped, and counted."""
    limit = policy.segment_limit(CAP, 0)
    fill(narrow, clock, 1, generated)
    events = 1
    while used(root) <= CAP - limit:
        fill(narrow, clock, 1, generated)
        events += 1
    there = set(os.listdir(os.path.join(root, "segments")))
    room = spool.lock_room(root)
    kept = 0
    for _ in range(1_000):
        clock.advance(1)
        kept += narrow.record("command_generated", **generated)
    assert there <= set(os.listdir(os.path.join(root, "segments")))
    assert narrow.stats["reasons"] == {"drop busy": 1_000 - kept}
    assert CAP - 300 < used(root) <= CAP
    assert waits.slept_s == pytest.approx(spool.ROOM_WAIT_S, abs=0.001)
    assert not by_hand.controls(root, "loss")
    spool.unlock_room(room)
    fill(narrow, clock, 1, generated)
    assert used(root) <= CAP
    lost = sum(loss["events"] for loss in by_hand.controls(root, "loss"))
    assert lost > 0
    assert events + kept + 1 == len(by_hand.events(root)) + lost


def test_who_goes_on_without_the_lock_does_so_one_at_a_time(narrow, root, clock, generated, waits):
    """Several would each take the room that is left."""
    fill(narrow, clock, 1, generated)
    room, line = spool.lock_room(root), spool.lock_room(root, 0, "lanes")
    for _ in range(200):
        clock.advance(1)
        narrow.record("command_generated", **generated)
    assert narrow.stats["dropped"] > 50
    assert set(narrow.stats["reasons"]) == {"drop busy"}
    spool.unlock_room(line)
    fill(narrow, clock, 200, generated)
    spool.unlock_room(room)


@pytest.mark.parametrize("days", [0, 1])
@pytest.mark.usefixtures("waits")
def test_a_day_ends_while_somebody_who_makes_room_is_stopped(narrow, root, clock, generated, days):
    """A segment takes events of one day only: where there is no room for the next one, they are dropped."""
    limit = policy.segment_limit(CAP, 0)
    fill(narrow, clock, 1, generated)
    while used(root) <= CAP - limit // 2:
        fill(narrow, clock, 1, generated)
    room = spool.lock_room(root)
    clock.advance(days * 86_400_000)
    assert narrow.record("command_generated", **generated) is not bool(days)
    assert narrow.stats["dropped"] == days
    assert used(root) <= CAP
    spool.unlock_room(room)
    fill(narrow, clock, 1, generated)
    assert used(root) <= CAP


def test_a_child_keeps_no_lock_of_a_parent_that_makes_room(narrow, root, clock, generated):
    """It may live on when the parent was killed."""
    fill(narrow, clock, 1, generated)
    room = spool.lock_room(root)
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.fstat(room)
        except OSError:
            os.write(theirs, b"closed")
        finally:
            os._exit(0)
    os.close(theirs)
    os.waitpid(child, 0)
    assert os.read(ours, 16) == b"closed"
    os.close(ours)
    assert is_held(root)
    spool.unlock_room(room)
    assert not is_held(root)


def test_a_host_without_descriptors_for_the_lock_lets_its_segment_grow(narrow, root, clock, generated, monkeypatch):
    fill(narrow, clock, 1, generated)
    before = narrow.append("command_generated", **generated)[0]
    lock_room = spool.lock_room

    def lacking(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(spool, "lock_room", lacking)
    limit = policy.segment_limit(CAP, 0)
    while os.path.getsize(os.path.join(root, "lanes", "0.seg")) <= limit:
        fill(narrow, clock, 1, generated)
    monkeypatch.setattr(spool, "lock_room", lock_room)
    assert narrow.append("command_generated", **generated)[0] != before
    assert narrow.stats["dropped"] == 0


def test_a_segment_grows_a_little_rather_than_wait_for_somebody_who_makes_room(narrow, root, clock, generated, waits):
    """Up to 5/4 of its limit; then, and at midnight, the host waits."""
    fill(narrow, clock, 1, generated)
    limit = policy.segment_limit(CAP, 0)
    lane = os.path.join(root, "lanes", "0.seg")
    room = spool.lock_room(root)
    inode = os.stat(lane).st_ino
    while os.stat(lane).st_ino == inode:
        assert os.path.getsize(lane) <= limit * 5 // 4
        grown, waited = os.path.getsize(lane), waits.slept_s
        fill(narrow, clock, 1, generated)
    spool.unlock_room(room)
    assert grown > limit * 5 // 4 - 300, "all but one record of what it may take"
    assert not waited
    assert waits.slept_s == pytest.approx(spool.ROOM_WAIT_S, abs=0.001)
