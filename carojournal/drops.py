"""The file `drops`: durable counters of what was refused or could not be written.  Hot path, when that happens.

Text of fixed 128-byte lines, so that a count is one in-place `pwrite` that needs no new block on a full disk, never
crosses a page, and can be read with `cat`:

    offset  size  field
    0       96    key, padded with blanks:  "drop <reason>"  or  "refuse <event> <field> <reason>"
    96      1     blank
    97      20    count, decimal, padded with zeros
    117     1     blank
    118     8     CRC-32 of bytes 0 to 117, hexadecimal
    126     2     blank, newline

The lines of all drop reasons are written when the journal is made.  Counters only grow; `clear` removes the file.  A
line whose CRC does not hold is damage: it is reported, never counted, and a new line is begun.
"""

import fcntl
import os
import time

from carojournal import frame
from carojournal.errors import (
    ClockUnusable,
    JournalBusy,
    JournalIOError,
    JournalUnavailable,
    RecordTooLarge,
    SpoolFull,
    UnsafeRoot,
)
from carojournal.root import open_file

__all__ = [
    "DROPS",
    "DROP_REASONS",
    "LINE_BYTES",
    "PATIENCE_S",
    "add_counts",
    "create_drops",
    "drop_reason",
    "read_counts",
]

DROPS = "drops"
LINE_BYTES = 128
_KEY_BYTES = 96
_COUNT_MAX = 10**20 - 1  # What fits its 20 digits.
PATIENCE_S = 0.1  # Of whoever has no later try: hosts that end together count one after another.
_POLL_S = 0.001  # Who holds the file holds it for microseconds.
_FILE_BYTES_MAX = 262_144  # All (event, field, reason) triples of the schema together take less than half of it.

DROP_REASONS = {
    "disk_full": "no space or quota left for the spool",
    "spool_full": "the spool's bound is reached and nothing may be evicted",
    "permission": "the directory or a file may not be written",
    "read_only": "the file system is mounted read-only",
    "descriptors": "the process or system has no file descriptor left",
    "unsafe_root": "the directory is a link, somebody else's or writable by others, or holds no journal's files",
    "too_large": "the encoded event exceeds the format's limit",
    "busy": "every lane was locked, somebody else made room in a full spool, or an append was interrupted",
    "clock": "the system's clock stands before November 2004 or after 2099",
    "queue_full": "the collector's queue was full",
    "deadline": "the collector could not be drained before the deadline",
    "io": "any other error of the operating system",
    "bug": "an error in carojournal itself",
}

_ERRNO_REASONS = {
    1: "permission",
    13: "permission",
    23: "descriptors",
    24: "descriptors",
    27: "disk_full",
    28: "disk_full",
    30: "read_only",
    40: "unsafe_root",
    62: "unsafe_root",
    69: "disk_full",
    122: "disk_full",
}

assert _KEY_BYTES + 1 + 20 + 1 + 8 + 2 == LINE_BYTES


def _line(key: str, count: int) -> bytes:
    text = b"%-96b %020d " % (key.encode(), count)
    return b"%b%08x \n" % (text, frame.crc32(text))


def _parse(raw: bytes) -> tuple[str, int] | None:
    if raw[118:] != b"%08x \n" % frame.crc32(raw[:118]):
        return None
    key, count = raw[:_KEY_BYTES].rstrip(), raw[97:117]
    return (key.decode(), int(count)) if key.isascii() and count.isdigit() else None


def drop_reason(error: BaseException) -> str:  # noqa: PLR0911 - one line a kind of error
    """Return the reason, a key of DROP_REASONS, for what kept an event from being written."""
    if isinstance(error, SpoolFull):
        return "spool_full"
    if isinstance(error, OSError):
        return _ERRNO_REASONS.get(error.errno or 0, "io")
    if isinstance(error, JournalIOError):
        return "disk_full" if error.detail == "short write" else "io"
    if isinstance(error, UnsafeRoot | JournalUnavailable):
        return "unsafe_root"
    if isinstance(error, RecordTooLarge):
        return "too_large"
    if isinstance(error, ClockUnusable):
        return "clock"
    return "busy" if isinstance(error, JournalBusy) else "bug"


def create_drops(root: str) -> None:
    """Write the lines of all drop reasons if the file does not exist.  Raises OSError."""
    data = b"".join(_line(f"drop {reason}", 0) for reason in DROP_REASONS)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(os.path.join(root, DROPS), flags, 0o600)
    except FileExistsError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        done = os.fstat(descriptor).st_size and len(data)  # Another process may have counted here already.
        try:
            while done < len(data):
                done += os.write(descriptor, data[done:])
        except OSError:
            os.ftruncate(descriptor, done // LINE_BYTES * LINE_BYTES)  # A full disk: whole lines or none.
            raise
    except BlockingIOError:
        return
    finally:
        _let_go(descriptor)


def _let_go(descriptor: int) -> None:
    """Give back the lock and close: a child that was forked meanwhile has the descriptor too, and would keep it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def add_counts(root: str, counts: dict[str, int], patience_s: float = 0) -> bool:
    """Add *counts* (key -> how many more) to the file; return False if it is busy or cannot be written just now.

    What is written is taken out of *counts*, so that a second try counts nothing twice.  While the file is busy it is
    tried again for *patience_s* seconds: for whoever may wait, and has no later try.
    """
    until = time.monotonic() + patience_s
    while (done := _add(root, counts)) is None and time.monotonic() < until:
        time.sleep(_POLL_S)
    return bool(done)


def _add(root: str, counts: dict[str, int]) -> bool | None:
    """Do what `add_counts` says, once; None if the file is busy."""
    try:
        descriptor = open_file(os.path.join(root, DROPS), os.O_RDWR | os.O_CREAT)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        data = os.pread(descriptor, _FILE_BYTES_MAX, 0)
        end = -(-len(data) // LINE_BYTES) * LINE_BYTES
        for key, more in tuple(counts.items()):
            at, count = _find(data, key)
            if at < 0:
                at, end = end, end + LINE_BYTES
            if os.pwrite(descriptor, _line(key, min(count + more, _COUNT_MAX)), at) != LINE_BYTES:
                return False
            del counts[key]
    except BlockingIOError:
        return None
    except OSError:
        return False
    finally:
        _let_go(descriptor)
    return True


def _find(data: bytes, key: str) -> tuple[int, int]:
    padded = b"%-96b " % key.encode()
    at = data.find(padded)
    while at >= 0:
        parsed = _parse(data[at : at + LINE_BYTES])
        if at % LINE_BYTES == 0 and parsed is not None:
            return at, parsed[1]
        at = data.find(padded, at + 1)
    return -1, 0


def read_counts(root: str) -> tuple[dict[str, int], int]:
    """Return (key -> count, bytes that are damaged).  An absent file has no counts.  Raises OSError."""
    try:
        descriptor = open_file(os.path.join(root, DROPS))
    except FileNotFoundError:
        return {}, 0
    try:
        data = os.read(descriptor, _FILE_BYTES_MAX)
    finally:
        os.close(descriptor)
    counts: dict[str, int] = {}
    damaged = 0
    for at in range(0, len(data), LINE_BYTES):
        raw = data[at : at + LINE_BYTES]
        parsed = _parse(raw)
        if parsed is None or parsed[0] in counts:  # A second line of a key: a tail that the file system doubled.
            damaged += len(raw)
        else:
            counts[parsed[0]] = parsed[1]
    return counts, damaged
