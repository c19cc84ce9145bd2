"""What was not recorded, and why: what `journal.Journal` loads when it first has something to count.

The same class in another file, hence the look at its attributes: a first event should not pay for this part.
"""
# ruff: noqa: SLF001 - see above

import os

from carojournal import redact
from carojournal.drops import PATIENCE_S, add_counts, drop_reason
from carojournal.errors import EventRefused, JournalOff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from carojournal.journal import Journal
    from carojournal.refusal import Refused

__all__ = ["count", "count_failure", "count_refusals", "judge", "write_counts"]


def judge(journal: "Journal", found: "redact.Accepted | Refused | None") -> redact.Accepted | None:
    """Return what may be stored, None if the level leaves it out.  Counts refusals; raises EventRefused."""
    if found is None:
        journal._counts["filtered"] += 1
        return None
    count_refusals(journal, found.refusals)
    if not isinstance(found, redact.Accepted):
        raise EventRefused(found.refusals)
    return found


def count_refusals(journal: "Journal", refusals: "Collection[tuple[str, str, str]]") -> None:
    """Count (event, field, reason) of fields and events that were refused."""
    counts: dict[str, int] = {}
    for event, field, reason in refusals:
        key = f"refuse {event} {field} {reason}"
        counts[key] = counts.get(key, 0) + 1
    if counts:
        _count(journal, counts)


def count_failure(journal: "Journal", error: Exception, events: int) -> None:
    """Count *events* that *error* kept from being recorded."""
    if isinstance(error, EventRefused):
        journal._counts["refused"] += 1
    elif not isinstance(error, JournalOff):
        count(journal, {f"drop {drop_reason(error)}": events}, 0)


def count(journal: "Journal", counts: "Mapping[str, int]", refused: int) -> None:
    """Do what `Journal.count` says."""
    is_checked = journal._checked
    if journal._on and (not is_checked or journal._steady() >= journal._stale_ns):
        # Nothing was recorded yet, so nobody has looked at the place where counts are kept; or not for a while, and
        # telemetry may be off.
        try:
            journal._refresh(journal._clock() // 1_000_000)
        except Exception:  # noqa: BLE001 - "never raises"; what is counted waits, and `stats` has it
            journal._checked = journal._checked and is_checked
    journal._counts["refused"] += refused
    journal._counts["dropped"] += sum(more for key, more in counts.items() if key.startswith("drop "))
    _count(journal, counts)


def write_counts(journal: "Journal") -> None:
    """Try again to write what could not be counted in the file `drops` when it happened."""
    if journal._closed and journal._checked and journal._policy.mode != "off":
        journal._resolve()  # Telemetry may be off since the last event; where nothing would be written nobody looks.
    _count(journal, {})


def _count(journal: "Journal", counts: "Mapping[str, int]") -> None:
    """Count in memory at once and in the file `drops` as soon as that is possible."""
    if journal._pid != os.getpid():
        journal._after_fork()
    journal._uncounted.append(counts)
    with journal._tally:
        if journal._counting:
            return  # In a signal handler or a finalizer; whoever it interrupts counts that as well.
        try:
            journal._counting = True
            while journal._uncounted:
                for key, more in journal._uncounted.pop().items():
                    journal._reasons[key] = journal._reasons.get(key, 0) + more
                    journal._pending[key] = journal._pending.get(key, 0) + more
                # Not before the root has been looked at, now and not only at the first event: a place that is not ours
                # gets no file of ours, and what is counted waits.
                if journal._checked and journal._policy.mode != "off" and _is_ours(journal.root):
                    # At the end there is no later try, and nobody is waiting for a record.
                    add_counts(journal.root, journal._pending, PATIENCE_S if journal._closed else 0)
        finally:
            journal._counting = False


def _is_ours(root: str) -> bool:
    """Tell whether *root* is as `ids.prepare` asks: a folder, ours, and not writable by others."""
    try:
        status = os.lstat(root)
    except OSError:
        return False
    return status.st_mode & 0o170022 == 0o040000 and status.st_uid == os.geteuid()
