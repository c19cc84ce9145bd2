"""Faults at every call of append and rotate, and kills at random: nothing acknowledged is lost, nothing is raised."""

import errno
import os
import random
import resource
import signal
import subprocess
import sys

import pytest
import segments_by_hand as by_hand
from faults_by_hand import FaultAt

from carobatch.seal import seal_idle_lanes
from carojournal import Journal, JournalReader, drops, frame
from carojournal.errors import CorruptRecord
from carojournal.recovery import verify

START = {"caro_version": "1.1.0", "os": "linux"}
NUMBERS = [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.EROFS, errno.EACCES]


def readable(root):
    """Return how many events can be read, over damage too, with the framing alone."""
    found = 0
    for path in by_hand.segment_paths(root):
        with open(path, "rb") as file:
            data = file.read()
        segment = by_hand_uuid(path, data)
        at = 0
        while (at := frame.find_record(segment, data, at)) is not None:
            try:
                _, start, end = frame.decode_record(segment, data, at)
            except (CorruptRecord, TypeError):
                break
            found += b"frecord" not in data[start:end]
            at = end + 5
    return found


def by_hand_uuid(path, data):
    """Return the uuid of a segment: a closed one's name has it, an open one's header, which no fault here damages."""
    name = os.path.basename(path)
    if "-" in name:
        return bytes.fromhex(name[17:49])
    at = data.find(b"gsegmentP")
    return data[at + 9 : at + 25] if at >= 0 else bytes(16)


def session(clock):
    """Record with a rotation at midnight in the middle; return how many events were acknowledged."""
    acked = 0
    with Journal.open(clock=clock, admin="/nonexistent") as journal:
        for _ in range(3):
            acked += journal.record("session_start", **START)
        clock.advance(86_400_000)
        for _ in range(3):
            acked += journal.record("session_start", **START)
    return acked


@pytest.mark.parametrize("number", NUMBERS, ids=[errno.errorcode[number] for number in NUMBERS])
@pytest.mark.parametrize("forever", [False, True], ids=["once", "forever"])
def test_no_failing_call_loses_an_acknowledged_event_or_raises(home, root, clock, monkeypatch, number, forever):
    nth = 0
    total = 0
    while True:
        nth += 1
        with monkeypatch.context() as patched:
            fault = FaultAt(patched, nth, number, forever=forever)
            acked = session(clock)
        total += acked
        if not fault.fired:
            break
        assert nth < 500, "the faults never ran out"
        if os.path.isdir(f"{root}/lanes"):
            assert readable(root) >= total, f"{fault.fired}, call {nth}"
        with Journal.open(clock=clock, admin="/nonexistent") as after:
            assert after.record("session_start", **START), f"no append after {fault.fired}, call {nth}"
            total += 1
    assert nth > 20
    assert readable(root) >= total


def test_no_short_write_loses_an_acknowledged_event_or_leaves_half_a_record(home, root, clock, monkeypatch):
    nth = 0
    total = 0
    while True:
        nth += 1
        with monkeypatch.context() as patched:
            fault = FaultAt(patched, nth, 0, calls=("write", "pwrite"), short=True)
            total += session(clock)
        if not fault.fired:
            break
        assert readable(root) == total, f"call {nth}"
    assert nth > 8
    assert not [path for path in by_hand.segment_paths(root) if path.endswith("~")]


def test_drops_are_counted_by_reason(home, root, clock, monkeypatch):
    with Journal.open(clock=clock, admin="/nonexistent") as journal:
        assert journal.record("session_start", **START)
        with monkeypatch.context() as patched:
            FaultAt(patched, 1, errno.ENOSPC, calls=("write",), forever=True)
            assert not journal.record("session_start", **START)
        assert journal.record("session_start", **START)
    assert drops.read_counts(root)[0]["drop disk_full"] == 1
    assert len(by_hand.events(root)) == 2


