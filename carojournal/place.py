"""What stands where a journal should be: nothing yet, a journal, or somebody else's files, which stay as they are.

Only what makes a journal (an append, a migration, an import) writes where there is none.  Everything else asks here
first, so that a CAROJOURNAL_DIR that points to the wrong place costs nothing and is said.
"""

import errno
import os

from carojournal.errors import JournalUnavailable, UnsafeRoot
from carojournal.policy import IDENTITY, SNAPSHOT
from carojournal.root import FOLDERS, is_folder, open_file

__all__ = ["check_beginning", "has_journal", "is_journal"]

_MAGIC = b"carojournal 1"
# What waits to be asked of the receiver when all else is cleared: `deletion.REQUESTS`, whose module costs more.
_REQUESTS = "deletion-requests"
# Of these alone nothing was kept: earlier versions left them wherever they had looked.
_TRACES = frozenset((SNAPSHOT, f"{SNAPSHOT}.tmp", "batch.lock"))
_NAMES = frozenset((*FOLDERS, IDENTITY, "drops", "discards", "index.sqlite3"))
_NOT_OURS = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.EINVAL,
    errno.ENXIO,
)  # A link, pipe or socket says nothing.


def is_journal(root: str) -> bool:
    """Tell whether *root* has lanes or an identity file of ours.  Raises OSError where that cannot be said."""
    if is_folder(os.path.join(root, "lanes")):
        return True
    try:
        descriptor = open_file(os.path.join(root, IDENTITY))
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
        return False
    try:
        return os.read(descriptor, 64).lstrip(b"\n").startswith(_MAGIC)  # Every write starts with a newline.
    finally:
        os.close(descriptor)


def has_journal(root: str) -> bool:
    """Tell whether there is a journal to look at; False where nothing is, or a folder with nothing in it.

    A copy may lack lanes and identity: its segments, under names of ours, count as well.  Raises UnsafeRoot for what is
    no folder, JournalUnavailable for a folder of other files, OSError where it cannot be said: what cannot be reached
    must not pass for empty.
    """
    try:
        is_directory = os.stat(root).st_mode & 0o170000 == 0o040000
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not is_directory:
        raise UnsafeRoot(root, "is not a directory")
    if is_journal(root):
        return True
    names = os.listdir(root)
    if _TRACES.issuperset(names):
        return False
    if _REQUESTS in names or _has_segments(root):
        return True
    raise JournalUnavailable(f"{root} is not a journal")


def check_beginning(root: str) -> None:
    """Refuse to begin a journal where a file of somebody else's has a name of ours, and would pass for ours then.

    Other files in the folder are none of our business.  Raises JournalUnavailable, UnsafeRoot, OSError.
    """
    try:
        has_journal(root)
    except JournalUnavailable:
        for name in sorted(_NAMES.intersection(os.listdir(root))):
            path = os.path.join(root, name)
            if not is_folder(path) or os.listdir(path):
                raise JournalUnavailable(f"{root} is not a journal, and has a {name!r} that is none of ours") from None


def _has_segments(root: str) -> bool:
    from carojournal.segment_file import CLOSED_NAME, PACKED_NAME

    for folder, name in (("segments", CLOSED_NAME), ("packed", PACKED_NAME)):
        path = os.path.join(root, folder)
        if is_folder(path) and any(map(name.match, os.listdir(path))):
            return True
    return False
