"""The bound: how much the journal may keep, and who makes room for a new segment.

Everything below the root counts except the identity file: lanes, closed and packed segments, outbox, receipts, sent
copies, quarantine, counters, index.  An open lane counts as if it were full, so that lanes which grow side by side
between two checks still stay below the cap: with the segment that is about to be started the spool never holds more
than

    cap >= all closed files + sum over lanes of max(size, limit of the lane)

`eviction` chooses what goes where that leaves no room.  The caller writes the loss
records that `make_room` returns and only then calls `remove`; a crash in between leaves a file that a loss record
names, and readers count such a loss only once the file is gone.

No loss may be told twice: two records that name the same segment are one loss to a reader, but once they are evicted
and carried on as sums nobody can tell.  So only one process at a time makes room, `lock_room`, from the choice to the
unlink, and nobody ever without that lock.  Who was stopped while making room must not stop everybody else: after 100 ms
a host goes on without making room, one at a time, as long as all stays within the cap (`bytes_left`); then it counts
drops.  What whoever was stopped is about to write is the one segment, or the one write, that may come on top.
"""

import os
import time
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock

import carojournal
from carojournal.policy import segment_limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from carojournal.eviction import Victim

__all__ = [
    "LOOKS",
    "PATIENT_S",
    "ROOM_WAIT_S",
    "bytes_left",
    "lock_room",
    "make_room",
    "remove",
    "unlock_room",
    "usage",
]

_IDENTITY = "journal"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_ROOM_PAUSE_S = 0.000_5  # Making room takes some milliseconds.
# A host that finds the lock taken lets its segment grow a little (`rotation`).  Where that is no way out, at midnight
# or when much was written meanwhile, it waits: ten time slices of a busy machine.
ROOM_WAIT_S = 0.1
PATIENT_S = 10.0  # What is no host may wait for one that does not come to run, as on a busy machine.

# A segment moves this way, so whoever looks in this order finds it at least once.
_WAY = ("lanes", "segments", "packed")
LOOKS = 8  # Files that are renamed or removed while one looks are rare; eight times in a row they are none of ours.

# A child of `fork` would keep the lock for as long as it lives if its parent were killed.
_locked: "set[int]" = set()


def _close_locked() -> None:
    while _locked:
        try:
            os.close(_locked.pop())
        except OSError:
            continue


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_locked)


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
    for folder in sorted(folders[1:], key=lambda name: _WAY.index(name) if name in _WAY else len(_WAY)):
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


def lock_room(root: str, wait_s: float = ROOM_WAIT_S, folder: str = "segments") -> int:
    """Take the lock of whoever makes room, an flock on the folder segments/; return its descriptor for `unlock_room`.

    The folder is made if it is missing.  *folder* "lanes" is the lock of whoever goes on without the first one.  Raises
    JournalBusy if it is held for *wait_s* seconds, OSError.
    """
    path = f"{root}/{folder}"
    try:
        descriptor = os.open(path, _FOLDER)
    except FileNotFoundError:
        try:  # noqa: SIM105 - contextlib is not on the hot path
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        descriptor = os.open(path, _FOLDER)
    _locked.add(descriptor)
    until = time.monotonic() + wait_s
    try:
        while True:
            try:
                flock(descriptor, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise carojournal.errors.JournalBusy("another process is making room") from None
                time.sleep(_ROOM_PAUSE_S)
            else:
                return descriptor
    except BaseException:
        _locked.discard(descriptor)
        os.close(descriptor)
        raise


def unlock_room(descriptor: int) -> None:
    """Give back what `lock_room` returned.  Never raises: what was done under the lock is done."""
    if descriptor not in _locked:
        return  # None was taken, or this is a child of whoever took it.
    _locked.discard(descriptor)
    try:
        try:
            flock(descriptor, LOCK_UN)  # A child that was forked meanwhile has the descriptor too.
        finally:
            os.close(descriptor)
    except OSError:
        return


def make_room(
    root: str, cap_bytes: int, lane: int, first_bytes: int = 0, stuck: "Collection[str]" = ()
) -> "list[Victim]":
    """Return what must go before *lane* may start a segment; empty as long as there is room.

    *first_bytes* are written to it at once, and may be more than a segment is otherwise given.  *stuck* are paths that
    `remove` could not unlink: they stay, and others go for them.  The caller holds the lock (`lock_room`) until
    `remove` is done.  Raises SpoolFull if that would not suffice, JournalBusy if others rename or remove files all the
    time, OSError if the root cannot be listed.
    """
    for _ in range(LOOKS):
        known = _closed(root)
        total, candidates, opened = _account(root, cap_bytes, lane, stuck)
        total += max(segment_limit(cap_bytes, lane), first_bytes)
        if total <= cap_bytes:
            return []
        try:
            victims = carojournal.eviction.choose(root, total, cap_bytes, candidates, opened, stuck)
        except FileNotFoundError:
            continue  # What it said is said elsewhere now, or was to go anyway.
        if known.issuperset(_closed(root)):
            return victims  # Nobody has closed or packed a segment meanwhile: everything was looked at.
    raise carojournal.errors.JournalBusy("segments are renamed or removed all the time")


def _closed(root: str) -> set[str]:
    names = set()
    for folder in ("segments", "packed"):
        try:
            names.update(os.listdir(f"{root}/{folder}"))
        except OSError:
            continue
    return names


def bytes_left(root: str, cap_bytes: int, lane: int) -> int:
    """Return how many bytes *lane*'s segments may have as long as nobody has made room.

    Raises OSError if the root cannot be listed.
    """
    return cap_bytes - _account(root, cap_bytes, lane)[0]


def _account(
    root: str, cap_bytes: int, lane: int, stuck: "Collection[str]" = ()
) -> "tuple[int, list[tuple[str, bool, str, str, int]], list[tuple[str, str]]]":
    """Return the bytes that are there or spoken for, *lane*'s open segment left out; then as `eviction.choose`."""
    total = 0
    candidates = []
    opened = []
    own = f"{lane}.seg"
    for folder, name, size in usage(root):
        if folder == "lanes" and name.endswith(".seg"):
            opened.append((folder, name))
            if name != own:
                total += max(size, segment_limit(cap_bytes, int(name[:-4])) if name[:-4].isdigit() else 0)
            continue
        if folder == "lanes":
            opened.append((folder, name))  # A lock file, which names the segment that its lane had last.
        total += size
        if (
            folder in ("segments", "packed")
            and not name.endswith(".tmp")
            and os.path.join(root, folder, name) not in stuck
        ):
            candidates.append((name[:16], folder != "packed", name, folder, size))
    return total, candidates, opened


def remove(victims: "list[Victim]") -> "dict[str, OSError]":
    """Unlink *victims*, whose loss records are written; return the paths that stay, and why.

    A file that is gone already is fine.
    """
    stuck = {}
    for victim in victims:
        try:
            os.unlink(victim.path)
        except FileNotFoundError:
            continue
        except OSError as error:
            stuck[victim.path] = error
    return stuck
