"""What killed processes have left half-written below a journal's root: removed by whoever holds batch.lock next.

    .<name>.<16 hex>.tmp     in any of the folders below: `carojournal.durable`
    journal.<16 hex>.tmp     in the root: an identity that was about to be made

An hour must have passed: hosts and a migration write without batch.lock.
"""

import contextlib
import os
import re
import time

from carojournal.durable import ABANDONED_S, remove_abandoned
from carojournal.identity import IDENTITY

__all__ = ["sweep"]

_FOLDERS = ("segments", "packed", "outbox", "receipts", "sent", "quarantine", "received")
_IDENTITY = re.compile(rf"{IDENTITY}\.[0-9a-f]{{16}}\.tmp")


def sweep(root: str) -> None:
    """Remove what is abandoned below the journal at *root*; the caller holds batch.lock.  Never raises."""
    for folder in _FOLDERS:
        remove_abandoned(os.path.join(root, folder))
    with contextlib.suppress(OSError):
        for name in os.listdir(root):
            path = os.path.join(root, name)
            if _IDENTITY.fullmatch(name) and time.time() - os.lstat(path).st_mtime >= ABANDONED_S:
                os.unlink(path)
