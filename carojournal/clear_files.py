"""Which files go when the journal is cleared, and how they go.  Links are removed and never followed.

Only names of ours are touched.  In the order of ORDER: what might still be sent first, what tells that something was
sent last, so that whoever is interrupted in between can still ask for its deletion.
"""

import contextlib
import os
import stat
from dataclasses import dataclass

from carojournal import deletion, drops, held, policy, spool
from carojournal.identity import IDENTITY
from carojournal.locks import BATCH_LOCK
from carojournal.migrate_ledger import LEDGER

__all__ = ["ORDER", "Removal", "is_ours", "listed", "not_ours", "remove_folders", "survey"]

ORDER = ("outbox", "lanes", "segments", "packed", "quarantine", "", "receipts", "sent")  # "": files in the root.
_DISCARDS = "discards"  # How far carobatch has told what the counters say: without them it means nothing.
_FILES = (drops.DROPS, LEDGER, _DISCARDS)
_INDEX = "index.sqlite3"  # With its journals: sqlite appends "-wal", "-shm", "-journal".
_KEPT = (policy.SNAPSHOT, f"{policy.SNAPSHOT}.tmp", BATCH_LOCK, deletion.REQUESTS)


def is_ours(name: str) -> bool:
    """Tell whether a file of this name in the root itself is one that `clear` removes."""
    temporary = name.startswith((f"{IDENTITY}.", f".{IDENTITY}.")) and name.endswith(".tmp")
    return name in _FILES or name.startswith(_INDEX) or temporary


def listed(root: str, folder: str) -> tuple[list[str], list[OSError]]:
    """Return (the files of one of ORDER that `clear` removes; why some could not be listed).

    Of the lanes that is what is no lock file.  A segment there was started after the lanes were closed, or cannot be
    closed; it may go without its lane's lock, because an append that is under way has begun before `clear` is done.
    """
    found: list[str] = []
    problems: list[OSError] = []
    pending = [os.path.join(root, folder)]
    if not folder:
        pending = [os.path.join(root, name) for name in os.listdir(root) if is_ours(name)]
    while pending:
        path = pending.pop()
        try:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                found.append(path)
            else:
                pending += [os.path.join(path, name) for name in os.listdir(path)]
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(error)
    if folder == "lanes":
        found = [path for path in found if path.endswith(".seg") or not _is_file(path)]
    return sorted(found), problems


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def survey(root: str) -> tuple[int, int]:
    """Return how many files there are to clear, and their bytes.  Raises OSError."""
    sizes = []
    for folder in ORDER:
        for path in listed(root, folder)[0]:
            with contextlib.suppress(FileNotFoundError):
                sizes.append(os.lstat(path).st_size)
    return len(sizes), sum(sizes)


def _count(path: str) -> int:
    """Return how many events a segment file holds; damage counts as what was readable."""
    if os.path.basename(os.path.dirname(path)) not in ("segments", "packed") or path.endswith(".tmp"):
        return 0
    try:
        return sum(loss[3] for loss in held.describe(path))
    except OSError:
        return 0


@dataclass(slots=True)
class Removal:
    """What was removed so far, and the first error."""

    events: int = 0
    files: int = 0
    bytes: int = 0
    problem: OSError | None = None

    def remove(self, root: str, folder: str) -> None:
        """Remove what `listed` names; the first error is kept and the rest goes on, because gone is gone."""
        paths, problems = listed(root, folder)
        for error in problems:
            self.problem = self.problem or error
        for path in paths:
            self._unlink(path)

    def _unlink(self, path: str) -> None:
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


def remove_folders(path: str, *, itself: bool) -> None:
    """Remove the empty folders below *path*, and with *itself* also that one; what is not empty stays."""
    if os.path.islink(path):
        return
    for folder, _, _ in os.walk(path, topdown=False):
        if itself or folder != path:
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def not_ours(root: str) -> int:
    """Return how many files below the root are none of ours."""
    try:
        found = spool.usage(root)
    except FileNotFoundError:
        return 0
    return sum(
        folder.split(os.sep)[0] not in ORDER if folder else name not in _KEPT and not is_ours(name)
        for folder, name, _ in found
    )
