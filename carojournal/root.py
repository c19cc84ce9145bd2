"""The journal's directory: whether it may be used, and how it is made."""

import os

from carojournal.errors import UnsafeRoot

__all__ = ["check_root", "make_root"]


def make_root(root: str) -> None:
    """Make the journal's directories, readable by the owner only.  Raises OSError."""
    os.makedirs(os.path.dirname(root), 0o700, exist_ok=True)
    for folder in (root, f"{root}/lanes", f"{root}/segments"):
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            continue


def check_root(root: str) -> None:
    """Refuse a root that is a link, is not ours, or that others may write to.  Raises UnsafeRoot, OSError."""
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
