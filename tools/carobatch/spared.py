"""Segments that no host may evict for a moment, because carobatch is about to replace or remove their files.

A note in outbox/ names them, and `spool.make_room` spares what is named there.  A host may have made its choice before
the note was there: whoever makes room holds a lock until the files are gone, so once that lock was free, everybody who
chooses from now on has seen the note.  What was evicted before is simply not there any more; the caller looks again.

The note stands under batch.lock, and counts as long as it is locked itself: one that a kill left behind spares nothing.
It is overwritten, or goes with the next upload.
"""

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from carojournal.sent import OUTBOX
from carojournal.spool import PATIENT_S, lock_room, unlock_room
from carojournal.unfinished import Tellers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from carojournal.record import Record

__all__ = ["NOTE", "is_there", "spared", "still_there"]

NOTE = "spared.tmp"  # No intent: readers of the outbox pass over names that end so.


@contextlib.contextmanager
def spared(root: str, segments: "Iterable[bytes]") -> "Iterator[None]":
    """Keep hosts from evicting *segments* (uuids) until this is left; the caller holds batch.lock.

    Raises JournalBusy if somebody makes room for too long, OSError.
    """
    folder = os.path.join(root, OUTBOX)
    path = os.path.join(folder, NOTE)
    os.makedirs(folder, 0o700, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(b"".join(b"%b\n" % segment.hex().encode() for segment in segments))
            file.flush()
            room = lock_room(root, PATIENT_S)
            try:  # While nobody makes room nobody tries whether it is locked.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            finally:
                unlock_room(room)
            yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def still_there(root: str, records: "Sequence[Record]", tellers: Tellers) -> "Sequence[Record]":
    """Return those of *records*, whose segments an intent in outbox/ names by now, that no host has evicted before.

    What was evicted is recorded as lost, also where a host died before the file was gone; to send it all the same would
    count it twice.  Raises JournalBusy, OSError.
    """
    unlock_room(lock_room(root, PATIENT_S))  # Everybody who makes room from now on sees the intent.
    gone = {path for path in {record.path for record in records} if not is_there(path)}
    told = tellers.told({record.segment for record in records})
    if not gone and not told:
        return records
    return [record for record in records if record.path not in gone and record.segment not in told]


def is_there(path: str) -> bool:
    """Tell whether the file is there.  Raises OSError where that cannot be told."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    return True
