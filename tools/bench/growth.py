"""How time and memory grow with the number of events: each operation is a process, from 10^3 events on.

    python tools/bench/growth.py [--to 5] [--only NAME ...] [--json FILE]

--to 5 goes to 10^5 events and takes a minute; 6 takes about six, 7 over an hour and 5 GB below the temporary directory.
One journal for each size, under a bound that it does not reach, is filled, read, packed, carried and sent to a receiver
on the loopback, by the programs as a user starts them.

time       of the processor, user and system: waiting for the disk or for other programs is in no exponent
exponent   of the time less that of an almost empty journal, fitted over all sizes by least squares: 1 is linear
memory     peak resident size at each size, and how much more the largest needs than the smallest; no process shows less
           than the one that started it, about 20 MB
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

__all__ = ["OPERATIONS", "Growth", "exponent", "main", "measure"]

_HERE = os.path.dirname(os.path.abspath(__file__))
_TOOLS = os.path.dirname(_HERE)
_CONFIG = """[telemetry]
enabled = true
level = "detailed"
offline_spool_max_mb = 100000
endpoint = "{url}"
[telemetry.consent]
answer = "yes"
version = 1
at = "2023-11-14T22:13:20Z"
"""
_FILL = """
import random, sys, time
from itertools import islice
from bench.batch_workload import drawn
from carojournal import Journal
count = int(sys.argv[1])
step = 86_400_000_000_000 * 3 // max(count, 1)
now = [time.time_ns() - count * step]
def clock():
    return now[0]
events = drawn(random.Random(7), count)
left = count
with Journal.open(admin="/nonexistent", clock=clock, level="detailed") as journal:
    while left:
        batch = list(islice(events, min(left, 50)))
        now[0] += step * len(batch)
        journal.append_many(batch)
        left -= len(batch)
"""
_READ = """
import sys
from carojournal import JournalReader
count = sum(1 for _ in JournalReader().records(events_only=True))
assert count == int(sys.argv[1]), count
"""
_EMPTY = 10  # Events of the journal whose times are taken off: start, imports, and what is done once.
_OURS, _BATCH = ("-m", "carojournal.cli"), ("-m", "carobatch.cli")
_Words = Callable[[int, str], tuple[str, ...]]


def _code(text: str) -> _Words:
    return lambda count, _: ("-c", text, str(count))


def _program(*words: str) -> _Words:
    """Return the command with BUNDLE and INTO in *words* replaced by paths in the size's folder."""
    places = {"BUNDLE": "bundle.tar.zst", "INTO": "into"}
    return lambda _, folder: tuple(os.path.join(folder, places[word]) if word in places else word for word in words)


# In the order in which they run; each finds what those before it left.
OPERATIONS: dict[str, _Words] = {
    "append": _code(_FILL),
    "first append of a process": _program(*_OURS, "append", "--event", "session_end", "session_duration_ms=1"),
    "read": lambda count, _: ("-c", _READ, str(count + 1)),
    "verify": _program(*_OURS, "verify"),
    "inspect -n 20, no index": _program(*_OURS, "inspect", "-n", "20", "--no-index"),
    "reindex": _program(*_OURS, "reindex"),
    "inspect -n 20, index": _program(*_OURS, "inspect", "-n", "20"),
    "status": _program(*_OURS, "status"),
    "compact": _program(*_BATCH, "compact", "--idle", "0"),
    "verify, packed": _program(*_OURS, "verify"),
    "export": _program(*_BATCH, "export", "-o", "BUNDLE"),
    "verify a bundle": _program(*_BATCH, "verify", "BUNDLE"),
    "import": _program(*_BATCH, "import", "BUNDLE", "--into", "INTO"),
    "upload": _program(*_BATCH, "upload"),
}


