"""What a power cut may leave of a sequence of writes: a recorder of calls, and the disks that may be found then.

`Recorder` stands between a program and `os` and notes every call that changes something below a folder.  `states`
builds what may be there if the power goes after a call, for two kinds of file systems:

    ordered   as ext4: changes of names happen in the order of the calls, and a sync of anything commits all before it;
              what was written and not synced is there up to some point of the file, or not
    harsh     a sync of a file commits its bytes and no name, one of a folder all changes of names before it; what was
              written and not synced is there in any part and order: lost, cut at a block, zeros, the last write alone

In both a name may arrive without its bytes.  What was synced is there.
"""

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self
from unittest import mock

from carojournal import lanes

__all__ = ["Disk", "Recorder", "Step", "disk_of", "states"]

_BLOCK_BYTES = 512
_NAMES = ("create", "rename", "link", "unlink", "mkdir", "rmdir")


@dataclass(frozen=True, slots=True)
class Step:
    """One call: `kind` is one of create rename link unlink mkdir rmdir write truncate sync syncdir, or promise."""

    kind: str
    file: int = 0
    path: str = ""
    target: str = ""
    offset: int = 0
    data: bytes = b""


@dataclass(slots=True)
class Disk:
    """Files by number, the names that lead to them, and folders; all paths are relative."""

    files: dict[int, bytes] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)

    def copy(self) -> "Disk":
        """Return one that can be changed by itself."""
        return Disk(dict(self.files), dict(self.names), set(self.folders))

    def apply(self, step: Step) -> None:
        """Do what *step* did; a name whose file or folder never arrived leads nowhere."""
        if step.kind == "create":
            self.names[step.path] = step.file
            self.files.setdefault(step.file, b"")
        elif step.kind == "rename" and step.path in self.names:
            self.names[step.target] = self.names.pop(step.path)
        elif step.kind == "link" and step.path in self.names:
            self.names[step.target] = self.names[step.path]
        elif step.kind == "unlink":
            self.names.pop(step.path, None)
        elif step.kind == "mkdir":
            self.folders.add(step.path)
        elif step.kind == "rmdir":
            self.folders.discard(step.path)
        elif step.kind == "write":
            old = self.files.get(step.file, b"").ljust(step.offset, b"\0")
            self.files[step.file] = old[: step.offset] + step.data + old[step.offset + len(step.data) :]
        elif step.kind == "truncate":
            self.files[step.file] = self.files.get(step.file, b"")[: step.offset].ljust(step.offset, b"\0")

    def write_to(self, place: str) -> None:
        """Make it real below the folder *place*."""
        os.makedirs(place, 0o700)
        for folder in sorted(self.folders):
            os.makedirs(os.path.join(place, folder), 0o700, exist_ok=True)
        for name, file in self.names.items():
            path = os.path.join(place, name)
            if os.path.dirname(name) in {"", *self.folders}:
                with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as opened:
                    opened.write(self.files[file])


def disk_of(place: str) -> Disk:
    """Return what is below the folder *place*."""
    found = Disk()
    for folder, folders, names in os.walk(place):
        for name in folders:
            found.folders.add(os.path.relpath(os.path.join(folder, name), place))
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                number = os.fstat(file.fileno()).st_ino
                found.files[number] = file.read()
            found.names[os.path.relpath(path, place)] = number
    return found


