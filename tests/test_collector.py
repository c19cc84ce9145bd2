"""The collector: a bounded queue between a host's thread and the disk."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from stored_events import stored

from carojournal import Journal, drops, redact
from carojournal.collector import BATCH_EVENTS_MAX, Collector
from carojournal.journal import POLICY_CHECK_MS
from carojournal.journal import Journal as _Journal

SECRET = "hunter2-/home/ada/.ssh/id_rsa"
END = {"session_duration_ms": 5}


class Stalled:
    """A journal whose writes wait until `go` is set: a disk that hangs."""

    def __init__(self, journal):
        self.journal = journal
        self.go = threading.Event()
        self.entered = threading.Event()

    def __getattr__(self, name):
        return getattr(self.journal, name)

    def append_timed(self, events):
        self.entered.set()
        assert self.go.wait(60)
        return self.journal.append_timed(events)


@pytest.fixture
def stalled(journal):
    found = Stalled(journal)
    yield found
    found.go.set()


def test_events_are_written_in_order_by_another_thread(journal, root, clock):
    writers = set()
    append = journal.append_timed

    def watched(events):
        writers.add(threading.current_thread())
        return append(events)

    journal.append_timed = watched
    with Collector(journal, clock=clock) as collector:
        for count in range(1000):
            assert collector.record("session_end", session_duration_ms=count)
        assert collector.flush(60)
        assert [event["session_duration_ms"] for event in stored(root)] == list(range(1000))
    assert threading.main_thread() not in writers
    assert all(thread.daemon for thread in writers)
    assert journal.stats["recorded"] == 1000


def test_an_event_has_the_time_of_the_call(stalled, root, clock):
    then = clock.now_ms
    with Collector(stalled, clock=clock) as collector:
        collector.record("session_end", **END)
        assert stalled.entered.wait(60)
        clock.advance(7_000)
        stalled.go.set()
        assert collector.flush(60)
    assert [event["timestamp"] for event in stored(root)] == [then]


def test_a_time_before_midnight_is_kept_within_the_day_of_the_write(stalled, root, clock):
    clock.now_ms = (clock.now_ms // 86_400_000 + 1) * 86_400_000 - 1
    midnight = clock.now_ms + 1
    with Collector(stalled, clock=clock) as collector:
        collector.record("session_end", **END)
        assert stalled.entered.wait(60)
        clock.advance(500)
        stalled.go.set()
        assert collector.flush(60)
    assert [event["timestamp"] for event in stored(root)] == [midnight]


def test_values_are_those_of_the_call(stalled, root, clock):
    backends = ["ollama"]
    platform = {"os": "linux"}
    with Collector(stalled, clock=clock) as collector:
        assert collector.record("session_end", **END)
        assert stalled.entered.wait(60)
        assert collector.record("session_start", caro_version="1.1.0", platform=platform, backend_available=backends)
        backends[0] = SECRET
        platform["os"] = SECRET
        stalled.go.set()
        assert collector.flush(60)
    start = stored(root)[1]
    assert (start["os"], start["backend_available"]) == ("linux", ["ollama"])
    assert stalled.stats["refused"] == 0


def test_what_is_refused_is_never_queued_but_counted(stalled, root, clock):
    with Collector(stalled, clock=clock) as collector:
        assert collector.record("session_end", **END)
        assert stalled.entered.wait(60)
        assert not collector.record("session_start", caro_version=SECRET, os="linux")
        assert not collector.record(SECRET)
        assert not collector.record("session_end", session_duration_ms=5, **{SECRET: SECRET})
        assert collector.record("session_start", caro_version="1.1.0", os="linux", shell=SECRET, session_id=SECRET)
        queued = []
        while collector.waiting:
            queued.append(collector._queue.get())
        assert SECRET not in repr([getattr(item, "keys", item) for item in queued])
        for item in queued:
            collector._queue.put(item)
        stalled.go.set()
        assert collector.flush(60)
    assert stalled.stats["refused"] == 3
    assert stalled.stats["reasons"] == {
        "refuse session_start caro_version value": 1,
        "refuse <unknown> <unknown> unknown_event": 1,
        "refuse session_end <unknown> unknown_field": 1,
        "refuse session_start shell value": 1,
    }
    assert stored(root)[1]["shell"] == "unknown"


def test_a_full_queue_drops_and_counts_without_waiting(stalled, root, clock):
    with Collector(stalled, queue_max=10, clock=clock) as collector:
        assert collector.record("session_end", **END)
        assert stalled.entered.wait(60)
        answers = [collector.record("session_end", **END) for _ in range(25)]
        assert answers == [True] * 10 + [False] * 15
        stalled.go.set()
        assert collector.flush(60)
    assert len(stored(root)) == 11
    assert drops.read_counts(root)[0]["drop queue_full"] == 15
    assert stalled.stats["dropped"] == 15


def test_what_is_left_at_the_deadline_is_dropped_and_counted(stalled, root, clock):
    now = [0.0]
    collector = Collector(stalled, queue_max=5000, clock=clock, monotonic=lambda: now[0], deadline_s=0)
    collector.record("session_end", **END)
    assert stalled.entered.wait(60)
    for _ in range(BATCH_EVENTS_MAX * 2 + 7):
        assert collector.record("session_end", **END)
    collector.close()  # The thread hangs in a write: this returns nevertheless.
    assert collector._thread.is_alive()
    assert not collector.record("session_end", **END)
    stalled.go.set()
    collector._thread.join(60)
    assert len(stored(root)) == 1
    assert drops.read_counts(root)[0]["drop deadline"] == BATCH_EVENTS_MAX * 2 + 7


def test_close_is_idempotent_and_leaves_the_journal_open(journal, root, clock):
    collector = Collector(journal, clock=clock)
    collector.record("session_end", **END)
    collector.close()
    collector.close()
    assert not collector.record("session_end", **END)
    assert journal.record("session_end", **END)
    assert len(stored(root)) == 2


@pytest.mark.parametrize("started", [False, True])
def test_what_is_recorded_while_another_thread_closes_is_written(journal, root, clock, monkeypatch, started):
    """`close` comes between the look at whether the collector is open and the queue."""
    collector = Collector(journal, clock=clock)
    if started:
        assert collector.record("session_end", **END)
        assert collector.flush()
    real = redact.check

    def closing(*given):
        monkeypatch.undo()
        collector.close()
        return real(*given)

    monkeypatch.setattr(redact, "check", closing)
    assert collector.record("session_end", **END)
    assert len(stored(root)) == 1 + started


def test_without_a_thread_to_be_had_close_writes(journal, root, clock, monkeypatch):
    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with Collector(journal, clock=clock) as collector:
        assert collector.record("session_end", **END)
        assert collector.record("session_end", **END)
        assert not collector.flush()
    assert len(stored(root)) == 2


def test_off_queues_nothing_and_creates_nothing(home):
    with Journal.open(no_telemetry=True) as journal, Collector(journal) as collector:
        assert not collector.record("session_end", **END)
        assert collector.waiting == 0
        assert collector._thread is None
    assert os.listdir(home) == []


def test_a_level_that_narrows_while_an_event_waits_holds_for_it(stalled, root, clock, monkeypatch):
    with Collector(stalled, clock=clock) as collector:
        assert collector.record("session_end", **END, retries=1, safety_blocks=1)
        assert stalled.entered.wait(60)
        monkeypatch.setenv("CARO_TELEMETRY_LEVEL", "minimal")
        clock.advance(POLICY_CHECK_MS)
        stalled.go.set()
        assert collector.flush(60)
    assert stored(root)[0].keys() == {"event", "timestamp", "run_id", "session_id", "session_duration_ms"}


def test_threads_lose_nothing(journal, root, clock):
    with Collector(journal, queue_max=100_000, clock=clock) as collector:

        def work(number):
            for count in range(500):
                assert collector.record("session_end", session_duration_ms=number * 500 + count)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert collector.flush(60)
    assert sorted(event["session_duration_ms"] for event in stored(root)) == list(range(4000))


def test_a_child_writes_its_own_events_and_none_of_its_parents(root):
    """In a process of its own: pytest's threads and a fork do not go together."""
    program = """
import os, sys
from carojournal import Journal
from carojournal.collector import Collector
journal = Journal.open()
collector = Collector(journal, queue_max=10_000, deadline_s=60)
for count in range(1000):
    collector.record("session_end", session_duration_ms=count)
child = os.fork()
if child == 0:
    assert collector.waiting >= 0
    assert collector.record("session_end", session_duration_ms=5000)
    collector.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert collector.record("session_end", session_duration_ms=6000)
sys.exit(0)  # atexit closes the parent's
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    found = sorted(event["session_duration_ms"] for event in stored(root))
    assert found == [*range(1000), 5000, 6000]


def test_the_exit_of_the_interpreter_drains(root):
    program = """
