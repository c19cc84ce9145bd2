"""Evictions that a death left unfinished: the loss is recorded, and the file still stands.

As long as it stands nothing is lost, and whoever makes room next takes it first.  But if carobatch delivered or packed
it meanwhile, the same events would be told as lost and accounted for as delivered.  So carobatch finishes what was
begun before it reads what is there.
"""

import os

from carojournal import held, spool
from carojournal.eviction import in_flight, is_named
from carojournal.predecessors import Others
from carojournal.segments import file_names

__all__ = ["finish_evictions"]


def _told_elsewhere(root: str) -> list[str]:
    """Return the closed and packed files of which other files say that every segment went.

    Only what hosts wrote here is asked: an imported file may tell that its source has evicted what this journal keeps.
    Raises OSError, FileNotFoundError if files are renamed or removed meanwhile.
    """
    names = file_names(root)
    tellers = [one for one in names if one[0] in ("lanes", "segments")]
    told = Others(root, tellers).told
    found = []
    for folder, name in names if told else ():
        if folder in ("segments", "packed"):
            path = os.path.join(root, folder, name)
            segments = _segments(path)
            others = [one for one in tellers if one != (folder, name)]
            if segments and segments <= told and segments <= Others(root, others).told:
                found.append(path)
    return found


def finish_evictions(root: str) -> int:
    """Unlink the files that other files say went, but for those of a batch under way; return how many.

    The caller holds batch.lock.  A file that cannot be unlinked stays.  Raises JournalBusy if a host makes room for two
    seconds, OSError.
    """
    if not _settled(root):
        return 0  # As nearly always, and no host has waited for it.
    room = spool.lock_room(root, spool.PATIENT_S)
    try:
        named, gone = in_flight(root), 0
        for path in _settled(root):
            if not is_named(_segments(path), named):
                try:
                    os.unlink(path)
                except OSError:
                    continue
                gone += 1
        return gone
    finally:
        spool.unlock_room(room)


def _settled(root: str) -> list[str]:
    for _ in range(spool.LOOKS):
        try:
            return _told_elsewhere(root)
        except FileNotFoundError:
            continue  # A host makes room, or closes its lane.
    return []


def _segments(path: str) -> set[bytes]:
    """Return the segments that the file holds; nothing if that cannot be read."""
    try:
        return {loss[0] for loss in held.describe(path)}
    except FileNotFoundError:
        raise
    except OSError:
        return set()
