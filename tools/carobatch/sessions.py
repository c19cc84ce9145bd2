"""Whose events may leave: those of sessions that this journal has issued and whose deletion nobody has asked for.

Uploads and bundles ask the same set, `deletion.sendable_sessions`.  Of any other session nobody could ask for the
deletion, and what a host still records under its old ids while the journal is cleared would tie the new pseudonym to
the old one.  Events that `carojournal migrate` took over belong to no lane and have ids of their own, made for them
alone: they are not uploaded, and a bundle carries them.  `journal_health` belongs to no lane either, but to a session
of the journal: what belongs to none is carried unless the deletion of its session was asked for.
"""

from typing import TYPE_CHECKING

from carobatch.sections import gaps_of, with_events
from carojournal import deletion
from carojournal.cbordecode import decode
from carojournal.closed import NO_LANE
from carojournal.packed import split_records
from carojournal.packed_write import sessions_in
from carojournal.payload_pattern import parts_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from carojournal.packed import Section

__all__ = ["Sessions", "session_in"]


def session_in(payload: bytes) -> bytes:
    """Return the session id (16 bytes) of an event that the allowlist accepts, from its *payload*."""
    parts = parts_of(payload)
    session = parts[2] if parts else decode(payload)["session_id"]
    assert isinstance(session, bytes)
    return session


class Sessions:
    """The session ids whose events a bundle may carry; `withheld` counts the events that it leaves out."""

    def __init__(self, issued: frozenset[bytes] | None, requested: frozenset[bytes] = frozenset()) -> None:
        self._issued = issued
        self._requested = requested
        self.withheld = 0

    @classmethod
    def of(cls, root: str) -> "Sessions":
        """Return those of the journal at *root*.  Raises OSError, JournalIOError.

        Any, where the identity names no session: an imported journal, which is carried on as it came.
        """
        identity = deletion.read_identity(root)
        if identity is None or not identity.history():
            return cls(None)
        return cls(deletion.sendable_sessions(root), deletion.requested_sessions(root))

    def owns(self, row: "Mapping[str, Any]") -> bool:
        """Tell whether every event of a section may be carried, by its inventory *row*; False if that does not say."""
        if self._issued is None or (row["lane"] == NO_LANE and not self._requested):
            return True
        return row["sessions"] is not None and self._may_be_carried(row["lane"], row["sessions"])

    def _may_be_carried(self, lane: object, sessions: "Iterable[bytes]") -> bool:
        assert self._issued is not None
        return self._requested.isdisjoint(sessions) if lane == NO_LANE else self._issued.issuperset(sessions)

    def part_of(self, section: "Section", name: str) -> "Section":
        """Return *section* without the events that may not be carried; they become a gap, reason "selection".

        *name* stands in errors as the path.  Raises DamagedData.
        """
        if self.owns({"lane": section.header["lane"], "sessions": sessions_in(section.body)}):
            return section
        kept, left = [], []
        for seq, payload in split_records(section, name):
            if self._may_be_carried(section.header["lane"], (session_in(payload),)):
                kept.append((seq, payload))
            else:
                left.append(seq)
        self.withheld += len(left)
        return with_events(section, kept, gaps_of(left, "selection"))
