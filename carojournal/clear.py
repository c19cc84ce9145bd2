"""Delete what is kept.  The one way in which events leave the journal because the user wants them gone.

Everything that holds or describes events goes: lanes' segments, closed and packed ones, outbox, sent copies,
receipts, quarantine, index, counters and the ledger of migrated rows (`clear_files`).  Pending deletion requests and,
while a journal remains, the lock files stay.  The identity is replaced, so that nothing recorded later can be tied to
what was before.  The steps, each finished before the next begins:

    1  close the lanes' segments, one lane at a time under its lock            nothing is gone yet
    2  the line `clearing <UTC ms>` in the identity, durable                   from here on carobatch sends nothing
    3  remove files
    4  replace the identity, in one step, by one that says `clearing` as well
    5  close the lanes again and remove what was recorded since step 1
    6  the line `cleared <UTC ms>`: it is done

Killed anywhere, the journal is whole and the next `clear` finishes.  The old identity stays until the last event of
its sessions is gone, because it alone knows what `delete-remote` must ask for.

A writer meets one locked lane at a time and takes another.  What it opens meanwhile is not waited for: the two would
chase each other to the last lane, and then events would be dropped.  Its next append to a lane of before finds the
segment gone and starts a new one, which names no predecessor because the lock file's text is emptied.  Where the
journal itself is no longer wanted (`off`), the whole root goes, the identity last.  A host that has not noticed yet may
bring a lane, or all of it, back for as long as it does not look at the policy: `clear` looks again until then.

Only names of ours are touched, and only below a root that holds an identity file of ours: a CAROJOURNAL_DIR that
points to the wrong place costs nothing.
"""

import contextlib
import errno
import os
import stat
import time
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from typing import TYPE_CHECKING

from carojournal import clear_files, deletion, policy
from carojournal.clear_files import ORDER, Removal
from carojournal.closed import close_lanes
from carojournal.durable import sync_directory, write_file
from carojournal.errors import JournalBusy, JournalIOError, JournalUnavailable
from carojournal.identity import IDENTITY, line, new_identity
from carojournal.journal import POLICY_CHECK_MS
from carojournal.locks import BATCH_LOCK, batch_lock, lane_lock
from carojournal.migrate_ledger import LEDGER
from carojournal.place import has_journal, is_journal
from carojournal.root import check_root, is_folder, open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Cleared", "Kept", "clear", "survey"]

LOOK_MS = 50  # Between two looks for what a host has brought back;
LOOKS_MIN = POLICY_CHECK_MS // LOOK_MS + 1  # until every host has looked at the policy, if one may not have,
LOOKS_MAX = 2 * LOOKS_MIN  # and not for ever: to a host that was started otherwise, telemetry may not be off.


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


def _check(root: str) -> bool:
    """Return False if there is no journal at *root*.  Raises UnsafeRoot, JournalUnavailable."""
    try:
        check_root(root, ())  # A link in a folder's place goes like any file.
    except (FileNotFoundError, NotADirectoryError):
        return False
    if is_journal(root):
        return True
    if has_journal(root):  # A copy's segments, or requests that wait: nothing that is known as this user's journal.
        raise JournalUnavailable(f"{root} is not a journal")
    return False


def survey(root: str) -> Kept:
    """Return what there is to clear, without changing anything.  Raises UnsafeRoot, JournalUnavailable, OSError."""
    if not _check(root):
        return Kept(0, 0, was_sent=False, pending_requests=0)
    return Kept(*clear_files.survey(root), _was_sent(root), _pending(root))


def _pending(root: str) -> int:
    """Return how many requests wait; a file that cannot be read must not keep the rest from being deleted."""
    try:
        return len(deletion.pending(root))
    except JournalIOError:
        return 0


def _was_sent(root: str) -> bool:
    """Tell whether anything was sent; an identity that cannot be read must not keep the rest from being deleted."""
    try:
        identity = deletion.read_identity(root)
    except OSError:
        identity = None
    return deletion.was_sent(root, identity)


