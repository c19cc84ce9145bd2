"""A host that records in a signal handler or a finalizer, which may interrupt its own recording anywhere."""

import gc
import os

import pytest
from counted import interrupted

import carojournal
from carojournal import Journal, JournalReader, drops
from carojournal.recovery import verify

PACKAGE = os.path.dirname(carojournal.__file__)
END = {"session_duration_ms": 1}


def opened(root, clock):
    return Journal.open(root, environ={"HOME": "/nonexistent"}, admin="/nonexistent", clock=clock)


def account(root, journal, told):
    """Hold what *journal* was told, True or False for each event, against what the disk says."""
    journal.close()
    assert told.count(True) == sum(1 for _ in JournalReader(root).records(events_only=True))
    counts = {key: count for key, count in drops.read_counts(root)[0].items() if count}
    assert counts.get("drop busy", 0) == told.count(False)
    assert set(counts) <= {"drop busy", "refuse session_end exit_reason value"}
    assert verify(root).exit_code == 0


def once(root, clock, nth, before, act):
    """Interrupt *act* at its *nth* line by another event; return whether it has so many, and what came of that one."""
    told = []
    with opened(root, clock) as journal:
        told += [journal.record("session_end", **END) for _ in range(before)]
        inner = []
        came = interrupted(
            lambda: told.append(act(journal)), nth, PACKAGE, lambda: inner.append(journal.record("session_end", **END))
        )
        told.append(journal.record("session_end", **END))
        assert told == [True] * len(told)
        account(root, journal, told + inner)
    return came, inner


@pytest.mark.parametrize(
    ("before", "act"),
    [
        (0, lambda journal: journal.record("session_end", **END)),
        (2, lambda journal: journal.record("session_end", **END)),
        (2, lambda journal: journal.record("session_end", **END, exit_reason="bored")),
        (2, lambda journal: journal.append_many([("session_end", END)]) is not None),
    ],
    ids=["first", "later", "counting", "many"],
)
def test_an_event_that_interrupts_another_at_any_line_is_kept_or_counted(tmp_path, clock, before, act):
    nth, refused = 0, 0
    came = True
    while came:
        nth += 1
        came, inner = once(str(tmp_path / str(nth)), clock, nth, before, act)
        refused += inner.count(False)
    assert nth > 20
    assert 0 < refused < nth  # It is turned away where the other one holds the lane, and only there.


def test_a_journal_that_is_closed_in_the_middle_of_an_event_loses_nothing(tmp_path, clock):
    nth, came = 0, True
    while came:
        nth += 1
        root = str(tmp_path / str(nth))
        with opened(root, clock) as journal:
            told = [journal.record("session_end", **END) for _ in range(2)]
            came = interrupted(lambda: told.append(journal.record("session_end", **END)), nth, PACKAGE, journal.close)  # noqa: B023
        assert told.count(True) == sum(1 for _ in JournalReader(root).records(events_only=True))
        assert verify(root).exit_code == 0
    assert nth > 20


def test_a_finalizer_that_records_while_an_event_is_recorded_does_not_wait_for_itself(root, clock):
    told = []

    class Resource:
        def __init__(self):
            self.itself = self  # A cycle: the collector frees it, whenever it comes to run.

        def __del__(self):
            told.append(journal.record("session_end", **END))

    threshold = gc.get_threshold()
    with opened(root, clock) as journal:
        gc.set_threshold(10)
        try:
            for _ in range(300):
                Resource()
                told.append(journal.record("session_end", **END))
        finally:
            gc.set_threshold(*threshold)
        gc.collect()
        assert len(told) == 600
        account(root, journal, told)