def test_a_file_size_limit_of_the_process_is_a_drop_not_a_signal(home, root):
    """RLIMIT_FSIZE is the real thing: write(2) is cut short, then fails with EFBIG."""
    code = (
        "import resource, signal, sys\n"
        "from carojournal import Journal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n"
        "journal = Journal.open(admin='/nonexistent')\n"
        "print(sum(journal.record('session_start', caro_version='1.1.0', os='linux') for _ in range(100)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    events = by_hand.events(root)
    assert len(events) == int(done.stdout)
    assert 5 < len(events) < 40
    assert drops.read_counts(root)[0]["drop disk_full"] == 100 - len(events)


def test_no_descriptor_left_is_a_drop(home, root, clock):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    journal = Journal.open(clock=clock, admin="/nonexistent")
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 8, hard))
    try:
        while True:
            try:
                held.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        assert not journal.record("session_start", **START)
        assert journal.stats["reasons"] == {"drop descriptors": 1}
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert journal.record("session_start", **START)
    journal.close()


def start_writer():
    """Fork a host that records as fast as it can and acknowledges each event with a byte; return (pid, pipe)."""
    theirs, ours = os.pipe()
    child = os.fork()
    if child:
        os.close(ours)
        return child, theirs
    os.close(theirs)
    try:
        journal = Journal.open(admin="/nonexistent")
        while True:
            if journal.record("session_start", **START):
                os.write(ours, b"+")
    finally:
        os._exit(1)


@pytest.mark.timeout(1_200)  # A minute on an idle machine; the guard is against a hang, not against a busy one.
def test_random_kills_over_concurrent_writers_lose_nothing_acknowledged(home, root):
    """1,000 times kill -9 over eight writers: whatever was acknowledged is there.  The long run is in tools/faults."""
    kills = 1_000
    os.makedirs(f"{home}/.config/caro")
    with open(f"{home}/.config/caro/config.toml", "w") as file:
        file.write("[telemetry]\noffline_spool_max_mb = 1000\n")
    chance = random.Random(4)
    acked = 0
    writers = [start_writer() for _ in range(8)]
    for _, pipe in writers:
        acked += len(os.read(pipe, 1))  # every one is under way before the first dies
    for number in range(kills):
        pid, pipe = writers.pop(chance.randrange(len(writers)))
        for _ in range(chance.randrange(1, 5)):
            acked += len(os.read(pipe, chance.randrange(1, 50)))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        while rest := os.read(pipe, 65_536):
            acked += len(rest)
        os.close(pipe)
        if number < kills - 8:
            writers.append(start_writer())
    assert not writers
    # A slow machine gives the writers time to fill even that: what made room is told.
    lost = sum(loss["events"] + sum(row["events"] for row in loss["carried"]) for loss in JournalReader(root).losses())
    found = readable(root) + lost
    assert found >= acked > kills
    # At most one record of each killed writer may have been written without having been acknowledged.
    assert found <= acked + kills
    with Journal.open(root, admin="/nonexistent") as after:
        assert after.record("session_start", **START)


def test_without_a_descriptor_for_the_module_that_counts_the_event_is_counted_in_memory(tmp_path):
    """The first failure of a process loads modules, which a process without descriptors cannot."""
    code = (
        "import resource, sys\n"
        "from carojournal import Journal\n"
        "journal = Journal.open(sys.argv[1], admin='/nonexistent')\n"
        "soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))\n"
        "assert not journal.record('session_end', session_duration_ms=1)\n"
        "assert journal.stats['dropped'] == 1\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))\n"
        "assert journal.record('session_end', session_duration_ms=1)\n"
        "assert journal.stats['recorded'] == 1\n"
    )
    environ = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.path.dirname(os.path.dirname(drops.__file__)),
    }
    root = str(tmp_path / "root")
    with Journal.open(root, admin="/nonexistent") as journal:  # So that only the counting is in want of modules.
        assert journal.record("session_end", session_duration_ms=1)
    subprocess.run([sys.executable, "-c", code, root], check=True, env=environ)
    assert drops.read_counts(root)[0]["drop descriptors"] == 1


