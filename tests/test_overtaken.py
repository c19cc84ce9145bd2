"""Threads of which one is overtaken between the check of its event and the write: by a clear, midnight, or `off`."""

import threading

import pytest
import segments_by_hand as by_hand

from carojournal import clear, drops, identity, redact
from carojournal import journal as module
from carojournal.deletion import read_identity
from carojournal.recovery import verify

FIRST, OVERTAKEN, OTHER = ({"session_duration_ms": number} for number in (1, 2, 3))
PATIENCE_S = 60


class Watched:
    """A lock that tells when *thread* comes to it."""

    def __init__(self, lock, thread):
        self.lock, self.thread = lock, thread
        self.reached = threading.Event()

    def __enter__(self):
        if threading.current_thread() is self.thread:
            self.reached.set()
        return self.lock.__enter__()

    def __exit__(self, *raised):
        return self.lock.__exit__(*raised)


class Slow:
    """A thread that writes the event OVERTAKEN with *act*; it waits for `go` before the event is checked."""

    def __init__(self, journal, act, monkeypatch):
        self.at, self.go = threading.Event(), threading.Event()
        self.answers = []
        self.thread = threading.Thread(target=lambda: self.answers.append(act(journal)))
        check = redact.check

        def slow_check(event, fields, level):
            if threading.current_thread() is self.thread:
                self.at.set()
                assert self.go.wait(PATIENCE_S)
            return check(event, fields, level)

        monkeypatch.setattr(redact, "check", slow_check)
        self.lock = journal._lock = Watched(journal._lock, self.thread)
        self.thread.start()
        assert self.at.wait(PATIENCE_S)
        self.lock.reached.clear()

    def end(self):
        self.go.set()
        self.thread.join()
        return self.answers


def appended_many(journal):
    try:
        return journal.append_many([("session_end", OVERTAKEN)]) is not None
    except module.carojournal.errors.JournalOff:
        return False


ACTS = pytest.mark.parametrize(
    "act",
    [
        lambda journal: journal.record("session_end", **OVERTAKEN),
        appended_many,
        lambda journal: bool(journal.append_timed([(journal._clock() // 1_000_000, "session_end", OVERTAKEN)])),
    ],
    ids=["record", "append_many", "append_timed"],
)


@ACTS
def test_an_event_that_a_clear_overtakes_has_the_ids_of_the_new_journal(journal, root, clock, monkeypatch, act):
    """It was written without a run, acknowledged, and no reader took it for an event."""
    assert journal.record("session_end", **FIRST)
    slow = Slow(journal, act, monkeypatch)
    create = drops.create_drops

    def slow_create(place):
        slow.go.set()
        assert slow.lock.reached.wait(PATIENCE_S)
        create(place)

    clear.clear(root, clock.now_ms, remove_root=False)
    clock.advance(module.POLICY_CHECK_MS)
    monkeypatch.setattr(drops, "create_drops", slow_create)
    assert journal.record("session_end", **OTHER)
    assert slow.end() == [True]
    events = [value for _, _, value in by_hand.events(root)]
    assert sorted(value["session_duration_ms"] for value in events) == [2, 3]
    assert {value["run_id"].hex() for value in events} == {journal.run_id}
    assert len({value["session_id"] for value in events}) == 1
    assert verify(root).exit_code == 0


@ACTS
def test_an_event_that_midnight_overtakes_is_of_the_day_of_its_ids(journal, root, clock, monkeypatch, act):
    """Ids live for one UTC day; an event of the day before under them tied the two days together."""
    clock.now_ms = (clock.now_ms // 86_400_000 + 1) * 86_400_000 - 1
    assert journal.record("session_end", **FIRST)
    slow = Slow(journal, act, monkeypatch)
    clock.advance(2)
    assert journal.record("session_end", **OTHER)
    assert slow.end() == [True]
    sessions = dict(map(reversed, read_identity(root).history()))
    for _, _, value in by_hand.events(root):
        assert sessions[value["session_id"]] == identity.day_of(value["timestamp"])


@ACTS
def test_an_event_that_off_overtakes_is_not_written(journal, root, clock, monkeypatch, act):
    assert journal.record("session_end", **FIRST)
    slow = Slow(journal, act, monkeypatch)
    monkeypatch.setenv("CARO_TELEMETRY_ENABLED", "0")
    clock.advance(module.POLICY_CHECK_MS)
    assert not journal.record("session_end", **OTHER)
    assert slow.end() == [False]
    assert [value["session_duration_ms"] for _, _, value in by_hand.events(root)] == [1]
    assert journal.stats["dropped"] == 0


def test_ids_that_could_not_be_renewed_stay_whole(journal, root, clock, monkeypatch):
    """After a clear on a disk that is full the run was gone, and the ids of before stood for what came."""
    assert journal.record("session_end", **FIRST)
    before = journal.run_id
    clear.clear(root, clock.now_ms, remove_root=False)
    clock.advance(module.POLICY_CHECK_MS)
    with monkeypatch.context() as patched:
        patched.setattr(drops, "create_drops", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        assert not journal.record("session_end", **OTHER)
        assert journal.run_id == before
    assert journal.record("session_end", **OTHER)
    assert journal.run_id not in ("", before)
    assert verify(root).exit_code == 0
