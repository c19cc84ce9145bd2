"""`clear` killed at every call that changes the disk: no id is forgotten, nothing is sent, the next one finishes."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from conftest import NOON_MS
from faults_by_hand import lives_beyond
from receivers import Receiver
from uploads import carobatch, configure, ids, record

from carojournal import Journal, clear, deletion
from carojournal.errors import JournalIOError
from carojournal.identity import day_of
from carojournal.recovery import verify
from carojournal.status import gather

DAY = day_of(NOON_MS)


@pytest.fixture
def sent(root, clock, monkeypatch):
    """A journal that has sent something today, with an open, a closed and a carried file."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)  # A kill costs no page of the cache.
    for _ in range(2):
        record(root, clock, 2)
        clock.advance(7 * 3_600_000 // 2)
    deletion.note(root, f"sent {DAY}")
    hidden = "receipts/.uploads.cbor.0123456789abcdef.tmp"  # Half-written: a whole one would have to hold something.
    for name in ("outbox/spared.tmp", hidden, "sent/state.json", f"quarantine/refused-{'0' * 64}.cbor"):
        os.makedirs(os.path.dirname(f"{root}/{name}"))
        with open(f"{root}/{name}", "wb") as file:
            file.write(b"12345")
    return root


def killed_at(nth, root, *, remove_root):
    return lives_beyond(nth, lambda: clear.clear(root, NOON_MS + 1, remove_root=remove_root))


def test_killed_anywhere(sent, tmp_path):
    before = deletion.read_identity(sent)
    states = set()
    for nth in range(1, 1000):
        root = str(tmp_path / f"journal-{nth}")
        shutil.copytree(sent, root)
        lived = killed_at(nth, root, remove_root=False)
        found = deletion.read_identity(root)
        events = len(ids(root))
        same = found.journal == before.journal
        if same:
            assert deletion.sessions_sent(root, found) == ((DAY, before.session(DAY)),)
            assert found.half_cleared or events == 4
        else:
            assert events == 0
            assert not deletion.was_sent(root, found)
            assert not (lived and found.half_cleared)
        states.add((same, found.half_cleared, events))
        assert verify(root).exit_code == 0
        with Journal.open(root, admin="/nonexistent") as host:
            assert host.record("session_end", session_duration_ms=1)
        assert verify(root).exit_code == 0
        assert clear.clear(root, NOON_MS + 2, remove_root=False).events == events + 1
        found = deletion.read_identity(root)
        assert (ids(root), found.half_cleared, found.journal == before.journal) == ([], False, False)
        assert verify(root).exit_code == 0
        shutil.rmtree(root)
        if lived:
            break
    assert lived
    assert nth > 30
    assert {(True, False, 4), (True, True, 4), (True, True, 0), (False, True, 0), (False, False, 0)} <= states


def test_killed_anywhere_under_off(sent, tmp_path):
    for nth in range(1, 1000):
        root = str(tmp_path / f"journal-{nth}")
        shutil.copytree(sent, root)
        lived = killed_at(nth, root, remove_root=True)
        if os.path.exists(root):
            found = deletion.read_identity(root)
            assert found is None or deletion.was_sent(root, found)
            assert found is not None or not ids(root)
            clear.clear(root, NOON_MS + 2, remove_root=True)
        assert not os.path.exists(root) or os.listdir(root) == []  # An empty folder might be anybody's.
        if lived:
            break
    assert lived
    assert nth > 20


@pytest.mark.parametrize("call", ["unlink", "rename", "fsync", "ftruncate", "flock"])
def test_killed_by_the_system_at_real_calls(sent, call):
    """The same from outside, with the program that the user calls."""
    home = sent.partition("/.local/")[0]
    here = os.path.dirname(os.path.dirname(os.path.abspath(clear.__file__)))
    environ = {"PATH": os.environ["PATH"], "HOME": home, "PYTHONPATH": here}
    program = [sys.executable, "-m", "carojournal.cli", "clear", "--force", "--json"]
    total = 0
    for nth in (1, 2, 4):
        trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}:signal=KILL:when={nth}"]
        killed = subprocess.run([*trace, *program], env=environ, capture_output=True, check=False)
        assert killed.returncode in (0, -signal.SIGKILL, 128 + signal.SIGKILL)
        total += killed.returncode != 0
    done = subprocess.run(program, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["left"] == 0
    assert total
    assert ids(sent) == []
    assert not deletion.read_identity(sent).half_cleared


def test_what_an_interrupted_clear_left_is_not_sent(root, home, clock, capsys):
    wanted = record(root, clock, 2)
    clock.advance(86_400_000)
    deletion.note(root, f"clearing {NOON_MS}")
    with Receiver() as receiver:
        configure(home, f'endpoint = "{receiver.url}"')
        assert carobatch(["upload"]) == 75
        assert carobatch(["export", "-o", home]) == 75
        assert "carojournal clear" in capsys.readouterr().err
        assert "carojournal clear" in " ".join(gather(root, os.environ).problems)
        assert not receiver.events
        deletion.note(root, f"cleared {NOON_MS}")
        assert carobatch(["upload"]) == 0
        assert set(receiver.events) == set(wanted)


def test_where_a_lane_cannot_be_locked_nothing_names_what_went_either(sent, monkeypatch):
    """A disk without a place for anything: the lock's library opens its file as if it had to make it."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("carojournal.closed.lane_lock", full)
        with pytest.raises(JournalIOError):
            clear.clear(sent, NOON_MS, remove_root=False)
    assert os.listdir(os.path.join(sent, "lanes")) == ["0.lock"]
    assert verify(sent).exit_code == 0


def test_a_folder_that_cannot_be_removed_keeps_the_identity_for_the_next_time(sent, monkeypatch):
    rmdir = os.rmdir

    def interrupted(path, **options):
        if str(path).endswith("segments"):
            raise OSError(errno.EINTR, os.strerror(errno.EINTR), path)
        rmdir(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", interrupted)
        with pytest.raises(JournalIOError):
            clear.clear(sent, NOON_MS, remove_root=True)
    assert os.path.exists(os.path.join(sent, "journal"))
    assert clear.clear(sent, NOON_MS, remove_root=True).root_removed
