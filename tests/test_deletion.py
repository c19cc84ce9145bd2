"""A request to delete what was sent is durable, outlives off and clear, and names no id that was never sent."""

import contextlib
import json
import os
import pty
import subprocess
import sys

import pytest
from conftest import NOON_MS

from carojournal import JournalReader, deletion
from carojournal.cli import main
from carojournal.errors import JournalIOError
from carojournal.identity import day_of, open_identity
from carojournal.receivers import Receiver

DAY_MS = 86_400_000
TODAY = day_of(NOON_MS)
HERE = Receiver("caro-v1", "https://here.example/v1/events")
THERE = Receiver("caro-v1", "https://there.example/v1/events")


@pytest.fixture
def used(journal, clock, root):
    """A journal that was used on three days; events of the second were sent."""
    for _ in range(3):
        assert journal.record("session_end", session_duration_ms=5)
        clock.advance(DAY_MS)
    deletion.note(root, f"sent {day_of(NOON_MS + DAY_MS)}")
    return root


def identity(root):
    return deletion.read_identity(root)


def test_only_sessions_of_days_that_were_sent_are_asked_for(used):
    history = identity(used).history()
    assert len(history) == 3
    assert deletion.sessions_sent(used, identity(used)) == (history[1],)
    assert deletion.sessions_sent(used, identity(used), everything=True) == tuple(history)


def test_marking_a_session_twice_writes_once(used):
    day, session = identity(used).history()[0]
    deletion.mark_sent(used, day, {session}, HERE)
    before = os.path.getsize(f"{used}/journal")
    deletion.mark_sent(used, day, {session}, HERE)
    assert os.path.getsize(f"{used}/journal") == before
    deletion.mark_sent(used, day, {session}, THERE)
    assert os.path.getsize(f"{used}/journal") > before
    assert deletion.sent_days(identity(used)) == {TODAY, day_of(NOON_MS + DAY_MS)}


def test_each_receiver_is_asked_for_the_sessions_that_it_had_and_no_others(journal, clock, root):
    for _ in range(3):
        assert journal.record("session_end", session_duration_ms=5)
        clock.advance(DAY_MS)
    first, second, _ = identity(root).history()
    deletion.mark_sent(root, first[0], {first[1]}, HERE)
    for receiver in (HERE, THERE):
        deletion.mark_sent(root, second[0], {second[1]}, receiver)
    assert deletion.to_ask(root, identity(root)) == {HERE: (first, second), THERE: (second,)}
    asked = deletion.queue(root, (first, second), NOON_MS, receiver=HERE)
    assert deletion.pending(root) == [asked]
    # Killed between the two requests: the other one is still to be made, and the first is not made twice.
    assert deletion.to_ask(root, identity(root)) == {THERE: (second,)}
    deletion.queue(root, (second,), NOON_MS, receiver=THERE)
    assert deletion.to_ask(root, identity(root)) == {}


def test_two_sessions_of_one_day_have_receivers_of_their_own(journal, root):
    """Between them the user had something deleted and changed the endpoint."""
    assert journal.record("session_end", session_duration_ms=5)
    [(day, first)] = identity(root).history()
    deletion.mark_sent(root, day, {first}, HERE)
    open_identity(root, NOON_MS, os.urandom).append(f"rotate {NOON_MS}")
    second = open_identity(root, NOON_MS, os.urandom).session(day)
    deletion.mark_sent(root, day, {second}, THERE)
    assert deletion.to_ask(root, identity(root)) == {HERE: ((day, first),), THERE: ((day, second),)}


def test_a_request_for_a_receiver_is_whole_or_does_not_count(tmp_path):
    root = str(tmp_path)
    asked = deletion.queue(root, [(TODAY, bytes(16))], NOON_MS, receiver=HERE)
    path = f"{root}/{deletion.REQUESTS}"
    with open(path, "rb") as file:
        whole = file.read()
    assert deletion.pending(root) == [asked]
    for at in range(1, len(whole) - 1):
        for data in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :]):
            with open(path, "wb") as file:
                file.write(data)
            assert deletion.pending(root) == [], "not even as one for whichever receiver is configured"


def test_where_something_went_out_unmarked_everything_is_asked_for(journal, root):
    journal.record("session_end", session_duration_ms=5)
    assert deletion.sessions_sent(root, identity(root)) == ()
    assert not deletion.was_sent(root, identity(root))
    os.mkdir(f"{root}/sent")
    with open(f"{root}/sent/copy", "w"):
        pass
    assert deletion.was_sent(root, identity(root))
    assert len(deletion.sessions_sent(root, identity(root))) == 1


def test_a_request_is_read_back_and_confirmed(used):
    sessions = deletion.sessions_sent(used, identity(used))
    request = deletion.queue(used, sessions, NOON_MS)
    assert deletion.pending(used) == [request]
    assert deletion.requested_sessions(used) == {session for _, session in sessions}
    assert deletion.sessions_sent(used, identity(used)) == ()
    deletion.acknowledge(used, request.request, NOON_MS + 5)
    assert deletion.pending(used) == []
    assert deletion.requests(used) == [request._replace(done_ms=NOON_MS + 5)]
    assert deletion.requested_sessions(used) == {session for _, session in sessions}


def test_a_torn_request_does_not_count_at_any_length(tmp_path):
    root = str(tmp_path)
    sessions = [(TODAY, bytes([number]) * 16) for number in range(3)]
    deletion.queue(root, sessions, NOON_MS)
    path = f"{root}/{deletion.REQUESTS}"
    with open(path, "rb") as file:
        whole = file.read()
    for size in range(len(whole) - 1):
        with open(path, "wb") as file:
            file.write(whole[:size])
        assert deletion.pending(root) == []
        # What follows a torn line is not swallowed by it.
        later = deletion.queue(root, sessions[:1], NOON_MS)
        assert deletion.pending(root) == [later]


