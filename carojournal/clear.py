"""Delete what is kept.  The one way in which events leave the journal because the user wants them gone.

Everything that holds or describes events goes: lanes' segments, closed and packed ones, outbox, sent copies,
receipts, quarantine, index, counters and the ledger of migrated rows.  Pending deletion requests and, while a journal
remains, the lock files stay.  The identity is replaced, so that nothing recorded later can be tied to what was
before; its line `cleared <UTC ms>` says that the journal did not merely begin then.

All lanes are locked at once while the files are listed and removed.  Writers do not wait for that: they open further
lanes, and their next append to a lane of before finds its segment gone and starts a new one, which names no
predecessor because the lock file's text is emptied.  Where the journal itself is no longer wanted (`off`), the whole
root goes.

Only names of ours are touched, and only below a root that holds an identity file of ours: a CAROJOURNAL_DIR that
points to the wrong place costs nothing.
"""

import contextlib
import errno
import os
import stat
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from typing import TYPE_CHECKING

from carojournal import deletion, drops, policy, spool
from carojournal.closed import hold_lanes, take_from_lanes
from carojournal.durable import sync_directory
from carojournal.errors import JournalBusy, JournalIOError, JournalUnavailable, LaneLost
from carojournal.identity import IDENTITY, open_identity
from carojournal.locks import BATCH_LOCK, batch_lock
from carojournal.migrate_ledger import LEDGER
from carojournal.root import check_root
from carojournal.segment_file import read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Cleared", "Kept", "clear", "survey"]

_FOLDERS = ("segments", "packed", "outbox", "sent", "receipts", "quarantine")
_FILES = (drops.DROPS, LEDGER)
_INDEX = "index.sqlite3"  # With its journals: sqlite appends "-wal", "-shm", "-journal".


@dataclass(frozen=True, slots=True)
class Kept:
    """What there is to clear: files and their bytes, whether something was sent, deletion requests that are pending."""

    files: int
    bytes: int
    was_sent: bool
    pending_requests: int


@dataclass(frozen=True, slots=True)
class Cleared:
    """What was removed: events, files, bytes.  `left` files below the root are none of ours."""

    events: int
    files: int
    bytes: int
    was_sent: bool
    pending_requests: int
    left: int
    root_removed: bool


def _is_ours(name: str) -> bool:
    """Tell whether a file of this name in the root itself is one that `clear` removes."""
    return name in _FILES or name.startswith(_INDEX) or (name.startswith(f"{IDENTITY}.") and name.endswith(".tmp"))


def _check(root: str) -> bool:
    """Return False if there is no journal at *root*.  Raises UnsafeRoot, JournalUnavailable."""
    try:
        check_root(root)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        ours = read_file(os.path.join(root, IDENTITY), 13) == b"carojournal 1"
    except FileNotFoundError:
        ours = False
        if not os.listdir(root):
            return False
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EINVAL):  # A link or a pipe says nothing; the lanes may.
            raise
        ours = False
    if not ours and not os.path.isdir(os.path.join(root, "lanes")):
        raise JournalUnavailable(f"{root} is not a journal")
    return True


def _files(root: str) -> "Iterator[str]":
    """Yield every file that `clear` removes while the journal remains, but for the lanes' segments."""
    for name in sorted(os.listdir(root)):
        path = os.path.join(root, name)
        if name in _FOLDERS and not os.path.islink(path):
            for folder, _, names in os.walk(path):
                yield from (os.path.join(folder, inner) for inner in sorted(names))
        elif _is_ours(name):
            yield path


def survey(root: str) -> Kept:
    """Return what there is to clear, without changing anything.  Raises UnsafeRoot, JournalUnavailable, OSError."""
    if not _check(root):
        return Kept(0, 0, was_sent=False, pending_requests=0)
    found = [
        size
        for folder, name, size in spool.usage(root)
        if (_is_ours(name) if not folder else folder.split(os.sep)[0] in _FOLDERS or name.endswith(".seg"))
    ]
    return Kept(len(found), sum(found), _was_sent(root), len(deletion.pending(root)))


def _count(path: str) -> int:
    """Return how many events a segment file holds; damage counts as what was readable."""
    if os.path.basename(os.path.dirname(path)) not in ("segments", "packed") or path.endswith(".tmp"):
        return 0
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return 0
        return sum(loss[3] for loss in spool.describe(path))
    except OSError:
        return 0


@dataclass(slots=True)
class _Removal:
    events: int = 0
    files: int = 0
    bytes: int = 0
    problem: OSError | None = None

    def remove(self, path: str) -> None:
        """Unlink *path*, counting it; the first error is kept and the rest goes on, because gone is gone."""
        try:
            events, size = _count(path), os.lstat(path).st_size
            os.unlink(path)
        except FileNotFoundError:
            return
        except OSError as error:
            self.problem = self.problem or error
            return
        self.events += events
        self.files += 1
        self.bytes += size


