"""Evictions that a death left unfinished: the loss is recorded, and the file still stands.

As long as it stands nothing is lost, and whoever makes room next takes it first.  But if carobatch delivered or packed
it meanwhile, the same events would be told as lost and accounted for as delivered.  So carobatch finishes what was
begun before it reads what is there, and before it packs or sends anything looks for what was begun since.
"""

import os
from typing import TYPE_CHECKING

from carojournal import spool
from carojournal.errors import JournalBusy
from carojournal.eviction import in_flight, is_named
from carojournal.predecessors import Others
from carojournal.segments import file_names

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Tellers", "finish_evictions"]


def _told_elsewhere(root: str) -> dict[str, set[bytes]]:
    """Return path -> segments of the closed and packed files of which other files say that every segment went.

    Only what hosts wrote here is asked: an imported file may tell that its source has evicted what this journal keeps.
    Raises OSError, FileNotFoundError if files are renamed or removed meanwhile.
    """
    names = file_names(root)
    tellers = Others(root, [one for one in names if one[0] in ("lanes", "segments")])
    if not tellers.tell_any():
        return {}
    files = Others(root, [one for one in names if one[0] in ("segments", "packed")])
    return {
        os.path.join(root, *file): segments
        for file, segments in files.held()
        if segments and all(tellers.tell(segment, (file,)) for segment in segments)
    }


class Tellers:
    """What the lanes' and the closed segments tell as lost; read again when files have come."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._names = set[tuple[str, str]]()
        self._others = Others(root, [])

    def told(self, segments: "Iterable[bytes]") -> set[bytes]:
        """Return those of *segments* that are told as lost now.

        Where they stand all the same, and nobody makes room, a host has died in between.  Raises JournalBusy if files
        come and go all the time, OSError.
        """
        for _ in range(spool.LOOKS):
            names = [one for one in file_names(self._root) if one[0] in ("lanes", "segments")]
            try:
                if not self._names.issuperset(names):  # A lane that begins a segment closes one: another name.
                    self._others, self._names = Others(self._root, names), set(names)
            except FileNotFoundError:
                continue  # Renamed since it was listed.
            return {segment for segment in segments if self._others.tell(segment)}
        raise JournalBusy("hosts close and remove segments all the time")


def finish_evictions(root: str) -> int:
    """Unlink the files that other files say went, but for those of a batch under way; return how many.

    The caller holds batch.lock.  A file that cannot be unlinked stays.  Raises JournalBusy if a host makes room for too
    long, OSError.
    """
    if not _settled(root):
        return 0  # As nearly always, and no host has waited for it.
    room = spool.lock_room(root, spool.PATIENT_S)
    try:
        named, gone = in_flight(root), 0
        for path, segments in _settled(root).items():
            if not is_named(segments, named):
                try:
                    os.unlink(path)
                except OSError:
                    continue
                gone += 1
        return gone
    finally:
        spool.unlock_room(room)


def _settled(root: str) -> dict[str, set[bytes]]:
    for _ in range(spool.LOOKS):
        try:
            return _told_elsewhere(root)
        except FileNotFoundError:
            continue  # A host makes room, or closes its lane.
    return {}
