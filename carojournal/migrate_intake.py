"""Which rows of caro 1.1's may be taken: each judged once, counted, and the newest of the good ones held.

No more is held than the spool can keep, so a file of any size costs a bounded amount of memory.
"""

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carojournal import redact
from carojournal.errors import DamagedData
from carojournal.frame import RECORD_OVERHEAD_BYTES
from carojournal.migrate_ledger import Ledger
from carojournal.migrate_rows import OldEvent, Refusal, read_row
from carojournal.refusal import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from carojournal.migrate_sources import Row
    from carojournal.policy import Policy

__all__ = ["Held", "Intake", "Report"]

HELD_BYTES_MAX = 67_108_864  # Of encoded events held at once, however large the spool may be.
_OVERHEAD_BYTES = RECORD_OVERHEAD_BYTES + 80  # Framing, and the recorder's own fields.


@dataclass(slots=True)
class Report:
    """What became of the rows.  Keys of `refused` and `replaced` are (event, field, reason), of `mapped` our own words.

    `taken` rows are in the journal now (or would be: dry run), `already` were before, `filtered` the level leaves out,
    `left` found no room, `refused` rows are counted by reason; `replaced` counts optional fields that became "other" or
    were left out; `evicted` files had to make room; `damage` says why the rest of the file could not be read.
    """

    read: int = 0
    taken: int = 0
    already: int = 0
    filtered: int = 0
    left: int = 0
    segments: int = 0
    evicted: int = 0
    refused: dict[Refusal, int] = field(default_factory=dict)
    replaced: dict[Refusal, int] = field(default_factory=dict)
    mapped: dict[str, int] = field(default_factory=dict)
    damage: DamagedData | None = None


@dataclass(slots=True)
class Held:
    """The newest accepted events, as many as can be kept at all; a heap by (time, order in the file)."""

    limit: int  # Bytes.
    used: int = 0
    heap: list[tuple[int, int, bytes, bytes, redact.Accepted]] = field(default_factory=list)

    def push(self, order: int, old: OldEvent, row: bytes, found: redact.Accepted) -> int:
        """Add an event; return how many had to go."""
        heapq.heappush(self.heap, (old.time_ms, order, row, old.session, found))
        self.used += _size(found)
        gone = 0
        while self.used > self.limit:
            self.used -= _size(heapq.heappop(self.heap)[-1])
            gone += 1
        return gone


def _size(found: redact.Accepted) -> int:
    return sum(map(len, found.slots)) + _OVERHEAD_BYTES


def _count(counts: "dict[Refusal, int]", keys: "Iterable[Refusal]") -> None:
    for key in keys:
        counts[key] = counts.get(key, 0) + 1


class Intake:
    """Judges rows one after another; what may be kept ends up in `held`, everything else in `report`."""

    def __init__(self, open_ledger: "Callable[[], Ledger]", policy: "Policy", now_ms: int) -> None:
        self.report = Report()
        self.ledger: Ledger | None = None  # Opened for the first event: a file that holds none leaves no trace.
        self._open_ledger = open_ledger
        self.held = Held(min(policy.cap_bytes, HELD_BYTES_MAX))
        self._level = policy.level
        self._now_ms = now_ms
        self._repeats: dict[bytes, int] = {}
        self._fresh: set[bytes] = set()

    def take(self, row: "Row") -> None:
        """Judge one row."""
        report = self.report
        report.read += 1
        old = read_row(row, self._now_ms)
        if not isinstance(old, OldEvent):
            _count(report.refused, (old,))
            return
        ledger = self.ledger = self.ledger or self._open_ledger()
        name = self._name(old, ledger)
        if name in ledger.known or name in self._fresh:
            report.already += 1
            return
        found = redact.check(old.event, old.fields, self._level)
        if isinstance(found, Refused):
            _count(report.refused, dict.fromkeys(found.refusals))
            return
        if found is None:
            report.filtered += 1
            return
        self._fresh.add(name)
        report.left += self.held.push(report.read, old, name, found)
        _count(report.replaced, found.refusals)
        for word in old.mapped:
            report.mapped[word] = report.mapped.get(word, 0) + 1

    def _name(self, old: OldEvent, ledger: Ledger) -> bytes:
        repeat = 0
        if not old.has_id:
            # Two events without ids may be equal and yet two: what counts is which occurrence this one is.
            repeat = self._repeats[old.key] = self._repeats.get(old.key, -1) + 1
        return ledger.row(old.key, repeat)