class Recorder:
    """Notes in `steps` every call of `os` that changes something below *place*, while it is entered."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.before = disk_of(place)
        self.steps: list[Step] = []
        self._now = self.before.copy()
        self._lock = threading.RLock()
        self._patches = contextlib.ExitStack()

    def __enter__(self) -> Self:
        for name in ("open", "write", "pwrite", "ftruncate", "truncate", "fsync", "fdatasync"):
            self._wrap(name, getattr(self, f"_{name}"))
        # Bound when `lanes` was imported; from here on the one that is recorded.
        self._patches.enter_context(mock.patch.object(lanes, "_sync", os.fdatasync))
        for name in ("rename", "replace", "link", "unlink", "mkdir", "rmdir"):
            self._wrap(name, self._renaming("rename" if name == "replace" else name))
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._patches.close()
        found = disk_of(self.place)
        for name, number in found.names.items():
            self._catch_up(number, found.files[number])
            assert kind is not None or self._now.names.get(name) == number, f"{name} came unnoticed"
        assert kind is not None or self._now.names == found.names, "a file went unnoticed"

    def _note(self, step: Step) -> None:
        self.steps.append(step)
        self._now.apply(step)

    def _catch_up(self, number: int, data: bytes) -> None:
        """Note what was written past `os`, by a file object."""
        known = self._now.files.get(number, b"")
        if known != data:
            keep = next((at for at, (old, new) in enumerate(zip(known, data, strict=False)) if old != new), None)
            keep = min(len(known), len(data)) if keep is None else keep
            if keep < len(known):
                self._note(Step("truncate", number, offset=keep))
            self._note(Step("write", number, offset=keep, data=data[keep:]))

    def promise(self, text: str) -> None:
        """Note that *text* holds from now on, whatever happens."""
        self.steps.append(Step("promise", path=text))

    def _wrap(self, name: str, wrapper: Callable[..., Any]) -> None:
        call = getattr(os, name)

        def recorded(*arguments: Any, **options: Any) -> Any:
            with self._lock:
                return wrapper(call, *arguments, **options)

        self._patches.enter_context(mock.patch.object(os, name, recorded))

    def _inside(self, path: Any) -> str:
        found = os.path.relpath(os.path.abspath(os.fsdecode(path)), self.place)
        return "" if found.startswith("..") or found == "." else found

    def _open(self, call: Callable[..., int], path: Any, flags: int, *rest: Any, **options: Any) -> int:
        inside = self._inside(path) if isinstance(path, str | bytes) else ""
        existed = os.path.lexists(path) if inside else True
        descriptor = call(path, flags, *rest, **options)
        status = os.fstat(descriptor)
        if inside and not existed:
            self._note(Step("create", status.st_ino, inside))
        if inside and existed and flags & os.O_TRUNC:
            self._note(Step("truncate", status.st_ino))
        return descriptor

    def _where(self, descriptor: int) -> tuple[int, str]:
        return os.fstat(descriptor).st_ino, self._inside(os.readlink(f"/proc/self/fd/{descriptor}"))

    def _write(self, call: Callable[..., int], descriptor: int, data: Any) -> int:
        number, inside = self._where(descriptor)
        if not inside:
            return call(descriptor, data)
        at = os.lseek(descriptor, 0, os.SEEK_CUR)
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND:
            at = os.fstat(descriptor).st_size
        done = call(descriptor, data)
        self._note(Step("write", number, inside, offset=at, data=bytes(data)[:done]))
        return done

    def _pwrite(self, call: Callable[..., int], descriptor: int, data: Any, offset: int) -> int:
        number, inside = self._where(descriptor)
        done = call(descriptor, data, offset)
        if inside:
            self._note(Step("write", number, inside, offset=offset, data=bytes(data)[:done]))
        return done

    def _ftruncate(self, call: Callable[..., None], descriptor: int, size: int) -> None:
        call(descriptor, size)
        self._note(Step("truncate", os.fstat(descriptor).st_ino, offset=size))

    def _truncate(self, call: Callable[..., None], path: Any, size: int) -> None:
        call(path, size)
        self._note(Step("truncate", os.stat(path).st_ino, offset=size))

    def _fsync(self, call: Callable[..., None], descriptor: int) -> None:
        number, inside = self._where(descriptor)
        call(descriptor)
        path = f"/proc/self/fd/{descriptor}"
        is_folder = os.path.isdir(path)
        if not is_folder:
            with open(path, "rb") as file:
                self._catch_up(number, file.read())
        self._note(Step("syncdir" if is_folder else "sync", number, inside))

    _fdatasync = _fsync

    def _renaming(self, kind: str) -> Callable[..., Any]:
        def wrapper(call: Callable[..., Any], path: Any, *rest: Any, **options: Any) -> Any:
            done = call(path, *rest, **options)
            inside = self._inside(path)
            target = self._inside(rest[0]) if kind in ("rename", "link") else ""
            if inside:
                self._note(Step(kind, path=inside, target=target))
            return done

        return wrapper


def states(before: Disk, steps: list[Step], end: int, model: str) -> Iterator[tuple[str, Disk]]:
    """Yield (name, disk) of what may be found if the power goes when *end* of *steps* were done.

    *model* is "ordered" or "harsh".
    """
    done = steps[:end]
    syncs = ("syncdir",) if model == "harsh" else ("sync", "syncdir")
    committed = max((at for at, step in enumerate(done) if step.kind in syncs), default=-1) + 1
    synced: dict[int, int] = {}
    for at, step in enumerate(done):
        if step.kind == "sync":
            synced[step.file] = at
    loose = [at for at, step in enumerate(done) if step.kind in _NAMES and at >= committed]
    ways = ("lost", "kept", "cut") if model == "ordered" else ("lost", "kept", "cut", "zeros", "last alone")
    for names_until in sorted({committed, *(at + 1 for at in loose[:: max(1, len(loose) // 3)]), end}):
        for way in ways:
            disk = before.copy()
            for at, step in enumerate(done):
                if step.kind in _NAMES:
                    if at < names_until:
                        disk.apply(step)
                elif step.kind in ("write", "truncate"):
                    _write(disk, done, at, way, certain=at < synced.get(step.file, -1))
            for number in disk.names.values():
                disk.files.setdefault(number, b"")
            yield f"names until {names_until}, unsynced {way}", disk


def _write(disk: Disk, done: list[Step], at: int, way: str, *, certain: bool) -> None:
    step = done[at]
    if certain or way == "kept":
        disk.apply(step)
    elif way == "cut" and step.kind == "write":
        keep = (step.offset + len(step.data) // 2) // _BLOCK_BYTES * _BLOCK_BYTES - step.offset
        later = any(other.kind == "write" and other.file == step.file for other in done[at + 1 :])
        part = step.data if later else step.data[: keep if keep > 0 else len(step.data) // 2]
        disk.apply(Step("write", step.file, offset=step.offset, data=part))
    elif way == "zeros" and step.kind == "write":
        disk.apply(Step("write", step.file, offset=step.offset, data=bytes(len(step.data))))
    elif way == "last alone" and not any(other.file == step.file and other.kind == "write" for other in done[at + 1 :]):
        disk.apply(step)
