"""What a file of the spool holds, as a host that makes room needs to know it, and the record that says it went.

Hot side, loaded when something must go.  A closed segment is read by its first records and its last; of a packed file
the inventory in front of it is enough, with the standard library alone.  Loss records that a file holds are summed up
by reason: they travel on in the record of the file that held them.
"""

import os

import carojournal
from carojournal.cbor import encode_map
from carojournal.errors import CorruptRecord, MalformedCBOR
from carojournal.frame import FIRST_RECORD_OFFSET, NO_SEGMENT, crc32, decode_record, find_record, last_record_offset
from carojournal.root import open_file

__all__ = [
    "DELIVERED",
    "INVENTORY_BYTES_MAX",
    "INVENTORY_HEAD_BYTES",
    "SKIPPABLE_MAGIC",
    "describe",
    "encode_loss",
    "inventory_holds",
    "inventory_in",
    "inventory_rows",
    "is_packed",
    "read_inventory",
]

SKIPPABLE_MAGIC = b"\x50\x2a\x4d\x18"  # zstd skippable frame (RFC 8878 section 3.1.2); a packed file starts with one.
INVENTORY_BYTES_MAX = 1_048_576
# What every inventory begins with: a map, its first key "crc", four bytes: the CRC-32 of the rest of the map.
_INVENTORY_HEAD = b"\xa7\x63crc\x44"
INVENTORY_HEAD_BYTES = len(_INVENTORY_HEAD) + 4
DELIVERED = "delivered"  # The reason of a loss record for what receipts account for: it went, and nothing is missing.
_UINT_MAX = (1 << 64) - 1

Loss = tuple[bytes, int, int, int, dict[str, list[int]]]


def encode_loss(
    reason: str, segment: bytes, first: int, last: int, events: int, size: int, carried: dict[str, list[int]]
) -> bytes:
    """Return the payload of a loss record: *segment*'s events *first* to *last*, *size* bytes, and what it carried.

    *carried* maps a reason to [segments, events, bytes] of the losses that the segment itself had recorded.
    """
    return encode_map(
        {
            "record": "loss",
            "reason": reason,
            "segment": segment,
            "first_seq": first,
            "last_seq": last,
            "events": events,
            "bytes": size,
            "carried": [
                {"reason": why, "segments": sums[0], "events": sums[1], "bytes": sums[2]}
                for why, sums in sorted(carried.items())
            ],
        }
    )


def describe(path: str) -> list[Loss]:
    """Return (segment uuid, first seq, last seq, events, carried losses) of every segment in the file at *path*.

    A closed segment is one; a packed file lists several in its inventory.  Sequence numbers are of events, not of the
    segment's control records.  A damaged segment counts every event up to its last readable one.  Raises OSError.
    """
    with open(open_file(path), "rb") as file:
        if path.endswith(".zst"):
            return _packed(read_inventory(file.fileno()), _named(path))
        data = file.read()
    segment = _named(path)
    try:
        return [_closed(segment, data)]
    except (CorruptRecord, MalformedCBOR, KeyError, TypeError, ValueError):
        return [_damaged(segment, data)]


def _named(path: str) -> bytes:
    """Return the uuid in a file's name, NO_SEGMENT if there is none."""
    digits = os.path.basename(path)[17:49]
    return bytes.fromhex(digits) if len(digits) == 32 and not digits.strip("0123456789abcdef") else NO_SEGMENT


def _closed(segment: bytes, data: bytes) -> Loss:
    """Read the control records at the front and the last record; everything between is events, by sequence number."""
    carried: dict[str, list[int]] = {}
    seen: set[bytes] = set()
    at, key, controls = FIRST_RECORD_OFFSET, NO_SEGMENT, 0
    while at < len(data):
        found = decode_record(key, data, at)
        if found is None:
            raise CorruptRecord(at, "length")
        seq, start, end = found
        if b"frecord" not in data[start:end]:
            break
        _carry(data[start:end], carried, seen)
        key, at, controls = segment, end + 5, seq + 1
    last_at = last_record_offset(data)
    last = decode_record(segment if last_at != FIRST_RECORD_OFFSET else NO_SEGMENT, data, last_at) if last_at else None
    if last is None or last[0] < controls - 1 or controls > _UINT_MAX:
        raise CorruptRecord(len(data), "total")
    seq = last[0] - (1 if last[0] >= controls and b"frecord" in data[last[1] : last[2]] else 0)
    return segment, controls, max(seq, controls - 1), max(0, seq - controls + 1), carried


