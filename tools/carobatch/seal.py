"""Sealing: an idle lane's segment gets its last record, `seal`, and moves to segments/.

The lane's lock is held meanwhile, so its writer, if there is one, takes another lane for that instant and starts a new
segment next time.  Only a lane's open segment is ever written: of a segment that is closed already, the section that
packing makes of it records the same three numbers (`source`), so that no program need touch a closed file.

A bad tail is never sealed: such a segment moves with "~" in its name, as a writer would have done.
"""

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING

from carojournal import locks
from carojournal.cbor import encode_map
from carojournal.durable import sync_directory
from carojournal.errors import JournalBusy, JournalIOError
from carojournal.frame import encode_record
from carojournal.rotation import closed_path
from carojournal.scan import scan
from carojournal.segment_file import identify, parse_lock, read_file, read_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from carojournal.scan import Place

__all__ = ["seal_idle_lanes", "seal_payload"]

_WRITE = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


def seal_payload(count: int, size: int, digest: bytes) -> bytes:
    """Return the payload of a seal: *count* records and *size* bytes stand before it, with SHA-256 *digest*."""
    return encode_map({"record": "seal", "count": count, "bytes": size, "sha256": digest})


def seal_idle_lanes(
    root: str, now_ms: int, idle_ms: int, random: "Callable[[int], bytes]" = os.urandom
) -> tuple[int, int]:
    """Seal every lane of the journal at *root* that was last written *idle_ms* ago or longer.

    Returns (lanes sealed, lanes that were busy).  Raises OSError, JournalIOError.
    """
    sealed = busy = 0
    folder = os.path.join(root, "lanes")
    names: list[str] = []
    with contextlib.suppress(FileNotFoundError):
        names = os.listdir(folder)
    for number in sorted(int(name[:-4]) for name in names if name.endswith(".seg") and name[:-4].isdigit()):
        try:
            with locks.lane_lock(root, number):
                sealed += _seal(root, number, now_ms, idle_ms, random)
        except JournalBusy:
            busy += 1
    return sealed, busy


def _seal(root: str, number: int, now_ms: int, idle_ms: int, random: "Callable[[int], bytes]") -> int:
    """Seal one lane whose lock we hold; return whether it was."""
    path = os.path.join(root, "lanes", f"{number}.seg")
    try:
        # Either way: a lane that was written before the clock was set back must not wait until it has caught up.
        if abs(now_ms - os.lstat(path).st_mtime_ns // 1_000_000) < idle_ms:
            return 0
        data = read_file(path)
    except FileNotFoundError:
        return 0
    if not data:
        os.unlink(path)  # Made, but its header never arrived: nothing to keep.
        return 0
    named = parse_lock(read_file(f"{path[:-4]}.lock", 128))
    segment, created_us = identify(data, named[:2] if named else None, now_ms)
    header = read_header(data)
    named_well = header is not None and header["segment"] == segment
    found = scan(data, segment) if segment else None
    intact = named_well and found is not None and not found.spans and not found.gaps
    if intact and found and len(found.records) == 1:
        return 0  # A header alone: the writer may as well go on with it.
    if intact and found and segment and not _is_sealed(data, found.records[-1]):
        _append(path, encode_record(segment, found.records[-1].seq + 1, _payload(len(found.records), data)))
    os.makedirs(os.path.join(root, "segments"), 0o700, exist_ok=True)
    os.rename(path, closed_path(root, created_us, segment or random(16), damaged=not intact))
    sync_directory(os.path.join(root, "segments"))
    return 1


def _is_sealed(data: bytes, last: "Place") -> bool:
    """Tell whether the *last* record is a seal already: a kill came between it and the rename."""
    return b"frecorddseal" in data[last.start : last.end]


def _payload(count: int, data: bytes) -> bytes:
    return seal_payload(count, len(data), hashlib.sha256(data).digest())


def _append(path: str, record: bytes) -> None:
    """Append *record* whole, or leave the file as it was."""
    descriptor = os.open(path, _WRITE)
    try:
        before = os.fstat(descriptor).st_size
        try:
            if os.write(descriptor, record) != len(record):
                raise JournalIOError("write", path, None, "short write")
            os.fsync(descriptor)
        except (OSError, JournalIOError):
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)
