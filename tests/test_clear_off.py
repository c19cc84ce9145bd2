"""`clear` under off ends with nothing left, whatever hosts bring back before they have noticed."""

import os
import time

import pytest
from conftest import NOON_MS

from carojournal import Journal, clear, policy
from carojournal.errors import JournalIOError


@pytest.fixture(autouse=True)
def used(journal):
    """A journal that holds an event."""
    assert journal.record("session_end", session_duration_ms=5)
    journal.close()


@pytest.mark.parametrize("comes_back", ["lanes", "the root", "a first host"])
def test_under_off_nothing_is_left_of_what_hosts_record_until_they_notice(root, clock, monkeypatch, comes_back):
    """A host looks at the policy once a second; until then it brings back what it needs."""
    off = set()
    resolve = policy.resolve

    def resolved(*args, **options):
        found = resolve(*args, **options)
        found.mode = "off" if off else found.mode
        return found

    monkeypatch.setattr(policy, "resolve", resolved)
    host = Journal.open(root, clock=clock, admin="/nonexistent")
    kept = []

    def record(*_):
        kept.append(host.record("session_end", session_duration_ms=5))

    def slept(seconds):
        clock.advance(round(seconds * 1000))
        record()

    steps, unlink = {"lanes": "_remove_locks", "the root": "_remove_root"}, os.unlink
    if comes_back in steps:
        record()
        step = getattr(clear, steps[comes_back])
        order = (step, record) if comes_back == "the root" else (record, step)
        monkeypatch.setattr(clear, steps[comes_back], lambda root: [call(root) for call in order])

    def checked(path, *args, **options):
        if str(path).endswith(".lock") and "lanes" in str(path):
            assert not os.path.exists(f"{str(path)[:-5]}.seg"), "a segment without the lock of its lane"
        unlink(path, *args, **options)

    monkeypatch.setattr(os, "unlink", checked)
    off.add(True)
    done = clear.clear(root, time.time_ns() // 1_000_000, remove_root=True, sleep=slept)
    assert any(kept)
    assert not kept[-1]
    assert done.root_removed
    assert not os.path.exists(root)


def test_under_off_a_host_that_never_notices_is_not_waited_for_for_ever(root, clock, monkeypatch):
    """It was started where telemetry is not off."""
    waits = []
    remove = clear._remove_locks
    with Journal.open(root, clock=clock, admin="/nonexistent") as host:

        def remove_locks(root):
            host.record("session_end", session_duration_ms=5)
            remove(root)

        monkeypatch.setattr(clear, "_remove_locks", remove_locks)
        with pytest.raises(JournalIOError, match="not empty"):
            clear.clear(root, NOON_MS, remove_root=True, sleep=waits.append)
    assert len(waits) == clear.LOOKS_MAX - 1
    assert sorted(os.listdir(f"{root}/lanes")) == ["0.lock", "0.seg"]


def test_under_off_nobody_waits_where_no_host_is_at_work(root):
    def slept(_):
        raise AssertionError("waited for nobody")

    assert clear.clear(root, NOON_MS, remove_root=True, sleep=slept).root_removed
