"""Appends beside other ways to keep an event: warm, in a process that starts, by many processes, and under `kill -9`.

Warm and cold take turns with `record()`, as everywhere; of processes, each number is run with every store in turn.  The
rate of many is all their appends over the time from the first one's start to the last one's end, by the system's clock.
"""

import json
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from statistics import median

from bench.bench_append import block_us
from bench.host import Host, Scale
from bench.measure import Figure, Target, compare, paired, single
from bench.peer_facts import kill_and_count, waits_per_append
from bench.peer_worker import OURS, OURS_SYNCED, opened
from bench.peers import PEERS, Peer, is_available
from bench.workload import sample_event

__all__ = ["rate", "run"]

_HERE = os.path.dirname(os.path.abspath(__file__))
_WORKER = os.path.join(_HERE, "peer_worker.py")
_FASTER = Target("ratio", 3, at_least=True)
_FIRST = "import sys; sys.path.append({here!r}); import {module}; {module}.{function}(sys.argv[1], {row!r})()"
_OURS_FIRST = """
import sys
from carojournal import Journal
sys.exit(not Journal.open(sys.argv[1] + "/journal").record({event!r}, **{fields!r}))
"""


def _folder(host: Host, *words: object) -> str:
    path = os.path.join(host.scratch, re.sub("[^a-z0-9]+", "-", " ".join(map(str, words)).lower()))
    os.mkdir(path)
    return path


def run(host: Host, scale: Scale) -> list[Figure]:
    """Measure every peer that is installed.  Raises AssertionError if one loses what it should not."""
    peers = [peer for peer in PEERS if is_available(peer)]
    buffered = [peer for peer in peers if not peer.synced]
    synced = [peer for peer in peers if peer.synced]
    return [
        # Apart: what waits for the disk makes its neighbours wait as well.
        *_warm(host, scale, OURS, buffered),
        *_warm(host, scale, OURS_SYNCED, synced),
        *_cold(host, scale, peers),
        *_together(host, scale, OURS, buffered, scale.process_appends),
        *_together(host, scale, OURS_SYNCED, synced, max(1, scale.process_appends // 40)),
        *_facts(host, scale, [OURS, OURS_SYNCED, *(peer.name for peer in peers)]),
    ]


def _warm(host: Host, scale: Scale, ours: str, peers: Sequence[Peer]) -> list[Figure]:
    appends = {ours: opened(ours, _folder(host, "warm", ours))}
    for peer in peers:
        appends[peer.name] = peer.open(_folder(host, "warm", peer.name), sample_event())

    def block(append: Callable[[], object]) -> Callable[[], float]:
        return lambda: median(block_us(append, scale.appends, scale.block_s))

    medians = paired({name: block(append) for name, append in appends.items()}, scale.peer_rounds)
    return [
        compare(
            f"warm: {peer.name}",
            "us",
            medians[peer.name],
            ours,
            medians[ours],
            _FASTER if peer.comparable and not peer.synced else None,
        )
        for peer in peers
    ]


def _cold(host: Host, scale: Scale, peers: Sequence[Peer]) -> list[Figure]:
    """Measure processes that import, open a store that is there, append once and end."""
    from bench.workload import EVENT, FIELDS

    row = sample_event()
    commands = {OURS: ("-c", _OURS_FIRST.format(event=EVENT, fields=FIELDS), _folder(host, "cold", OURS))}
    for peer in peers:
        module, function = peer.open.__module__.rpartition(".")[2], peer.open.__name__
        if module != "peers":  # A floor, or "same work": they need what we import.
            code = _FIRST.format(here=_HERE, module=module, function=function, row=row)
            commands[peer.name] = ("-c", code, _folder(host, "cold", peer.name))
    bare = "python -c 'pass'"
    commands[bare] = ("-c", "pass")

    def once(words: tuple[str, ...]) -> Callable[[], float]:
        return lambda: host.run_ms(host.python, *words)

    samples = paired({name: once(words) for name, words in commands.items()}, scale.peer_rounds)
    return [
        compare(f"cold process: {name}", "ms", samples[name], bare, samples[bare]) for name in commands if name != bare
    ]


def rate(host: Host, name: str, folder: str, processes: int, count: int) -> float:
    """Let *processes* processes append *count* events each to one store at the same time; return events a second."""
    gate, starter = os.pipe()
    workers = [
        subprocess.Popen(
            (host.python, _WORKER, "many", name, folder, str(count)),
            stdin=gate,
            stdout=subprocess.PIPE,
            env=host.environ,
        )
        for _ in range(processes)
    ]
    os.close(gate)
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"\n"
    os.close(starter)
    began, ended = zip(*(json.loads(worker.communicate()[0]) for worker in workers), strict=True)
    return processes * count / (max(ended) - min(began)) * 1e9


def _together(host: Host, scale: Scale, ours: str, peers: Sequence[Peer], count: int) -> list[Figure]:
    figures = []
    for processes in scale.peer_processes:
        shared = [peer for peer in peers if (peer.shared or processes == 1) and not peer.name.startswith("same work")]
        rates: dict[str, list[float]] = {name: [] for name in (ours, *(peer.name for peer in shared))}
        for number in range(scale.peer_process_rounds):
            for name, found in rates.items():
                folder = _folder(host, "together", processes, number, name)
                # A store is made by one process: several that make the same table at once is another question.
                subprocess.run((host.python, _WORKER, "once", name, folder), check=True, env=host.environ)
                found.append(rate(host, name, folder, processes, count))
        words = f"{processes} process{'es' if processes > 1 else ''}"
        figures += [
            compare(f"{words}: {name}", "events/s", found, ours, rates[ours], higher_is_better=True)
            for name, found in rates.items()
        ]
    return figures


def _facts(host: Host, scale: Scale, names: Sequence[str]) -> list[Figure]:
    figures = []
    for name in names:
        facts = kill_and_count(host, name, scale.kills, scale.kill_appends)
        waits = waits_per_append(host, name)
        text = "" if waits is None else f"; waits for the disk {waits:.3g} times an append"
        note = f"of {facts.acknowledged:,} in {facts.kills} kills, {facts.bad_kills} of them lost some{text}"
        figures.append(single(f"kill -9, acknowledged and lost: {name}", "events", facts.lost, None, note))
        survives = name in (OURS, OURS_SYNCED) or next(peer.survives for peer in PEERS if peer.name == name)
        assert not (survives and facts.lost), f"{name} is listed as surviving and lost {facts.lost}"
    return figures
