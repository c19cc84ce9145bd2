"""The bound: how much the journal may keep, and what goes first to make room for a new segment.

Everything below the root counts except the identity file: lanes, closed and packed segments, outbox, receipts, sent
copies, quarantine, counters, index.  An open lane counts as if it were full, so that lanes which grow side by side
between two checks still stay below the cap: with the segment that is about to be started the spool never holds more
than

    cap >= all closed files + sum over lanes of max(size, limit of the lane)

Oldest first, packed before closed of the same age, never what a batch in the outbox names.  The caller writes the loss
records that `make_room` returns and only then calls `remove`; a crash in between leaves a file that a loss record
names, and readers count such a loss only once the file is gone.  A segment that is evicted may itself hold loss
records; their sums travel on in `carried`, so that no loss is ever forgotten.
"""

import os

from carojournal.cbor import encode_map
from carojournal.errors import CorruptRecord, MalformedCBOR, SpoolFull
from carojournal.frame import FIRST_RECORD_OFFSET, NO_SEGMENT, decode_record, find_record, last_record_offset
from carojournal.policy import segment_limit
from carojournal.root import open_file

__all__ = ["Victim", "describe", "encode_loss", "in_flight", "make_room", "remove", "usage"]

SKIPPABLE_MAGIC = b"\x50\x2a\x4d\x18"  # zstd skippable frame (RFC 8878 section 3.1.2); a packed file starts with one.
_INVENTORY_BYTES_MAX = 1_048_576
_IDENTITY = "journal"


class Victim:
    """A file that must go, and the loss records (payloads) that say what went with it."""

    __slots__ = ("path", "payloads", "size")

    def __init__(self, path: str, size: int, payloads: list[bytes]) -> None:
        self.path = path
        self.size = size
        self.payloads = payloads


def usage(root: str) -> list[tuple[str, str, int]]:
    """Return (folder, name, bytes) of every file below *root* except the identity; folder "" is the root itself.

    Files that vanish meanwhile are left out.  Raises OSError if the root cannot be listed.
    """
    found = []
    with os.scandir(root) as entries:
        folders = [""]
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            elif entry.name != _IDENTITY:
                found.append(("", entry.name, _size(entry)))
    for folder in folders[1:]:
        pending = [folder]
        while pending:
            inner = pending.pop()
            try:
                with os.scandir(os.path.join(root, inner)) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(os.path.join(inner, entry.name))
                        else:
                            found.append((inner, entry.name, _size(entry)))
            except OSError:
                continue
    return found


def _size(entry: "os.DirEntry[str]") -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except OSError:
        return 0


def make_room(root: str, cap_bytes: int, lane: int, reason: str = "evicted") -> list[Victim]:
    """Return what must go before *lane* may start a segment; empty as long as there is room.

    Raises SpoolFull if that would not suffice, OSError if the root cannot be listed.
    """
    total = segment_limit(cap_bytes, lane)
    candidates = []
    own = f"{lane}.seg"
    for folder, name, size in usage(root):
        if folder == "lanes" and name.endswith(".seg"):
            if name != own:
                total += max(size, segment_limit(cap_bytes, int(name[:-4])) if name[:-4].isdigit() else 0)
            continue
        total += size
        if folder in ("segments", "packed") and not name.endswith(".tmp"):
            candidates.append((name[:16], folder != "packed", name, folder, size))
    if total <= cap_bytes:
        return []
    victims = []
    named = in_flight(root)
    for _, _, name, folder, size in sorted(candidates):
        if total <= cap_bytes:
            break
        path = os.path.join(root, folder, name)
        try:
            losses = describe(path)
        except OSError:
            continue
        if any(segment in named or segment.hex().encode() in named for segment, *_ in losses):
            continue
        total -= size
        payloads = []
        for segment, first, last, events, carried in losses:
            share = size if len(losses) == 1 else size * events // max(1, sum(loss[3] for loss in losses))
            payloads.append(encode_loss(reason, segment, first, last, events, share, carried))
        victims.append(Victim(path, size, payloads))
    if total > cap_bytes:
        raise SpoolFull("make room in", root, None, "nothing may be evicted")
    return victims


def remove(victims: list[Victim]) -> None:
    """Unlink *victims*, whose loss records are written.  A file that is gone already is fine.  Raises OSError."""
    for victim in victims:
        try:
            os.unlink(victim.path)
        except FileNotFoundError:
            continue


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


