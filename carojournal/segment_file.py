"""One segment's file: opened with care, and told which segment it is.

A header may be damaged: the uuid also stands in a closed file's name and in the lane's lock file, and the checksums of
the records prove which is right.
"""

import os
import re
from dataclasses import dataclass, field
from zlib import crc32

from carojournal.cbordecode import decode
from carojournal.errors import CorruptRecord, MalformedCBOR
from carojournal.frame import FIRST_RECORD_OFFSET, LABEL, NO_SEGMENT, decode_record, last_record_offset
from carojournal.root import open_file
from carojournal.rotation import FORMAT_VERSION
from carojournal.scan import next_record, scan

__all__ = [
    "CLOSED_NAME",
    "FILE_BYTES_MAX",
    "LOCK_BYTES_MAX",
    "PACKED_NAME",
    "Damage",
    "Previous",
    "SegmentInfo",
    "describe_file",
    "header_facts",
    "identify",
    "open_file",
    "parse_lock",
    "read_all",
    "read_file",
    "read_header",
    "read_tail",
    "resolve_uuid",
]

FILE_BYTES_MAX = (
    67_108_864  # 64 times the largest segment that we write; bounds what a planted file makes a reader hold.
)
LOCK_BYTES_MAX = 128
CLOSED_NAME = re.compile(r"(\d{16})-([0-9a-f]{32})\.seg(~?)\Z", re.ASCII)
_LOCK = re.compile(rb"([0-9a-f]{32}) (\d{16}) (\d{13}) ([0-9a-f]{8})\n\Z")
PACKED_NAME = re.compile(r"(\d{16})-([0-9a-f]{32})\.cborseq\.zst\Z", re.ASCII)

_TIMESTAMP = b"itimestamp\x1b"  # An event's key, and the head of its 8 bytes; milliseconds.
_US_MAX = 10**16 - 1  # What a closed file's name can say.
_UUID = b"gsegmentP"  # The key of a header under which the uuid stands, and the head of its 16 bytes.
_PROBE_BYTES = 4_096  # Holds every header that we write, and at the other end the last record.

Previous = tuple[bytes, int | None, int | None]


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """One segment and where it lies.

    `state` is "open", "closed" or "packed"; `damaged_tail` is true of a file that was closed because its tail was bad.
    `segment` is the uuid (16 bytes), `created_us` UTC microseconds, `lane` None if unknown, `consent_ms` the time of
    the recorded yes (0: none, or unknown, which is treated alike), `schema` the schema's SHA-256 (empty if unknown),
    `previous` (uuid, last seq or None, bytes or None) of the lane's segment before, `size` bytes (in a packed file: the
    segment's share), `sealed` whether the last record is a seal, `row` a packed segment's line of the inventory.
    """

    path: str
    state: str
    damaged_tail: bool
    segment: bytes
    created_us: int
    lane: int | None
    consent_ms: int
    schema: bytes
    previous: Previous | None
    size: int
    sealed: bool
    row: dict[str, object] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are not what they should be; `torn`: a crash's unfinished append, which is no corruption.

    `offset` and `size` are in bytes; `reason` is a key of `segments.REASONS`.
    """

    path: str
    offset: int
    size: int
    reason: str
    torn: bool = False


def read_all(descriptor: int, limit: int = FILE_BYTES_MAX) -> bytes:
    """Return at most *limit* bytes from the start of an open file.  Raises OSError."""
    parts: list[bytes] = []
    at = 0
    # What is there, in one piece of its own size: buffers of another leave holes that no later one fits.
    size = os.fstat(descriptor).st_size + 1
    while at < limit and (part := os.pread(descriptor, min(limit - at, size), at)):
        parts.append(part)
        at += len(part)
        size = _PROBE_BYTES  # The file has grown meanwhile, or nothing comes any more.
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_file(path: str, limit: int = FILE_BYTES_MAX) -> bytes:
    """Return at most *limit* bytes of the regular file at *path*.  Raises OSError."""
    descriptor = open_file(path)
    try:
        return read_all(descriptor, limit)
    finally:
        os.close(descriptor)


def read_tail(path: str) -> bytes:
    """Return the last bytes of the regular file at *path*, enough for the last record.  Raises OSError."""
    descriptor = open_file(path)
    try:
        return os.pread(descriptor, _PROBE_BYTES, max(0, os.fstat(descriptor).st_size - _PROBE_BYTES))
    finally:
        os.close(descriptor)


def parse_lock(data: bytes) -> tuple[bytes, int, int] | None:
    """Return (segment uuid, created us, consent ms) of a lane's lock file, or None if it does not verify."""
    found = _LOCK.match(data)
    if found is None or found[4] != b"%08x" % crc32(data[: found.end(3)]):
        return None
    return bytes.fromhex(found[1].decode()), int(found[2]), int(found[3])


def read_header(data: bytes) -> dict[str, object] | None:
    """Return the header map of the segment file that begins with *data*, or None if record 0 cannot be read."""
    if len(data) <= FIRST_RECORD_OFFSET:
        return None
    try:
        found = decode_record(NO_SEGMENT, data, FIRST_RECORD_OFFSET)
        header = decode(data[found[1] : found[2]]) if found is not None and found[0] == 0 else {}
    except (CorruptRecord, MalformedCBOR):
        return None
    segment, created = header.get("segment"), header.get("created")
    whole = type(segment) is bytes and len(segment) == 16 and type(created) is int
    return header if whole and header.get("record") == "header" else None


