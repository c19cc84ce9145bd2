"""Check one segment down to its payloads, whatever its state: what `recovery` asks of every file, one at a time."""

import os
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING

from carojournal import codec
from carojournal.errors import DamagedData, MalformedCBOR
from carojournal.frame import FIRST_RECORD_OFFSET, RECORD_OVERHEAD_BYTES
from carojournal.record import is_ours
from carojournal.schema_registry import is_contained, is_known_schema
from carojournal.segment_file import CLOSED_NAME, Damage, SegmentInfo
from carojournal.stored import check_payload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carojournal.reader import JournalReader, SegmentBytes

__all__ = ["REASONS", "Gap", "Verified", "verify_packed", "verify_segment"]

REASONS = {
    "payload": "a whole record whose payload is not what the format allows",
    "refused": "an event that the schema does not allow",
    "schema": "recorded under a schema that this program does not know",
    "name": "the file's name is that of another segment than its header",
    "seal": "the seal's count, length or SHA-256 does not hold",
    "after_seal": "records follow the seal",
    "inventory": "the inventory of a packed file does not list what its sections are",
    "head": "damaged bytes before a packed file's inventory, which cost nothing: `carobatch compact` mends the file",
    "mended": "damaged bytes that parity puts right: nothing is lost, and `carobatch compact` mends the file",
}


@dataclass(frozen=True, slots=True)
class Gap:
    """Records that are missing, and no damage, loss record, receipt or clearing says why.

    Numbers `first_seq` to `last_seq` of *segment* (16 bytes); None where they cannot be known.  `path` and `offset` say
    which bytes tell of it; `reason` is a key of `recovery.GAP_REASONS`.
    """

    path: str
    offset: int
    segment: bytes
    first_seq: int | None
    last_seq: int | None
    reason: str


@dataclass(slots=True)
class Verified:
    """What one segment turned out to hold: numbers of records and events, last sequence number, bytes; what is wrong.

    `damage` does not repeat what the reader has reported already; `told` is true of a packed segment that names records
    which are not in it.
    """

    records: int = 0
    events: int = 0
    last_seq: int = -1
    size: int = 0
    told: bool = False
    damage: list[Damage] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)


def verify_segment(reader: "JournalReader", info: SegmentInfo) -> Verified | None:
    """Check an open or closed segment; None if it has gone meanwhile.  Raises OSError."""
    known = len(reader.damage)
    got = reader.scan_segment(info)
    if got is None:
        return None
    data, path, found = got
    done = Verified(records=len(found.records), size=len(data))
    done.last_seq = max((place.seq for place in found.records), default=-1)
    done.gaps += [Gap(path, gap.offset, info.segment, gap.first_seq, gap.last_seq, "sequence") for gap in found.gaps]
    name = CLOSED_NAME.match(os.path.basename(path))
    if name is not None and bytes.fromhex(name[2]) != info.segment:
        done.damage.append(Damage(path, 0, 0, "name"))
    if info.schema and not is_known_schema(info.schema):
        done.damage.append(Damage(path, FIRST_RECORD_OFFSET, 0, "schema"))
    sealed_at = None
    for offset, seq, start, end in found.records:
        reason, kind = _judge(data[start:end], info.schema, first=seq == 0)
        done.events += kind == "event"
        if reason is None and kind == "seal":
            sealed_at = sealed_at if sealed_at is not None else (offset, seq, start, end)
        elif reason is None and sealed_at is not None:
            reason = "after_seal"
        if reason is not None:
            done.damage.append(Damage(path, offset, end - start + RECORD_OVERHEAD_BYTES, reason))
    if sealed_at is not None and len(reader.damage) == known and not _seal_holds(got, *sealed_at):
        done.damage.append(Damage(path, sealed_at[0], sealed_at[3] + 5 - sealed_at[0], "seal"))
    return done