def _damaged(segment: bytes, data: bytes) -> Loss:
    carried: dict[str, list[int]] = {}
    seen: set[bytes] = set()
    first, last, at = -1, -1, 0
    while (found := find_record(segment, data, at)) is not None:
        record = decode_record(segment, data, found)
        assert record is not None
        seq, start, end = record
        at = end + 5
        if b"frecord" in data[start:end]:
            try:  # noqa: SIM105 - contextlib is not loaded on this path
                _carry(data[start:end], carried, seen)
            except (MalformedCBOR, KeyError, TypeError, ValueError):
                pass  # A loss record that says nothing: what it should have carried is not known.
            continue
        first = min(seq, first) if first >= 0 else seq
        last = max(seq, last)
    events = min(last - first + 1, _UINT_MAX)
    return (segment, first, last, events, carried) if first >= 0 else (segment, 0, 0, 0, carried)


def _carry(payload: bytes, carried: dict[str, list[int]], seen: set[bytes]) -> None:
    """Add what a loss record tells to *carried*, but each loss only once: *seen* are the segments that were told."""
    if b"dloss" not in payload:
        return
    loss = carojournal.cbordecode.decode(payload)
    if (segment := _uuid(loss["segment"])) in seen:
        return
    seen.add(segment)
    rows: list[dict[str, object]] = [*loss["carried"], {**loss, "segments": 1}]  # type: ignore[misc]
    # All of a record before any of it counts.
    for reason, sums in [_sums(row) for row in rows]:
        known = carried.setdefault(reason, [0, 0, 0])
        carried[reason] = [min(_UINT_MAX, known[place] + sums[place]) for place in range(3)]


def _sums(row: dict[str, object]) -> tuple[str, list[int]]:
    """Return (reason, [segments, events, bytes]).  Raises KeyError, TypeError, ValueError for another type or size."""
    return _text(row["reason"]), [_uint(row[name]) for name in ("segments", "events", "bytes")]


def _uint(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _UINT_MAX:
        raise ValueError("not a whole number of 64 bits")
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise TypeError("not a text")
    return value


def _uuid(value: object) -> bytes:
    if type(value) is not bytes or len(value) != 16:
        raise ValueError("not a uuid")
    return value


def inventory_holds(data: bytes) -> bool:
    """Tell whether *data* begins as an inventory does and its checksum holds."""
    crc, rest = data[len(_INVENTORY_HEAD) : INVENTORY_HEAD_BYTES], data[INVENTORY_HEAD_BYTES:]
    return data[: len(_INVENTORY_HEAD)] == _INVENTORY_HEAD and crc == crc32(rest).to_bytes(4, "big")


def inventory_rows(data: bytes) -> list[dict[str, object]]:
    """Return the sections that an inventory lists, whose checksum holds.  Raises MalformedCBOR."""
    if not inventory_holds(data):
        raise MalformedCBOR("no inventory, or its checksum does not hold")
    rows = carojournal.cbordecode.decode(data).get("sections")
    if type(rows) is not list:
        raise MalformedCBOR("an inventory without sections")
    return rows


def is_packed(head: bytes) -> bool:
    """Tell whether a file that begins with *head* is a packed one, by what stands before its inventory or begins it."""
    return head[:4] == SKIPPABLE_MAGIC or head[8 : 8 + len(_INVENTORY_HEAD)] == _INVENTORY_HEAD


def read_inventory(descriptor: int) -> bytes:
    """Return the inventory of an open packed file, empty if there is none whose checksum holds.  Raises OSError.

    It proves itself: where the eight bytes before it are damaged, it ends where its map does.
    """
    head = os.pread(descriptor, 8, 0)
    size = int.from_bytes(head[4:], "little")
    if head[:4] == SKIPPABLE_MAGIC and size <= INVENTORY_BYTES_MAX:
        data = os.pread(descriptor, size, 8)
        if inventory_holds(data):
            return data
    return inventory_in(os.pread(descriptor, INVENTORY_BYTES_MAX, 8))


def inventory_in(data: bytes) -> bytes:
    """Return the inventory that *data* begins with, empty if its checksum does not hold."""
    if not data.startswith(_INVENTORY_HEAD):
        return b""
    try:
        data = data[: carojournal.cbordecode.length_of(data)]
    except MalformedCBOR:
        return b""
    return data if inventory_holds(data) else b""


def _packed(data: bytes, named: bytes) -> list[Loss]:
    """Return what the inventory *data* of a packed file lists.

    If it cannot be read (`verify` says so), only the segment that the file is named after can be said to go with it.
    """
    try:
        rows = inventory_rows(data)
        return [
            (
                _uuid(row["segment"]),
                _uint(row["first_seq"]),
                _uint(row["last_seq"]),
                _uint(row["events"]),
                dict([_sums(sums) for sums in row["carried"]]),  # type: ignore[attr-defined]
            )
            for row in rows
        ]
    except (MalformedCBOR, KeyError, TypeError, ValueError):
        return [(named, 0, 0, 0, {})]
