"""Whose events may leave: those of sessions that this journal has issued and whose deletion nobody has asked for.

Uploads and bundles ask the same set, `deletion.sendable_sessions`.  Of any other session nobody could ask for the
deletion, and what a host still records under its old ids while the journal is cleared would tie the new pseudonym to
the old one.  Events that `carojournal migrate` took over belong to no lane and have ids of their own, made for them
alone: they are not uploaded, and a bundle carries them.
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
    from collections.abc import Mapping
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

    def __init__(self, issued: frozenset[bytes] | None) -> None:
        self._issued = issued
        self.withheld = 0

    @classmethod
    def of(cls, root: str) -> "Sessions":
        """Return those of the journal at *root*.  Raises OSError, JournalIOError.

        Any, where the identity names no session: an imported journal, which is carried on as it came.
        """
        identity = deletion.read_identity(root)
        return cls(deletion.sendable_sessions(root) if identity is not None and identity.history() else None)

    def owns(self, row: "Mapping[str, Any]") -> bool:
        """Tell whether every event of a section may be carried, by its inventory *row*; False if that does not say."""
        if self._issued is None or row["lane"] == NO_LANE:
            return True
        return row["sessions"] is not None and self._issued.issuperset(row["sessions"])

    def part_of(self, section: "Section", name: str) -> "Section":
        """Return *section* without the events that may not be carried; they become a gap, reason "selection".

        *name* stands in errors as the path.  Raises DamagedData.
        """
        if self.owns({"lane": section.header["lane"], "sessions": sessions_in(section.body)}):
            return section
        assert self._issued is not None
        kept, left = [], []
        for seq, payload in split_records(section, name):
            if session_in(payload) in self._issued:
                kept.append((seq, payload))
            else:
                left.append(seq)
        self.withheld += len(left)
        return with_events(section, kept, gaps_of(left, "selection"))
