"""A batch as a value: which events, what they hash to, and the one request that carries them.

    identities   [[segment (16 bytes), runs [[first seq, last seq]...], sha256], ...] ascending by segment
                 sha256 is over the payloads of these runs, one after another
    batch id     SHA-256 of the deterministic CBOR of the identities: the same events are the same batch, always

The id that travels is a UUIDv8 of the first 16 bytes, because receivers expect a UUID.  All events of a batch are of
one UTC day, so that no identifier in it outlives that day.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby, repeat
from operator import attrgetter
from typing import TYPE_CHECKING

from carobatch.sections import runs_of
from carobatch.sessions import session_in
from carojournal.codec import dumps
from carojournal.record import derive_event_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carojournal.record import Record

__all__ = ["Batch", "Request", "batch_of", "batch_uuid", "session_of"]

DAY_MS = 86_400_000
Identities = list[list[object]]
_segment, _seq = attrgetter("segment"), attrgetter("seq")


@dataclass(frozen=True, slots=True)
class Request:
    """A POST: the URL, headers in order, the body's bytes.  What differs from try to try is not in here."""

    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def sha256(self) -> str:
        """The hash of what is sent: SHA-256 of URL, headers (one `name: value` a line), an empty line and the body."""
        lines = [self.url, *(f"{name}: {value}" for name, value in self.headers), "", ""]
        return hashlib.sha256("\n".join(lines).encode() + self.body).hexdigest()


@dataclass(frozen=True, slots=True)
class Batch:
    """Events (ascending by segment and seq) of one UTC day (`day` counts from 1970-01-01).

    `events` maps their ids to (segment, seq), in the order of `records`.
    """

    records: "tuple[Record, ...]"
    day: int
    identities: Identities = field(repr=False)
    id: bytes
    events: dict[str, tuple[bytes, int]] = field(repr=False)

    @property
    def uuid(self) -> str:
        """The batch's id as receivers see it."""
        return batch_uuid(self.id)

    @property
    def newest_ms(self) -> int:
        """UTC milliseconds of the newest event: stands for the client's time, so that a retry has the same bytes."""
        return max(record.time_ms for record in self.records)

    def counts(self) -> dict[str, int]:
        """Return event -> how many."""
        names = [record.parts[0] if record.parts else str(record.value["event"]) for record in self.records]
        return dict(sorted(Counter(names).items()))

    def sessions(self) -> list[bytes]:
        """Return the session ids (16 bytes) of the events."""
        return sorted({session_of(record) for record in self.records})

    def halves(self) -> "tuple[Batch, Batch]":
        """Return two batches of half the events each; there must be two at least."""
        middle = len(self.records) // 2
        return batch_of(self.records[:middle], self.day), batch_of(self.records[middle:], self.day)


def session_of(record: "Record") -> bytes:
    """Return the session id (16 bytes) of an event."""
    return record.parts[2] if record.parts is not None else session_in(record.payload)


def batch_of(records: "Sequence[Record]", day: int) -> Batch:
    """Return the batch of *records*, all of the UTC *day*; at least one."""
    slices: dict[bytes, list[Record]] = {}
    for segment, part in groupby(records, _segment):
        slices.setdefault(segment, []).extend(part)
    identities: Identities = []
    events: dict[str, tuple[bytes, int]] = {}
    ordered: list[Record] = []
    for segment, rows in sorted(slices.items()):
        rows.sort(key=_seq)
        seqs = [record.seq for record in rows]
        digest = hashlib.sha256(b"".join([record.payload for record in rows])).digest()
        identities.append([segment, runs_of(seqs), digest])
        events.update(zip(derive_event_ids(segment, seqs), zip(repeat(segment), seqs), strict=False))
        ordered += rows
    return Batch(tuple(ordered), day, identities, hashlib.sha256(dumps(identities)).digest(), events)


def batch_uuid(batch: bytes) -> str:
    """Return the UUIDv8 (RFC 9562 section 5.8) of a batch id (32 bytes)."""
    raw = bytearray(batch[:16])
    raw[6] = raw[6] & 0x0F | 0x80
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