@dataclass(slots=True)
class Growth:
    """Of one operation: events -> (processor seconds, peak resident bytes); of the almost empty journal in `base`."""

    name: str
    base: tuple[float, int] = (0.0, 0)
    sizes: dict[int, tuple[float, int]] = field(default_factory=dict)

    def line(self) -> str:
        """Return the operation's line of the table."""
        cells = [f"{seconds:8.2f} s {peak / 1e6:6.0f} MB" for seconds, peak in self.sizes.values()]
        slope = exponent({count: seconds - self.base[0] for count, (seconds, _) in self.sizes.items()})
        peaks = [peak for _, peak in self.sizes.values()]
        text = "flat" if slope is None else f"{slope:.2f}"
        return f"{self.name:<26} {'  '.join(cells)}   {text:>5} {(peaks[-1] - peaks[0]) / 1e6:+8.0f} MB"


def exponent(times: dict[int, float]) -> float | None:
    """Return the slope of log(time) over log(events); None if times stay within noise or there are too few."""
    points = [(math.log(count), math.log(seconds)) for count, seconds in times.items() if seconds > 0.02]
    if len(points) < 2:
        return None
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def _run(words: Sequence[str], environ: dict[str, str]) -> tuple[float, int]:
    """Run a Python process; return (processor seconds, peak resident bytes).  Raises CalledProcessError."""
    command = (sys.executable, *words)
    with tempfile.TemporaryFile() as errors:
        actions = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0), (os.POSIX_SPAWN_DUP2, errors.fileno(), 2)]
        child = os.posix_spawn(command[0], command, environ, file_actions=actions)
        _, status, used = os.wait4(child, 0)
        if status:
            errors.seek(0)
            raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), command, stderr=errors.read())
    return used.ru_utime + used.ru_stime, used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@contextmanager
def _receiver() -> Iterator[str]:
    """Yield the URL of a receiver that takes everything."""
    command = (sys.executable, os.path.join(_HERE, "receiver_worker.py"))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1/events"
        finally:
            process.terminate()


def measure(place: str, counts: Sequence[int], names: Sequence[str]) -> list[Growth]:
    """Return how the operations *names* grow over *counts*; those before the last of them run too.

    Raises CalledProcessError if one fails.
    """
    last = max(list(OPERATIONS).index(name) for name in names)
    found = {name: Growth(name) for name in list(OPERATIONS)[: last + 1]}
    with _receiver() as url:
        for count in (_EMPTY, *counts):
            folder = os.path.join(place, str(count))
            config = os.path.join(folder, "home", ".config", "caro")
            os.makedirs(config, 0o700)
            with open(os.path.join(config, "config.toml"), "w", encoding="utf-8") as file:
                file.write(_CONFIG.format(url=url))
            environ = {
                "HOME": os.path.join(folder, "home"),
                "PATH": os.environ.get("PATH", os.defpath),
                "CAROJOURNAL_DIR": os.path.join(folder, "journal"),
                "PYTHONPATH": os.pathsep.join((os.path.dirname(_TOOLS), _TOOLS)),
            }
            for name, growth in found.items():
                started = time.perf_counter()
                taken = _run(OPERATIONS[name](count, folder), environ)
                words = f"{taken[0]:.2f} s of {time.perf_counter() - started:.2f}"
                if count == _EMPTY:
                    growth.base = taken
                else:
                    growth.sizes[count] = taken
                print(f"{count:>10,} {name}: {words}", file=sys.stderr, flush=True)
            shutil.rmtree(folder)
    return [growth for name, growth in found.items() if name in names]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure how time and memory grow with the number of events.")
    parser.add_argument("--to", type=int, default=5, help="the largest power of ten (default 5)")
    parser.add_argument("--only", nargs="*", choices=list(OPERATIONS), metavar="NAME", help="these operations")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    given = parser.parse_args(argv)
    counts = [10**power for power in range(3, given.to + 1)]
    with tempfile.TemporaryDirectory(prefix="growth-") as place:
        found = measure(place, counts, given.only or list(OPERATIONS))
    heads = "  ".join(f"{f'{count:,} events':>20}" for count in counts)
    print(f"{'operation':<26} {heads}   exponent, memory")
    for growth in found:
        print(growth.line())
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            file.write(json.dumps([asdict(growth) for growth in found], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
