"""Lanes between processes, threads and forks, and what others may do to their files."""

import contextlib
import fcntl
import os
import shutil
import socket
import threading
from functools import partial

import filelock
import forge
import pytest
import segments_by_hand as by_hand
from carobatch_journals import close_lanes
from counted import interrupted
from forged_trees import put_identity, put_lane

from carojournal import Journal, drops, lanes, policy, rotation, schema_registry
from carojournal import journal as module
from carojournal.errors import JournalBusy
from carojournal.reader import JournalReader
from carojournal.recovery import verify
from carojournal.segment_file import CLOSED_NAME

START = {"caro_version": "1.1.0", "os": "linux"}


def counts(root):
    return {key: count for key, count in drops.read_counts(root)[0].items() if count}


def bind(path):
    with contextlib.chdir(os.path.dirname(path)), socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.basename(path))  # A socket's path is short.


def test_rotation_by_another_process_goes_unnoticed(journal, root, clock):
    journal.record("session_start", **START)
    lane = lanes.Lane(root, 0, policy.CAP_BYTES_DEFAULT, os.urandom)
    assert lane.acquire()
    lane.attach(clock.now_ms)
    rotation.close_segment(lane)
    lane.release()
    lane.close()
    assert not os.path.exists(f"{root}/lanes/0.seg")
    assert journal.record("session_start", **START)
    assert len(by_hand.events(root)) == 2
    headers = by_hand.controls(root, "header")
    assert headers[1]["previous"][0] == headers[0]["segment"]


def test_two_handles_share_lane_zero_and_continue_each_others_numbers(journal, root, clock):
    with Journal.open(clock=clock, admin="/nonexistent") as other:
        for _ in range(3):
            assert journal.record("session_start", **START)
            assert other.record("session_start", **START)
    assert os.listdir(f"{root}/lanes").count("1.lock") == 0
    assert [seq for _, seq, _ in by_hand.events(root)] == [1, 2, 3, 4, 5, 6]


