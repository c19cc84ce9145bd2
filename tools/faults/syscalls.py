"""Which system calls count, and how their arguments are laid out; Linux on x86-64.

    kind      calls                                   what a fault there stands for
    change    write, rename, unlink, fsync ...        the disk or the peer is changed, or made durable
    open      open with O_CREAT or O_TRUNC: a change; otherwise a look
    look      read, stat, getdents, flock ...         nothing is changed: a kill there is one before the next change
    close     close                                   the descriptor is gone even where it fails

Numbers: arch/x86/entry/syscalls/syscall_64.tbl of Linux.
"""

import os
from typing import NamedTuple

__all__ = ["BY_NUMBER", "CHANGES", "NAMES", "Shape", "changes"]


class Shape(NamedTuple):
    """A call's number, name, kind, and which argument is a path, a directory's descriptor, a descriptor (-1: none)."""

    number: int
    name: str
    kind: str
    path: int = -1
    folder: int = -1
    descriptor: int = -1


_SHAPES = (
    Shape(0, "read", "look", descriptor=0),
    Shape(1, "write", "change", descriptor=0),
    Shape(2, "open", "open", path=0),
    Shape(3, "close", "close", descriptor=0),
    Shape(4, "stat", "look", path=0),
    Shape(5, "fstat", "look", descriptor=0),
    Shape(6, "lstat", "look", path=0),
    Shape(17, "pread64", "look", descriptor=0),
    Shape(18, "pwrite64", "change", descriptor=0),
    Shape(19, "readv", "look", descriptor=0),
    Shape(20, "writev", "change", descriptor=0),
    Shape(21, "access", "look", path=0),
    Shape(40, "sendfile", "change", descriptor=0),
    Shape(41, "socket", "look"),
    Shape(42, "connect", "change", descriptor=0),
    Shape(44, "sendto", "change", descriptor=0),
    Shape(45, "recvfrom", "look", descriptor=0),
    Shape(46, "sendmsg", "change", descriptor=0),
    Shape(47, "recvmsg", "look", descriptor=0),
    Shape(72, "fcntl", "look", descriptor=0),
    Shape(73, "flock", "look", descriptor=0),
    Shape(74, "fsync", "change", descriptor=0),
    Shape(75, "fdatasync", "change", descriptor=0),
    Shape(76, "truncate", "change", path=0),
    Shape(77, "ftruncate", "change", descriptor=0),
    Shape(82, "rename", "change", path=0),
    Shape(83, "mkdir", "change", path=0),
    Shape(84, "rmdir", "change", path=0),
    Shape(86, "link", "change", path=0),
    Shape(87, "unlink", "change", path=0),
    Shape(88, "symlink", "change", path=1),
    Shape(90, "chmod", "change", path=0),
    Shape(91, "fchmod", "change", descriptor=0),
    Shape(92, "chown", "change", path=0),
    Shape(93, "fchown", "change", descriptor=0),
    Shape(94, "lchown", "change", path=0),
    Shape(217, "getdents64", "look", descriptor=0),
    Shape(257, "openat", "open", path=1, folder=0),
    Shape(258, "mkdirat", "change", path=1, folder=0),
    Shape(260, "fchownat", "change", path=1, folder=0),
    Shape(262, "newfstatat", "look", path=1, folder=0),
    Shape(263, "unlinkat", "change", path=1, folder=0),
    Shape(264, "renameat", "change", path=1, folder=0),
    Shape(265, "linkat", "change", path=1, folder=0),
    Shape(268, "fchmodat", "change", path=1, folder=0),
    Shape(269, "faccessat", "look", path=1, folder=0),
    Shape(280, "utimensat", "change", path=1, folder=0),
    Shape(285, "fallocate", "change", descriptor=0),
    Shape(296, "pwritev", "change", descriptor=0),
    Shape(316, "renameat2", "change", path=1, folder=0),
    Shape(326, "copy_file_range", "change", descriptor=2),
    Shape(332, "statx", "look", path=1, folder=0),
)
NAMES = frozenset(shape.name for shape in _SHAPES)
CHANGES = frozenset(shape.name for shape in _SHAPES if shape.kind in ("change", "open"))  # Opens: some of them.
BY_NUMBER = {shape.number: shape for shape in _SHAPES}


def changes(shape: Shape, arguments: tuple[int, ...]) -> bool:
    """Tell whether the call can change a disk or a peer."""
    if shape.kind == "open":
        return bool(arguments[shape.path + 1] & (os.O_CREAT | os.O_TRUNC))
    return shape.kind == "change"
