"""Index a file: read its bytes, or only those that are new, and sum them up to blocks.

A block ends at BLOCK_RECORDS records or BLOCK_BYTES bytes, whichever comes first; a packed file, which cannot be
entered in the middle, is one block.
"""

import os
from dataclasses import dataclass, field

from carojournal import codec
from carojournal.errors import JournalError, MalformedCBOR
from carojournal.index_rows import EVENT_NUMBERS, Block, FileRow, Unit
from carojournal.own_events import ALL_EVENTS
from carojournal.query import time_of
from carojournal.scan import Scan, scan, scan_records
from carojournal.segment_file import FILE_BYTES_MAX, open_file, resolve_uuid

__all__ = ["Growth", "event_facts", "extend"]

BLOCK_RECORDS = 256
BLOCK_BYTES = 65_536
_RUNS_MAX = 200  # Of 256 records: more say nothing that narrows a search.
_SESSIONS_MAX = 8  # A segment is of one day, and a day has one session unless ids were rotated.
_TIME_MAX = (1 << 63) - 1  # What sqlite's integers hold.
_NUMBERS = {name.encode(): number for name, number in EVENT_NUMBERS.items()}


@dataclass(slots=True)
class Growth:
    """What indexing a file has found: its row (None: it cannot be indexed), blocks to write, bytes read.

    `extends` tells whether the blocks add to those that are there, the last of which may have grown.
    """

    row: FileRow | None
    blocks: list[Block] = field(default_factory=list)
    bytes_read: int = 0
    extends: bool = False


class _Sums:
    """Adds records up to blocks, beginning with *last*, a block that may still have room."""

    def __init__(self, sessions: bytes | None, last: Block | None) -> None:
        self._blocks: list[Block] = [last] if last else []
        self._records = sum(last.counts) if last else 0
        self._sessions = _split(sessions, 16)
        self._runs = _split(last.runs, 2) if last else set()

    @property
    def sessions(self) -> bytes | None:
        return _joined(self._sessions, _SESSIONS_MAX)

    def blocks(self) -> list[Block]:
        if self._blocks:
            self._blocks[-1].runs = _joined(self._runs, _RUNS_MAX)
        return self._blocks

    def add(self, offset: int, end: int, seq: int, payload: bytes, *, split: bool = True) -> None:
        facts = event_facts(payload)
        if facts is None:
            return
        number, time_ms, session, run = facts
        if not self._blocks or (split and self._is_full()):
            self.blocks().append(Block(offset, 0, seq, time_ms, time_ms, [0] * (len(ALL_EVENTS) + 1), b""))
            self._records, self._runs = 0, set()
        block = self._blocks[-1]
        self._records += 1
        block.size = end - block.offset
        block.first_ms, block.last_ms = min(block.first_ms, time_ms), max(block.last_ms, time_ms)
        block.counts[number] += 1
        for known, one in ((self._sessions, session), (self._runs, run[:2])):
            if known is not None:
                known.add(one)

    def _is_full(self) -> bool:
        return self._records >= BLOCK_RECORDS or self._blocks[-1].size >= BLOCK_BYTES


def _split(joined: bytes | None, size: int) -> set[bytes] | None:
    return None if joined is None else {joined[at : at + size] for at in range(0, len(joined), size)}


def _joined(items: set[bytes] | None, most: int) -> bytes | None:
    return b"".join(sorted(items)) if items is not None and len(items) <= most else None


def _after(payload: bytes, mark: bytes) -> int:
    """Return the offset after *mark*, -1 unless it stands there exactly once: it might be part of another value."""
    at = payload.find(mark)
    return at + len(mark) if at >= 0 and payload.find(mark, at + 1) < 0 else -1


def event_facts(payload: bytes) -> tuple[int, int, bytes, bytes] | None:
    """Return (number of the event, time in ms, session, run) of an event's payload, None if it is no event.

    Encodings are deterministic, so the four stand behind fixed bytes; where one does not, the payload is decoded.
    """
    name_at, session_at, run_at = (_after(payload, mark) for mark in (b"eevent", b"jsession_idP", b"frun_idP"))
    time_ms = time_of(payload)
    if name_at >= 0 and session_at >= 0 and run_at >= 0 and time_ms is not None:
        size = payload[name_at] - 0x60
        number = _NUMBERS.get(payload[name_at + 1 : name_at + 1 + size])
        if number is not None:
            session, run = payload[session_at : session_at + 16], payload[run_at : run_at + 16]
            return number, min(time_ms, _TIME_MAX), session, run
    return _decoded_facts(payload)


