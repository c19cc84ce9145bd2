"""Warm: one `record()` of a full event, against the floor.

The floor is what nobody gets around who keeps an event so that `kill -9` takes nothing, and says so to other processes:
`cbor2.dumps`, a checksum, `flock`, `write`, unlock.  It encodes the very event that was recorded before, as read back
from the journal, without checking it against a schema.
"""

import os
from collections.abc import Callable, Sequence
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from statistics import median
from time import perf_counter, perf_counter_ns
from typing import Any
from zlib import crc32

from bench.host import Host, Scale
from bench.measure import Figure, Target, compare, paired, quantile
from bench.workload import EVENT, FIELDS, open_journal
from carojournal import Journal, JournalReader

__all__ = ["block_us", "run"]

_RECORD, _FLOOR = "record()", "cbor2+crc32+flock+write"
_CALLS_MIN = 20  # Where one takes 10 ms, the time limit of a block must still leave enough for a median.


def block_us(append: Callable[[], object], calls: int, limit_s: float) -> list[float]:
    """Call *append* up to *calls* times, no longer than *limit_s* but for the first 20; return each in microseconds."""
    taken = []
    until = perf_counter() + limit_s
    for number in range(calls):
        started = perf_counter_ns()
        append()
        taken.append((perf_counter_ns() - started) / 1e3)
        if number >= _CALLS_MIN and perf_counter() > until:
            break
    return taken


def _floor(folder: str, event: dict[str, Any]) -> Callable[[], object]:
    from cbor2 import dumps

    path = os.path.join(folder, "floor")
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    write = os.write

    def append() -> None:
        data = dumps(event)
        data = crc32(data).to_bytes(4, "big") + data
        flock(lock, LOCK_EX | LOCK_NB)
        write(file, data)
        flock(lock, LOCK_UN)

    return append


def _recorder(journal: Journal) -> Callable[[], object]:
    record = journal.record

    def append() -> None:
        assert record(EVENT, **FIELDS)

    return append


def run(host: Host, scale: Scale) -> list[Figure]:
    """Measure warm appends, and what `record` costs where telemetry is off."""
    with open_journal(os.path.join(host.scratch, "warm"), host.environ["HOME"]) as journal:
        journal.append(EVENT, **FIELDS)
        event = JournalReader(journal.root).tail(1)[0].value
        return [
            *_against_floor(_recorder(journal), _floor(host.scratch, event), scale),
            _disabled(host, scale),
        ]


def _against_floor(record: Callable[[], object], floor: Callable[[], object], scale: Scale) -> list[Figure]:
    blocks = _blocks({_RECORD: record, _FLOOR: floor}, scale)
    medians = {name: [median(block) for block in found] for name, found in blocks.items()}
    tails = [quantile(block, 0.99) for block in blocks[_RECORD]]
    return [
        compare(_RECORD, "us", medians[_RECORD], _FLOOR, medians[_FLOOR], Target("ratio", 3)),
        compare("record(), p99 of a block", "us", tails, "its median", medians[_RECORD], Target("ratio", 5)),
    ]


def _blocks(appends: dict[str, Callable[[], object]], scale: Scale) -> dict[str, list[Sequence[float]]]:
    """Return the blocks of every subject; blocks with the same number are neighbours."""
    blocks: dict[str, list[Sequence[float]]] = {name: [] for name in appends}

    def measured(name: str) -> Callable[[], float]:
        def block() -> float:
            blocks[name].append(block_us(appends[name], scale.appends, scale.block_s))
            return 0.0

        return block

    paired({name: measured(name) for name in appends}, scale.warm_rounds)
    return {name: found[1:] for name, found in blocks.items()}


class _Nothing:
    """A telemetry that does nothing at all: what a call with these arguments costs in any case."""

    def record(self, event_type: str, /, **fields: object) -> bool:  # noqa: ARG002
        return False


def _disabled(host: Host, scale: Scale) -> Figure:
    """Measure `record` where telemetry is off.  Raises AssertionError if that leaves a trace on the disk."""
    root = os.path.join(host.scratch, "disabled")
    calls = range(scale.appends)

    def loop_us(subject: "Journal | _Nothing") -> float:
        record = subject.record
        started = perf_counter_ns()
        for _ in calls:
            record(EVENT, **FIELDS)
        return (perf_counter_ns() - started) / 1e3 / len(calls)

    with open_journal(root, host.environ["HOME"], mode="off") as journal:
        nothing = _Nothing()
        samples = paired({"off": lambda: loop_us(journal), "empty": lambda: loop_us(nothing)}, scale.warm_rounds)
    assert not os.path.lexists(root)
    return compare(
        "record(), telemetry off", "us", samples["off"], "an empty method", samples["empty"], Target("value", 1)
    )
