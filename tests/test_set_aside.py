"""A segment whose tail is bad is closed under a name that is its own: nothing that was closed before is replaced."""

import os
import signal
from pathlib import Path

import forge
import pytest
from forge import NOON_US
from forged_trees import put, put_identity, put_lane

from carobatch.seal import seal_idle_lanes
from carojournal import Journal
from carojournal.lanes import Lane
from carojournal.policy import CAP_BYTES_DEFAULT
from carojournal.reader import JournalReader
from carojournal.recovery import CLEAN, DAMAGED, TORN, verify

START = {"caro_version": "1.1.0", "os": "linux"}
A = b"\xa1" * 16
IDLE_MS = 60_000
STUBS = (1, 12, 20, 70, 130)  # Bytes of label and header that arrived.


def events(root):
    return {(record.segment, record.seq) for record in JournalReader(root).records(events_only=True)}


def files(root):
    return {path.name: path.read_bytes() for path in Path(root, "segments").iterdir()}


def leave_stub(root, size, mark):
    """Close the lane's segment, and leave of its next one what a crash leaves between 5.3's steps 2 and 3."""
    lane = f"{root}/lanes/0.seg"
    data, (segment, created, *_) = Path(lane).read_bytes(), Path(f"{root}/lanes/0.lock").read_text().split()
    if mark:
        with open(lane, "ab") as file:
            file.write(b"\x84\x1a\0")
    os.makedirs(f"{root}/segments", exist_ok=True)
    os.rename(lane, f"{root}/segments/{created}-{segment}.seg{mark}")
    with open(lane, "wb") as file:
        file.write(data[:size])


def take(root, clock):
    with Journal.open(root, clock=clock, admin="/nonexistent") as other:
        return other.append("session_start", **START)


def seal(root, clock):
    clock.advance(IDLE_MS)
    assert seal_idle_lanes(root, clock.now_ms, -(1 << 62)) == (1, 0)


@pytest.mark.parametrize("close", [take, seal])
@pytest.mark.parametrize("mark", ["", "~"])
@pytest.mark.parametrize("size", STUBS)
def test_a_beginning_that_a_crash_left_replaces_nothing_and_passes_for_no_other_segment(
    journal, root, clock, size, mark, close
):
    kept = {journal.append("session_start", **START)}
    leave_stub(root, size, mark)
    before = files(root)
    clock.advance(1)
    made = close(root, clock)
    kept |= {made} if made else {take(root, clock)}
    assert before.items() <= files(root).items()
    assert len(files(root)) == 2
    assert events(root) == kept
    assert verify(root).exit_code == TORN
    headers = [group[0] for group in JournalReader(root).groups()]
    assert headers[1].previous == (headers[0].segment, None, None)
    (stub,) = set(files(root)) - set(before)
    assert headers[0].segment.hex() not in stub


def test_a_kill_before_the_rename_changes_nothing(journal, root, clock, monkeypatch):
    kept = {journal.append("session_start", **START)}
    leave_stub(root, 70, "~")
    child = os.fork()
    if not child:
        monkeypatch.setattr(os, "rename", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        take(root, clock)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    kept.add(take(root, clock))
    assert events(root) == kept
    assert verify(root).exit_code == TORN


@pytest.mark.parametrize("close", [take, seal])
@pytest.mark.parametrize("torn", [b"", b"\x84\x1a"])
def test_a_copy_of_a_closed_segment_is_put_beside_it(tree, clock, torn, close):
    """Somebody copied files back: either may hold records that the other has not."""
    put_identity(tree, b"carojournal 1")
    created_us = NOON_US - 86_400_000_000
    for mark in ("", "~"):
        put(tree, A, [forge.event(0, created_us // 1000)], mark, created_us=created_us)
    lane = put_lane(tree, A, [forge.event(number, created_us // 1000) for number in (0, 1)], created_us=created_us)
    lane.write_bytes(lane.read_bytes() + torn)
    before = files(tree)
    close(str(tree), clock)
    assert before.items() <= files(tree).items()
    assert {(A, 1), (A, 2)} <= events(str(tree))
    assert verify(str(tree)).exit_code == (TORN if torn else CLEAN)


def damage_header(path):
    data = path.read_bytes()
    at = data.index(b"fwriter") + 8
    path.write_bytes(data[:at] + b"!" + data[at + 1 :])


@pytest.mark.parametrize("close", [take, seal])
def test_a_segment_whose_header_alone_names_it_is_closed_under_that_name(tree, clock, close):
    """The header is damaged and the lock file empty: readers take the uuid that the records bear out."""
    put_identity(tree, b"carojournal 1")
    lane = put_lane(tree, A, [forge.event(1), forge.event(2)])
    lane.with_suffix(".lock").write_bytes(b"")
    damage_header(lane)
    clock.advance(3_600_000)
    close(str(tree), clock)
    (name,) = files(tree)
    assert name[17:] == f"{A.hex()}.seg~"
    assert int(name[:16]) // 1000 == NOON_US // 1000 + 1, "the time of its first event"
    report = verify(str(tree))
    assert (report.exit_code, [finding.reason for finding in report.damage]) == (DAMAGED, ["checksum"])
    assert report.gaps == []
    assert {(A, 1), (A, 2)} <= events(str(tree))


def test_the_lock_file_keeps_its_word_while_the_tail_is_bad(tree, clock):
    """A header whose segment is closed at once need not be named: the next one's is."""
    put_identity(tree, b"carojournal 1")
    lane = put_lane(tree, A, [forge.event(1)])
    lock = lane.with_suffix(".lock")
    lock.write_bytes(forge.lock_text(bytes(16)))
    lane.write_bytes(lane.read_bytes() + b"\x84\x1a")
    opened = Lane(str(tree), 0, CAP_BYTES_DEFAULT, os.urandom)
    assert opened.acquire()
    opened.attach(clock.now_ms)
    opened.close()
    assert lock.read_bytes() == forge.lock_text(bytes(16))
    assert [name[17:] for name in files(tree)] == [f"{A.hex()}.seg~"]