def _decoded_facts(payload: bytes) -> tuple[int, int, bytes, bytes] | None:
    if b"eevent" not in payload:
        return None
    try:
        value = codec.loads_fast(payload)
    except MalformedCBOR:
        return None
    if type(value) is not dict or type(value.get("event")) is not str:
        return None
    time_ms, session, run = value.get("timestamp"), value.get("session_id"), value.get("run_id")
    return (
        EVENT_NUMBERS.get(value["event"], len(EVENT_NUMBERS)),
        min(time_ms, _TIME_MAX) if type(time_ms) is int else 0,
        session if type(session) is bytes and len(session) == 16 else bytes(16),
        run if type(run) is bytes and len(run) == 16 else bytes(16),
    )


def extend(unit: Unit, row: FileRow | None, last: Block | None) -> Growth:
    """Return what is new in the unit's file since *row* was written, whose last block is *last*; all of it without."""
    try:
        if unit.packed:
            return _whole_packed(unit)
        descriptor = open_file(unit.path)
    except (OSError, JournalError):
        return Growth(None)
    try:
        status = os.fstat(descriptor)
        bytes_read = 0
        same = row is not None and (status.st_dev, status.st_ino) == (row.device, row.inode)
        if row is not None and last is not None and same and status.st_size > row.size:
            grown = _grown(unit, descriptor, status, row, last)
            if grown.row is not None:
                return grown
            bytes_read = grown.bytes_read
        whole = _whole(unit, descriptor, status)
    except OSError:
        return Growth(None)
    finally:
        os.close(descriptor)
    whole.bytes_read += bytes_read
    return whole


def _read(descriptor: int, start: int, end: int) -> bytes:
    parts = []
    while start < end and (part := os.pread(descriptor, end - start, start)):
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _grown(unit: Unit, descriptor: int, status: os.stat_result, row: FileRow, last: Block) -> Growth:
    """Read on from the last indexed record, which proves that this is still the file that was indexed."""
    data = _read(descriptor, row.last_offset, min(status.st_size, FILE_BYTES_MAX))
    found = scan_records(data, unit.uuid, 0, row.next_seq - 1)
    if not found.records or found.records[0][:2] != (0, row.next_seq - 1) or not _is_sound(found):
        return Growth(None, bytes_read=len(data))
    return Growth(
        *_added(unit, status, _Sums(row.sessions, last), data, found, row.last_offset), len(data), extends=True
    )


def _is_sound(found: Scan) -> bool:
    """Tell whether a file is worth indexing: one with damage is read every time, so that the damage is seen."""
    return not found.gaps and not found.spans


def _whole(unit: Unit, descriptor: int, status: os.stat_result) -> Growth:
    data = _read(descriptor, 0, min(status.st_size, FILE_BYTES_MAX))
    found = scan(data, unit.uuid)
    if not found.records or not _is_sound(found) or resolve_uuid(data, unit.uuid)[0] != unit.uuid:
        return Growth(None, bytes_read=len(data))
    return Growth(*_added(unit, status, _Sums(b"", None), data, found, 0), len(data))


def _added(
    unit: Unit, status: os.stat_result, sums: _Sums, data: bytes, found: Scan, base: int
) -> tuple[FileRow, list[Block]]:
    """Sum up the records of *data*, which stands at *base* in the file; the first is known if that is not 0."""
    for offset, seq, start, end in found.records[1 if base else 0 :]:
        sums.add(base + offset, base + end + 5, seq, data[start:end])
    newest = found.records[-1]
    row = FileRow(
        uuid=unit.uuid,
        packed=False,
        device=status.st_dev,
        inode=status.st_ino,
        mtime_ns=status.st_mtime_ns,
        size=base + len(data),
        last_offset=base + newest.offset,
        next_seq=newest.seq + 1,
        sessions=sums.sessions,
    )
    return row, sums.blocks()


def _whole_packed(unit: Unit) -> Growth:
    from carojournal.packed import iter_sections

    status = os.lstat(unit.path)
    sums = _Sums(b"", None)
    for _, records in iter_sections(unit.path):
        for seq, payload in records:
            sums.add(0, status.st_size, seq, payload, split=False)
    place = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
    row = FileRow(unit.uuid, True, *place, last_offset=0, next_seq=0, sessions=sums.sessions)
    return Growth(row, sums.blocks(), status.st_size)
