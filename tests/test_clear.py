"""`clear` removes what is kept and only that, whatever the writers do meanwhile."""

import contextlib
import json
import os
import pty
import select
import subprocess
import sys
import threading

import pytest
from conftest import NOON_MS

from carojournal import Journal, JournalReader, clear, deletion, identity
from carojournal.cli import main
from carojournal.errors import JournalBusy, JournalIOError, JournalUnavailable, UnsafeRoot
from carojournal.lanes import Lane
from carojournal.locks import batch_lock, lane_lock
from carojournal.migrate_ledger import Ledger

TIME, SEGMENT, BATCH = "1790000000000000", "0123456789abcdef" * 2, "0123456789abcdef" * 4
# A file of every kind that is no lane's; what a crash has left half-written besides.
FILES = (
    f"packed/{TIME}-{SEGMENT}.cborseq.zst",
    f"outbox/{BATCH}.cbor",
    f"sent/{TIME}-{BATCH}.cbor",
    f"receipts/upload-{BATCH}.cbor",
    f"quarantine/{TIME}-{SEGMENT}.cbor",
)
MORE = (
    f"segments/{TIME}-{SEGMENT}.seg~",
    f"segments/{TIME}-{SEGMENT}.seg.tmp",
    f"segments/.{TIME}-{SEGMENT}.seg.0123456789abcdef.tmp",
    f"packed/.{TIME}-{SEGMENT}.cborseq.zst.0123456789abcdef.tmp",
    "outbox/spared.tmp",
    f"outbox/.{BATCH}.cbor.0123456789abcdef.tmp",
    "sent/state.json",
    "sent/.state.json.0123456789abcdef.tmp",
    "receipts/uploads.cbor",
    "receipts/acks.json",
    "receipts/bundle-000001.json",
    "receipts/.bundle-000001.json.0123456789abcdef.tmp",
    f"quarantine/refused-{BATCH}.cbor",
    f"quarantine/withheld-{BATCH}.cbor",
    "lanes/1.seg~",
    "discards",
    ".discards.0123456789abcdef.tmp",
)
FOREIGN = (
    "segments/mine.txt",
    "segments/photo.seg",
    "segments/deeper/1790000000000000-" + "0" * 32 + ".seg",
    "packed/archive.zst",
    "lanes/notes",
    "outbox/letter.cbor",
    "sent/letter.cbor",
    "receipts/tax.json",
    "quarantine/sample",
)


@pytest.fixture
def full(journal, root, clock, generated):
    """A journal with an open, a closed and (by name) every other kind of file."""
    for _ in range(3):
        journal.record("command_generated", **generated)
    clock.advance(7 * 3_600_000)  # Older than a segment may become: the next event closes it.
    for _ in range(2):
        journal.record("command_generated", **generated)
    journal.record("no_such_event")
    put(root, *FILES, "index.sqlite3", "index.sqlite3-wal", "migrated", "journal.0123.tmp")
    return root


def put(root, *names):
    for name in names:
        os.makedirs(os.path.dirname(f"{root}/{name}"), exist_ok=True)
        with open(f"{root}/{name}", "wb") as file:
            file.write(b"12345")


def impatient(root, number):
    return lane_lock(root, number, 0.0)


def names(root):
    return sorted(
        os.path.relpath(os.path.join(folder, name), root) for folder, _, files in os.walk(root) for name in files
    )


def empty(root, **keywords):
    return clear.clear(root, NOON_MS, **{"remove_root": False, **keywords})


def test_everything_that_holds_events_goes_and_is_counted(full):
    kept = clear.survey(full)
    size = sum(
        os.path.getsize(f"{full}/{name}") for name in names(full) if name not in ("journal", "policy", "lanes/0.lock")
    )
    assert (kept.files, kept.bytes) == (12, size)
    done = empty(full)
    assert (done.events, done.files, done.bytes, done.left) == (5, 12, size, 0)
    assert names(full) == ["batch.lock", "journal", "lanes/0.lock"]
    assert list(JournalReader(full).records()) == []
    assert JournalReader(full).damage == []


def test_every_name_that_we_give_goes_also_what_a_crash_left(full):
    put(full, *MORE)
    assert empty(full).left == 0
    assert names(full) == ["batch.lock", "journal", "lanes/0.lock"]


@pytest.mark.parametrize("remove_root", [False, True])
def test_what_is_not_ours_stays_in_every_folder_and_is_counted(full, remove_root):
    put(full, *FOREIGN)
    done = empty(full, remove_root=remove_root)
    assert (done.events, done.files, done.left, done.root_removed) == (5, 12, len(FOREIGN), False)
    ours = [] if remove_root else ["batch.lock", "journal", "lanes/0.lock"]
    assert names(full) == sorted([*FOREIGN, *ours])


def test_the_identity_is_another_one_and_says_so(full):
    before = deletion.read_identity(full)
    empty(full)
    after = deletion.read_identity(full)
    assert {before.journal, before.secret}.isdisjoint({after.journal, after.secret})
    assert {session for _, session in before.history()}.isdisjoint(session for _, session in after.history())
    assert f"\ncleared {NOON_MS} ".encode() in after.data


