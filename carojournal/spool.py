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

import carojournal
from carojournal.errors import SpoolFull
from carojournal.policy import segment_limit
from carojournal.root import open_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carojournal.delivered import Delivered

__all__ = [
    "ROOM_TRIES",
    "Victim",
    "in_flight",
    "lock_room",
    "make_room",
    "remove",
    "unlock_room",
    "usage",
]

_IDENTITY = "journal"
_ROOM_PAUSE_S = 0.000_5  # Making room takes about a millisecond.
# A host that finds the lock taken lets its segment grow a little (`lanes`).  Where that is no way out, at midnight or
# when much was written meanwhile, it waits.  Who was stopped while making room must not stop everybody else: after
# 100 ms, ten time slices of a busy machine, a host goes on without.  It then risks that a loss is told twice, which is
# better than not to record.
ROOM_TRIES = 200


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


def make_room(root: str, cap_bytes: int, lane: int, reason: str = "evicted", first_bytes: int = 0) -> list[Victim]:
    """Return what must go before *lane* may start a segment; empty as long as there is room.

    *first_bytes* are written to it at once, and may be more than a segment is otherwise given.  The caller holds the
    lock (`lock_room`) until `remove` is done.  Raises SpoolFull if that would not suffice, OSError if the root cannot
    be listed.
    """
    total = max(segment_limit(cap_bytes, lane), first_bytes)
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
    victims: list[Victim] = []
    named, gone, delivered = in_flight(root), set[bytes](), carojournal.delivered.Delivered(root)
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
    held = carojournal.held
    try:
        if not delivered.names(bytes.fromhex(os.path.basename(path)[17:49])):
            return False
        return all(delivered.count(loss[0], loss[1], loss[2]) >= loss[3] for loss in held.describe(path))
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
    held = carojournal.held
    folder, name, size = file
    path = os.path.join(root, folder, name)
    try:
        losses = held.describe(path)
        if any(segment in named or segment.hex().encode() in named for segment, *_ in losses):
            return None
        payloads: list[bytes] = []
        known = b""
        for segment, first, last, events, carried in losses:
            if segment in gone:
                continue
            gone.add(segment)
            if carried:
                predecessors = carojournal.predecessors
                known = known or predecessors.heads(root, others)
                payloads += predecessors.take_asked_for(path, segment, carried, known)
            share = size if len(losses) == 1 else size * events // max(1, sum(loss[3] for loss in losses))
            arrived = min(events, delivered.count(segment, first, last)) if delivered.names(segment) else 0
            if arrived and arrived == events:
                payloads.append(held.encode_loss(held.DELIVERED, segment, first, last, events, share, carried))
                continue
            if arrived:
                sums = carried.setdefault(held.DELIVERED, [0, 0, 0])
                sums[1] += arrived
            payloads.append(held.encode_loss(reason, segment, first, last, events - arrived, share, carried))
    except OSError:
        return None
    return Victim(path, size, payloads)


def _copies(root: str, left: "list[tuple[str, bool, str, str, int]]", gone: set[bytes]) -> list[Victim]:
    """Return the files among *left* that hold nothing but segments which go anyway: what a killed `compact` left."""
    held = carojournal.held
    found = []
    for _, is_closed, name, folder, size in left:
        path = os.path.join(root, folder, name)
        try:
            segments = {bytes.fromhex(name[17:49])} if is_closed else {loss[0] for loss in held.describe(path)}
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


def in_flight(root: str) -> bytes:
    """Return the outbox's bytes: a segment whose uuid occurs in them, raw or as text, belongs to a batch under way.

    What can be read by nobody names nothing; raises OSError where it is descriptors that are lacking at this moment.
    """
    found = b""
    try:
        names = os.listdir(os.path.join(root, "outbox"))
    except OSError as error:
        if carojournal.drops.drop_reason(error) == "descriptors":
            raise
        return found
    for name in names:
        try:
            with open(open_file(os.path.join(root, "outbox", name)), "rb") as file:
                found += file.read()
        except OSError as error:
            if carojournal.drops.drop_reason(error) == "descriptors":
                raise
    return found
