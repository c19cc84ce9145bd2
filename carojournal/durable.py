"""Files that appear whole or not at all, and are on the disk once they are there: the one durable-replace helper.

    temporary   ".<name>.<16 hex>.tmp" beside the target, O_CREAT | O_EXCL | O_NOFOLLOW, mode 0600
    fsync       of the temporary; after an error the descriptor is never tried again: what it holds is unknown
    placing     overwrite: `rename`, which replaces a link instead of following it
                otherwise: `link`, which fails where something stands already; without hard links (FAT on a USB
                stick) an empty file is claimed with O_EXCL and renamed over
    fsync       of the directory, without which a power cut takes the name back

A crash leaves either the old state or the new one, and at worst a hidden temporary, which `remove_abandoned` finds.
"""

import contextlib
import errno
import os
import re
import stat
import time
from typing import TYPE_CHECKING, Self

from carojournal.errors import JournalIOError, OutputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["ABANDONED_S", "DurableFile", "remove_abandoned", "sync_directory", "write_file"]

ABANDONED_S = 3_600.0  # Files of ours take seconds to write: what nobody has touched for an hour a crash has left.

_EXISTS = "exists already and was left as it is: name another, or move it away"
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{16}\.tmp")
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES)


def sync_directory(path: str) -> None:
    """Make the names in the directory *path* durable.  Raises OSError.

    File systems that cannot sync a directory (some network ones) answer EINVAL, which is as good as it gets there.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


class DurableFile:
    """A file under construction; `commit` puts it in its place.  Leaving the `with` block without that removes it.

    *path* is the target, *overwrite* whether something that stands there may be replaced (a regular file or a link,
    never a directory or device), *error* the class to raise: OutputError for files the user named, JournalIOError
    below the journal's root.  `random` yields the temporary's name.
    """

    def __init__(
        self,
        path: str,
        *,
        overwrite: bool = False,
        error: type[JournalIOError] = OutputError,
        random: "Callable[[int], bytes]" = os.urandom,
        temporary: str = "",
    ) -> None:
        self.path = path
        self.size = 0
        self._overwrite = overwrite
        self._error = error
        self._descriptor = -1
        folder, name = os.path.split(path)
        self._folder = folder or "."
        self._temporary = temporary or os.path.join(self._folder, f".{name}.{random(8).hex()}.tmp")
        self._kept = False
        self._refuse_existing()
        try:
            self._descriptor = os.open(self._temporary, _CREATE, 0o600)
        except OSError as problem:
            raise self._wrapped("open", problem) from problem

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        self.abort()

    @property
    def temporary(self) -> str:
        """The path of what was written so far; empty once that is in its place, or gone."""
        return self._temporary

    def _wrapped(self, step: str, problem: OSError) -> JournalIOError:
        return self._error(step, self.path, problem.errno, problem.strerror or "")

    def _refuse_existing(self) -> None:
        if not self.path or not os.path.basename(self.path):
            raise self._error("create", self.path or "''", errno.EISDIR, "names no file")
        try:
            mode = os.lstat(self.path).st_mode
        except FileNotFoundError:
            return
        except OSError as problem:
            raise self._wrapped("create", problem) from problem
        if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
            raise self._error("create", self.path, errno.EEXIST, "exists and is not a regular file")
        if not self._overwrite:
            raise self._error("create", self.path, errno.EEXIST, _EXISTS)

    def write(self, data: bytes) -> None:
        """Append *data*, all of it.  Raises the error class."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as problem:
            raise self._wrapped("write", problem) from problem
        self.size += len(data)

    def sync(self) -> None:
        """Make the temporary durable, name and all; nothing can be written any more.  Raises the error class."""
        step = "sync"
        try:
            os.fsync(self._descriptor)
            step = "close"
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
        except OSError as problem:
            raise self._wrapped(step, problem) from problem

    def keep(self) -> None:
        """Make the temporary survive `abort`: from now on somebody else decides what becomes of it."""
        try:
            sync_directory(self._folder)
        except OSError as problem:
            raise self._wrapped("sync", problem) from problem
        self._kept = True

    def commit(self) -> None:
        """Make the file durable and put it in its place.  Raises the error class; the target is then as it was."""
        if self._descriptor >= 0:
            self.sync()
        step = "rename"
        try:
            self._place()
            step = "sync"
            sync_directory(self._folder)
        except OSError as problem:
            detail = _EXISTS if isinstance(problem, FileExistsError) else problem.strerror or ""
            raise self._error(step, self.path, problem.errno, detail) from problem

    def _place(self) -> None:
        if self._overwrite:
            os.rename(self._temporary, self.path)
            self._temporary = ""
            return
        try:
            os.link(self._temporary, self.path, follow_symlinks=False)
        except OSError as problem:
            if problem.errno not in _NO_LINKS:
                raise
            os.close(os.open(self.path, _CREATE, 0o600))
            os.rename(self._temporary, self.path)
        else:
            os.unlink(self._temporary)
        self._temporary = ""

    def abort(self) -> None:
        """Remove the temporary, if there is one left.  Idempotent; never raises."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1
        if self._temporary and not self._kept:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
            self._temporary = ""


def remove_abandoned(folder: str, prefix: str = "", older_than_s: float = ABANDONED_S) -> None:
    """Remove temporaries in *folder* for names that begin with *prefix*, untouched for *older_than_s* seconds.

    A missing folder has none; what cannot be removed stays.  Never raises.
    """
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if not name.startswith(f".{prefix}") or not _TEMPORARY.fullmatch(name):
                continue
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                if time.time() - os.lstat(path).st_mtime >= older_than_s:
                    os.unlink(path)


def write_file(
    path: str,
    data: bytes,
    *,
    overwrite: bool = False,
    error: type[JournalIOError] = OutputError,
    random: "Callable[[int], bytes]" = os.urandom,
) -> None:
    """Write *data* to *path* durably; see `DurableFile` for the arguments and errors."""
    with DurableFile(path, overwrite=overwrite, error=error, random=random) as file:
        file.write(data)
        file.commit()
