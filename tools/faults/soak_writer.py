"""A host of the soak: `python soak_writer.py ROOT HOME LOGS NUMBER EVENTS` appends as fast as it can.

It says with an empty line that it is ready, and begins when standard input ends.  Until EVENTS events are kept or
SIGTERM comes it goes through phases, each with a journal of its own, opened and closed: `record` one by one,
`append_many`, and a `Collector` with its thread.  LOGS/acked-NUMBER gets the identity of every event that was answered
for, LOGS/evicted-NUMBER the events of every file that it removed to make room, both as `soak_log` has them, and
LOGS/count-NUMBER how many events are kept so far, after each phase.  Last it prints one line of JSON: {"kept",
"logged", "offered", "dropped", "refused", "waited_in_vain", "reasons"}; waited_in_vain counts how often somebody else
made room for too long.
"""

import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import cycle, islice
from typing import Any

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), *up) for up in (("..", ".."), ("..",))]

from bench.batch_workload import drawn  # noqa: E402
from carojournal import Collector, Journal, spool  # noqa: E402
from carojournal.cbordecode import decode  # noqa: E402
from carojournal.errors import JournalBusy  # noqa: E402
from carojournal.eviction import Victim  # noqa: E402
from carojournal.held import describe  # noqa: E402
from carojournal.lanes import Lane  # noqa: E402
from faults.soak_log import RunLog  # noqa: E402

__all__ = ["main"]

_Events = Sequence[tuple[str, dict[str, object]]]
_DRAWN = 4_000  # Different events; then they come again.
_PHASE = 5_000  # Events of one phase: a journal lives for less than a second.
_MANY = 100  # Events of one `append_many`.
_QUEUE_MAX = 1_024


def _log_answers(log: RunLog) -> None:
    """Let *log* name every event that a lane has written: what a host is answered comes from there."""
    append = Lane.append

    def logged(lane: Lane, payloads: Sequence[bytes], now_ms: int, consent_ms: int, *, sync: bool) -> Any:
        identity = append(lane, payloads, now_ms, consent_ms, sync=sync)
        if identity is not None:
            log.add(*identity, len(payloads))
        return identity

    Lane.append = logged  # type: ignore[method-assign]


def _by_one(journal: Journal, events: _Events) -> int:
    return sum(journal.record(name, **fields) for name, fields in events)


def _by_many(journal: Journal, events: _Events) -> int:
    kept = 0
    for at in range(0, len(events), _MANY):
        part = events[at : at + _MANY]
        with suppress(JournalBusy):  # Counted by the journal.
            journal.append_many(part)
            kept += len(part)
    return kept


def _collected(journal: Journal, events: _Events) -> int:
    """Queue as fast as the thread writes; what is queued is not kept yet, so the journal is asked for the number."""
    before = journal.stats["recorded"]
    with Collector(journal, queue_max=_QUEUE_MAX, deadline_s=60) as collector:
        for at, (name, fields) in enumerate(events):
            if at % _QUEUE_MAX == 0:
                collector.flush(60)
            collector.record(name, **fields)
    return int(journal.stats["recorded"]) - int(before)  # type: ignore[call-overload]


def _log_evictions(log: RunLog) -> None:
    """Let *log* name the events of every file that is removed to make room."""
    remove = spool.remove

    def logged(victims: list[Victim]) -> dict[str, OSError]:
        held = {victim.path: _segments(victim) for victim in victims}
        stuck = remove(victims)
        for path, payload in ((victim.path, payload) for victim in victims for payload in victim.payloads):
            loss: dict[str, Any] = decode(payload)
            # All of the file, what receipts account for included: the record's own number leaves that out.  Not the
            # losses that it told itself and that others ask for: those are copied.
            if path not in stuck and loss["segment"] in held[path]:
                log.add(loss["segment"], loss["first_seq"], loss["last_seq"] - loss["first_seq"] + 1)
        return stuck

    spool.remove = logged


def _segments(victim: Victim) -> set[bytes]:
    """Return the segments that the file holds; those of its loss records where carobatch has removed it just now."""
    try:
        return {loss[0] for loss in describe(victim.path)}
    except FileNotFoundError:
        return {decode(payload)["segment"] for payload in victim.payloads}  # type: ignore[misc]


def _count_waits(totals: Counter[str]) -> None:
    lock_room = spool.lock_room

    def counted(root: str, wait_s: float = spool.ROOM_WAIT_S, folder: str = "segments") -> int:
        try:
            return lock_room(root, wait_s, folder)
        except JournalBusy:
            totals["waited_in_vain"] += wait_s > 0
            raise

    spool.lock_room = counted


def main(root: str, home: str, logs: str, number: str, events_max: int) -> None:
    """Append, and print what is described above."""
    going = True

    def stop(*_: object) -> None:
        nonlocal going
        going = False

    signal.signal(signal.SIGTERM, stop)
    acked, evicted = RunLog(f"{logs}/acked-{number}"), RunLog(f"{logs}/evicted-{number}")
    _log_answers(acked)
    _log_evictions(evicted)
    source = cycle(drawn(random.Random(int(number)), _DRAWN))
    kept, totals, reasons = 0, Counter[str](offered=0, waited_in_vain=0), Counter[str]()
    _count_waits(totals)
    ways = cycle((_by_one, _by_many, _by_many, _collected))
    progress = os.open(f"{logs}/count-{number}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    print(flush=True)
    sys.stdin.read()  # Until all are ready.
    while going and kept < events_max:
        with Journal.open(root, environ={"HOME": home}, admin=f"{home}/admin.toml", level="detailed") as journal:
            events = list(islice(source, min(_PHASE, events_max - kept)))
            kept += next(ways)(journal, events)
            stats = journal.stats
        totals["offered"] += len(events)
        totals.update({key: int(stats[key]) for key in ("dropped", "refused")})  # type: ignore[call-overload]
        reasons.update(stats["reasons"])  # type: ignore[call-overload]
        os.pwrite(progress, b"%020d" % kept, 0)
    acked.close()
    evicted.close()
    print(json.dumps({"kept": kept, "logged": acked.events, **totals, "reasons": reasons}))


if __name__ == "__main__":
    main(*sys.argv[1:5], int(sys.argv[5]))
