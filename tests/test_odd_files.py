"""A pipe, a socket, a folder or a link in the place of any file of the journal: nothing hangs, nothing is a traceback.

Each is put in the place of each file, then a host records, and every verb runs.  What a link leads to stays as it is.
"""

import contextlib
import os
import shutil
import signal
import socket

import pytest
from conftest import NOON_MS, Clock

import carobatch.cli
import carojournal.cli
from carobatch.seal import seal_idle_lanes
from carojournal import Journal, deletion
from carojournal.identity import day_of

WAIT_S = 5  # Far more than any of these takes, on any machine: beyond it hangs.
PLACES = {
    "journal": "journal",
    "policy": "policy",
    "drops": "drops",
    "lock": "lanes/0.lock",
    "lane": "lanes/0.seg",
    "lanes": "lanes",
    "segment": "segments/*.seg",
    "segments": "segments",
    "packed": "packed/*.zst",
    "packed folder": "packed",
    "intent": "outbox/intent.cbor",
    "outbox": "outbox",
    "receipt": "receipts/receipt.cbor",
    "receipts": "receipts",
    "copy": "sent/copy.cbor",
    "quarantine": "quarantine/file",
    "requests": "deletion-requests",
    "migrated": "migrated",
    "index": "index.sqlite3",
    "batch": "batch.lock",
    "tries": "sent/state.json",
}
JOURNAL_VERBS = [
    ["status"],
    ["status", "--explain"],
    ["inspect"],
    ["verify"],
    ["audit"],
    ["sent"],
    ["reindex"],
    ["migrate", "{work}/old.json"],
    ["salvage", "-o", "{work}/salvaged"],
    ["export", "-o", "{work}/all.json"],
    ["export", "--clear", "-o", "{work}/cleared.json"],
    ["delete-remote", "--yes"],
    ["append", "--channel", "beta", "--event", "session_end", "session_duration_ms=1"],
]
BATCH_VERBS = [
    ["status"],
    ["list"],
    ["run"],
    ["upload", "--dry-run"],
    ["compact"],
    ["export", "-o", "{work}/carried.tar.zst"],
]
OLD = '[{"type": "session_start", "timestamp": "2026-01-01T00:00:00Z", "caro_version": "1.1.0", "platform": "linux"}]'


def bind(path, _):
    here = os.getcwd()
    os.chdir(os.path.dirname(path))  # A socket's path is short.
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.basename(path))
    finally:
        os.chdir(here)


KINDS = {
    "pipe": lambda path, _: os.mkfifo(path),
    "socket": bind,
    "folder": lambda path, _: os.mkdir(path),
    "link": lambda path, outside: os.symlink(outside, path),
    "link to nowhere": lambda path, outside: os.symlink(f"{outside}.gone", path),
    "link to a folder": lambda path, outside: os.symlink(os.path.dirname(outside), path),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A home whose journal has a file of every kind."""
    home = str(tmp_path_factory.mktemp("template") / "home")
    root = os.path.join(home, ".local/share/caro/telemetry/journal")
    os.makedirs(f"{home}/work")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("CARO", "XDG_")) or name == "DO_NOT_TRACK":
                patch.delenv(name)
        patch.setenv("HOME", home)
        clock = Clock(NOON_MS)
        for step in range(3):
            with Journal.open(clock=clock, admin="/nonexistent") as journal:
                assert journal.record("session_end", session_duration_ms=1)
                journal.record("session_end", session_duration_ms=-1)
            clock.advance(86_400_000)
            if not step:
                assert seal_idle_lanes(root, NOON_MS + 100 * 86_400_000, 0) == (1, 0)
                assert carobatch.cli.main(["compact"]) == 0
    for folder in ("outbox", "receipts", "sent", "quarantine"):
        os.makedirs(f"{root}/{folder}", exist_ok=True)
    deletion.note(root, f"sent {day_of(NOON_MS)}")
    return home


@pytest.fixture
def home_of_all(template, home):
    shutil.copytree(template, home, dirs_exist_ok=True)
    return home


def place_of(root, pattern):
    """Return the path to replace: the first in its folder, or, where nothing is, the one of the name itself."""
    folder, name = os.path.split(os.path.join(root, pattern))
    if name.startswith("*"):
        name = next(found for found in sorted(os.listdir(folder)) if found.endswith(name[1:]))
    return os.path.join(folder, name)


class HungError(BaseException):
    pass


@contextlib.contextmanager
def alarmed(words):
    def ring(*_):
        raise HungError(words)

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(WAIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_nothing_hangs_and_nothing_is_a_bug(home_of_all, root, tmp_path, capsys, place, kind):
    outside = tmp_path / "outside" / "precious"
    outside.parent.mkdir()
    outside.write_bytes(b"precious")
    work = f"{home_of_all}/work"
    with open(f"{work}/old.json", "w") as file:
        file.write(OLD)

    def put():
        path = place_of(root, PLACES[place])
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        KINDS[kind](path, str(outside))

    put()
    with alarmed("record"), Journal.open(admin="/nonexistent") as journal:
        before = journal.stats
        kept = journal.record("session_end", session_duration_ms=2)
        assert kept or journal.stats["dropped"] == before["dropped"] + 1
    codes = {}
    for program, verbs in ((carojournal.cli, JOURNAL_VERBS), (carobatch.cli, BATCH_VERBS)):
        for words in verbs:
            with alarmed(words):
                codes[program.__name__, *words] = program.main([word.format(work=work) for word in words])
            shutil.rmtree(f"{work}/salvaged", ignore_errors=True)
    out = capsys.readouterr()
    assert 70 not in codes.values(), (codes, out.err)
    assert "Traceback" not in out.err
    with alarmed("clear"):
        assert carojournal.cli.main(["clear", "--force"]) in (0, 74, 75)
    assert outside.read_bytes() == b"precious"
    assert os.listdir(outside.parent) == ["precious"]
