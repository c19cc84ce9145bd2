"""Locks that may wait, for everything off the append path, and the only module that imports filelock.

`FileLock` takes the same `flock` as `lanes.Lane.acquire`, so whoever holds a lane's lock here keeps its writers on
other lanes meanwhile.  Never point it at a data file: it opens its path for writing, and on Windows such a lock is
mandatory.
A lock file is never unlinked; the system releases the lock with the process, so none can go stale.
"""

import contextlib
import os
from typing import TYPE_CHECKING

import filelock

from carojournal.errors import JournalBusy

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LANE_LOCK_TIMEOUT_S", "batch_lock", "lane_lock"]

LANE_LOCK_TIMEOUT_S = 2.0  # An append holds a lane for microseconds, for a tenth of a second where it waits for room.
_POLL_S = 0.002  # FileLock is unfair: among writers that never stop its 50 ms would seldom meet a free moment.
BATCH_LOCK = "batch.lock"


@contextlib.contextmanager
def _held(path: str, timeout_s: float, what: str) -> "Iterator[None]":
    # A soft lock, the fallback where a file system lacks flock, would exclude nobody who appends.
    lock = filelock.FileLock(path, timeout=timeout_s, mode=0o600, poll_interval=_POLL_S, fallback_to_soft=False)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise JournalBusy(f"{what} is locked by another process") from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def lane_lock(root: str, number: int, timeout_s: float = LANE_LOCK_TIMEOUT_S) -> "Iterator[None]":
    """Hold lane *number* of the journal at *root*.

    Raises JournalBusy if a writer keeps it for *timeout_s* seconds, OSError if the lock file cannot be opened.
    """
    with _held(os.path.join(root, "lanes", f"{number}.lock"), timeout_s, f"lane {number}"):
        yield


@contextlib.contextmanager
def batch_lock(root: str, timeout_s: float = 0) -> "Iterator[None]":
    """Be the only carobatch at *root*.  Raises JournalBusy, by default at once, OSError as `lane_lock`."""
    with _held(os.path.join(root, BATCH_LOCK), timeout_s, "the batch"):
        yield