def resolve_uuid(data: bytes, named: bytes | None) -> tuple[bytes | None, dict[str, object] | None]:
    """Return (uuid, header or None) of the segment file *data*; *named* is what its name or lock file says.

    The header's word counts unless the records themselves verify under the other uuid only: anybody can put a header
    before foreign records, but their checksums know where they belong.  Where neither says one under which they do, the
    bytes of the damaged header may.
    """
    header = read_header(data)
    said = header["segment"] if header else None
    assert said is None or type(said) is bytes
    if said is not None and (named is None or said == named or next_record(said, data, 0) is not None):
        return said, header
    for other in (named, _uuid_in(data)):
        if other is not None and next_record(other, data, 0) is not None:
            return other, None
    return said, header


def identify(data: bytes, named: tuple[bytes, int] | None, now_ms: int) -> tuple[bytes | None, int]:
    """Return (uuid, created us) under which the segment file *data* is closed; uuid None if nothing in it proves one.

    *named* is what the lane's lock file says.  Where neither that nor the header tells the creation time, it is that of
    the first event that can be read, which is of the same day, or else *now_ms* (UTC milliseconds).
    """
    segment, header = resolve_uuid(data, named[0] if named else None)
    if header is not None:
        created = header["created"]
        assert type(created) is int
        return segment, min(max(created, 0), _US_MAX)
    if named is not None and segment == named[0]:
        return named
    for _, _, start, end in scan(data, segment).records if segment is not None else ():
        at = data.find(_TIMESTAMP, start, end) + len(_TIMESTAMP)
        if at >= len(_TIMESTAMP):
            return segment, min(int.from_bytes(data[at : at + 8], "big") * 1000, _US_MAX)
    return segment, now_ms * 1000


def _uuid_in(data: bytes) -> bytes | None:
    """Return the uuid that stands in a header which does not verify; the records behind it say whether it is right."""
    at = data.find(_UUID, FIRST_RECORD_OFFSET, _PROBE_BYTES) + len(_UUID)
    return data[at : at + 16] if at >= len(_UUID) else None


def header_facts(header: dict[str, object]) -> tuple[int | None, int, bytes, Previous | None]:
    """Return (lane, consent ms, schema, previous) of a header; what is missing or of another type counts as unknown."""
    lane, consent, schema, previous = (header.get(key) for key in ("lane", "consent", "schema", "previous"))
    before = None
    if type(previous) is list and len(previous) == 3 and type(previous[0]) is bytes and len(previous[0]) == 16:
        seq, size = (part if type(part) is int else None for part in previous[1:])
        before = (previous[0], seq, size)
    return (
        lane if type(lane) is int else None,
        consent if type(consent) is int else 0,
        schema if type(schema) is bytes else b"",
        before,
    )


def _ends_sealed(segment: bytes, tail: bytes) -> bool:
    at = last_record_offset(tail)
    try:
        found = decode_record(segment, tail, at) if at is not None else None
    except CorruptRecord:
        return False
    return found is not None and b"frecorddseal" in tail[found[1] : found[2]]


def _began(data: bytes) -> bool:
    """Tell whether *data* is the beginning of a segment whose header never arrived in full.

    Zeros behind it are what a file system fills in where the size arrived and the bytes did not.
    """
    there = data.rstrip(b"\0")
    if LABEL.startswith(there):
        return True
    for part in (data, there):
        try:
            if part.startswith(LABEL) and decode_record(NO_SEGMENT, part, FIRST_RECORD_OFFSET) is None:
                return True
        except CorruptRecord:
            continue
    return False


def describe_file(
    path: str, state: str, *, named: tuple[bytes, int] | None = None, lane: int | None = None
) -> SegmentInfo | Damage | None:
    """Return what the segment file at *path* is; Damage if it is none of ours, None if nothing was written to it yet.

    *named* is (uuid, created us) as the file's name or the lane's lock file has it, *lane* the lane where it is open.
    Raises OSError.
    """
    descriptor = open_file(path)
    try:
        size = os.fstat(descriptor).st_size
        data = os.pread(descriptor, _PROBE_BYTES, 0)
        tail = os.pread(descriptor, _PROBE_BYTES, max(0, size - _PROBE_BYTES))
        header = read_header(data)
        segment = header["segment"] if header is not None else None
        if header is None or (named is not None and segment != named[0]):
            data = read_all(descriptor)
            segment, header = resolve_uuid(data, named[0] if named else None)
    finally:
        os.close(descriptor)
    if not data:
        return None if state == "open" else Damage(path, 0, 0, "header")
    if type(segment) is not bytes:
        return Damage(
            path,
            0,
            size,
            "header" if data.startswith(LABEL) else "foreign",
            torn=(state == "open" or path.endswith("~")) and _began(data),
        )
    if header is not None and header.get("version") != FORMAT_VERSION:
        return Damage(path, 0, size, "version")
    header_lane, consent, schema, previous = header_facts(header or {})
    created = header["created"] if header else named[1] if named else 0
    assert type(created) is int
    return SegmentInfo(
        path=path,
        state=state,
        damaged_tail=path.endswith("~"),
        segment=segment,
        created_us=created,
        lane=lane if lane is not None else header_lane,
        consent_ms=consent,
        schema=schema,
        previous=previous,
        size=size,
        sealed=_ends_sealed(segment, tail),
    )
