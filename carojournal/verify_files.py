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
from carojournal.deletion import REQUESTS
from carojournal.delivered import json_holds
from carojournal.drops import DROPS, LINE_BYTES
from carojournal.errors import JournalIOError, MalformedCBOR
from carojournal.identity import IDENTITY, IDENTITY_BYTES_MAX
from carojournal.policy import SNAPSHOT
from carojournal.segment_file import LOCK_BYTES_MAX, Damage, SegmentInfo, parse_lock, read_file, read_header

__all__ = ["REASONS", "cleared_ms", "explained_segments", "resting_lanes", "verify_files"]

REASONS = {
    "line": "a line whose checksum does not match",
    "lock": "the lane's lock file does not say which segment the lane has",
    "lock_names": "the lane's lock file names another segment than the lane has",
    "snapshot": "the policy snapshot's checksum does not match; it is made anew when needed",
    "missing": "the file is missing although there are segments",
    "receipt": "the receipt cannot be read",
    "batch": "what a batch was to send cannot be read; its events count as not sent",
}

_HEADER_BYTES_MAX = 4_096
RECEIPT_BYTES_MAX = 16_777_216
_ACKS = "acks.json"
_UUID_DIGITS = 32
_RECEIPTS = (".cbor", ".json")


def verify_files(root: str, opened: "dict[int, SegmentInfo]") -> list[Damage]:
    """Return what is wrong with the journal's small files; *opened* maps lanes to their open segments."""
    found: list[Damage] = []
    checks = ((IDENTITY, _identity), (DROPS, _drops), (SNAPSHOT, _snapshot), (REQUESTS, _requests))
    for name, check in checks:
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
    for folder in (sent.OUTBOX, sent.SENT):
        paths = [os.path.join(root, folder, name) for name in _names(root, folder) if name.endswith(".cbor")]
        found += [Damage(path, 0, 0, "batch") for path in paths if os.path.exists(path) and not _intent(path)]
    return found


def _intent(path: str) -> bool:
    return _map(path, "intent") is not None


def _map(path: str, kind: str) -> "dict[str, object] | None":
    with suppress(JournalIOError):
        return sent.read_map(path, kind)
    return None


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
    if not data.strip(b"\n"):
        return [Damage(path, 0, len(data), "line")]  # It appears whole or not at all.
    # A last line that never got its newline is what a crash leaves; the next append begins a new one.
    return [
        Damage(path, at, len(text), "line", torn=_is_torn(data, at)) for at, text, holds in _lines(data) if not holds
    ]


def _requests(path: str, data: bytes) -> list[Damage]:
    """Judge the requests to delete: one with fewer sessions than it names was torn, and was never confirmed."""
    counts: dict[bytes, int] = {}
    for _, text, holds in _lines(data):
        words = text.split(b" ")
        if holds and words[0] == b"request" and len(words) in (4, 6) and words[3].isdigit():
            counts[words[1]] = counts.get(words[1], 0) + int(words[3])
        elif holds and words[0] == b"session" and len(words) == 4:
            counts[words[1]] = counts.get(words[1], 0) - 1
    torn = not data.strip(b"\n") or any(counts.values())
    return _identity(path, data) or ([Damage(path, 0, len(data), "line", torn=True)] if torn else [])


def _is_torn(data: bytes, at: int) -> bool:
    """Tell whether the line at *at* never got its end: every append begins and ends with a newline."""
    end = data.find(b"\n", at)
    return end < 0 or (data[at - 2 : at] == b"\n\n" and end + 1 < len(data) and data[end + 1 : end + 2] != b"\n")


def _drops(path: str, data: bytes) -> list[Damage]:
    if not data:
        return [Damage(path, 0, 0, "line", torn=True)]  # Made, and never written.
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

    One that still says what it said before the lane's segment began is what a crash between the two leaves, an empty
    one also what a `clear` leaves that could not take the segment away.
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
    current = _begins(f"{path.removesuffix('.lock')}.seg")
    if current is not None and current != segment:
        return []  # The lane has gone on since it was listed.
    before = opened.previous[0] if opened and opened.previous else None
    torn = opened is not None and (not data or (named is not None and named[0] == before))
    return [Damage(path, 0, len(data), "lock" if named is None else "lock_names", torn=torn)]


def _begins(path: str) -> bytes | None:
    """Return the uuid that the header of the segment at *path* says, None without one."""
    with suppress(OSError):
        header = read_header(read_file(path, _HEADER_BYTES_MAX))
        segment = header.get("segment") if header else None
        return segment if type(segment) is bytes else None
    return None


def resting_lanes(root: str) -> list[tuple[str, bytes, int]]:
    """Return (lock file, uuid, creation time in us) of the last segment of every lane that has none."""
    found = []
    for name in _names(root, "lanes"):
        path = os.path.join(root, "lanes", name)
        if name.endswith(".lock"):
            with suppress(OSError):
                named = parse_lock(read_file(path, LOCK_BYTES_MAX))
                if named is not None and not os.path.lexists(f"{path.removesuffix('.lock')}.seg"):
                    found.append((path, named[0], named[1]))
    return found


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
    return [os.path.join(root, "receipts", name) for name in _names(root, "receipts") if name.endswith(_RECEIPTS)]


def _receipt(path: str) -> "dict[str, object] | None":
    name = os.path.basename(path)
    if name.endswith(".json"):
        with suppress(OSError):
            return {} if json_holds(read_file(path, RECEIPT_BYTES_MAX)) else None
        return None
    if name.startswith("upload"):
        return _map(path, "uploads" if name == sent.UPLOADS else "upload")
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
        data = read_file(os.path.join(root, "receipts", _ACKS), RECEIPT_BYTES_MAX)
        value = json.loads(data) if json_holds(data) else {}
        return {bytes.fromhex(name) for name in value if len(name) == _UUID_DIGITS}
    except (OSError, ValueError, RecursionError):
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