def test_a_flipped_bit_spoils_the_request_it_is_in(tmp_path):
    root = str(tmp_path)
    deletion.queue(root, [(TODAY, bytes(16))], NOON_MS)
    path = f"{root}/{deletion.REQUESTS}"
    with open(path, "rb") as file:
        whole = file.read()
    for at in range(1, len(whole) - 1):
        with open(path, "wb") as file:
            file.write(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        assert deletion.pending(root) == []


def test_a_request_is_on_the_disk_before_it_is_confirmed(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_mode & 0o170000))
    deletion.queue(str(tmp_path), [(TODAY, bytes(16))], NOON_MS)
    assert synced == [0o100000, 0o040000]  # the file, then the directory that names it


def test_the_verb_lists_asks_and_rotates(used, capsys):
    asked = deletion.sessions_sent(used, identity(used))
    assert main(["delete-remote"]) == 77  # Nobody to ask.
    assert deletion.pending(used) == []
    shown = capsys.readouterr().out
    assert f"{asked[0][0]}\t{asked[0][1].hex()}" in shown
    before = open_identity(used, NOON_MS, os.urandom).session(TODAY)
    assert main(["delete-remote", "--yes", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["sessions"] == [{"day": asked[0][0], "session_id": asked[0][1].hex()}]
    assert (said["queued"], said["pending_requests"]) == (True, 1)
    assert open_identity(used, NOON_MS, os.urandom).session(TODAY) != before
    assert main(["delete-remote", "--yes"]) == 0
    assert "no request asks for yet" in capsys.readouterr().out
    assert len(deletion.pending(used)) == 1


def test_never_sent_means_nothing_to_ask_for(journal, root, capsys):
    assert main(["delete-remote"]) == 0
    assert os.listdir(os.environ["HOME"]) == []
    journal.record("session_end", session_duration_ms=5)
    assert main(["delete-remote"]) == 0
    assert "Nothing was sent" in capsys.readouterr().out
    assert not os.path.exists(f"{root}/{deletion.REQUESTS}")
    assert main(["delete-remote", "--all", "--yes"]) == 0
    assert len(deletion.pending(root)) == 1


@pytest.mark.parametrize("flag", ["-y", "--yes", "-f", "--force"])
def test_each_spelling_of_do_not_ask(used, flag):
    assert main(["delete-remote", flag]) == 0
    assert len(deletion.pending(used)) == 1


def test_under_off_the_request_is_the_one_file_that_is_written(used, monkeypatch):
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    before = {name: os.stat(f"{used}/{name}").st_mtime_ns for name in os.listdir(used) if name != "lanes"}
    assert main(["delete-remote", "--yes"]) == 0
    after = {name: os.stat(f"{used}/{name}").st_mtime_ns for name in os.listdir(used) if name != "lanes"}
    assert after.keys() - before.keys() == {deletion.REQUESTS}
    assert before.items() <= after.items()


def test_the_verb_makes_a_request_for_each_receiver_and_names_it(used, capsys):
    [_, (day, session), _] = identity(used).history()
    for receiver in (HERE, THERE):
        deletion.mark_sent(used, day, {session}, receiver)
    # What an older version noted of the same day speaks of nobody else.
    assert main(["delete-remote", "--yes", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [one["receiver"] for one in said["requests"]] == [HERE._asdict(), THERE._asdict()]
    assert said["sessions"] == [{"day": day, "session_id": session.hex()}]
    assert [one.receiver for one in deletion.pending(used)] == [HERE, THERE]
    assert main(["verify"]) == 0


def test_a_request_survives_clear(used):
    assert main(["delete-remote", "--yes"]) == 0
    request = deletion.pending(used)
    assert main(["clear", "--force"]) == 0
    assert deletion.pending(used) == request


@pytest.mark.parametrize(
    ("answer", "code", "queued"), [(b"y\n", 0, 1), (b"n\n", 77, 0), (b"\n", 77, 0), (b"\x04", 77, 0)]
)
def test_on_a_terminal_it_asks_and_only_yes_counts(used, answer, code, queued):
    main_end, other_end = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "carojournal.cli", "delete-remote"],
        stdin=other_end,
        stdout=subprocess.DEVNULL,
        stderr=other_end,
    ) as process:
        os.close(other_end)
        seen = b""
        while b"[y/N]" not in seen:
            seen += os.read(main_end, 1024)
        os.write(main_end, answer)
        assert process.wait(20) == code
    os.close(main_end)
    assert len(deletion.pending(used)) == queued


def test_a_running_host_carries_a_new_session_within_a_second(used, journal, clock):
    asked = identity(used).history()[-1][1]
    deletion.note(used, f"sent {identity(used).history()[-1][0]}")
    clock.advance(-DAY_MS)  # Back to the last day on which something was recorded.
    assert journal.record("session_end", session_duration_ms=5)
    assert main(["delete-remote", "--yes"]) == 0
    clock.advance(1_000)
    assert journal.record("session_end", session_duration_ms=6)
    last = JournalReader(used).tail(1)[0].value
    assert last["session_duration_ms"] == 6
    assert asked in deletion.requested_sessions(used)
    assert last["session_id"] not in deletion.requested_sessions(used)


@pytest.mark.parametrize("name", ["journal", deletion.REQUESTS])
def test_a_pipe_in_a_files_place_is_an_error_and_no_wait(used, name):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{used}/{name}")
    os.mkfifo(f"{used}/{name}")
    read = deletion.read_identity if name == "journal" else deletion.requests
    with pytest.raises((OSError, JournalIOError)):
        read(used)
