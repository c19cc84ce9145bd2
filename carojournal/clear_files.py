"""Which files go when the journal is cleared, and how they go.  Links are removed and never followed.

Only names of ours are touched, in every folder, and nothing of ours lies deeper.  In the order of ORDER: what might
still be sent first, what tells that something was sent last, so that whoever is interrupted in between can still ask
for its deletion.
"""

import contextlib
import os
import re
import stat
from dataclasses import dataclass

from carojournal import deletion, drops, held, policy, spool
from carojournal.identity import IDENTITY
from carojournal.locks import BATCH_LOCK
from carojournal.migrate_ledger import LEDGER

__all__ = [
    "ORDER",
    "Removal",
    "holds_ours",
    "is_empty",
    "is_lock",
    "is_ours",
    "listed",
    "not_ours",
    "remove_folders",
    "survey",
]

ORDER = ("outbox", "lanes", "segments", "packed", "quarantine", "", "receipts", "sent")  # "": files in the root.
_DISCARDS = "discards"  # How far carobatch has told what the counters say: without them it means nothing.
_FILES = (drops.DROPS, LEDGER, _DISCARDS)
_INDEX = "index.sqlite3"  # With its journals: sqlite appends "-wal", "-shm", "-journal".
_BATCH = r"[0-9a-f]{64}"
_MADE = r"\d{16}-[0-9a-f]{32}"  # When it was made, and its segment.
# Folder -> the names that we give to files in it, half-written ones (`durable.DurableFile`) left out.
_NAMES = {
    "outbox": rf"{_BATCH}\.cbor|spared\.tmp",
    "lanes": r"\d+\.seg~?",
    "segments": rf"{_MADE}\.seg(?:~|\.tmp)?",
    "packed": rf"{_MADE}\.cborseq\.zst",
    "quarantine": rf"(?:{_MADE}|(?:refused|withheld)-{_BATCH})\.cbor",
    "receipts": rf"upload-{_BATCH}\.cbor|uploads\.cbor|bundle-\d{{6,}}\.json|acks\.json",
    "sent": rf"\d{{16}}-{_BATCH}\.cbor|state\.json",
}
_KEPT = (policy.SNAPSHOT, f"{policy.SNAPSHOT}.tmp", BATCH_LOCK, deletion.REQUESTS)


def is_ours(name: str, folder: str = "") -> bool:
    """Tell whether a file of this name is one that `clear` removes, in one of ORDER or (default) in the root itself."""
    if folder:
        names = _NAMES[folder]
        return re.fullmatch(rf"{names}|\.(?:{names})\.[0-9a-f]{{16}}\.tmp", name, re.ASCII) is not None
    temporary = name.startswith((f"{IDENTITY}.", f".{IDENTITY}.", f".{_DISCARDS}.")) and name.endswith(".tmp")
    return name in _FILES or name.startswith(_INDEX) or temporary


def listed(root: str, folder: str) -> tuple[list[str], list[OSError]]:
    """Return (the files of one of ORDER that `clear` removes; why some could not be listed).

    What stands in a folder's place is one.  Of the lanes a lock file stays, unless it is no file.  A segment there was
    started after the lanes were closed, or cannot be closed; it may go without its lane's lock, because an append that
    is under way has begun before `clear` is done.
    """
    found: list[str] = []
    problems: list[OSError] = []
    place = os.path.join(root, folder) if folder else root
    try:
        if not stat.S_ISDIR(os.lstat(place).st_mode):
            return [place], []
        names = sorted(os.listdir(place))
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [error]
    for name in names:
        path = os.path.join(place, name)
        if not is_ours(name, folder) and not is_lock(name, folder):
            continue
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(error)
            continue
        if not stat.S_ISDIR(mode) and not (stat.S_ISREG(mode) and is_lock(name, folder)):
            found.append(path)
    return found, problems


def is_lock(name: str, folder: str) -> bool:
    """Tell whether a file of this name in *folder* is a lane's lock."""
    return folder == "lanes" and re.fullmatch(r"\d+\.lock", name, re.ASCII) is not None


def holds_ours(root: str, folder: str) -> bool:
    """Tell whether anything of ours is in one of ORDER, lock files included, or cannot be ruled out."""
    place = os.path.join(root, folder)
    try:
        if stat.S_ISDIR(os.lstat(place).st_mode):
            return any(is_ours(name, folder) or is_lock(name, folder) for name in os.listdir(place))
    except FileNotFoundError:
        return False
    except OSError:
        pass
    return True


def is_empty(root: str, folder: str) -> bool:
    """Tell whether one of ORDER is still there, as a folder with nothing in it."""
    try:
        return not os.listdir(os.path.join(root, folder))
    except OSError:
        return False


def survey(root: str) -> tuple[int, int]:
    """Return how many files there are to clear, and their bytes.  Raises OSError."""
    sizes = []
    for folder in ORDER:
        paths, problems = listed(root, folder)
        if not folder and problems:
            raise problems[0]
        for path in paths:
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
        not _is_kept(name, folder) and not (folder in ORDER and is_ours(name, folder)) for folder, name, _ in found
    )


def _is_kept(name: str, folder: str) -> bool:
    return is_lock(name, folder) if folder else name in _KEPT