@contextlib.contextmanager
def _no_migration(root: str) -> "Iterator[None]":
    """Hold the ledger's lock, if there is a ledger: a migration under way would bring back what is removed here."""
    try:
        descriptor = open_file(os.path.join(root, LEDGER))
    except OSError:
        yield  # No ledger, or nothing that a migration could hold.
        return
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
    except BlockingIOError as error:
        raise JournalBusy("a migration is under way") from error
    else:
        yield
    finally:
        os.close(descriptor)


def clear(
    root: str,
    now_ms: int,
    *,
    remove_root: bool,
    random: "Callable[[int], bytes]" = os.urandom,
    sleep: "Callable[[float], None]" = time.sleep,
) -> Cleared:
    """Delete everything that is kept at *root* and return what it was; a missing journal is empty.

    *now_ms* is UTC milliseconds.  *remove_root* (under `off`) removes identity, locks and the root itself as well, also
    one that is empty; only pending deletion requests and files that are not ours remain.  Where a host has recorded
    within the last second, that takes one: *sleep* (seconds) waits until it has noticed.  Otherwise the journal goes
    on under a new identity.

    Raises JournalBusy (carobatch or a migration is at work, a writer does not let go of its lane), UnsafeRoot,
    JournalUnavailable (not a journal) and JournalIOError for the first file that could not be removed, after the others
    are gone; the identity is then the old one still, and nothing is sent until a later `clear` is through.
    """
    if not _check(root):
        gone_root = remove_root and _remove_empty(root)
        return Cleared(0, 0, 0, was_sent=False, pending_requests=0, left=0, root_removed=gone_root)
    gone = Removal()
    with contextlib.ExitStack() as held:
        if not remove_root or os.path.lexists(os.path.join(root, BATCH_LOCK)):
            held.enter_context(batch_lock(root))
        held.enter_context(_no_migration(root))
        sent, requests = _was_sent(root), _pending(root)
        looks_min = LOOKS_MIN if remove_root and _is_in_use(root, now_ms) else 1
        close_lanes(root, now_ms, random, forget=True)
        with contextlib.suppress(JournalIOError, FileNotFoundError):
            # Without the line goes as well: a disk so full that it has no place must not keep all that is on it.
            deletion.note(root, f"clearing {now_ms}")
        if remove_root:
            _remove_for_good(root, gone, lambda: close_lanes(root, now_ms, random, forget=True), looks_min, sleep)
        else:
            _remove(root, gone, *ORDER)
            _replace_identity(root, now_ms, random)
            for path, error in close_lanes(root, now_ms, random, forget=True):
                raise JournalIOError("close", path, error.errno, error.strerror or "") from error
            _remove(root, gone, "segments")
            deletion.note(root, f"cleared {now_ms}")
        left = clear_files.not_ours(root)
    return Cleared(gone.events, gone.files, gone.bytes, sent, requests, left, not os.path.lexists(root))


