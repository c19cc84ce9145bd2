"""Hosts that fork while they record, count or close: no child waits, and each counts what is its own."""

import fcntl
import os
import signal
import threading
import time

import pytest
import segments_by_hand as by_hand

from carojournal import JournalReader, drops, eviction

END = {"session_duration_ms": 1}
WRONG = {"session_duration_ms": -1}
REFUSED = "refuse session_end session_duration_ms range"
PATIENCE_S = 60  # Of tests that would hang otherwise; none takes as long.


def forked(work):
    """Run *work* in a child; return the child's process id.  It exits with 0 if *work* returns."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def exit_code(child):
    """Return the exit code of *child*; one that hangs is killed, which is -9."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def held(root, journal):
    """A journal that has refused an event while another process held `drops`: the count is pending."""
    assert journal.record("session_end", **END)
    other = os.open(f"{root}/drops", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    assert not journal.record("session_end", **WRONG)
    os.close(other)
    assert REFUSED not in drops.read_counts(root)[0]
    return journal


def test_what_a_parent_has_yet_to_count_is_counted_once(root, held):
    def work():
        assert held.record("session_end", **END)
        assert not held.record("session_end", **WRONG)
        held.close()

    assert [exit_code(forked(work)) for _ in range(2)] == [0, 0]
    assert drops.read_counts(root)[0][REFUSED] == 2
    held.close()
    assert drops.read_counts(root)[0][REFUSED] == 3


def test_a_child_that_only_closes_counts_nothing_of_its_parents(root, held):
    assert exit_code(forked(held.close)) == 0
    assert REFUSED not in drops.read_counts(root)[0]
    held.close()
    assert drops.read_counts(root)[0][REFUSED] == 1


def test_a_fork_while_a_thread_counts_does_not_hang_the_childs_close(held):
    inside, done = threading.Event(), threading.Event()

    def count():
        with held._tally:
            inside.set()
            done.wait(PATIENCE_S)

    thread = threading.Thread(target=count)
    thread.start()
    assert inside.wait(PATIENCE_S)
    child = forked(held.close)
    code = exit_code(child)
    done.set()
    thread.join()
    assert code == 0


def test_no_thread_of_a_child_writes_through_a_lane_of_the_parents(root, journal, monkeypatch):
    """The parent holds the lane: the child's descriptor, which is the parent's, would take the lock all the same."""
    assert journal.record("session_end", **END)
    (lane,) = journal._lanes
    before = os.stat(f"{root}/lanes/0.seg").st_size
    drop = journal._drop_lanes
    second = threading.Thread(target=lambda: journal.record("session_end", **END))

    def slow():
        monkeypatch.undo()
        second.start()
        second.join(0.5)  # It must not be done by then, and cannot be.
        drop()

    def work():
        monkeypatch.setattr(journal, "_drop_lanes", slow)
        assert journal.record("session_end", **END)
        second.join()
        assert journal.stats["dropped"] == 0

    assert lane.acquire()
    code = exit_code(forked(work))
    lane.release()
    assert code == 0
    assert os.stat(f"{root}/lanes/0.seg").st_size == before
    assert len(by_hand.events(root)) == 3


def torn(root):
    """Read a lane whose last record a crash has torn: the reader asks for its lock."""
    path = f"{root}/lanes/0.seg"
    os.truncate(path, os.stat(path).st_size - 1)
    list(JournalReader(root).records())


def look(root):
    with open(f"{root}/lanes/0.lock", "rb") as file:
        assert not eviction._is_locked(file.fileno())


@pytest.mark.parametrize(
    ("name", "act"),
    [
        ("drops", lambda root: os.unlink(f"{root}/drops") or drops.create_drops(root)),
        ("drops", lambda root: drops.add_counts(root, {"drop io": 1})),
        ("lanes/0.lock", torn),
        ("lanes/0.lock", look),
    ],
    ids=["made", "counted", "read", "looked at"],
)
def test_a_child_does_not_keep_what_was_locked_at_the_fork(root, journal, monkeypatch, name, act):
    """It has the descriptor, and would keep the lock as long as it lives: counts waited for a pool of workers."""
    assert journal.record("session_end", **END)
    journal.close()
    theirs, ours = os.pipe()
    children = []
    flock = fcntl.flock

    def forking(descriptor, how):
        flock(descriptor, how)
        if not children:
            children.append(forked(lambda: os.close(ours) or os.read(theirs, 1)))

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", forking)
        act(root)
    try:
        with open(f"{root}/{name}", "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(ours)
        codes = [exit_code(child) for child in children]
        os.close(theirs)
    assert codes == [0]
