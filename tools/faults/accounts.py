"""Whether a place is as it must be, whatever happened in it: the questions asked after every fault."""

import os
from collections.abc import Collection

from carobatch.ledger import Ledger
from carojournal import recovery
from carojournal.errors import JournalError
from carojournal.reader import JournalReader
from carojournal.record import derive_event_id
from faults import conservation
from faults.conservation import Ranges
from faults.place import Place

__all__ = ["age", "archives", "confirmed", "delivered", "leftovers", "numbers", "problems"]

_TEMPORARY = (".tmp", ".carojournal", "-journal", "-wal", "-shm")


def confirmed(place: Place) -> Ranges:
    """Return what importers hold and the journal has been told of; fails where an importer does not hold it."""
    acks = {bytes.fromhex(segment): runs for segment, runs in Ledger(place.root).acks().items() if runs}
    held: Ranges = {}
    for path in archives(place):
        archive = conservation.survey(path)
        if archive.repeated:
            raise ValueError(f"the archive holds {len(archive.repeated)} events twice")
        held = conservation.joined(held, archive.present)
    missing = conservation.without(conservation.joined(acks), held)
    if missing:
        raise ValueError(f"{conservation.count(missing)} events are confirmed that no importer holds")
    return acks


def archives(place: Place) -> list[str]:
    """Return the importers' journals."""
    return [os.path.join(place.folder("imported"), name) for name in os.listdir(place.folder("imported"))]


def delivered(place: Place, events: Collection[str]) -> Ranges:
    """Return which of the acknowledged events are among the ids that a receiver took."""
    known = place.acknowledged.values()
    return conservation.ranges(one for one in known if derive_event_id(*one) in events)


def leftovers(place: Place) -> list[str]:
    """Return the files below the place that somebody left half-made."""
    found = []
    for folder, _, names in os.walk(place.path):
        found += [
            os.path.relpath(os.path.join(folder, name), place.path) for name in names if name.endswith(_TEMPORARY)
        ]
    return sorted(found)


def age(place: Place, seconds: float) -> None:
    """Make what is left half-made look as old as it will be when somebody comes by again."""
    for name in leftovers(place):
        path = os.path.join(place.path, name)
        before = os.lstat(path)
        os.utime(path, (before.st_atime - seconds, before.st_mtime - seconds))


def problems(place: Place, sent: Collection[str], *, cleared: bool = False, extra: int = 0) -> list[str]:
    """Return what is wrong: damage, gaps, repeated events, events that are neither there nor accounted for.

    *sent* are the event ids that a receiver took, *cleared* tells that the user wanted everything gone, *extra* how
    many records may be there that nobody was told of.
    """
    found = []
    try:
        report = recovery.verify(place.root)
        found += [f"damage: {one.path} at {one.offset}, {one.size} bytes: {one.reason}" for one in report.damage]
        found += [f"gap: {one}" for one in report.gaps]
        forgotten = 0 if cleared else len(place.removed - recovery.explained_segments(place.root))
        found += [f"{forgotten} delivered segments are named by no receipt any more"] if forgotten else []
        outcomes = {"delivered": delivered(place, sent), "confirmed": confirmed(place)}
        known = conservation.ranges(place.acknowledged.values())
        if cleared:
            outcomes["cleared"] = known
        balance = conservation.check(place.root, known, outcomes=outcomes, extra=extra, archives=archives(place))
        found += balance.problems
    except (JournalError, OSError, ValueError) as error:
        found.append(f"{type(error).__name__}: {error}")
    return found


def numbers(place: Place) -> dict[int, tuple[bytes, int]]:
    """Return number -> identity of every event that the journal holds."""
    found = {}
    for record in JournalReader(place.root).records(events_only=True):
        found[int(str(record.value.get("session_duration_ms")))] = (record.segment, record.seq)
    return found