def _is_in_use(root: str, now_ms: int) -> bool:
    """Tell whether a host has recorded so lately that it may not look at the policy before its next event."""
    with contextlib.suppress(OSError), os.scandir(os.path.join(root, "lanes")) as entries:
        times = [entry.stat(follow_symlinks=False).st_mtime_ns // 1_000_000 for entry in entries]
        return any(abs(now_ms - time_ms) <= POLICY_CHECK_MS for time_ms in times)
    return False


def _remove_for_good(
    root: str,
    gone: Removal,
    close: "Callable[[], object]",
    looks_min: int,
    sleep: "Callable[[float], None]",
) -> None:
    """Remove all that is ours, and again what hosts bring back, *looks_min* times at least.

    *close* closes lanes, so that what is in them is counted.  Raises JournalBusy, JournalIOError, OSError.
    """
    for look in range(1, LOOKS_MAX + 1):
        try:
            if look > 1:
                close()
            _remove(root, gone, *ORDER)
            _remove_root(root)
        except JournalIOError as error:
            if error.errno != errno.ENOTEMPTY or look == LOOKS_MAX:
                raise
        else:
            if look >= looks_min:
                return
        sleep(LOOK_MS / 1000)


def _remove_empty(root: str) -> bool:
    """Remove the empty folder that a clear left which was killed before its last call; return whether it was there."""
    if not is_folder(root):
        return False
    with contextlib.suppress(OSError):  # It is a mount point, or not empty any more: nothing of ours is there.
        os.rmdir(root)
    return not os.path.lexists(root)


def _remove(root: str, gone: Removal, *folders: str) -> None:
    """Remove the files of *folders*, durably.  Raises JournalIOError for the first error, when the rest is gone."""
    for folder in folders:
        gone.remove(root, folder)
        if folder:
            clear_files.remove_folders(os.path.join(root, folder), itself=folder not in ("lanes", "segments"))
    try:
        for folder in ("", *folders):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                sync_directory(os.path.join(root, folder))
    except OSError as error:
        gone.problem = gone.problem or error
    if gone.problem is not None:
        problem = gone.problem
        raise JournalIOError(
            "remove", str(problem.filename or root), problem.errno, problem.strerror or ""
        ) from problem


def _replace_identity(root: str, now_ms: int, random: "Callable[[int], bytes]") -> None:
    """Give the journal a new pseudonym, secret and session ids; there is no moment without an identity."""
    path = os.path.join(root, IDENTITY)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            os.unlink(path)
    text = new_identity(now_ms, random) + line(f"clearing {now_ms}")
    write_file(path, text, overwrite=True, error=JournalIOError, random=random)


def _remove_root(root: str) -> None:
    """Remove all that is left of ours but requests that wait, the identity when all else is gone.

    Raises OSError, JournalBusy, JournalIOError for what cannot be removed, ENOTEMPTY for what a host has brought back.
    """
    _remove_locks(root)
    names = [policy.SNAPSHOT, f"{policy.SNAPSHOT}.tmp", BATCH_LOCK]
    with contextlib.suppress(JournalIOError):  # What cannot be read may wait as well.
        names += [] if deletion.pending(root) else [deletion.REQUESTS]
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(root, name))
    for folder in ("segments", "lanes"):
        clear_files.remove_folders(os.path.join(root, folder), itself=True)
    for folder in filter(None, ORDER):
        # Recorded meanwhile, or not removed; what else is there is not ours, and stays.
        if clear_files.holds_ours(root, folder) or clear_files.is_empty(root, folder):
            raise _came_back(os.path.join(root, folder))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(root, IDENTITY))
    try:
        os.rmdir(root)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # Requests that wait, and what is not ours.
            raise
    holds = any(clear_files.holds_ours(root, folder) for folder in filter(None, ORDER))
    if holds or clear_files.listed(root, "")[0] or os.path.lexists(os.path.join(root, IDENTITY)):
        raise _came_back(root)


def _remove_locks(root: str) -> None:
    """Remove the lanes' lock files, each under its lock: a segment never stands without the lock of its lane.

    Raises JournalBusy, OSError, and JournalIOError where a lane has a segment again.
    """
    folder = os.path.join(root, "lanes")
    try:
        names = [name for name in os.listdir(folder) if name.endswith(".lock")]
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        path = os.path.join(folder, name)
        with contextlib.ExitStack() as held:
            if clear_files.is_lock(name, "lanes"):
                with contextlib.suppress(OSError):  # What stands there is no lock: nobody can append under it either.
                    held.enter_context(lane_lock(root, int(name[:-5])))
                if os.path.lexists(f"{path[:-5]}.seg"):
                    raise _came_back(f"{path[:-5]}.seg")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _came_back(path: str) -> JournalIOError:
    return JournalIOError("remove", path, errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