def _judge(payload: bytes, schema: bytes, *, first: bool) -> tuple[str | None, str]:
    """Return (what is wrong or None, "event" or the kind of control record)."""
    refusals = check_payload(payload)
    if refusals is None:
        return ("payload" if first else None), "event"
    try:
        value = codec.loads(payload)
    except MalformedCBOR:
        return "payload", ""
    if type(value) is not dict or not is_ours(value):
        return "payload", ""
    if "event" in value:
        # Only the schema under which an event was recorded can refuse it.
        return ("refused" if is_contained(schema) else None), "event"
    kind = str(value["record"])
    return ("payload" if first != (kind == "header") else None), kind


def _seal_holds(got: "SegmentBytes", offset: int, seq: int, start: int, end: int) -> bool:
    seal = codec.loads(got.data[start:end])
    assert isinstance(seal, dict)
    digest = sha256(memoryview(got.data)[:offset]).digest()
    return (seal.get("count"), seal.get("bytes"), seal.get("sha256")) == (seq, offset, digest)


def verify_packed(path: str) -> "Iterator[tuple[bytes, Verified]]":
    """Yield (uuid, what it holds) of every section of the packed file at *path*.

    A file that stops being readable ends with an entry whose `damage` says so.  Raises OSError.
    """
    from carojournal.packed import frame_damage, iter_sections, read_inventory
    from carojournal.packed_header import is_emptied
    from carojournal.packed_write import listed_sessions, sessions_in

    segment = b""
    spot = None
    listed: dict[bytes, dict[str, object]] | None = None
    try:
        inventory = read_inventory(path)
        spot = frame_damage(inventory)
        listed = {row["segment"]: row for row in inventory.sections}  # type: ignore[misc]
        if not inventory.head_holds:
            yield b"", Verified(damage=[Damage(path, 0, 8, "head")])
    except DamagedData:
        yield b"", Verified(damage=[Damage(path, 0, os.lstat(path).st_size, "packed")])
    try:
        for header, records in iter_sections(path):
            segment = header["segment"]  # type: ignore[assignment]
            done = Verified(size=header["source"]["bytes"], last_seq=int(header["records"]) - 1)  # type: ignore[index, call-overload]
            schema = bytes(header["schema"])  # type: ignore[call-overload]
            if not is_known_schema(schema):
                done.damage.append(Damage(path, 0, 0, "schema"))
            row = listed.pop(segment, {}) if listed is not None else {}
            done.told = bool(header["gaps"]) or is_emptied(header)
            seqs, sessions = [], set[bytes]()
            for seq, payload in records:
                reason, kind = _judge(payload, schema, first=False)
                seqs.append(seq)
                sessions |= sessions_in(payload)
                if reason is not None or kind != "event":
                    done.damage.append(Damage(path, 0, 0, reason or "payload"))
            if listed is not None and not (_agrees(row, header) and row["sessions"] == listed_sessions(sessions)):
                done.damage.append(Damage(path, 0, inventory.start, "inventory"))
            done.records = done.events = len(seqs)
            done.gaps += [Gap(path, 0, segment, *missing, "sequence") for missing in _holes(seqs, header)]
            yield segment, done
    except DamagedData as error:
        size = os.lstat(path).st_size
        offset, size = spot or (min(error.offset, size), size)
        yield b"", Verified(damage=[Damage(path, offset, size, "packed")])
    else:
        if spot:
            yield b"", Verified(damage=[Damage(path, *spot, "mended")])
        if listed:
            yield b"", Verified(damage=[Damage(path, 0, inventory.start, "inventory")])


def _agrees(row: dict[str, object], header: dict[str, object]) -> bool:
    """Tell whether an inventory's *row* says what the section's *header* does, as far as both say it."""
    return bool(row) and all(row[key] == header[key] for key in row.keys() & header.keys())


def _holes(seqs: list[int], header: dict[str, object]) -> "Iterator[tuple[int, int]]":
    """Yield the ranges of sequence numbers between the events that the header's gaps do not account for."""
    gaps: list[dict[str, int]] = header["gaps"]  # type: ignore[assignment]
    told = sorted((gap["first_seq"], gap["last_seq"]) for gap in gaps)
    for before, after in pairwise(seqs):
        if after == before + 1:
            continue
        at = before + 1
        for first, last in told:
            if first <= at <= last:
                at = last + 1
        if at < after:
            yield at, after - 1
