"""Many processes append to one journal at the same time: what is lost, what is there twice, and what it costs each.

Each process times its own appends, and they are held against one process alone that did the same just before.  Where
there are more processes than processors, the scheduler interrupts each after some 3 ms for as long as all others run.
Once an append takes more than a hundredth of that, the p99 is such an interruption, 20 to 30 ms whatever the journal
does; the p95 is none, and stands beside that of as many processes with a journal each, which share nothing.

The spool's bound is raised, so that nothing has to be evicted: an event that is not there afterwards is lost.
"""

import json
import os
import subprocess
from collections import Counter
from dataclasses import dataclass
from statistics import median

from bench.host import Host, Scale
from bench.measure import Figure, Target, compare, quantile, single
from carojournal import JournalReader

__all__ = ["Outcome", "append_together", "run"]

_WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "append_worker.py")
_CONFIG = "[telemetry]\noffline_spool_max_mb = 100\n"  # MB; 16 x 2,000 events take 9.


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run: microseconds of all appends, events missing and extra, and how many lanes were used."""

    times_us: list[float]
    lost: int
    duplicated: int
    lanes: int


def append_together(host: Host, root: str, processes: int, count: int, *, shared: bool = True) -> Outcome:
    """Let *processes* processes append *count* events each at the same time.

    They append to the journal at *root*, or, if it is not *shared*, to one each.  Raises AssertionError if one of them
    fails to start.
    """
    home = f"{root}-home"
    roots = [root if shared else f"{root}-{number}" for number in range(processes)]
    os.makedirs(os.path.join(home, ".config", "caro"), 0o700)
    with open(os.path.join(home, ".config", "caro", "config.toml"), "w", encoding="utf-8") as file:
        file.write(_CONFIG)
    gate, starter = os.pipe()
    workers = [
        subprocess.Popen(
            (host.python, _WORKER, place, home, str(count)), stdin=gate, stdout=subprocess.PIPE, env=host.environ
        )
        for place in roots
    ]
    os.close(gate)
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"\n"
    os.close(starter)
    results = [json.loads(worker.communicate()[0]) for worker in workers]
    expected = {(result["run"], number) for result in results for number in range(count)}
    found = Counter(
        (record.value["run_id"].hex(), record.value["inference_time_ms"])  # type: ignore[attr-defined]
        for place in set(roots)
        for record in JournalReader(place).records(events_only=True)
        if record.value["event"] == "command_generated"
    )
    times = [ns / 1e3 for result in results for ns in result["ns"]]
    lost = len(expected - found.keys())
    kept = sum(result["kept"] for result in results)
    assert lost or kept == len(expected)
    duplicated = sum(more - 1 for more in found.values())
    lanes = max(len([name for name in os.listdir(f"{place}/lanes") if name.endswith(".seg")]) for place in roots)
    return Outcome(times, lost, duplicated, lanes)


def run(host: Host, scale: Scale) -> list[Figure]:
    """Measure one process and many, in turns.  Raises AssertionError if a process fails to start."""
    alone: list[Outcome] = []
    together: list[Outcome] = []
    apart: list[Outcome] = []
    for number in range(scale.process_rounds):
        for kind, outcomes, processes in (("alone", alone, 1), ("shared", together, scale.processes)):
            root = os.path.join(host.scratch, f"{kind}-{number}")
            outcomes.append(append_together(host, root, processes, scale.process_appends))
        root = os.path.join(host.scratch, f"apart-{number}")
        apart.append(append_together(host, root, scale.processes, scale.process_appends, shared=False))
    floor = [median(outcome.times_us) for outcome in alone]
    words = f"{scale.processes} processes x {scale.process_appends:,}"
    events = scale.processes * scale.process_appends * scale.process_rounds
    note = f"of {events:,} events; up to {max(outcome.lanes for outcome in together)} lanes"
    medians = [median(outcome.times_us) for outcome in together]
    tails = [quantile(outcome.times_us, 0.99) for outcome in together]
    shoulders, unshared = ([quantile(outcome.times_us, 0.95) for outcome in each] for each in (together, apart))
    reference = "one process, median"
    none = Target("value", 0)
    return [
        single(f"{words}: lost", "events", sum(outcome.lost for outcome in together), none, note),
        single(f"{words}: duplicated", "events", sum(outcome.duplicated for outcome in together), none),
        compare(f"{words}: median", "us", medians, reference, floor, Target("ratio", 4)),
        compare(f"{words}: p99", "us", tails, reference, floor, Target("ratio", 20)),
        compare(f"{words}: p95", "us", shoulders, "a journal each, p95", unshared),
    ]
