"""What a peer does rather than what is said of it: what survives `kill -9`, and how often it waits for the disk.

A kill: a process appends and writes one byte after each append that returned; it is killed after some of them, and a
process that did not write the store counts what is there.  `kill -9` takes nothing that the kernel has, so what is lost
was in the process.  A power cut cannot be tried here: whoever waits for the disk before it acknowledges survives it,
and `strace` counts those calls.
"""

import os
import random
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass

from bench.host import Host
from bench.peer_worker import OURS, OURS_SYNCED
from bench.peers import by_name
from carojournal import JournalReader

__all__ = ["Facts", "kill_and_count", "waits_per_append"]

_WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer_worker.py")
_CALLS = "fsync,fdatasync,sync_file_range,msync,syncfs,sync"
_APPENDS = 40  # More than the first append and what comes with it; sqlite checkpoints its WAL after a thousand pages.


@dataclass(frozen=True, slots=True)
class Facts:
    """Of some kills: events that were acknowledged, those of them that were gone, and kills that lost any."""

    kills: int
    acknowledged: int
    lost: int
    bad_kills: int


def _held(name: str, folder: str) -> int:
    if name in (OURS, OURS_SYNCED):
        return sum(1 for _ in JournalReader(os.path.join(folder, "journal")).records(events_only=True))
    return by_name(name).count(folder)


def kill_and_count(host: Host, name: str, kills: int, events_max: int, seed: int = 1) -> Facts:
    """Kill a process that appends to *name*, each time after up to *events_max* appends, and count what is there."""
    rand = random.Random(seed)
    acknowledged = lost = bad = 0
    for number in range(kills):
        folder = os.path.join(host.scratch, f"kill-{number}-{re.sub('[^a-z0-9]+', '-', name)}")
        os.mkdir(folder)
        command = (host.python, _WORKER, "endless", name, folder)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=host.environ) as worker:
            assert worker.stdout is not None
            done = len(worker.stdout.read(rand.randint(1, events_max)))
            worker.send_signal(signal.SIGKILL)
            done += len(worker.stdout.read())
        missing = max(0, done - _held(name, folder))
        acknowledged += done
        lost += missing
        bad += missing > 0
        shutil.rmtree(folder)
    return Facts(kills, acknowledged, lost, bad)


def waits_per_append(host: Host, name: str) -> float | None:
    """Return how many calls that wait for the disk an append makes, None where there is no strace."""
    if shutil.which("strace") is None:
        return None
    counts = []
    for appends in (_APPENDS, 2 * _APPENDS):
        folder = os.path.join(host.scratch, f"traced-{appends}-{re.sub('[^a-z0-9]+', '-', name)}")
        os.mkdir(folder)
        trace = os.path.join(folder, "trace")
        command = ("strace", "-f", "-qq", "-e", f"trace={_CALLS}", "-o", trace, host.python, _WORKER, "many", name)
        environ = {**host.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run(
            (*command, folder, str(appends)), check=True, stdin=subprocess.DEVNULL, capture_output=True, env=environ
        )
        with open(trace, encoding="utf-8") as file:
            counts.append(sum("(" in line and "resumed" not in line for line in file))
        shutil.rmtree(folder)
    return (counts[1] - counts[0]) / _APPENDS