def test_a_busy_lane_is_passed_over_without_waiting(journal, root):
    journal.record("session_start", **START)
    with open(f"{root}/lanes/0.lock", "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert journal.record("session_start", **START)
    assert sorted(name for name in os.listdir(f"{root}/lanes") if name.endswith("seg")) == ["0.seg", "1.seg"]


@pytest.mark.parametrize("name", ["0.lock", "0.seg"])
@pytest.mark.parametrize("kind", [os.mkdir, os.mkfifo, lambda path: os.symlink("/dev/null", path), bind])
def test_a_lane_whose_file_is_none_is_passed_over(journal, root, clock, name, kind):
    journal.record("session_start", **START)
    os.unlink(f"{root}/lanes/{name}")
    kind(f"{root}/lanes/{name}")
    for _ in range(2):
        with Journal.open(root, clock=clock, admin="/nonexistent") as other:
            assert other.record("session_start", **START)
            assert other.append("session_start", **START)
        clock.advance(2 * 86_400_000)  # Its segment is of another day: the next one also looks at the odd lane.
    assert counts(root) == {}


def test_an_idle_lane_that_cannot_be_closed_costs_no_other_lane_anything(journal, root, clock):
    journal.record("session_start", **START)
    shutil.copy(f"{root}/lanes/0.seg", f"{root}/lanes/5.seg")
    os.mkdir(f"{root}/lanes/5.lock")
    clock.advance(86_400_000)
    assert journal.record("session_start", **START)
    assert len(os.listdir(f"{root}/segments")) == 1
    assert os.path.exists(f"{root}/lanes/5.seg")


def test_all_lanes_busy_is_a_counted_drop(journal, root, monkeypatch):
    journal.record("session_start", **START)
    monkeypatch.setattr(lanes, "LANES_MAX", 1)
    with open(f"{root}/lanes/0.lock", "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not journal.record("session_start", **START)
        with pytest.raises(JournalBusy):
            journal.append("session_start", **START)
    assert counts(root) == {"drop busy": 2}


def test_filelock_takes_the_same_lock(journal, root):
    journal.record("session_start", **START)
    with filelock.FileLock(f"{root}/lanes/0.lock"):
        journal.record("session_start", **START)
    assert os.path.exists(f"{root}/lanes/1.seg")


@pytest.mark.parametrize("what", ["root", "lanes", "segments", "0.seg", "0.lock", "journal"])
def test_a_part_that_vanishes_comes_back(journal, root, what, clock):
    journal.record("session_start", **START)
    path = {"root": root, "0.seg": f"{root}/lanes/0.seg", "0.lock": f"{root}/lanes/0.lock"}.get(what, f"{root}/{what}")
    shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    clock.advance(module.POLICY_CHECK_MS)
    assert journal.record("session_start", **START)
    clock.advance(12 * 3_600_000)
    assert journal.record("session_start", **START)
    assert len(by_hand.events(root)) >= 2
    assert journal.stats["dropped"] == 0


def test_a_truncated_segment_is_closed_as_damaged_and_the_next_begins(journal, root):
    journal.record("session_start", **START)
    journal.record("session_start", **START)
    size = os.stat(f"{root}/lanes/0.seg").st_size
    os.truncate(f"{root}/lanes/0.seg", size - 3)
    assert journal.record("session_start", **START)
    (closed,) = os.listdir(f"{root}/segments")
    assert closed.endswith(".seg~")
    assert os.stat(f"{root}/segments/{closed}").st_size == size - 3


def test_a_segment_cut_at_a_record_is_continued_with_the_next_number(journal, root):
    journal.record("session_start", **START)
    size = os.stat(f"{root}/lanes/0.seg").st_size
    journal.record("session_start", **START)
    os.truncate(f"{root}/lanes/0.seg", size)
    assert journal.record("session_end", session_duration_ms=1)
    assert [(seq, value["event"]) for _, seq, value in by_hand.events(root)] == [
        (1, "session_start"),
        (2, "session_end"),
    ]


@pytest.mark.parametrize("content", [b"", b"x", bytes(4096), b"\xd9\xd9\xf8", os.urandom(700)])
def test_a_segment_replaced_by_anything_is_set_aside(journal, root, content):
    journal.record("session_start", **START)
    os.unlink(f"{root}/lanes/0.seg")
    with open(f"{root}/lanes/0.seg", "wb") as file:
        file.write(content)
    assert journal.record("session_start", **START)
    closed = os.listdir(f"{root}/segments")
    assert len(closed) == (1 if content else 0)
    assert all(name.endswith("~") for name in closed)


def test_a_foreign_segment_is_continued_under_its_own_name(journal, root, tmp_path, clock):
    """Somebody copied a healthy segment of another journal into the lane: its header says who it is."""
    with Journal.open(tmp_path / "other", clock=clock, admin="/nonexistent") as other:
        foreign = other.append("session_start", **START)[0]
    journal.record("session_start", **START)
    os.replace(tmp_path / "other/lanes/0.seg", f"{root}/lanes/0.seg")
    assert journal.append("session_end", session_duration_ms=1) == (foreign, 2)


@pytest.mark.parametrize("bit", range(0, 73 * 8, 5))
def test_a_damaged_lock_file_costs_nothing(journal, root, clock, bit):
    journal.record("session_start", **START)
    with open(f"{root}/lanes/0.lock", "r+b") as file:
        data = bytearray(file.read())
        data[bit // 8] ^= 1 << bit % 8
        file.seek(0)
        file.write(data)
    with Journal.open(clock=clock, admin="/nonexistent") as fresh:
        assert fresh.record("session_start", **START)
    assert [seq for _, seq, _ in by_hand.events(root)] == [1, 2]


def test_a_damaged_header_costs_the_header_only(journal, root, clock):
    journal.record("session_start", **START)
    with open(f"{root}/lanes/0.seg", "r+b") as file:
        file.seek(40)
        file.write(b"\0\0\0\0")
    with Journal.open(clock=clock, admin="/nonexistent") as fresh:
        assert fresh.append("session_start", **START)[1] == 2


def test_the_child_of_a_fork_writes_beside_its_parent(journal, root):
    journal.record("session_start", **START)
    child = os.fork()
    if child == 0:
        done = all(journal.record("session_end", session_duration_ms=1) for _ in range(50))
        os._exit(0 if done else 1)
    for _ in range(50):
        assert journal.record("session_start", **START)
    assert os.waitpid(child, 0)[1] == 0
    events = by_hand.events(root)
    assert len(events) == 101
    assert len({(segment, seq) for segment, seq, _ in events}) == 101


def test_a_fork_while_a_thread_holds_the_lock_does_not_hang_the_child(journal, root):
    journal.record("session_start", **START)
    with journal._lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if journal.record("session_start", **START) else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_threads_share_one_handle(journal, root):
    def work():
        for _ in range(200):
            assert journal.record("session_start", **START)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = by_hand.events(root)
    assert len(events) == len({(segment, seq) for segment, seq, _ in events}) == 1600


def test_an_append_that_is_interrupted_at_any_line_costs_no_other_event(tmp_path, clock):
    """Ctrl-C, or a signal handler that raises: numbers follow each other, and what was acknowledged is there."""
    root = str(tmp_path / "j")
    with Journal.open(root, clock=clock, admin="/nonexistent") as journal:
        kept, nth, came = [], 0, True
        while came:
            nth += 1
            clock.advance(1)
            event = partial(journal.record, "session_end", session_duration_ms=3 * nth)
            came = interrupted(event, nth, lanes.__file__)
            for number in (3 * nth + 1, 3 * nth + 2):
                assert journal.record("session_end", session_duration_ms=number)
                kept.append(number)
    reader = JournalReader(root)
    found = [record.value["session_duration_ms"] for record in reader.records(events_only=True)]
    assert reader.damage == []
    assert set(kept) <= set(found)
    assert len(found) == len(set(found))
    assert nth > 20


def copy_records(path, first, last):
    """Append a copy of some of the segment's records, by number, as a tail that arrived twice does."""
    with open(path, "r+b") as file:
        data = file.read()
        places = forge.places(data)
        file.write(data[places[first][0] : places[last][1]])


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize(("first", "last"), [(2, 2), (2, 4), (1, 5), (5, 5)])
def test_a_number_is_not_given_out_again_behind_a_copy_of_old_records(journal, root, clock, first, last, fresh):
    kept = [journal.append("session_start", **START) for _ in range(6)]
    copy_records(f"{root}/lanes/0.seg", first, last)
    with Journal.open(clock=clock, admin="/nonexistent") as other:
        kept += [(other if fresh else journal).append("session_start", **START) for _ in range(2)]
    found = [(record.segment, record.seq) for record in JournalReader(root).records(events_only=True)]
    assert sorted(found) == sorted(kept)
    assert len({segment for segment, _ in kept}) == 2
    assert [name[-1] for name in os.listdir(f"{root}/segments")] == ["~"]


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("first", [3, 6])
def test_a_tail_that_arrived_twice_to_its_end_is_continued(journal, root, clock, first, fresh):
    """No number is given out twice, and readers take every record once."""
    for _ in range(6):
        journal.append("session_start", **START)
    copy_records(f"{root}/lanes/0.seg", first, 6)
    with Journal.open(clock=clock, admin="/nonexistent") as other:
        assert (other if fresh else journal).append("session_start", **START)[1] == 7


def test_damage_that_looks_like_a_late_number_closes_no_segment(journal, root, clock):
    for _ in range(4):
        journal.append("session_start", **START)
    with open(f"{root}/lanes/0.seg", "r+b") as file:
        at = forge.places(file.read())[2][0]
        file.seek(at + 7)
        file.write(b"\xff")
    with Journal.open(clock=clock, admin="/nonexistent") as other:
        assert other.append("session_start", **START)[1] == 5


@pytest.mark.parametrize("schema", [bytes(32), schema_registry.read_registry()[0][1]])
def test_a_segment_of_another_schema_is_closed_and_not_written_to(tree, clock, schema):
    path = put_lane(tree, b"\xa1" * 16, [forge.event(1)], schema=schema)
    put_identity(tree, b"carojournal 1")
    data = path.read_bytes()
    clock.advance(3_600_000)
    with Journal.open(tree, clock=clock, admin="/nonexistent") as journal:
        segment, seq = journal.append("session_start", **START)
    assert seq == 1
    (closed,) = (tree / "segments").iterdir()
    assert closed.read_bytes() == data
    assert closed.name.endswith(".seg")
    assert JournalReader(str(tree)).segments()[-1].previous == (b"\xa1" * 16, 1, len(data))
    assert JournalReader(str(tree)).segments()[-1].segment == segment


def test_a_segment_whose_header_never_arrived_does_not_hide_the_one_before(journal, root, clock):
    """The next one named no predecessor, so that nobody missed it when it was gone."""
    segment, _ = journal.append("session_start", **START)
    journal.close()
    close_lanes(root)
    with open(f"{root}/lanes/0.seg", "xb"):
        pass  # Killed between making it and writing to it.
    clock.advance(1)  # Segments are listed by time.
    with Journal.open(clock=clock, admin="/nonexistent") as other:
        assert other.record("session_start", **START)
    assert JournalReader(root).segments()[-1].previous == (segment, None, None)
    os.unlink(JournalReader(root).segments()[0].path)
    assert verify(root).gaps


@pytest.mark.parametrize(
    "said",
    [
        {"segment": "a" * 16},
        {"segment": b"a" * 15},
        {"created_us": "noon"},
        {"created_us": 10**17},
        {"created_us": -1},
        {"consent": None},
        {"consent": 10**13},
    ],
    ids=str,
)
def test_a_header_that_says_what_none_can_is_set_aside(tree, clock, said):
    """A writer in another language made it, or nobody: every event of every host was dropped for good."""
    segment = b"\xa1" * 16
    header = forge.header(said.get("segment", segment), **{key: said[key] for key in said if key != "segment"})
    data = forge.LABEL + header + forge.record(segment, 1, forge.event(1))
    (tree / "lanes" / "0.seg").write_bytes(data)
    put_identity(tree, b"carojournal 1")
    with Journal.open(tree, clock=clock, admin="/nonexistent") as journal:
        made = [journal.append("session_start", **START) for _ in range(2)]
    assert journal.stats["dropped"] == 0
    (closed,) = (tree / "segments").iterdir()
    assert closed.read_bytes() == data
    assert CLOSED_NAME.match(closed.name)
    found = [(record.segment, record.seq) for record in JournalReader(str(tree)).records(events_only=True)]
    assert set(made) <= set(found)
