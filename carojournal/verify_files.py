"""Check the small text files of a journal: identity, counters, policy snapshot, lanes' locks, receipts.

None of them holds events.  A damaged line costs what that line says, which is why each line has its own checksum.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from zlib import crc32

from carojournal import codec, sent
from carojournal.drops import DROPS, LINE_BYTES
from carojournal.errors import MalformedCBOR
from carojournal.identity import IDENTITY, IDENTITY_BYTES_MAX
from carojournal.policy import SNAPSHOT
from carojournal.segment_file import LOCK_BYTES_MAX, Damage, SegmentInfo, parse_lock, read_file

__all__ = ["REASONS", "cleared_ms", "explained_segments", "verify_files"]

REASONS = {
    "line": "a line whose checksum does not match",
    "lock": "the lane's lock file does not say which segment the lane has",
    "lock_names": "the lane's lock file names another segment than the lane has",
    "snapshot": "the policy snapshot's checksum does not match; it is made anew when needed",
    "missing": "the file is missing although there are segments",
    "receipt": "the receipt cannot be read",
}

RECEIPT_BYTES_MAX = 16_777_216
_CRC_BYTES = 8
_ACKS = "acks.json"


def verify_files(root: str, opened: "dict[int, SegmentInfo]") -> list[Damage]:
    """Return what is wrong with the journal's small files; *opened* maps lanes to their open segments."""
    found: list[Damage] = []
    for name, check in ((IDENTITY, _identity), (DROPS, _drops), (SNAPSHOT, _snapshot)):
        path = os.path.join(root, name)
        try:
            found += check(path, read_file(path, IDENTITY_BYTES_MAX))
        except FileNotFoundError:
            if name == IDENTITY and opened:
                found.append(Damage(path, 0, 0, "missing"))
        except OSError:
            found.append(Damage(path, 0, 0, "unreadable"))
    for name in _names(root, "lanes"):
        number, _, kind = name.partition(".")
        if kind == "lock" and number.isdecimal():
            found += _lock(os.path.join(root, "lanes", name), opened.get(int(number)))
    for path in _receipts(root):
        if _receipt(path) is None:
            found.append(Damage(path, 0, 0, "receipt"))
    return found


def _names(root: str, folder: str) -> list[str]:
    try:
        return sorted(os.listdir(os.path.join(root, folder)))
    except OSError:
        return []


def _lines(data: bytes) -> Iterator[tuple[int, bytes, bool]]:
    """Yield (offset, text, whether it holds) of every line of the identity file that is not empty."""
    at = 0
    for line in data.split(b"\n"):
        if line:
            text, _, crc = line.rpartition(b" ")
            yield at, text, crc == b"%08x" % crc32(text)
        at += len(line) + 1


def _identity(path: str, data: bytes) -> list[Damage]:
    # A last line that never got its newline is what a crash leaves; the next append begins a new one.
    return [
        Damage(path, at, len(text), "line", torn=at + len(text) + 1 + _CRC_BYTES >= len(data) and data[-1:] != b"\n")
        for at, text, holds in _lines(data)
        if not holds
    ]


def _drops(path: str, data: bytes) -> list[Damage]:
    # A line that is short, or that a hole fills up, is what a crash left; the next count began behind it.
    lines = ((at, data[at : at + LINE_BYTES]) for at in range(0, len(data), LINE_BYTES))
    return [
        Damage(path, at, len(raw), "line", torn=len(raw.rstrip(b"\0")) < LINE_BYTES)
        for at, raw in lines
        if raw[118:] != b"%08x \n" % crc32(raw[:118])
    ]


def _snapshot(path: str, data: bytes) -> list[Damage]:
    text, _, crc = data.rpartition(b"crc ")
    return [] if crc == b"%08x\n" % crc32(text) else [Damage(path, 0, len(data), "snapshot")]


def _lock(path: str, opened: SegmentInfo | None) -> list[Damage]:
    """Judge a lock file; an empty one is new, or was emptied by `clear`, and one that is held is being used.

    One that still says what it said before the lane's segment began is what a crash between the two leaves.
    """
    segment = opened.segment if opened else None
    for _ in range(2):
        try:
            data = read_file(path, LOCK_BYTES_MAX)
        except FileNotFoundError:
            return []
        except OSError:
            return [Damage(path, 0, 0, "unreadable")]
        named = parse_lock(data)
        if (not data and segment is None) or (named is not None and segment in (None, named[0])):
            return []
        # Perhaps a writer was just starting a segment: look again while no writer has the lane.
        if not _is_free(path):
            return []
    before = opened.previous[0] if opened and opened.previous else None
    torn = opened is not None and (not data or named is not None) and (named[0] if named else None) == before
    return [Damage(path, 0, len(data), "lock" if named is None else "lock_names", torn=torn)]


def _is_free(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _receipts(root: str) -> list[str]:
    return [os.path.join(root, "receipts", name) for name in _names(root, "receipts") if name.endswith(".cbor")]


def _receipt(path: str) -> "dict[str, object] | None":
    name = os.path.basename(path)
    if name.startswith("upload"):
        return sent.read_map(path, "uploads" if name == sent.UPLOADS else "upload")
    try:
        value = codec.loads(read_file(path, RECEIPT_BYTES_MAX))
    except (OSError, MalformedCBOR):
        return None
    return value if type(value) is dict else None


def explained_segments(root: str) -> frozenset[bytes]:
    """Return the uuids (16 bytes) of all segments that a receipt accounts for.

    A receipt of an upload is a CBOR map in receipts/*.cbor; its key `segments` lists the uuids that were delivered and
    may be gone.  What importers of bundles have confirmed stands in receipts/acks.json: uuid (32 hex digits) -> runs.
    """
    found: set[bytes] = set()
    for path in _receipts(root):
        listed = (_receipt(path) or {}).get("segments")
        if type(listed) is list:
            found.update(part for part in listed if type(part) is bytes)
    return frozenset(found | _confirmed(root))


def _confirmed(root: str) -> set[bytes]:
    try:
        value = json.loads(read_file(os.path.join(root, "receipts", _ACKS), RECEIPT_BYTES_MAX))
    except (OSError, ValueError):
        return set()
    with suppress(ValueError, TypeError):
        return {bytes.fromhex(segment) for segment in value}
    return set()


def cleared_ms(root: str) -> list[int]:
    """Return when the journal was cleared (UTC milliseconds), from its identity file; empty if never or unreadable."""
    times = []
    with suppress(OSError):
        for _, text, holds in _lines(read_file(os.path.join(root, IDENTITY), IDENTITY_BYTES_MAX)):
            word, _, number = text.partition(b" ")
            if holds and word in (b"clearing", b"cleared") and number.isdigit():
                times.append(int(number))
    return sorted(times)