def test_a_running_host_goes_on_in_a_fresh_segment_without_a_predecessor(full, journal, generated):
    empty(full)
    for _ in range(4):
        assert journal.record("command_generated", **generated)
    assert len(list(JournalReader(full).records(events_only=True))) == 4
    assert [info.previous for info in JournalReader(full).segments()] == [None]


def test_a_running_host_carries_the_new_session_within_a_second(full, journal, clock, generated):
    before = {session for _, session in deletion.read_identity(full).history()}
    empty(full)
    clock.advance(1_000)
    journal.record("command_generated", **generated)
    (record,) = JournalReader(full).records(events_only=True)
    assert record.value["session_id"] not in before
    assert record.value["session_id"] in {session for _, session in deletion.read_identity(full).history()}


def test_writers_that_never_stop_lose_nothing_that_was_recorded_after(full, generated):
    """Every event whose `record` began after `clear` had returned is there, and `clear` holds up no writer."""
    stop = threading.Event()
    cleared = threading.Event()
    began, refused = [], []

    def write():
        with Journal.open(admin="/nonexistent") as host:
            while not stop.is_set():
                after = cleared.is_set()
                kept = host.record("command_generated", **generated)
                (refused if not kept else began if after else []).append(1)

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    for _ in range(5):
        empty(full)
    cleared.set()
    while len(began) < 300 and not refused:
        assert any(writer.is_alive() for writer in writers)
    stop.set()
    for writer in writers:
        writer.join()
    assert refused == []
    assert len(list(JournalReader(full).records(events_only=True))) >= len(began)
    assert JournalReader(full).damage == []


def writing_process(stop, generated):
    """Fork a host that records until something stands in the pipe; its exit code tells whether it ever could not."""
    child = os.fork()
    if not child:
        with Journal.open(admin="/nonexistent") as host:
            while not select.select([stop], [], [], 0)[0]:
                for _ in range(20):
                    host.record("command_generated", **generated)
            os._exit(bool(host.stats["dropped"]))
    return child


def test_clear_does_not_chase_writers_to_the_last_lane(full, generated):
    """Each needs a lane or two at a time; with all lanes held at once, the last one was locked and events dropped."""
    stop, stopped = os.pipe()
    writers = [writing_process(stop, generated) for _ in range(6)]
    for _ in range(8):
        empty(full)
    os.write(stopped, b"+")
    assert [os.waitpid(writer, 0)[1] for writer in writers] == [0] * 6
    assert len([name for name in os.listdir(f"{full}/lanes") if name.endswith(".lock")]) < 20
    os.close(stop)
    os.close(stopped)


def test_a_lane_that_is_held_for_good_is_busy(full, monkeypatch):
    lane = Lane(full, 0, 10_000_000, os.urandom)
    assert lane.acquire()
    monkeypatch.setattr("carojournal.closed.lane_lock", impatient)
    before = names(full)
    with pytest.raises(JournalBusy):
        empty(full)
    assert names(full) == sorted([*before, "batch.lock"])
    lane.close()


def test_carobatch_or_a_migration_at_work_is_busy(full):
    with batch_lock(full), pytest.raises(JournalBusy):
        empty(full)
    with Ledger(full, bytes(16)), pytest.raises(JournalBusy):
        empty(full)
    assert empty(full).events == 5


def test_under_off_the_root_goes_as_well(full):
    done = empty(full, remove_root=True)
    assert (done.events, done.root_removed) == (5, True)
    assert not os.path.exists(full)


def test_under_off_an_empty_root_goes_as_a_killed_clear_left_it(tmp_path):
    path = tmp_path / "journal"
    path.mkdir(0o700)
    assert not empty(str(path)).root_removed
    assert empty(str(path), remove_root=True).root_removed
    assert not path.exists()
    assert not empty(str(path), remove_root=True).root_removed


def test_under_off_a_pending_request_and_foreign_files_stay(full):
    deletion.queue(full, [("2026-09-21", bytes(16))], NOON_MS)
    with open(f"{full}/notes.txt", "w") as file:
        file.write("mine")
    done = empty(full, remove_root=True)
    assert (done.left, done.root_removed, done.pending_requests) == (1, False, 1)
    assert names(full) == ["deletion-requests", "notes.txt"]
    deletion.acknowledge(full, deletion.pending(full)[0].request, NOON_MS)
    os.unlink(f"{full}/notes.txt")


def test_a_root_that_is_no_journal_is_not_touched(tmp_path):
    for name in ("segments/photo.jpg", "sent/letter", "index.sqlite3"):
        os.makedirs(os.path.dirname(tmp_path / name), exist_ok=True)
        (tmp_path / name).write_text("precious")
    with pytest.raises(JournalUnavailable):
        empty(str(tmp_path), remove_root=True)
    assert names(tmp_path) == ["index.sqlite3", "segments/photo.jpg", "sent/letter"]


