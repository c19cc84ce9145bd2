"""A host dies between telling a loss and doing it while carobatch works: nothing told is kept or sent as well."""

import pytest
from carobatch_journals import bounded
from receivers import Receiver
from told_losses import CAP_BYTES, die_once, lost, present, told
from uploads import consented, job, names, upload

from carobatch import compact as compaction
from carobatch import upload as uploading
from carobatch.compact import compact
from carobatch.outbox import Outbox
from carobatch.store import PackedStore
from carobatch.upload import Upload
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


class Killed(BaseException):
    """The upload is killed here."""


def test_an_intent_is_not_resumed_of_which_a_host_has_told_something(root, clock, full, plain, monkeypatch):
    """The host chose before the intent was there, and both died: it before the unlink, the upload before it looked."""
    journal, made = full
    write = Outbox.write

    def told_first(*words):
        more.append(die_once(journal, clock))
        return write(*words)

    def killed(*_):
        raise Killed

    more = []
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "write", told_first)
        patch.setattr(uploading, "still_there", killed)
        with pytest.raises(Killed):
            Upload(job(root, plain.url, clock, cap_bytes=CAP_BYTES)).run()
    assert len(names(root, "outbox")) == 1
    assert told(root) & {info.segment for info in JournalReader(root).segments()}, "what it names is told and stands"
    while upload(root, plain.url, clock, cap_bytes=CAP_BYTES).events:
        pass
    assert set(plain.events.values()) == {1}
    assert len(plain.events) + present(root) + lost(root) == made + sum(more)
    assert names(root, "outbox") == []


def test_an_intent_that_may_have_been_sent_is_resumed_although_hosts_make_room(root, clock, full, plain, monkeypatch):
    """It passed the look, so hosts spare what it names: nothing of it is told as lost, and it goes out again."""
    journal, made = full

    def killed(upload_, intent):
        send(upload_, intent)
        raise Killed

    send = Upload._send
    with monkeypatch.context() as patch:
        patch.setattr(Upload, "_send", killed)
        with pytest.raises(Killed):
            Upload(job(root, plain.url, clock, cap_bytes=CAP_BYTES, events_max=100)).run()
    first = dict(plain.events)
    assert len(first) == 100
    made += die_once(journal, clock) + die_once(journal, clock)
    assert upload(root, plain.url, clock, cap_bytes=CAP_BYTES).kind == "done"
    assert all(plain.events[event] == 2 for event in first), "under the ids that the receiver knows"
    assert len(plain.events) + present(root) + lost(root) == made


def test_what_a_host_told_during_a_compaction_is_not_packed(root, clock, full, monkeypatch):
    journal, made = full
    more = []
    monkeypatch.setattr(compaction, "finish_evictions", dies_after(compaction, journal, clock, more))
    assert compact(root, PackedStore(root, CAP_BYTES), clock.now_ms, 10**9).segments > 1
    assert present(root) + lost(root) == made + sum(more)
    assert told(root).isdisjoint(info.segment for info in JournalReader(root).segments())
