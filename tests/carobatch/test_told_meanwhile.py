"""A host dies between telling a loss and doing it while carobatch works: nothing told is kept or sent as well."""

import pytest
from carobatch_journals import bounded
from receivers import Receiver
from told_losses import CAP_BYTES, die_once, lost, present, told
from uploads import consented, upload

from carobatch import compact as compaction
from carobatch import upload as uploading
from carobatch.compact import compact
from carobatch.store import PackedStore
from carojournal import policy
from carojournal.reader import JournalReader
from carojournal.unfinished import finish_evictions


@pytest.fixture
def full(root, clock, monkeypatch):
    """A journal under a yes that has evicted; returns (its writer, how many events were acknowledged)."""
    monkeypatch.setattr(policy, "resolve", bounded(CAP_BYTES))
    with consented(root, clock) as journal:
        for number in range(900):
            clock.advance(1)
            journal.append("session_end", session_duration_ms=number, commands_generated=number % 7)
        assert lost(root)
        yield journal, 900


@pytest.fixture
def plain():
    """A receiver without TLS."""
    with Receiver() as made:
        yield made


def dies_after(module, journal, clock, made):
    """Let a host die as soon as *module* has finished what others had left; return where it says how much it wrote."""
    finish = module.finish_evictions

    def finished(root):
        gone = finish(root)
        if not made:
            made.append(die_once(journal, clock))
        return gone

    return finished


def test_what_a_host_told_during_an_upload_is_not_sent(root, clock, full, plain, monkeypatch):
    journal, made = full
    more = []
    monkeypatch.setattr(uploading, "finish_evictions", dies_after(uploading, journal, clock, more))
    outcome = upload(root, plain.url, clock, cap_bytes=CAP_BYTES)
    finish_evictions(root)
    assert outcome.events > 0
    assert outcome.events + present(root) + lost(root) == made + sum(more)


def test_what_a_host_told_during_a_compaction_is_not_packed(root, clock, full, monkeypatch):
    journal, made = full
    more = []
    monkeypatch.setattr(compaction, "finish_evictions", dies_after(compaction, journal, clock, more))
    assert compact(root, PackedStore(root, CAP_BYTES), clock.now_ms, 10**9).segments > 1
    assert present(root) + lost(root) == made + sum(more)
    assert told(root).isdisjoint(info.segment for info in JournalReader(root).segments())
