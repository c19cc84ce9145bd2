"""Which errors a system call can end with, as its page in section 2 of the Linux manual says.

A fault that no kernel can cause proves nothing and costs a run: a stat that finds the disk full, a descriptor opened
for reading whose close reports a full one.  EIO is possible wherever a file is touched, listed or not: the manual has
the errors of file systems in common, and a disk or a network may break under any of them.

    ENOSPC EDQUOT   what allocates: write, mkdir, rename, link; sync, and close after writing, tell of it late (NFS)
    EFBIG           what makes a file longer; ftruncate, here, only makes one shorter
    EMFILE          what makes a descriptor
    EROFS           what changes a name or a file; open where it wants to write
    EACCES          what resolves a path; connect; locks that another process holds
    EINTR           what may wait, and close
    ECONNREFUSED ETIMEDOUT ECONNRESET   a connection that is asked for, or in use

No send fails with EPIPE or ECONNRESET here: a sender reads on then, for the answer of a peer that has gone already, and
ours is still there and waits.
"""

import os

from faults.syscalls import BY_NUMBER
from faults.tracer import FSYNCS, Call

__all__ = ["can_fail", "names"]

_FULL = {"ENOSPC", "EDQUOT"}
_READ = {"EIO", "EINTR"}
_WRITE = {*_FULL, "EIO", "EFBIG", "EINTR"}
_SYNC = {*_FULL, "EIO", "EROFS", "EINTR"}
_LOOK = {"EIO", "EACCES"}
_REMOVE = {"EIO", "EACCES", "EROFS"}
_NAME = {*_FULL, *_REMOVE}
_OPEN = {*_NAME, "EMFILE", "EINTR"}
_SIZE = {"EIO", "EROFS", "EINTR"}
_ROWS = (
    (("read", "pread64", "readv"), _READ),
    (("write", "pwrite64", "writev", "pwritev", "fallocate", "copy_file_range", "sendfile"), _WRITE),
    (("open", "openat"), _OPEN),
    (("stat", "lstat", "newfstatat", "statx", "access", "faccessat"), _LOOK),
    (("fstat", "getdents64"), {"EIO"}),
    (("flock",), _READ),
    (FSYNCS, _SYNC),
    (("truncate",), {*_SIZE, "EACCES"}),
    (("ftruncate",), _SIZE),
    (("rename", "renameat", "renameat2", "mkdir", "mkdirat", "link", "linkat", "symlink"), _NAME),
    (("rmdir", "unlink", "unlinkat", "utimensat"), _REMOVE),
    (("chmod", "fchmodat", "chown", "lchown", "fchownat"), _REMOVE),
    (("fchmod", "fchown"), {"EIO", "EROFS"}),
    (("fcntl",), {"EIO", "EACCES", "EINTR", "EMFILE"}),
    (("close",), {*_FULL, "EIO", "EINTR"}),
    (("socket",), {"EACCES", "EMFILE"}),
    (("connect",), {"EACCES", "EINTR", "ECONNREFUSED", "ETIMEDOUT"}),
    (("sendto", "sendmsg"), {"EINTR", "ETIMEDOUT"}),
    (("recvfrom", "recvmsg"), {"EINTR", "ECONNRESET", "ETIMEDOUT"}),
)
_POSSIBLE = {name: errors for calls, errors in _ROWS for name in calls}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_TRUNC
_DUPLICATES = (0, 1030)  # F_DUPFD, F_DUPFD_CLOEXEC
_LOCKS = (5, 6, 7, 36, 37, 38)  # F_GETLK ... F_OFD_SETLKW


def names(error: str) -> set[str]:
    """Return the names of the calls that may have to be looked at for *error*; syncs are followed to their close."""
    found = {shape.name for shape in BY_NUMBER.values() if error in _POSSIBLE[shape.name]}
    return {*found, "close"} if found.intersection(FSYNCS) else found


def can_fail(call: Call, error: str) -> bool:
    """Tell whether *call*, with the arguments it has, can end with *error* (such as "ENOSPC")."""
    if error not in _POSSIBLE[call.name]:
        return False
    if call.shape.kind == "open":
        flags = call.arguments[call.shape.path + 1]
        if error in _FULL:
            return bool(flags & os.O_CREAT)
        return error != "EROFS" or bool(flags & (_WRITING | os.O_CREAT))
    if call.name == "close":  # A socket that does not linger lies on no disk, and waits for nothing.
        return not call.path.startswith("socket:") and (error not in _FULL or call.is_writable)
    if call.name == "fcntl":
        return call.arguments[1] in (_DUPLICATES if error == "EMFILE" else _LOCKS)
    return True
