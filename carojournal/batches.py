"""Several events with one write: what `journal.Journal` loads when it is first asked for that.

The same class in another file, hence the look at its attributes: a first event should not pay for this part.
"""
# ruff: noqa: SLF001 - see above

import os

import carojournal
from carojournal import redact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from carojournal.journal import Journal

__all__ = ["append_many", "append_timed", "time_of_overtaken"]

_DAY_MS = 86_400_000


def append_many(journal: "Journal", events: "Iterable[tuple[str, dict[str, object]]]") -> tuple[bytes, int] | None:
    """Do what `Journal.append_many` says."""
    if journal._closed:
        raise carojournal.errors.JournalClosed("the journal is closed")
    if not journal._on:
        raise carojournal.errors.JournalOff(f"telemetry is off ({journal._policy.source})")
    events = tuple(events)
    try:
        now_ms = _now_ms(journal)
        checked = [
            carojournal.tally.judge(journal, redact.check(event_type, fields, journal._policy.level))
            for event_type, fields in events
        ]
        return _store(journal, [(now_ms, found) for found in checked if found is not None], now_ms)
    except Exception as error:
        journal._count_failure(error, len(events))
        if isinstance(error, OSError):
            name = error.filename if isinstance(error.filename, str) else journal.root
            detail = error.strerror or carojournal.drops.drop_reason(error)
            raise carojournal.errors.JournalIOError("append", name, error.errno, detail) from error
        raise


def append_timed(journal: "Journal", events: "Sequence[tuple[int, str, dict[str, object]]]") -> int:
    """Do what `Journal.append_timed` says."""
    timed: list[tuple[int, redact.Accepted]] = []
    try:
        if not journal._on:
            return 0
        now_ms = _now_ms(journal)
        for time_ms, event_type, fields in events:
            found = redact.check(event_type, fields, journal._policy.level)
            if isinstance(found, redact.Accepted):
                timed.append((time_ms, found))
                carojournal.tally.count_refusals(journal, found.refusals)
            elif found is None:
                journal._counts["filtered"] += 1
            else:
                journal._counts["refused"] += 1
                carojournal.tally.count_refusals(journal, found.refusals)
        _store(journal, timed, now_ms)
    except carojournal.errors.JournalOff:
        return 0
    except Exception as error:  # noqa: BLE001 - runs in a thread that nobody watches
        journal._count_failure(error, len(timed) or len(events))
        return 0
    return len(timed)


def _now_ms(journal: "Journal") -> int:
    """Return the time, in UTC milliseconds, at which everything is as `Journal._refresh` leaves it."""
    now_ms = journal._clock() // 1_000_000
    in_time = journal._from_ms <= now_ms < journal._until_ms and journal._steady() < journal._stale_ns
    if not in_time or journal._pid != os.getpid():
        journal._refresh(now_ms)
    return now_ms


def time_of_overtaken(journal: "Journal") -> int:
    """Return the time, in UTC milliseconds, of an event between whose check and write another thread renewed the ids.

    They may be another day's by now.  Raises JournalOff: that thread may have found telemetry switched off.
    """
    if not journal._on:
        raise carojournal.errors.JournalOff(f"telemetry is off ({journal._policy.source})")
    return journal._from_ms


def _store(journal: "Journal", timed: list[tuple[int, redact.Accepted]], now_ms: int) -> tuple[bytes, int] | None:
    """Write events, each with its time in milliseconds; return the identity of the first, None if there is none."""
    if not timed:
        return None
    ordinals = [journal._ordinal(found) for _, found in timed]
    with journal._lock:
        if journal._within:
            raise carojournal.errors.JournalBusy(carojournal.errors.INTERRUPTED)
        try:
            journal._within = True
            if not journal._from_ms <= now_ms < journal._until_ms:
                now_ms = time_of_overtaken(journal)
            first_ms = journal._day * _DAY_MS
            payloads = [
                found.payload(min(max(time_ms, first_ms), now_ms), journal._session, journal._run, ordinal)
                for (time_ms, found), ordinal in zip(timed, ordinals, strict=True)
            ]
            identity = journal._write(payloads, now_ms)
            journal._counts["recorded"] += len(payloads)
        finally:
            journal._within = False
    if journal._pending:
        carojournal.tally.write_counts(journal)
    return identity