from carojournal import Journal
from carojournal.collector import Collector
collector = Collector(Journal.open(), deadline_s=30)
for count in range(1000):
    assert collector.record("session_end", session_duration_ms=count)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert [event["session_duration_ms"] for event in stored(root)] == list(range(1000))


def test_a_signal_handler_may_record_at_any_moment(root):
    program = f"""
import signal
from carojournal import Journal
from carojournal.collector import Collector
collector = Collector(Journal.open(), queue_max=100_000, deadline_s=30)
fired = 0
def handler(number, frame):
    global fired
    fired += 1
    collector.record("session_end", session_duration_ms=5)
signal.signal({int(signal.SIGALRM)}, handler)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
for _ in range(20_000):
    collector.record("command_executed", execution_mode="auto_confirm")
signal.setitimer(signal.ITIMER_REAL, 0)
assert fired
print(fired)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True)
    names = [event["event"] for event in stored(root)]
    assert names.count("command_executed") == 20_000
    assert names.count("session_end") == int(done.stdout)


def test_nothing_is_raised_when_the_journal_is_broken(journal, clock, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_Journal, "_write", fail)
    with Collector(journal, clock=clock) as collector:
        assert collector.record("session_end", **END)
        assert collector.record("session_end", **END)
        assert collector.flush(60)
    assert journal.stats["dropped"] == 2
    assert journal.stats["reasons"] == {"drop disk_full": 2}


def test_one_thread_is_started_though_an_event_comes_while_it_is_being_started(journal, root, clock, monkeypatch):
    """Another thread's event, or a signal handler's."""
    made = []

    class Watched(threading.Thread):
        def __init__(self, *args, **keywords):
            made.append(self)
            if len(made) < 3:
                assert collector.record("session_end", session_duration_ms=len(made))
            super().__init__(*args, **keywords)

    monkeypatch.setattr("carojournal.collector.threading.Thread", Watched)
    with Collector(journal, clock=clock) as collector:
        assert collector.record("session_end", session_duration_ms=0)
    assert len(made) == 1
    assert [event["session_duration_ms"] for event in stored(root)] == [0, 1]
