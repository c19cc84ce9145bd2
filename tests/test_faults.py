"""The fault harness, in short: a sample of what `python tools/faults/run.py --long` does; and it can fail."""

import errno
import json
import os
import subprocess
import sys

import pytest

from faults import accounts, real, tracer
from faults.campaign import Laboratory
from faults.judges import KILL, NUMBERS, SHORT
from faults.operations import OPERATIONS
from faults.swarm import KINDS, Swarm
from faults.tracer import Fault

TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(real.__file__)))
KILLS_EVERY = 9


@pytest.fixture(scope="module")
def laboratory():
    made = Laboratory()
    yield made
    made.close()


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_a_sample_of_its_calls_nothing_is_lost_and_the_next_run_goes_on(laboratory, name):
    first = 1 + list(OPERATIONS).index(name) % KILLS_EVERY
    done = list(laboratory.trials(name, KILL, looks=False, step=KILLS_EVERY, first=first))
    assert [(str(trial), trial.wrong) for trial in done if trial.wrong] == []
    assert [trial.code for trial in done if trial.call] == [-9] * (len(done) - 1)
    assert done[-1].code in OPERATIONS[name].codes


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_call_that_fails_costs_no_event_and_no_verb_lies(laboratory, name):
    """Another error for each operation, at three of its calls; and every write but the last cut short."""
    at = list(OPERATIONS).index(name)
    kind = NUMBERS[at % len(NUMBERS)]
    calls = laboratory.trial(name, kind, 1_000_000, looks=True).calls
    faults = [(kind, 1 + calls * part // 4) for part in (1, 2, 3)]
    faults += [(SHORT, 1), (SHORT, 3)]
    found = [laboratory.trial(name, one, nth, looks=one != SHORT) for one, nth in faults]
    assert calls > 2
    assert found[0].call
    assert [(str(trial), trial.wrong) for trial in found if trial.wrong] == []


@pytest.mark.parametrize(("kind", "name"), [("size", "append"), ("files", "compact"), ("readonly", "export")])
def test_limits_of_the_process_are_met_and_survived(laboratory, kind, name):
    done = list(real.trials(laboratory, kind, name, 3))
    assert [(str(trial), trial.wrong) for trial in done if trial.wrong] == []
    assert any(trial.call for trial in done)


def test_a_small_disk_is_met_and_survived(laboratory, capsys):
    refused = real.can_mount(laboratory.folder)
    if refused:
        # Told, not skipped: the injected ENOSPC above is all that can be had here.
        with capsys.disabled():
            print(f"\nno file system may be mounted here ({refused}): the real full disk was not tried")
        return
    done = list(real.trials(laboratory, "disk", "rotate"))
    assert [(str(trial), trial.wrong) for trial in done if trial.wrong] == []
    assert [bool(trial.call) for trial in done][-1] is False
    assert done[0].call


@pytest.mark.parametrize("kind", KINDS)
def test_random_kills_over_writers_and_a_batch_tool_conserve_every_event(kind):
    done = Swarm(5, 60, kind).run()
    assert done.problems == []
    assert done.kills >= 60
    assert done.evicted > 0


# The harness itself.


def test_what_is_left_behind_is_noticed(laboratory, monkeypatch):
    monkeypatch.setattr("carobatch.sweep.sweep", lambda _root: None)
    done = [trial for trial in laboratory.trials("ack", KILL, looks=False) if "receipts/." in trial.call]
    assert done
    assert any("left behind" in text for trial in done for text in trial.wrong)


def test_an_event_that_is_gone_is_noticed(laboratory, tmp_path):
    place = laboratory.template(OPERATIONS["append"]).copy(str(tmp_path / "copy"))
    assert accounts.problems(place, ()) == []
    os.truncate(os.path.join(place.root, "lanes", "0.seg"), 700)
    assert any("are gone" in text for text in accounts.problems(place, ()))


def test_a_verb_that_lies_or_breaks_is_noticed(laboratory, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a bug")

    laboratory.template(OPERATIONS["compact"])
    with monkeypatch.context() as patched:
        patched.setattr("carobatch.compact.compact", broken)
        assert any("ended with 70" in text for text in laboratory.trial("compact", "EIO", 1_000, looks=True).wrong)
    monkeypatch.setattr("carobatch.compact._pack_closed", lambda *_: None)
    assert any("was not done" in text for text in laboratory.trial("compact", "EIO", 1_000, looks=True).wrong)
    monkeypatch.setattr("carojournal.journal.Journal._append_one", broken)
    monkeypatch.setattr("carojournal.journal.Journal._count_failure", broken)
    assert any("raised" in text for text in laboratory.trial("append", "EIO", 1_000, looks=True).wrong)


def write_and_sync(path, seen):
    """Return a body that writes, syncs twice and closes, and says what it met as its exit code."""

    def body():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        code = 0
        for bit, act in enumerate(
            (
                lambda: os.write(descriptor, b"0123456789"),
                *[lambda: os.fsync(descriptor)] * 2,
                lambda: os.close(descriptor),
            )
        ):
            try:
                act()
            except OSError as error:
                code |= (error.errno == errno.EIO) << bit
        return code | os.path.exists(f"/proc/self/fd/{descriptor}") << 4

    def judge(call):
        if call.path == path:
            seen.append(call.name)

    return body, judge


def test_every_call_of_a_file_is_seen_in_its_order(tmp_path):
    seen = []
    body, judge = write_and_sync(str(tmp_path / "file"), seen)
    assert tracer.run(body, judge).code == 0
    assert seen == ["openat", "write", "fsync", "fsync", "close"]


@pytest.mark.parametrize(
    ("name", "fault", "code", "text"),
    [
        ("write", Fault(number=errno.EIO), 1, b""),
        ("write", Fault(), 0, b"01234"),
        ("fsync", Fault(number=errno.EIO), 6, b"0123456789"),
        ("close", Fault(number=errno.EIO), 8, b"0123456789"),
        ("write", Fault(kill=True), -9, b""),
        ("fsync", Fault(kill=True), -9, b"0123456789"),
    ],
)
def test_a_fault_is_what_it_is_meant_to_be(tmp_path, name, fault, code, text):
    path = str(tmp_path / "file")
    body, _ = write_and_sync(path, [])
    done = tracer.run(body, lambda call: fault if (call.path, call.name) == (path, name) else None)
    assert done.code == code
    assert (tmp_path / "file").read_bytes() == text
    assert done.resynced == ([path] if code == 6 else [])


def test_what_was_begun_by_a_thread_is_seen_too(tmp_path):
    code = (
        "import sys, threading\nfrom faults import tracer\n"
        "def body():\n"
        "    thread = threading.Thread(target=lambda: open(sys.argv[1], 'w').close())\n"
        "    thread.start(); thread.join(); return 0\n"
        "seen = []\ntracer.run(body, lambda call: seen.append(call.path))\nassert sys.argv[1] in seen\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((os.path.dirname(TOOLS), TOOLS))}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], check=True, env=environ)


def test_the_command_prints_what_it_did_and_how_to_repeat_it():
    words = [sys.executable, f"{TOOLS}/faults/run.py", "--json", "--only", "kills", "--operation", "config-set"]
    done = subprocess.run([*words, "--nth", "2", "--kind", "KILL"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = map(json.loads, done.stdout.splitlines())
    assert (row["trials"], row["met"], row["failures"]) == (1, 1, [])
