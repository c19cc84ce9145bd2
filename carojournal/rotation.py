"""Where one segment ends and the next begins: names, headers, and lanes that nobody uses any more.

What `lanes` needs only at such a moment, about once in 900 events or six hours; kept apart so that a process that finds
an open segment does not load it.
"""

import os

import carojournal
from carojournal.cbor import encode_map
from carojournal.events import SCHEMA_HASH
from carojournal.frame import FIRST_RECORD_OFFSET, LABEL, NO_SEGMENT, decode_record, encode_record
from carojournal.lanes import Lane

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "FORMAT_VERSION",
    "LANE_IDLE_MS_MAX",
    "WRITER",
    "close_idle",
    "closed_name",
    "encode_header",
    "encode_start",
    "read_header",
    "sync_names",
]

WRITER = "carojournal/0.1.0"
FORMAT_VERSION = 1
LANE_IDLE_MS_MAX = 600_000  # A lane that contention opened stops counting as full soon after.


def closed_name(created_us: int, segment: bytes, *, damaged: bool = False) -> str:
    """Return the name of a closed segment below segments/: creation time in microseconds, uuid, "~" after damage."""
    return f"{created_us:016d}-{segment.hex()}.seg{'~' if damaged else ''}"


def encode_header(
    segment: bytes, created_us: int, lane: int, consent_ms: int, previous: "tuple[bytes, int | None, int | None] | None"
) -> bytes:
    """Return the payload of record 0.

    *previous* is (uuid, last seq, bytes; None if unknown) of the segment that the lane had before: a reader that finds
    it shorter, or not at all, knows that something is missing.
    """
    return encode_map(
        {
            "record": "header",
            "version": FORMAT_VERSION,
            "segment": segment,
            "created": created_us,
            "lane": lane,
            "consent": consent_ms,
            "previous": list(previous) if previous else None,
            "schema": SCHEMA_HASH,
            "writer": WRITER,
        }
    )


def encode_start(segment: bytes, header: bytes, losses: "Iterable[bytes]") -> bytes:
    """Return what a segment begins with: label, the payload *header* as record 0, the payloads of loss records."""
    records = [encode_record(segment, seq, payload) for seq, payload in enumerate(losses, 1)]
    return b"".join((LABEL, encode_record(NO_SEGMENT, 0, header), *records))


def read_header(data: bytes) -> tuple[bytes, int, int] | None:
    """Return (segment uuid, created us, consent ms) as record 0 says; None if *data*, a segment's start, holds none."""
    try:
        found = decode_record(NO_SEGMENT, data, FIRST_RECORD_OFFSET) if data.startswith(LABEL) else None
        header = carojournal.cbordecode.decode(data[found[1] : found[2]]) if found else {}
        segment, created, consent = header["segment"], header["created"], header["consent"]
    except (carojournal.errors.CorruptRecord, carojournal.errors.MalformedCBOR, KeyError):
        return None
    assert isinstance(segment, bytes)
    assert isinstance(created, int)
    assert isinstance(consent, int)
    return segment, created, consent


def close_idle(root: str, number: int, cap_bytes: int, now_ms: int, random: "Callable[[int], bytes]") -> None:
    """Close the segments of lanes other than *number* that nobody has written to for a while.

    Their reservation of room ends with that; a lane that cannot be closed is left.  *now_ms* is UTC milliseconds.
    Raises OSError if the lanes cannot be listed.
    """
    folder = f"{root}/lanes"
    for name in os.listdir(folder):
        stem = name[:-4]
        if not name.endswith(".seg") or not stem.isdigit() or int(stem) == number:
            continue
        try:
            status = os.lstat(f"{folder}/{name}")
        except FileNotFoundError:
            continue
        # Of the future is only what a clock that was set back left: since *now_ms*, when this append began, others have
        # gone on appending.
        if abs(now_ms - status.st_mtime_ns // 1_000_000) <= LANE_IDLE_MS_MAX:
            continue
        try:
            other = Lane(root, int(stem), cap_bytes, random)
            try:
                if other.acquire():
                    other.attach(now_ms)
                    other.rotate()
            finally:
                other.close()
        except (carojournal.errors.LaneLost, OSError):
            continue  # What is wrong with another lane costs its writers, not this one.


def sync_names(root: str) -> None:
    """Make durable where a lane's segments are to be found, which a sync of a file alone need not do.

    Where closed segments go comes first: none must be nowhere.  Raises OSError.
    """
    for path in (f"{root}/segments", f"{root}/lanes", root, os.path.dirname(root)):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:
            continue  # The folder above the root need not be readable to us.
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
