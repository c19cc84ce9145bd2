"""A release with stricter rules finishes what a killed run of the one before has begun: no segment stands twice."""

import os

import pytest
from carobatch_journals import events_of, fill, journal_at
from uploads import names

from carobatch import compact as compaction
from carobatch import sections
from carobatch.compact import compact
from carobatch.store import PackedStore
from carojournal import payload_pattern
from carojournal.codec import loads

CAP = 10**9
OLD_RULES = b"o" * 32


class Killed(BaseException):
    """The run is killed here."""


def killed(*_):
    raise Killed


def run(root, clock, rules=b""):
    store = PackedStore(root, CAP)
    store.rules = rules or store.rules
    return compact(root, store, clock.now_ms + 10**7, 0)


@pytest.fixture
def refuse(monkeypatch):
    """A function: from now on the rules refuse events with these durations; nothing is recognised at a glance."""

    def made(*durations):
        bad = (("session_end", "session_duration_ms", "range"),)
        refusals = lambda payload: bad if loads(payload).get("session_duration_ms") in durations else ()  # noqa: E731
        monkeypatch.setattr(sections, "refusals", refusals)
        monkeypatch.setattr(payload_pattern, "count_payloads", lambda _: -1)
        monkeypatch.setattr(payload_pattern, "unrecognised", lambda payloads: range(len(payloads)))

    return made


def packed_and_killed(root, clock, monkeypatch, rules):
    """Pack a segment, and be killed before its source goes."""
    unlink = os.unlink

    def cut(path, *words, **options):
        if str(path).endswith(".seg"):
            raise Killed
        unlink(path, *words, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", cut)
        with pytest.raises(Killed):
            run(root, clock, rules)
    assert names(root, "segments")


@pytest.mark.parametrize("before", [(), (3,), (1,)])
def test_a_source_goes_whose_copy_was_checked_by_the_rules_before(root, clock, monkeypatch, refuse, before):
    with journal_at(root, clock) as journal:
        fill(journal, clock, 5)
    if before:
        refuse(*before)
    packed_and_killed(root, clock, monkeypatch, OLD_RULES)
    refuse(2, *before)
    done = run(root, clock)
    assert done.problems == []
    assert names(root, "segments") == []
    assert len(events_of(root)) == 5 - len(before), "the copy is checked again when it leaves"


def test_what_a_killed_merge_was_made_of_goes_though_the_rules_are_stricter_now(root, clock, monkeypatch, refuse):
    for _ in range(2):
        with journal_at(root, clock) as journal:
            fill(journal, clock, 3)
        with monkeypatch.context() as patch:
            patch.setattr(compaction, "merge_small", lambda *_: 0)
            run(root, clock, OLD_RULES)
    assert len(names(root, "packed")) == 2
    refuse(2)
    with monkeypatch.context() as patch:
        patch.setattr(PackedStore, "remove", killed)
        with pytest.raises(Killed):
            run(root, clock)
    assert len(names(root, "packed")) == 2
    assert run(root, clock).problems == []
    assert len(names(root, "packed")) == 1


def test_a_copy_that_says_something_else_stays_beside_its_source(root, clock, monkeypatch, refuse):
    """One event of the copy is no more what the source has: neither may go for the other."""
    with journal_at(root, clock) as journal:
        fill(journal, clock, 5)
    refuse(2)
    packed_and_killed(root, clock, monkeypatch, OLD_RULES)
    refuse()
    done = run(root, clock)
    assert [reason for _, reason in done.problems] == ["differs from its packed copy; both are kept"]
    assert len(names(root, "segments")) == 1
