"""The real things: a disk that is full, limits of the process, a directory that may not be written.

    disk       a tmpfs of N pages of 4 KiB mounted below the place, for N = 1, 2, 3 ... until the operation succeeds;
               mounting needs to be allowed, and where it is not, that is said
    size       RLIMIT_FSIZE of N bytes
    files      RLIMIT_NOFILE of N descriptors
    readonly   every directory of the place in turn without write permission, as a user who is not root

After each the limit is lifted, and the same questions are asked as after an injected fault.
"""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from faults.campaign import Laboratory, Trial
from faults.operations import OPERATIONS
from faults.place import Place

__all__ = ["KINDS", "can_mount", "trials"]

KINDS = ("disk", "size", "files", "readonly")
_PAGE_BYTES = 4_096
_NOBODY = 65_534
_SIZES = (0, 1, 64, 100, 150, 300, 500, 700, 1_000, 1_500, 2_000, 3_000, 4_000, 6_000, 8_000, 12_000, 20_000, 50_000)
_FILES_MAX = 40  # Descriptors above those that are open already; no operation needs more.


def can_mount(folder: str) -> str:
    """Return why no file system can be mounted below *folder*, "" if one can."""
    place = os.path.join(folder, "mount")
    os.makedirs(place, exist_ok=True)
    refused = _mount(place, 1)
    if not refused:
        subprocess.run(["umount", place], check=True)
    return refused


def _mount(place: str, pages: int) -> str:
    words = ["mount", "-t", "tmpfs", "-o", f"size={pages * _PAGE_BYTES},mode=0700", "tmpfs", place]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return done.stderr.strip() or f"mount ended with {done.returncode}" if done.returncode else ""


@contextmanager
def _disk(place: Place, pages: int) -> Iterator[None]:
    """Put the home on a small disk, with what is in it."""
    home, aside = place.home, f"{place.home}.aside"
    os.rename(home, aside)
    os.mkdir(home, 0o700)
    refused = _mount(home, pages)
    if refused:
        raise RuntimeError(refused)
    try:
        subprocess.run(["cp", "-a", f"{aside}/.", home], check=True, capture_output=True)
        yield
        shutil.rmtree(aside)
        shutil.copytree(home, aside, symlinks=True)
    finally:
        subprocess.run(["umount", home], check=True)
        os.rmdir(home)
        os.rename(aside, home)


def _pages(place: Place) -> int:
    """Return how many pages the home's files take."""
    total = 0
    for folder, _, names in os.walk(place.home):
        total += sum(-(-os.lstat(os.path.join(folder, name)).st_size // _PAGE_BYTES) for name in names)
    return total


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def trials(laboratory: Laboratory, kind: str, name: str, step: int = 1) -> Iterator[Trial]:
    """Yield the trials of one operation under limits of one *kind*, every *step*-th."""
    operation = OPERATIONS[name]
    template = laboratory.template(operation)
    if kind == "disk":
        least = _pages(template)
        for more in range(0, 64, step):
            done = laboratory.under(name, kind, more, lambda place, n=least + more: _disk(place, n), _plain)
            yield done
            if done.code == 0 and not done.call:
                return
    elif kind == "size":
        for size in _SIZES[::step]:
            yield laboratory.under(name, kind, size, lambda _: _nothing(), lambda n=size: _limit_size(n))
    elif kind == "files":
        for more in range(1, _FILES_MAX, step):
            yield laboratory.under(name, kind, more, lambda _: _nothing(), lambda n=more: _limit_files(n))
    else:
        folders = sorted(os.path.relpath(folder, template.path) for folder, _, _ in os.walk(template.path))
        for at, folder in list(enumerate(folders))[::step]:
            yield laboratory.under(name, kind, at, lambda place, f=folder: _locked(place, f), _become_nobody)


def _plain() -> None:
    """Change nothing."""


def _limit_size(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _limit_files(more: int) -> None:
    """Leave *more* descriptors: the free ones between those in use are taken."""
    limit = max(int(name) for name in os.listdir("/proc/self/fd")) + 1 + more
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    held = []
    with contextlib.suppress(OSError):
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    for descriptor in held[len(held) - more :]:
        os.close(descriptor)


@contextmanager
def _locked(place: Place, folder: str) -> Iterator[None]:
    """Give the place to a user who is not root, and take the permission to write in one folder."""
    path = os.path.normpath(os.path.join(place.path, folder))
    above = os.path.dirname(place.path)
    if os.geteuid() == 0:
        os.chmod(above, 0o711)
        _own(place.path, _NOBODY)
    mode = os.stat(path).st_mode
    os.chmod(path, 0o500)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):  # `clear` may remove an empty folder in which it may not write.
            os.chmod(path, mode)
        if os.geteuid() == 0:
            _own(place.path, 0)


def _own(path: str, user: int) -> None:
    os.chown(path, user, user)
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            os.lchown(os.path.join(folder, name), user, user)


def _become_nobody() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    sys.stderr.flush()
