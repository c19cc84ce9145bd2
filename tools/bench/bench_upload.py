"""Upload to a receiver on the loopback, in a process of its own: events a second, where the time goes, memory.

The journal holds full events recorded under a yes; the upload is the real one (intents, receipts and copies synced,
requests, reclaim), over http because the receiver's TLS is not ours to measure.  The shares are of a second run of the
same work with a clock around each step, which costs some percent itself, and one step after the other: otherwise a
batch is read, checked and rendered while the one before is synced, sent and answered.
"""

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from bench.host import Host, Scale
from bench.measure import Figure, Summary, Target, compare, paired
from bench.workload import EVENT, FIELDS
from carojournal import Journal

__all__ = ["DAY_MS", "pending_journal", "run", "upload_all"]

DAY_MS = 86_400_000
YES_MS = 1_700_000_000_000
_CONFIG = """[telemetry]
enabled = true
level = "detailed"
offline_spool_max_mb = 100000
[telemetry.consent]
answer = "yes"
version = 1
at = "2023-11-14T22:13:20Z"
"""


def pending_journal(scratch: str, events: int) -> str:
    """Return the root of a journal with that many events to send, made at the first call."""
    root = os.path.join(scratch, f"pending-{events}")
    home = os.path.join(scratch, "agreed")
    if os.path.exists(root):
        return root
    os.makedirs(os.path.join(home, ".config", "caro"), exist_ok=True)
    with open(os.path.join(home, ".config", "caro", "config.toml"), "w", encoding="utf-8") as file:
        file.write(_CONFIG)
    step_ns = 100_000_000
    now_ns = time.time_ns() - events * step_ns
    with Journal.open(root, environ={"HOME": home}, admin="/nonexistent", clock=lambda: now_ns) as journal:
        for _ in range(events):
            now_ns += step_ns
            journal.append(EVENT, **FIELDS)
    from carobatch.seal import seal_idle_lanes

    seal_idle_lanes(root, time.time_ns() // 1_000_000 + DAY_MS, 0)
    return root


@contextmanager
def receiver() -> Iterator[str]:
    """Yield the URL of a receiver that takes everything."""
    worker = os.path.join(os.path.dirname(os.path.abspath(__file__)), "receiver_worker.py")
    process = subprocess.Popen([sys.executable, worker], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1/events"
    finally:
        process.terminate()
        process.wait()


def upload_all(root: str, url: str, events_max: int = 1_000) -> int:
    """Upload everything at *root*; return how many events were accepted."""
    from carobatch.http import Client
    from carobatch.sinks import open_sink
    from carobatch.upload import Job, Upload

    client = Client(agent="bench")
    job = Job(
        root=root,
        sink=open_sink("caro-v1", url),
        client=client,
        allowed=lambda: YES_MS,
        may_ask=lambda: True,
        clock=lambda: time.time_ns() // 1_000_000,
        events_max=events_max,
        cap_bytes=100_000_000_000,
        interval_ms=DAY_MS,
    )
    try:
        return Upload(job).run().events
    finally:
        client.close()


class _Steps:
    """Adds up the time inside functions, less that of those they call which are also measured."""

    def __init__(self) -> None:
        self.taken: dict[str, float] = {}
        self._inner = [0.0]

    def timed(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*arguments: Any, **options: Any) -> Any:
            self._inner.append(0.0)
            started = time.perf_counter()
            try:
                return work(*arguments, **options)
            finally:
                taken = time.perf_counter() - started
                self.taken[name] = self.taken.get(name, 0.0) + taken - self._inner.pop()
                self._inner[-1] += taken

        return measured


def _in_turn(values: Iterator[Any]) -> Iterator[Any]:
    yield from values


def _shares(root: str, url: str) -> str:
    """Upload with a clock around each step and return the shares as text."""
    from carobatch import deliveries, http, outbox, plan, upload
    from carobatch.sinks import caro

    steps = _Steps()
    places = (
        (plan, "parts_of", "validate"),
        (plan, "batch_of", "hash"),
        (caro, "_events", "encode"),
        (caro, "compressed", "compress"),
        (http.Client, "post", "send and wait"),
        (outbox.Outbox, "write", "intent, synced"),
        (outbox.Outbox, "settle", "receipt, synced"),
        (deliveries, "reclaim", "reclaim"),
        (deliveries, "fold", "reclaim"),
    )
    with ExitStack() as patched:
        patched.enter_context(mock.patch.object(upload, "ahead", _in_turn))
        for place, name, step in places:
            patched.enter_context(mock.patch.object(place, name, steps.timed(step, getattr(place, name))))
        started = time.perf_counter()
        upload_all(root, url)
        total = time.perf_counter() - started
    steps.taken["read and the rest"] = total - sum(steps.taken.values())
    rows = sorted(steps.taken.items(), key=lambda row: -row[1])
    return ", ".join(f"{name} {100 * taken / total:.0f} %" for name, taken in rows)


def run(host: Host, scale: Scale) -> list[Figure]:
    """Measure uploads.  Raises AssertionError if an event does not arrive."""
    events = scale.upload_events
    root = pending_journal(host.scratch, events)
    copy = os.path.join(host.scratch, "uploaded")
    rates = []
    with receiver() as url:
        for _ in range(scale.upload_rounds):
            shutil.copytree(root, copy)
            started = time.perf_counter()
            accepted = upload_all(copy, url)
            rates.append(accepted / (time.perf_counter() - started))
            assert accepted == events
            shutil.rmtree(copy)
        shutil.copytree(root, copy)
        note = _shares(copy, url)
        shutil.rmtree(copy)
    rates.sort()
    found = Summary(rates[len(rates) // 2], rates[-1], rates[0], len(rates))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    target = Target("value", 25_000, at_least=True)
    return [
        Figure("upload, end to end", "events/s", found, target=target, note=f"{events:,} events; {note}"),
        _idle(host, scale),
        Figure("upload, peak memory", "MB", Summary(memory, memory, memory, 1), target=Target("value", 80)),
    ]


def _idle(host: Host, scale: Scale) -> Figure:
    """Measure a `carobatch run` that has nothing to do."""
    root = os.path.join(host.scratch, "idle")
    home = host.environ["HOME"]
    with Journal.open(root, environ={"HOME": home}, admin="/nonexistent") as journal:
        journal.append(EVENT, **FIELDS)
    command = (host.python, "-m", "carobatch.cli", "run", "--dir", root)
    floor = "python -c 'pass'"
    name = "carobatch run, nothing to do"
    subjects = {name: lambda: host.run_ms(*command), floor: lambda: host.run_ms(host.python, "-c", "pass")}
    samples = paired(subjects, scale.cold_rounds)
    return compare(name, "ms", samples[name], floor, samples[floor], Target("difference", 80))
