"""The soak: everything at full speed for a long time, and at the end every event is where the journal says it is.

    python tools/faults/soak.py [--seconds 3600] [--events 50000000] [--writers 4] [--cap-mb 10] [--every 5]
                                [--dir DIR] [--json FILE]

Several hosts (`soak_writer`) append to one journal as fast as they can, far faster than its bound allows to keep, while
one process (`soak_batch`) packs and uploads without a pause to a receiver on the loopback that fails at random
(`soak_receiver`).  It ends after --seconds, or when --events are kept.  All that while, every --every seconds:

* the spool is at most the bound and one segment,
* memory and descriptors of every process stay where they are after the first quarter (judged from five minutes on).

At the end, by identity: every event that was answered for is in the journal, in a receipt, or in a file that was
removed to make room; nothing is there that was not answered for; the receiver has what receipts say it accepted, under
the ids that follow from the identities; and the journal's own losses are exactly what was removed.

Exit 0 if all of it holds, 1 if not; what does not hold is printed.  The folder stays with --dir.  Linux only.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), *up) for up in (("..", ".."), ("..",))]

from carojournal.policy import SEGMENT_BYTES_MAX, segment_limit  # noqa: E402
from faults.soak_check import settle  # noqa: E402
from faults.soak_samples import Sample, growth, look  # noqa: E402

__all__ = ["MEMORY_BYTES", "main", "other_problems", "soak"]

_HERE = os.path.dirname(os.path.abspath(__file__))
_CONFIG = """[telemetry]
enabled = true
level = "detailed"
offline_spool_max_mb = {cap_mb}
endpoint = "http://127.0.0.1:{port}/v1/events"
[telemetry.consent]
answer = "yes"
version = 1
at = "2023-11-14T22:13:20Z"
"""
MEMORY_BYTES = 8_000_000  # What a process may grow by between the second quarter and the last: buffers, not a leak.
DESCRIPTORS = 2
_SETTLED_S = 300  # A process that has run for less is still filling its caches.
_STOP_S = 300  # For the phase or the round that is under way; under load a round may take a minute.
_Process = subprocess.Popen[str]


def _start(
    stack: ExitStack, environ: dict[str, str], name: str, *words: object, stdin: int | None = None
) -> tuple[_Process, str]:
    """Start one of the other programs; return it and the line by which it says that it is ready."""
    command = [sys.executable, os.path.join(_HERE, f"soak_{name}.py"), *map(str, words)]
    opened = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, text=True, env=environ)
    process = stack.enter_context(opened)
    stack.callback(process.kill)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{name} did not start")
    return process, line.strip()


def _result(process: _Process) -> dict[str, Any]:
    process.terminate()
    output, _ = process.communicate(timeout=_STOP_S)
    found: dict[str, Any] = json.loads(output)
    return found


def _kept(logs: str, writers: int) -> int:
    total = 0
    for number in range(writers):
        with open(f"{logs}/count-{number}", "rb") as file:
            total += int(file.read() or 0)
    return total


def _watch(
    root: str, logs: str, hosts: list[_Process], batch: _Process, given: argparse.Namespace, begin: int
) -> tuple[list[Sample], float]:
    """Sample until time is up or a writer has kept its share; return the samples and the seconds that it took.

    Closing *begin* lets the writers begin: not before the first sample.
    """
    samples = [look(root, [process.pid for process in (*hosts, batch)], 0.0)]
    os.close(begin)
    started = time.monotonic()
    while (now := time.monotonic() - started) < given.seconds and all(host.poll() is None for host in hosts):
        samples.append(look(root, [process.pid for process in (*hosts, batch)], now))
        if sys.stderr.isatty():
            print(f"\r{now:6.0f} s {_kept(logs, len(hosts)):12,} events", end="", file=sys.stderr, flush=True)
        time.sleep(min(given.every, max(0.0, given.seconds - now)))
    return samples, time.monotonic() - started


def soak(place: str, given: argparse.Namespace) -> dict[str, Any]:
    """Run in the folder *place* and return the report; `problems` is empty if everything holds."""
    root, home, logs = (os.path.join(place, name) for name in ("journal", "home", "logs"))
    os.makedirs(os.path.join(home, ".config", "caro"), 0o700)
    os.makedirs(logs, 0o700)
    environ = {"HOME": home, "PATH": os.environ.get("PATH", os.defpath), "CAROJOURNAL_DIR": root}
    with ExitStack() as stack:
        receiver, port = _start(stack, environ, "receiver", logs, 1)
        with open(os.path.join(home, ".config", "caro", "config.toml"), "w", encoding="utf-8") as file:
            file.write(_CONFIG.format(cap_mb=given.cap_mb, port=port))
        share = -(-given.events // given.writers)
        gate, begin = os.pipe()
        hosts = [
            _start(stack, environ, "writer", root, home, logs, number, share, stdin=gate)[0]
            for number in range(given.writers)
        ]
        os.close(gate)
        batch, _ = _start(stack, environ, "batch", root, logs)
        samples, seconds = _watch(root, logs, hosts, batch, given, begin)
        with suppress(subprocess.TimeoutExpired):
            for host in hosts:  # One has kept its share; the others come to theirs, unless time is up.
                host.wait(max(0.0, given.seconds - seconds))
        for host in hosts:
            host.terminate()
        written = [_result(host) for host in hosts]
        carried = _result(batch)
        receiver.terminate()
        receiver.wait()
    report: dict[str, Any] = {
        "seconds": round(seconds, 1),
        "events": sum(row["kept"] for row in written),
        "samples": len(samples),
        "spool_bytes_max": max((sample.spool for sample in samples), default=0),
        "processes": _processes(samples, given.writers),
        "writers": written,
        "batch": carried,
        **settle(root, logs, given.writers),
    }
    report["problems"] += other_problems(report, given.cap_mb * 1_000_000)
    return report


def _processes(samples: list[Sample], writers: int) -> list[dict[str, Any]]:
    names = [*(f"writer {number}" for number in range(writers)), "batch"]
    rows = []
    for at, name in enumerate(names):
        memory, descriptors = zip(*(sample.processes[at] for sample in samples), strict=True) if samples else ((), ())
        rows.append(
            {
                "process": name,
                "memory_bytes_max": max(memory, default=0),
                "memory_growth_bytes": int(growth(memory)),
                "descriptors_max": max(descriptors, default=0),
                "descriptors_growth": growth(descriptors),
            }
        )
    return rows


def other_problems(report: dict[str, Any], cap_bytes: int) -> list[str]:
    """Return what does not hold of all that is not conservation."""
    found = []
    bound = cap_bytes + min(SEGMENT_BYTES_MAX, segment_limit(cap_bytes, 0))
    if report["spool_bytes_max"] > bound:
        found.append(f"the spool held {report['spool_bytes_max']:,} bytes; bound and one segment are {bound:,}")
    for row in report["processes"] if report["seconds"] >= _SETTLED_S else ():
        if row["memory_growth_bytes"] > MEMORY_BYTES:
            found.append(f"{row['process']}: memory grew by {row['memory_growth_bytes']:,} bytes")
        if row["descriptors_growth"] > DESCRIPTORS:
            found.append(f"{row['process']}: {row['descriptors_growth']:g} descriptors more")
    found += [
        f"a writer was told of {row['kept']:,} events and wrote {row['logged']:,}"
        for row in report["writers"]
        if row["kept"] != row["logged"]
    ]
    found += [
        f"a writer offered {row['offered']:,} events; {counted:,} were kept, dropped or refused"
        for row in report["writers"]
        if row["offered"] != (counted := row["kept"] + row["dropped"] + row["refused"])
    ]
    found += [f"{count} x in carobatch: {text}" for text, count in report["batch"]["errors"].items()]
    found += [f"{count} x reported by carobatch: {text}" for text, count in report["batch"]["problems"].items()]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Soak, print the report, and return the exit code."""
    parser = argparse.ArgumentParser(description="Append, pack and upload at full speed, and account for every event.")
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--events", type=int, default=50_000_000)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--cap-mb", type=int, default=10)
    parser.add_argument("--every", type=float, default=5, help="seconds between samples")
    parser.add_argument("--dir", help="work there, and leave everything there")
    parser.add_argument("--json", metavar="FILE", help="write the report there too")
    given = parser.parse_args(argv)
    with ExitStack() as stack:
        place = given.dir or stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-"))
        os.makedirs(place, 0o700, exist_ok=True)
        report = soak(place, given)
    text = json.dumps(report, indent=2)
    print(text)
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            file.write(text + "\n")
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
