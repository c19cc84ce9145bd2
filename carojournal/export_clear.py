"""`export --clear`: remove exactly what the exported file holds, as it is read back from the disk.

1. Take the batch lock, and close the lanes' segments (`closed`); only closed and packed files are ever removed, and
   what cannot be closed stays.
2. Export (`export`): written, synced, in its place.
3. Open the file anew, parse it, and compare it event by event with the journal.  One difference: nothing is removed.
4. A file of the journal goes if every event in it was found, nothing in it is damaged and no batch under way names it.
   First a segment with a loss record (reason "cleared") for each is made durable, so that `verify` can say where they
   went and earlier losses that such a file recorded are carried on; then they are unlinked.

What is appended meanwhile stays: it is in segments that are not part of the plan.
"""

import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carojournal import held, spool
from carojournal.closed import encode_closed
from carojournal.document import document_view
from carojournal.durable import sync_directory, write_file
from carojournal.errors import DamagedData, JournalBusy, JournalIOError, OutputError
from carojournal.eviction import Victim, in_flight, is_named
from carojournal.export import planned
from carojournal.json_stream import Scanner, gunzip
from carojournal.predecessors import Others, take_asked_for
from carojournal.rotation import closed_name
from carojournal.segments import file_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from carojournal.export import Plan
    from carojournal.reader import JournalReader

__all__ = ["CLEARED", "Removed", "remove_exported"]

CLEARED = "cleared"  # The reason in the loss records.
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed: events, files, bytes."""

    events: int
    files: int
    bytes: int


def _confirmed(path: str, reader: "JournalReader", plan: "Plan") -> Counter[bytes]:
    """Return for every segment how many of its events the file at *path* holds.

    Raises OutputError if the file holds anything else than *plan*, in another order, or cannot be read back.
    """
    found: Counter[bytes] = Counter()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with open(descriptor, "rb", buffering=0) as file:
            compressed = os.pread(file.fileno(), 2, 0) == _GZIP_MAGIC
            values = Scanner(path, gunzip(path, file.read) if compressed else file.read, limit=None).values()
            for record in planned(reader, plan):
                if next(values, None) != document_view(record.value):
                    raise OutputError("verify", path, None, "an event is not as it was written; nothing was removed")
                found[record.segment] += 1
            if next(values, None) is not None:
                raise OutputError("verify", path, None, "more events than were written; nothing was removed")
    except DamagedData as error:
        raise OutputError("verify", path, None, f"{error.reason}; nothing was removed") from error
    except OSError as error:
        raise OutputError("verify", path, error.errno, "cannot be read back; nothing was removed") from error
    return found


def _removable(reader: "JournalReader", plan: "Plan", confirmed: Counter[bytes]) -> "list[str]":
    """Return the paths of the files of which every event is confirmed, oldest first."""
    held: dict[str, list[bytes]] = {}
    for info in reader.segments():
        if info.state != "open":
            held.setdefault(info.path, []).append(info.segment)
    damaged = {damage.path for damage in reader.damage}
    named = in_flight(reader.root)
    return [
        path
        for path, segments in held.items()
        if path not in damaged
        and any(confirmed[segment] for segment in segments)
        and all(confirmed[segment] == plan.good[segment] and not plan.bad[segment] for segment in segments)
        and not is_named(segments, named)
    ]


def _is_confirmed(path: str, confirmed: Counter[bytes]) -> bool:
    """Tell whether every event of the file is: a lane's segment may have grown since the export was planned."""
    return all(count == confirmed[segment] for segment, _, _, count, _ in held.describe(path))


def _victim(path: str, others: Others, told: set[bytes]) -> tuple[int, Victim]:
    """Return (events, the file with the loss records that say so).

    What *others*, the files that stay, tell of losses or ask for is not summed up; *told* is what was told so far.
    """
    found = [loss for loss in held.describe(path) if loss[0] not in told]  # Of what a crash left twice one counts.
    size = os.lstat(path).st_size
    events = sum(loss[3] for loss in found)
    payloads: list[bytes] = []
    for segment, first, last, count, carried in found:
        told.add(segment)
        if carried:
            payloads += take_asked_for(path, segment, carried, others, told, others.copies((segment,)))
        share = size * count // max(1, events)
        payloads.append(held.encode_loss(CLEARED, segment, first, last, count, share, carried))
    return events, Victim(path, size, payloads)


def remove_exported(
    path: str, reader: "JournalReader", plan: "Plan", now_ms: int, random: "Callable[[int], bytes]" = os.urandom
) -> Removed:
    """Remove the journal's files whose every event the exported file at *path* holds; the caller holds the batch lock.

    Raises OutputError (the file does not hold what it should; nothing is removed), JournalBusy, JournalIOError.
    """
    confirmed = _confirmed(path, reader, plan)
    root, victims, total = reader.root, [], 0
    try:
        room = spool.lock_room(root, spool.PATIENT_S)
    except OSError as error:
        raise JournalIOError("lock", root, error.errno, error.strerror or "") from error
    try:
        going = [name for name in _removable(reader, plan, confirmed) if _is_confirmed(name, confirmed)]
        staying = [one for one in file_names(root) if os.path.join(root, *one) not in going]
        others, told = Others(root, staying), set[bytes]()
        for name in going:
            events, victim = _victim(name, others, told)
            total += events
            victims.append(victim)
        if not victims:
            return Removed(0, 0, 0)
        segment = random(16)
        target = os.path.join(root, "segments", closed_name(now_ms * 1000, segment))
        payloads = [payload for victim in victims for payload in victim.payloads]
        write_file(target, encode_closed(segment, now_ms * 1000, payloads, ()), error=JournalIOError)
        for failed in spool.remove(victims).values():
            raise failed
        sync_directory(os.path.join(root, "segments"))
    except FileNotFoundError as error:
        raise JournalBusy("segments were renamed or removed meanwhile; nothing was removed, try again") from error
    except OSError as error:
        raise JournalIOError("remove", str(error.filename or root), error.errno, error.strerror or "") from error
    finally:
        spool.unlock_room(room)
    return Removed(total, len(victims), sum(victim.size for victim in victims))
