"""Every call of the API that a host may make, for `off_runner`.  Each is told how off was reached (`given`)."""

import contextlib
import os

from carojournal import Journal, consent
from carojournal.collector import Collector
from carojournal.errors import JournalOff
from carojournal.reader import JournalReader

__all__ = ["CALLS", "MARK", "mark"]

MARK = "/mark-of-a-test/"
STARTED = {"caro_version": "1.1.0", "os": "linux"}


def mark(text):
    """Leave a line in the trace: a look at a path that does not exist."""
    with contextlib.suppress(OSError):
        os.lstat(f"{MARK}{text}")


@contextlib.contextmanager
def refused():
    try:
        yield
    except JournalOff:
        return
    raise AssertionError("off, and yet it did not say so")


@contextlib.contextmanager
def opened(given):
    with Journal.open(**given["open"]) as journal:
        assert journal.mode == "off"
        mark("opened")
        yield journal
    assert journal.stats["recorded"] == 0


def record(given, _terminal):
    with opened(given) as journal:
        assert journal.record("session_start", **STARTED) is False
        assert journal.record("session_start", caro_version="not one", os="linux") is False
        assert journal.record("no such event") is False


def append(given, _terminal):
    with opened(given) as journal:
        for _ in range(2):
            with refused():
                journal.append("session_start", **STARTED)


def append_many(given, _terminal):
    with opened(given) as journal, refused():
        journal.append_many([("session_start", STARTED), ("session_end", {"session_duration_ms": 1})])


def append_timed(given, _terminal):
    with opened(given) as journal:
        assert journal.append_timed([(1_790_000_000_000, "session_start", STARTED)]) == 0


def new_generation(given, _terminal):
    with opened(given) as journal:
        assert journal.new_generation() == 1


def count(given, _terminal):
    with opened(given) as journal:
        journal.count({"drop queue_full": 3, "refuse session_end <unknown> unknown_field": 1}, refused=1)


def collector(given, _terminal):
    with opened(given) as journal, Collector(journal) as collecting:
        assert collecting.record("session_start", **STARTED) is False
        assert collecting.flush()


def issue_run(given, _terminal):
    """Looks at the policy again, so unlike the others it may read the files that decide."""
    with Journal.open(**given["open"]) as journal, refused():
        journal.issue_run()


def reader(given, _terminal):
    reading = JournalReader()
    list(reading.records())
    reading.segments()
    reading.tail(5)
    reading.losses()
    list(reading.follow(stop=lambda: True))


def ensure(given, _terminal):
    assert consent.ensure(**given["ensure"]).asked is False


def ensure_on_a_terminal(given, terminal):
    """Where only the channel's default says off, the user has not been asked yet.  No answer stores nothing."""
    with open(os.dup(terminal)) as stdin, open(os.dup(terminal), "w") as stderr:
        found = consent.ensure(stdin=stdin, stderr=stderr, timeout_s=0.01, **given["ensure"])
    assert (found.answer == "yes", found.asked) == (False, given["asks"])


CALLS = {
    call.__name__: call
    for call in (record, append, append_many, append_timed, new_generation, count, collector, issue_run, reader)
}
CALLS |= {"ensure": ensure, "ensure_on_a_terminal": ensure_on_a_terminal}
