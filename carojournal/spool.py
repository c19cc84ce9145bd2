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

What receipts account for is not lost.  A file of which every event was delivered goes first, under the reason
`delivered`; of one that was delivered in part the record counts the others, and what arrived stands in its `carried`.

Nor may one be told twice: two records that name the same segment are one loss to a reader, but once they are evicted
and carried on as sums nobody can tell.  So only one process at a time makes room (`lock_room`, from the choice to the
unlink), and a segment of which a crash left two copies goes with both of them.
"""

import os
import time
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock

from carojournal.cbor import encode_map
from carojournal.errors import CorruptRecord, MalformedCBOR, SpoolFull
from carojournal.frame import FIRST_RECORD_OFFSET, NO_SEGMENT, crc32, decode_record, find_record, last_record_offset
from carojournal.policy import segment_limit
from carojournal.root import open_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carojournal.delivered import Delivered

__all__ = [
    "DELIVERED",
    "INVENTORY_HEAD_BYTES",
    "ROOM_TRIES",
    "Victim",
    "describe",
    "encode_loss",
    "in_flight",
    "inventory_holds",
    "inventory_rows",
    "lock_room",
    "make_room",
    "remove",
    "unlock_room",
    "usage",
]

SKIPPABLE_MAGIC = b"\x50\x2a\x4d\x18"  # zstd skippable frame (RFC 8878 section 3.1.2); a packed file starts with one.
_INVENTORY_BYTES_MAX = 1_048_576
# What every inventory begins with: a map, its first key "crc", four bytes: the CRC-32 of the rest of the map.
_INVENTORY_HEAD = b"\xa6\x63crc\x44"
INVENTORY_HEAD_BYTES = len(_INVENTORY_HEAD) + 4
_IDENTITY = "journal"
DELIVERED = "delivered"  # The reason of a loss record for what receipts account for: it went, and nothing is missing.
_ROOM_PAUSE_S = 0.000_5  # Making room takes about a millisecond.
# A host that finds the lock taken lets its segment grow a little (`lanes`).  Where that is no way out, at midnight or
# when much was written meanwhile, it waits.  Who was stopped while making room must not stop everybody else: after
# 100 ms, ten time slices of a busy machine, a host goes on without.  It then risks that a loss is told twice, which is
# better than not to record.
ROOM_TRIES = 200
_UINT_MAX = (1 << 64) - 1


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


def lock_room(root: str, tries: int = ROOM_TRIES) -> int:
    """Take the lock of whoever makes room, an flock on the folder segments/; return its descriptor for `unlock_room`.

    -1: it is held after *tries* of half a millisecond each, or there is nothing to lock.
    """
    try:
        descriptor = os.open(f"{root}/segments", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return -1
    for more in range(tries - 1, -1, -1):
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            if more:
                time.sleep(_ROOM_PAUSE_S)
        except OSError:
            break
        else:
            return descriptor
    os.close(descriptor)
    return -1


def unlock_room(descriptor: int) -> None:
    """Give back what `lock_room` returned."""
    if descriptor >= 0:
        flock(descriptor, LOCK_UN)  # A child that was forked meanwhile has the descriptor too.
        os.close(descriptor)


def make_room(root: str, cap_bytes: int, lane: int, reason: str = "evicted") -> list[Victim]:
    """Return what must go before *lane* may start a segment; empty as long as there is room.

    The caller holds the lock (`lock_room`) until `remove` is done.  Raises SpoolFull if that would not suffice, OSError
    if the root cannot be listed.
    """
    total = segment_limit(cap_bytes, lane)
    candidates = []
    opened = []
    own = f"{lane}.seg"
    for folder, name, size in usage(root):
        if folder == "lanes" and name.endswith(".seg"):
            if name != own:
                opened.append((folder, name))
                total += max(size, segment_limit(cap_bytes, int(name[:-4])) if name[:-4].isdigit() else 0)
            continue
        if folder == "lanes":
            opened.append((folder, name))  # A lock file, which names the segment that its lane had last.
        total += size
        if folder in ("segments", "packed") and not name.endswith(".tmp"):
            candidates.append((name[:16], folder != "packed", name, folder, size))
    if total <= cap_bytes:
        return []
    from carojournal.delivered import Delivered

    victims: list[Victim] = []
    named, gone, delivered = in_flight(root), set[bytes](), Delivered(root)
    left = sorted(candidates)
    left.sort(key=lambda one: not _is_delivered(os.path.join(root, one[3], one[2]), delivered))
    for at, (_, _, name, folder, size) in enumerate(left):
        others = [*opened, *((place, other) for _, _, other, place, _ in left if other != name)]
        victim = _victim(root, (folder, name, size), reason, named, gone, delivered, others)
        if victim is not None:
            total -= size
            victims.append(victim)
        if total <= cap_bytes:
            left = left[at + 1 :]
            break
    if total > cap_bytes:
        raise SpoolFull("make room in", root, None, "nothing may be evicted")
    return [*victims, *_copies(root, left, gone)]


def _is_delivered(path: str, delivered: "Delivered") -> bool:
    """Tell whether receipts account for every event of the file: it goes first, since nobody misses it."""
    try:
        if not delivered.names(bytes.fromhex(os.path.basename(path)[17:49])):
            return False
        return all(delivered.count(loss[0], loss[1], loss[2]) >= loss[3] for loss in describe(path))
    except (OSError, ValueError):
        return False


def _victim(
    root: str,
    file: tuple[str, str, int],
    reason: str,
    named: bytes,
    gone: set[bytes],
    delivered: "Delivered",
    others: "list[tuple[str, str]]",
) -> "Victim | None":
    """Return *file* (folder, name, bytes) as a victim, None if it must stay.

    *gone* are the segments that go, of which each counts once; *others* (folder, name) are the files besides.
    """
    folder, name, size = file
    path = os.path.join(root, folder, name)
    try:
        losses = describe(path)
        if any(segment in named or segment.hex().encode() in named for segment, *_ in losses):
            return None
        payloads: list[bytes] = []
        known = b""
        for segment, first, last, events, carried in losses:
            if segment in gone:
                continue
            gone.add(segment)
            if carried:
                from carojournal import predecessors

                known = known or predecessors.heads(root, others)
                payloads += predecessors.take_asked_for(path, segment, carried, known)
            share = size if len(losses) == 1 else size * events // max(1, sum(loss[3] for loss in losses))
            arrived = min(events, delivered.count(segment, first, last)) if delivered.names(segment) else 0
            if arrived and arrived == events:
                payloads.append(encode_loss(DELIVERED, segment, first, last, events, share, carried))
                continue
            if arrived:
                sums = carried.setdefault(DELIVERED, [0, 0, 0])
                sums[1] += arrived
            payloads.append(encode_loss(reason, segment, first, last, events - arrived, share, carried))
    except OSError:
        return None
    return Victim(path, size, payloads)


def _copies(root: str, left: "list[tuple[str, bool, str, str, int]]", gone: set[bytes]) -> list[Victim]:
    """Return the files among *left* that hold nothing but segments which go anyway: what a killed `compact` left."""
    found = []
    for _, is_closed, name, folder, size in left:
        path = os.path.join(root, folder, name)
        try:
            segments = {bytes.fromhex(name[17:49])} if is_closed else {loss[0] for loss in describe(path)}
        except (OSError, ValueError):
            continue
        if segments and segments <= gone:
            found.append(Victim(path, size, []))
    return found


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
            return _packed(file.read(8 + _INVENTORY_BYTES_MAX), _named(path))
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
    if last is None or last[0] < controls - 1 or controls > _UINT_MAX:
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
            try:  # noqa: SIM105 - contextlib is not loaded on this path
                _carry(data[start:end], carried)
            except (MalformedCBOR, KeyError, TypeError, ValueError):
                pass  # A loss record that says nothing: what it should have carried is not known.
            continue
        first = min(seq, first) if first >= 0 else seq
        last = max(seq, last)
    events = min(last - first + 1, _UINT_MAX)
    return (segment, first, last, events, carried) if first >= 0 else (segment, 0, 0, 0, carried)


def _carry(payload: bytes, carried: dict[str, list[int]]) -> None:
    if b"dloss" not in payload:
        return
    from carojournal.cbordecode import decode

    loss = decode(payload)
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
    from carojournal.cbordecode import decode

    if not inventory_holds(data):
        raise MalformedCBOR("no inventory, or its checksum does not hold")
    rows = decode(data).get("sections")
    if type(rows) is not list:
        raise MalformedCBOR("an inventory without sections")
    return rows


def _packed(data: bytes, named: bytes) -> list[Loss]:
    """Return what the inventory in front of a packed file lists.

    If it cannot be read (`verify` says so), only the segment that the file is named after can be said to go with it.
    """
    try:
        if data[:4] != SKIPPABLE_MAGIC:
            raise MalformedCBOR("no inventory")
        rows = inventory_rows(data[8 : 8 + int.from_bytes(data[4:8], "little")])
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