def test_nothing_follows_a_seal_whose_writer_died_before_the_segment_was_closed(home, root, clock, monkeypatch):
    with Journal.open(clock=clock, admin="/nonexistent") as running:
        assert running.record("session_start", **START)
        with monkeypatch.context() as patched:
            patched.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(OSError(5, "killed")))
            with pytest.raises(OSError, match="killed"):
                seal_idle_lanes(root, clock.now_ms + 10**12, 0)
        assert running.record("session_start", **START)  # A host that has the segment open,
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(OSError(5, "killed")))
        with pytest.raises(OSError, match="killed"):
            seal_idle_lanes(root, clock.now_ms + 10**12, 0)
    with Journal.open(clock=clock, admin="/nonexistent") as other:  # and one that has not.
        assert other.record("session_start", **START)
    assert verify(root).exit_code == 0
    assert len(os.listdir(f"{root}/segments")) == 2


@pytest.mark.parametrize("taken_back", [True, False])
def test_a_descriptor_on_which_a_sync_has_failed_is_not_synced_again(home, root, clock, monkeypatch, taken_back):
    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    synced = []

    def sync(descriptor):
        synced.append(os.fstat(descriptor).st_ino)
        if len(synced) == 1:
            held.append(os.dup(descriptor))  # Keeps its number from being given to the next one.
            raise OSError(5, "Input/output error")

    held = []
    monkeypatch.setattr("carojournal.lanes._sync", sync)
    with Journal.open(clock=clock, admin="/nonexistent", durability="each") as journal:
        with monkeypatch.context() as patched:
            if not taken_back:
                patched.setattr("os.ftruncate", refuse)
            assert not journal.record("session_start", **START)
        (lane,) = journal._lanes
        assert lane._descriptor == -1
        assert journal.record("session_start", **START)
    assert len(by_hand.events(root)) == (1 if taken_back else 2)  # What could not be taken back stays: more, not less.
    os.close(held[0])


@pytest.mark.parametrize("name", ["pread", "close"])
def test_a_lane_that_could_not_be_read_or_closed_costs_one_event_at_most(home, root, clock, monkeypatch, name):
    with Journal.open(clock=clock, admin="/nonexistent") as before:
        assert before.record("session_start", **START)
    clock.advance(7 * 3_600_000)  # The segment that is found there has to be closed.
    call, failed = getattr(os, name), []

    def fails_once(descriptor, *rest):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        done = call(descriptor, *rest)
        if not failed and path.endswith(".seg"):
            failed.append(path)
            raise OSError(5, "Input/output error")
        return done

    with Journal.open(clock=clock, admin="/nonexistent") as journal, monkeypatch.context() as patched:
        patched.setattr(os, name, fails_once)
        answers = [journal.record("session_start", **START) for _ in range(3)]
    assert failed
    assert answers == [name == "close", True, True]
    assert verify(root).exit_code == 0
    assert len(by_hand.events(root)) == 1 + sum(answers)


def test_at_the_end_of_the_stack_an_event_is_dropped_and_counted(home, root, clock):
    """A host that calls itself too deeply may record what happened to it: `record` raised that once more."""
    journal = Journal.open(clock=clock, admin="/nonexistent")
    assert journal.record("session_start", **START)
    answers = []

    def deep(levels):
        if levels:
            deep(levels - 1)
        else:
            answers.append(journal.record("session_start", **START))

    refused = 0
    for levels in range(sys.getrecursionlimit()):
        try:
            deep(levels)
        except RecursionError as error:
            at = error.__traceback__
            while at.tb_next:
                at = at.tb_next
            assert at.tb_frame.f_code is deep.__code__, "raised by `record`, or below it"
            refused += 1
    assert refused
    dropped = answers.count(False)
    assert dropped > 1
    assert journal.stats["dropped"] == dropped
    assert journal.stats["reasons"] == {"drop bug": dropped}
    journal.close()
    assert drops.read_counts(root)[0]["drop bug"] == dropped
    assert len(by_hand.events(root)) == 1 + answers.count(True)