@contextlib.contextmanager
def _no_migration(root: str) -> "Iterator[None]":
    """Hold the ledger's lock, if there is a ledger: a migration under way would bring back what is removed here."""
    try:
        descriptor = os.open(os.path.join(root, LEDGER), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield
        return
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
    except BlockingIOError as error:
        raise JournalBusy("a migration is under way") from error
    else:
        yield
    finally:
        os.close(descriptor)


def clear(root: str, now_ms: int, *, remove_root: bool, random: "Callable[[int], bytes]" = os.urandom) -> Cleared:
    """Delete everything that is kept at *root* and return what it was; a missing journal is empty.

    *now_ms* is UTC milliseconds.  *remove_root* (under `off`) removes identity, locks and the root itself as well; only
    pending deletion requests and files that are not ours remain.  Otherwise the journal goes on under a new identity.

    Raises JournalBusy (carobatch or a migration is at work), UnsafeRoot, JournalUnavailable (not a journal) and
    JournalIOError for the first file that could not be removed, after the others are gone.
    """
    if not _check(root):
        return Cleared(0, 0, 0, was_sent=False, pending_requests=0, left=0, root_removed=False)
    gone = _Removal()
    with contextlib.ExitStack() as held:
        if not remove_root or os.path.lexists(os.path.join(root, BATCH_LOCK)):
            held.enter_context(batch_lock(root))
        held.enter_context(_no_migration(root))
        sent = _was_sent(root)
        requests = len(deletion.pending(root))
        lanes = hold_lanes(root, held)
        for number in lanes:
            _take(root, number, now_ms, random, gone)
        if not remove_root:
            _replace_identity(root, now_ms, random)
        for path in list(_files(root)):
            gone.remove(path)
        for folder in _FOLDERS[1:]:
            _remove_folders(os.path.join(root, folder))
        if remove_root:
            _remove_root(root, lanes, keep_requests=requests > 0)
        left = _left(root)
    if gone.problem is not None:
        error = gone.problem
        raise JournalIOError("remove", str(error.filename or root), error.errno, error.strerror or "") from error
    return Cleared(gone.events, gone.files, gone.bytes, sent, requests, left, not os.path.lexists(root))


def _was_sent(root: str) -> bool:
    """Tell whether anything was sent; an identity that cannot be read must not keep the rest from being deleted."""
    try:
        identity = deletion.read_identity(root)
    except OSError:
        identity = None
    return deletion.was_sent(root, identity)


def _take(root: str, number: int, now_ms: int, random: "Callable[[int], bytes]", gone: _Removal) -> None:
    """Move a lane's segment to the closed ones, whose lock the caller holds; what is no segment goes at once."""
    lane = os.path.join(root, "lanes", str(number))
    try:
        take_from_lanes(root, (number,), policy.CAP_BYTES_DEFAULT, now_ms, random)
    except (OSError, LaneLost):
        gone.remove(f"{lane}.seg")
    try:
        os.truncate(f"{lane}.lock", 0)
    except OSError as error:
        gone.problem = gone.problem or error


def _replace_identity(root: str, now_ms: int, random: "Callable[[int], bytes]") -> None:
    """Give the journal a new pseudonym, secret and session ids.  The file is whole whenever it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(root, IDENTITY))
    open_identity(root, now_ms, random).append(f"cleared {now_ms}")
    sync_directory(root)


def _remove_folders(path: str) -> None:
    """Remove *path* and the empty folders below it; what is not empty stays."""
    if os.path.islink(path):
        return
    for folder, _, _ in os.walk(path, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def _remove_root(root: str, lanes: list[int], *, keep_requests: bool) -> None:
    names = [IDENTITY, policy.SNAPSHOT, f"{policy.SNAPSHOT}.tmp", BATCH_LOCK]
    names += [f"lanes/{number}.lock" for number in lanes]
    if not keep_requests:
        names.append(deletion.REQUESTS)
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(root, name))
    for folder in ("segments", "lanes"):
        _remove_folders(os.path.join(root, folder))
    with contextlib.suppress(OSError):
        os.rmdir(root)


def _left(root: str) -> int:
    """Return how many files below the root are none of ours."""
    known = (policy.SNAPSHOT, f"{policy.SNAPSHOT}.tmp", BATCH_LOCK, deletion.REQUESTS)
    try:
        found = spool.usage(root)
    except FileNotFoundError:
        return 0
    return sum(
        1
        for folder, name, _ in found
        if (folder.split(os.sep)[0] not in (*_FOLDERS, "lanes") if folder else name not in known and not _is_ours(name))
    )
