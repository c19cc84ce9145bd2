"""Killed anywhere: the receiver, deduplicating by event id, holds every event once, and the journal what it must."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from receivers import Receiver
from uploads import DAY_MS, configure, ids, record

from carojournal.recovery import verify

HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ENVIRON = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join((HERE, f"{HERE}/tools", f"{HERE}/tests"))}


def test_killed_at_every_system_call(root, clock, tmp_path):
    """A poison event is among them, so that isolation and quarantine are killed too."""
    record(root, clock, 4)
    clock.advance(DAY_MS)
    wanted = record(root, clock, 4)
    poison = wanted[5]
    held = {}

    def script(request):
        events = [event["event_id"] for event in request.events()]
        if poison in events:
            return (400, {}, b"")
        held.setdefault(request.path.split("/")[1], []).extend(events)
        return (200, {}, b"")

    with Receiver(script) as receiver:
        receiver.accept = lambda *_: None
        base = receiver.url.removesuffix("/v1/events")
        command = [sys.executable, f"{HERE}/tests/kill_upload.py", root, str(tmp_path), base, "7"]
        done = subprocess.run(command, env=ENVIRON, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) > 100
    for row in rows:
        expected = {"n": row["n"], "kind": "done", "left": 0, "outbox": [], "verify": 0, "refused": 1, "noted": True}
        assert row == expected
        assert set(held[str(row["n"])]) == set(wanted) - {poison}
    assert sorted(held[str(rows[-1]["n"])]) == sorted(set(wanted) - {poison})  # The last one lived: no repeats.


@pytest.mark.parametrize("call", ["fsync", "rename", "sendto", "unlink", "link", "flock", "connect"])
def test_killed_by_the_system_at_real_calls(root, home, clock, tmp_path, call):
    """The same from outside, with the program as cron runs it: strace kills it at the first, third, fifth ... call."""
    record(root, clock, 3)
    clock.advance(DAY_MS)
    wanted = record(root, clock, 3)
    with Receiver() as receiver:
        configure(home, f'endpoint = "{receiver.url}"\nbatch_max_events = 2')
        environ = {**ENVIRON, "HOME": home}
        program = [sys.executable, "-m", "carobatch.cli", "upload"]
        shutil.copytree(root, tmp_path / "template")
        for nth in (1, 2, 4, 7):
            receiver.events.clear()
            shutil.rmtree(root)
            shutil.copytree(tmp_path / "template", root)
            trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}:signal=KILL:when={nth}"]
            killed = subprocess.run([*trace, *program], env=environ, capture_output=True, check=False)
            assert killed.returncode in (0, -signal.SIGKILL, 128 + signal.SIGKILL)
            done = subprocess.run(program, env=environ, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert set(receiver.events) == set(wanted)
            assert ids(root) == []
            assert verify(root).exit_code == 0
