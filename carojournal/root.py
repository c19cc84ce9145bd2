"""The journal's directory and what is in it: whether it may be used, and how it is made and opened.

Links, pipes and devices are never followed, read or waited for, because a journal holds none.
"""

import os

from carojournal.errors import UnsafeRoot

__all__ = ["FOLDERS", "check_root", "is_folder", "make_folders", "make_root", "open_file"]

FOLDERS = ("lanes", "segments", "packed", "outbox", "receipts", "sent", "quarantine")
_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # O_NONBLOCK: a pipe must not hold us up.


def open_file(path: str, access: int = os.O_RDONLY) -> int:
    """Return a descriptor of the regular file at *path*.  Raises OSError, also for whatever is no regular file.

    *access* is O_RDONLY, O_WRONLY or O_RDWR, and more flags; what O_CREAT makes has mode 0600.
    """
    descriptor = os.open(path, _OPEN | access, 0o600)
    if os.fstat(descriptor).st_mode & 0o170000 != 0o100000:
        os.close(descriptor)
        raise OSError(22, "not a regular file", path)
    return descriptor


def is_folder(path: str) -> bool:
    """Tell whether a folder, or a link to one, is at *path*.  Raises OSError where that cannot be said.

    `os.path.isdir` says no there, and what is meant for the folder goes elsewhere, or what is in it is taken for gone.
    """
    try:
        return os.stat(path).st_mode & 0o170000 == 0o040000
    except (FileNotFoundError, NotADirectoryError):
        return False


def make_folders(path: str) -> None:
    """Make the folder at *path*, and those above it that are missing, for the owner only.  Raises OSError.

    `os.makedirs` gives its mode to the last one alone: under an open umask anybody may write to those above.
    """
    missing = []
    while path and not is_folder(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            if not is_folder(folder):
                raise


def make_root(root: str) -> None:
    """Make the journal's directories, readable by the owner only.  Raises OSError."""
    make_folders(os.path.dirname(root))
    for folder in (root, f"{root}/lanes", f"{root}/segments"):
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            continue


def check_root(root: str, folders: tuple[str, ...] = FOLDERS) -> None:
    """Refuse a root that is a link, is not ours, or that others may write to.  Raises UnsafeRoot, OSError.

    So it does if one of *folders* leads elsewhere: readers do not go there, and what we wrote would be lost to them.
    """
    status = os.lstat(root)
    kind = status.st_mode & 0o170000
    if kind == 0o120000:
        raise UnsafeRoot(root, "is a symbolic link")
    if kind != 0o040000:
        raise UnsafeRoot(root, "is not a directory")
    if status.st_uid != os.geteuid():
        raise UnsafeRoot(root, "belongs to another user")
    if status.st_mode & 0o022:
        raise UnsafeRoot(root, "is writable by others (chmod go-w)")
    for folder in folders:
        if os.path.islink(f"{root}/{folder}"):
            raise UnsafeRoot(f"{root}/{folder}", "is a symbolic link")