def in_flight(root: str) -> bytes:
    """Return the outbox's bytes: a segment whose uuid occurs in them, raw or as text, belongs to a batch under way."""
    found = b""
    try:
        names = os.listdir(os.path.join(root, "outbox"))
    except OSError:
        return found
    for name in names:
        try:
            with open(open_file(os.path.join(root, "outbox", name)), "rb") as file:
                found += file.read()
        except OSError:
            continue
    return found


Loss = tuple[bytes, int, int, int, dict[str, list[int]]]


def describe(path: str) -> list[Loss]:
    """Return (segment uuid, first seq, last seq, events, carried losses) of every segment in the file at *path*.

    A closed segment is one; a packed file lists several in its inventory.  Sequence numbers are of events, not of the
    segment's control records.  A damaged segment counts every event up to its last readable one.  Raises OSError.
    """
    with open(open_file(path), "rb") as file:
        if path.endswith(".zst"):
            return _packed(file.read(8 + _INVENTORY_BYTES_MAX))
        data = file.read()
    stem = os.path.basename(path).rstrip("~").removesuffix(".seg")
    segment = bytes.fromhex(stem[17:]) if len(stem) == 49 else NO_SEGMENT
    try:
        return [_closed(segment, data)]
    except (CorruptRecord, MalformedCBOR, TypeError, ValueError):
        return [_damaged(segment, data)]


def _closed(segment: bytes, data: bytes) -> Loss:
    """Read the control records at the front and the last record; everything between is events, by sequence number."""
    carried: dict[str, list[int]] = {}
    at, key, controls = FIRST_RECORD_OFFSET, NO_SEGMENT, 0
    while at < len(data):
        found = decode_record(key, data, at)
        if found is None:
            raise CorruptRecord(at, "length")
        seq, start, end = found
        if b"frecord" not in data[start:end]:
            break
        _carry(data[start:end], carried)
        key, at, controls = segment, end + 5, seq + 1
    last_at = last_record_offset(data)
    last = decode_record(segment if last_at != FIRST_RECORD_OFFSET else NO_SEGMENT, data, last_at) if last_at else None
    if last is None:
        raise CorruptRecord(len(data), "total")
    seq = last[0] - (1 if last[0] >= controls and b"frecord" in data[last[1] : last[2]] else 0)
    return segment, controls, max(seq, controls - 1), max(0, seq - controls + 1), carried


def _damaged(segment: bytes, data: bytes) -> Loss:
    carried: dict[str, list[int]] = {}
    first, last, at = -1, -1, 0
    while (found := find_record(segment, data, at)) is not None:
        record = decode_record(segment, data, found)
        assert record is not None
        seq, start, end = record
        at = end + 5
        if b"frecord" in data[start:end]:
            _carry(data[start:end], carried)
            continue
        first = seq if first < 0 else first
        last = seq
    return (segment, first, last, last - first + 1, carried) if first >= 0 else (segment, 0, 0, 0, carried)


def _carry(payload: bytes, carried: dict[str, list[int]]) -> None:
    if b"dloss" not in payload:
        return
    from carojournal.cbordecode import decode

    loss = decode(payload)
    rows: list[dict[str, object]] = [*loss["carried"], {**loss, "segments": 1}]  # type: ignore[misc]
    for row in rows:
        sums = carried.setdefault(str(row["reason"]), [0, 0, 0])
        for place, name in enumerate(("segments", "events", "bytes")):
            sums[place] += int(row[name])  # type: ignore[call-overload]


def _packed(data: bytes) -> list[Loss]:
    """Return what the inventory in front of a packed file lists; nothing if it cannot be read (`verify` says so)."""
    if data[:4] != SKIPPABLE_MAGIC:
        return []
    from carojournal.cbordecode import decode

    try:
        rows: list[dict[str, object]] = decode(data[8 : 8 + int.from_bytes(data[4:8], "little")])["sections"]  # type: ignore[assignment]
        return [
            (
                bytes(row["segment"]),  # type: ignore[call-overload]
                int(row["first_seq"]),  # type: ignore[call-overload]
                int(row["last_seq"]),  # type: ignore[call-overload]
                int(row["events"]),  # type: ignore[call-overload]
                {
                    str(sums["reason"]): [int(sums["segments"]), int(sums["events"]), int(sums["bytes"])]
                    for sums in row["carried"]  # type: ignore[attr-defined]
                },
            )
            for row in rows
        ]
    except (MalformedCBOR, KeyError, TypeError, ValueError):
        return []