def test_links_are_removed_and_never_followed(full, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "photo.jpg").write_text("precious")
    os.symlink(outside, f"{full}/{MORE[0]}")
    os.symlink(outside / "photo.jpg", f"{full}/sent/state.json")
    os.symlink(outside / "photo.jpg", f"{full}/sent/shortcut")
    os.rename(f"{full}/receipts", f"{full}/receipts.away")
    os.symlink(outside, f"{full}/receipts")
    empty(full)
    assert (outside / "photo.jpg").read_text() == "precious"
    assert not os.path.lexists(f"{full}/{MORE[0]}")
    assert not os.path.lexists(f"{full}/sent/state.json")
    assert os.path.islink(f"{full}/sent/shortcut")  # Somebody else's.


@pytest.mark.parametrize("kind", [os.mkfifo, lambda path: os.symlink("/etc/hostname", path)])
@pytest.mark.parametrize("name", ["lanes/0.seg", "segments/1790000000000000-" + "0" * 32 + ".seg", "journal"])
def test_what_is_no_file_of_ours_under_a_name_of_ours_keeps_nothing_from_being_deleted(full, name, kind):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{full}/{name}")
    kind(f"{full}/{name}")
    assert clear.survey(full).files > 3
    done = empty(full)
    assert done.left == 0
    assert names(full) == ["batch.lock", "journal", "lanes/0.lock", *(["policy"] if "policy" in names(full) else [])]
    assert os.path.isfile(f"{full}/journal")


def test_a_folder_where_a_lane_should_be_goes_if_it_is_empty(full):
    os.makedirs(f"{full}/lanes/7.seg/inner")
    assert empty(full).events == 5
    assert names(full) == ["batch.lock", "journal", "lanes/0.lock", "lanes/7.lock"]


def test_a_folder_where_a_lane_should_be_is_an_error_after_the_others_are_gone_if_it_is_not(full):
    os.makedirs(f"{full}/lanes/7.seg")
    with open(f"{full}/lanes/7.seg/notes", "w") as file:
        file.write("mine")
    with pytest.raises(JournalIOError):
        empty(full)
    assert [name for name in names(full) if name.endswith((".seg", "notes"))] == ["lanes/7.seg/notes"]
    assert os.listdir(f"{full}/segments") == []
    assert deletion.read_identity(full).half_cleared


def test_a_root_of_somebody_else_is_refused(full):
    os.chmod(full, 0o777)
    with pytest.raises(UnsafeRoot):
        empty(full)
    os.chmod(full, 0o700)


def test_a_file_that_cannot_be_removed_is_an_error_after_the_others_are_gone(full, monkeypatch):
    real = os.unlink

    def stubborn(path, *args, **keywords):
        if str(path).endswith(FILES[-1]):
            raise PermissionError(13, "Permission denied", path)
        real(path, *args, **keywords)

    monkeypatch.setattr(os, "unlink", stubborn)
    with pytest.raises(JournalIOError):
        empty(full)
    assert [name for name in names(full) if "/" in name] == ["lanes/0.lock", FILES[-1]]


def test_the_verb_needs_a_terminal_or_force(full, capsys):
    before = names(full)
    assert main(["clear"]) == 77
    assert names(full) == before
    assert "--force" in capsys.readouterr().err
    assert main(["clear", "--force"]) == 0
    assert capsys.readouterr().out.startswith("Removed 5 events in 12 files, ")
    assert main(["clear"]) == 0
    assert capsys.readouterr().out == "There was nothing to remove.\n"


@pytest.mark.usefixtures("full")
def test_the_verb_prints_counts_as_json_and_warns_of_what_was_sent(capsys):
    assert main(["clear", "--force", "--json"]) == 0
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert (said["events"], said["files"], said["was_sent"], said["root_removed"]) == (5, 12, True, False)
    assert "delete-remote" in err


def test_a_missing_journal_is_nothing_to_remove_and_stays_missing(home, capsys):
    assert main(["clear"]) == 0
    assert capsys.readouterr().out == "There was nothing to remove.\n"
    assert os.listdir(home) == []


def test_under_off_the_verb_removes_the_root(full, monkeypatch):
    monkeypatch.setenv("CARO_TELEMETRY", "off")
    assert main(["clear", "--force"]) == 0
    assert not os.path.exists(full)


@pytest.mark.parametrize(
    ("answer", "code"), [(b"yes\n", 0), (b"no\n", 77), (b"\n", 77), (b"\x04", 77), (b"maybe\n", 77)]
)
def test_on_a_terminal_it_asks_and_only_yes_counts(full, answer, code):
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "carojournal.cli", "clear"]
    with subprocess.Popen(words, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        while b"[y/N]" not in seen:
            seen += os.read(ours, 1024)
        os.write(ours, answer)
        assert process.wait(20) == code
    os.close(ours)
    assert bool(list(JournalReader(full).records(events_only=True))) == (code == 77)


def test_a_journal_that_was_cleared_issues_no_run_of_before(full, journal):
    run = bytes.fromhex(journal.issue_run())
    before = deletion.read_identity(full).secret
    empty(full)
    assert identity.run_on(before, run, NOON_MS)
    assert identity.run_on(deletion.read_identity(full).secret, run, NOON_MS) is None
