"""Packed segments: what is left of closed segments once framing is dropped and zstd has had its turn (FORMAT.md).

    packed/<created us, 16 digits>-<uuid, 32 hex>.cborseq.zst     named after its oldest section

    file       skippable zstd frame, magic 0x184D2A50, holding the inventory: one deterministic CBOR map
               one zstd frame with content size and checksum, holding the content
    content    a CBOR sequence (RFC 8742) of sections, oldest first; one section is what one segment held
    section    header: a map; then `events` items, `size` bytes of them, each [seq, event], ascending by seq
    inventory  version; sections: [{segment, created, lane, consent, previous, schema, first_seq, last_seq, events,
               size, carried}]; content: {bytes, sha256}; frame: {bytes, sha256} of the zstd frame; checked: 32 bytes,
               see `rules_hash`

What a section header holds stands in `packed_header`.  A record keeps its identity (segment, seq).

All events of a file are of one UTC day and one state of consent, because a batch never mixes either.
The inventory lets a host evict with the standard library alone (`spool.describe`), and planning read no content.
"""

import hashlib
import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carojournal.cbor import encode_int
from carojournal.errors import DamagedData, MalformedCBOR
from carojournal.frame import PAYLOAD_BYTES_MAX
from carojournal.packed_header import HEADER_BYTES_MAX, SECTION_BYTES_MAX, VERSION, misfit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "CONTENT_BYTES_MAX",
    "PACKED",
    "SECTION_BYTES_MAX",
    "SUFFIX",
    "Inventory",
    "Section",
    "encode_packed",
    "iter_content",
    "iter_sections",
    "packed_name",
    "read_content",
    "read_frame",
    "read_inventory",
    "rules_hash",
    "split_records",
]

PACKED = "packed"
SUFFIX = ".cborseq.zst"
CONTENT_BYTES_MAX = 268_435_456  # Decompressed bytes of one file: bounds a reader's work, not its memory.
INVENTORY_BYTES_MAX = 1_048_576
_CHUNK_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Section:
    """One segment's header (see above) and its records as bytes of the content."""

    header: dict[str, object]
    body: bytes

    @property
    def segment(self) -> bytes:
        """The segment's uuid, 16 bytes."""
        return self.header["segment"]  # type: ignore[return-value]

    def encode(self) -> bytes:
        """Return the section's part of a content."""
        from carojournal.codec import dumps

        return dumps({**self.header, "size": len(self.body)}) + self.body


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a packed file says about itself; `start` is where its zstd frame begins, `path` and sizes are in bytes."""

    path: str
    sections: list[dict[str, object]]
    content_bytes: int
    content_sha256: bytes
    frame_bytes: int
    frame_sha256: bytes
    checked: bytes
    start: int


def packed_name(created_us: int, segment: bytes) -> str:
    """Return the name of a packed file whose oldest section is *segment*, created at *created_us*."""
    return f"{created_us:016d}-{segment.hex()}{SUFFIX}"


def rules_hash() -> bytes:
    """Return the SHA-256 (32 bytes) of the schema and of every file that decides what may be kept.

    A packed file that names the same hash has been checked by these very rules and need not be checked again here.
    """
    from carojournal.events import SCHEMA_HASH

    package = os.path.dirname(os.path.abspath(__file__))
    digest = hashlib.sha256(SCHEMA_HASH)
    names = ["events.py", "grammars.py", "redact.py", "shape.py"]
    names += sorted(f"patterns/{name}" for name in os.listdir(f"{package}/patterns") if name.endswith((".py", ".txt")))
    for name in names:
        with open(f"{package}/{name}", "rb") as file:
            digest.update(name.encode() + b"\0" + hashlib.sha256(file.read()).digest())
    return digest.digest()


def _carried(losses: "Sequence[dict[str, object]]") -> list[dict[str, object]]:
    """Return what an eviction of these loss records would have to carry on, as `spool` sums it."""
    sums: dict[str, list[int]] = {}
    for loss in losses:
        rows: list[dict[str, object]] = [*loss["carried"], {**loss, "segments": 1}]  # type: ignore[misc]
        for row in rows:
            known = sums.setdefault(str(row["reason"]), [0, 0, 0])
            for place, name in enumerate(("segments", "events", "bytes")):
                known[place] += int(row[name])  # type: ignore[call-overload]
    return [
        {"reason": reason, "segments": known[0], "events": known[1], "bytes": known[2]}
        for reason, known in sorted(sums.items())
    ]


def encode_packed(sections: "Sequence[Section]", level: int, checked: bytes) -> bytes:
    """Return the bytes of a packed file; the same for the same sections, level and zstd library.

    *sections* are in the order they shall have, *checked* is the `rules_hash` under which every event was checked
    (32 zero bytes: it was not).
    """
    from carojournal import zstd
    from carojournal.codec import dumps

    content = b"".join(section.encode() for section in sections)
    frame = zstd.compress(content, level)
    rows = []
    for section in sections:
        row = {
            key: section.header[key]
            for key in (
                "segment",
                "created",
                "lane",
                "consent",
                "previous",
                "schema",
                "first_seq",
                "last_seq",
                "events",
            )
        }
        losses: list[dict[str, object]] = section.header["losses"]  # type: ignore[assignment]
        rows.append({**row, "size": len(section.body), "carried": _carried(losses)})
    inventory = dumps(
        {
            "version": VERSION,
            "sections": rows,
            "content": {"bytes": len(content), "sha256": hashlib.sha256(content).digest()},
            "frame": {"bytes": len(frame), "sha256": hashlib.sha256(frame).digest()},
            "checked": checked,
        }
    )
    return zstd.skippable(inventory) + frame


def read_inventory(path: str) -> Inventory:
    """Return the inventory of the packed file at *path*.  Raises DamagedData, OSError."""
    from carojournal.codec import loads
    from carojournal.zstd import SKIPPABLE_MAGIC

    with open(path, "rb") as file:
        head = file.read(8)
        size = int.from_bytes(head[4:], "little")
        if head[:4] != SKIPPABLE_MAGIC or size > INVENTORY_BYTES_MAX:
            raise DamagedData(path, 0, "no inventory")
        data = file.read(size)
        left = os.fstat(file.fileno()).st_size - 8 - size
    try:
        found: dict[str, dict[str, object]] = loads(data)  # type: ignore[assignment]
        rows: list[dict[str, object]] = found["sections"]  # type: ignore[assignment]
        inventory = Inventory(
            path=path,
            sections=rows,
            content_bytes=found["content"]["bytes"],  # type: ignore[arg-type]
            content_sha256=found["content"]["sha256"],  # type: ignore[arg-type]
            frame_bytes=found["frame"]["bytes"],  # type: ignore[arg-type]
            frame_sha256=found["frame"]["sha256"],  # type: ignore[arg-type]
            checked=found["checked"],  # type: ignore[arg-type]
            start=8 + size,
        )
    except (MalformedCBOR, KeyError, TypeError) as error:
        raise DamagedData(path, 0, "the inventory cannot be read") from error
    if inventory.frame_bytes != left:
        raise DamagedData(path, 8 + size, "the file is shorter or longer than its inventory says")
    return inventory


def read_content(inventory: Inventory) -> bytes:
    """Return the content of a packed file, whose hashes all hold.  Raises DamagedData, OSError."""
    from carojournal import zstd

    content = zstd.decompress(read_frame(inventory), CONTENT_BYTES_MAX, inventory.path)
    if len(content) != inventory.content_bytes or hashlib.sha256(content).digest() != inventory.content_sha256:
        raise DamagedData(inventory.path, inventory.start, "the content's SHA-256 does not hold")
    return content


def read_frame(inventory: Inventory) -> bytes:
    """Return the zstd frame of a packed file, as it is; its SHA-256 holds.  Raises DamagedData, OSError."""
    with open(inventory.path, "rb") as file:
        file.seek(inventory.start)
        frame = file.read(inventory.frame_bytes + 1)
    if hashlib.sha256(frame).digest() != inventory.frame_sha256:
        raise DamagedData(inventory.path, inventory.start, "the frame's SHA-256 does not hold")
    return frame


def iter_sections(path: str) -> "Iterator[tuple[dict[str, object], Iterator[tuple[int, bytes]]]]":
    """Yield (header, records) of every section of the packed file at *path*; a record is (seq, payload).

    The payloads are not checked against the schema here.  Raises DamagedData, from the inner iterator too, and OSError.
    A frame whose SHA-256 does not hold yields nothing.
    """
    from carojournal import zstd

    inventory = read_inventory(path)
    reader = zstd.BoundedReader(io.BytesIO(read_frame(inventory)), CONTENT_BYTES_MAX, path)
    for section in iter_content(reader.read, inventory.content_bytes, path):
        yield section.header, split_records(section, path)


def iter_content(read: "Callable[[int], bytes]", size: int, name: str) -> "Iterator[Section]":
    """Yield the sections of a content of *size* bytes, each read by `read(n)`; one section is in memory at a time.

    Headers are checked for form, records are not looked at.  Raises DamagedData (*name* is its path, offsets are into
    the content).
    """
    buffer = b""
    left = size  # What has not been read yet.
    at = 0
    while buffer or left:
        found = _first_header(buffer)
        if found is None:
            more = read(min(left, _CHUNK_BYTES)) if len(buffer) < HEADER_BYTES_MAX else b""
            if not more:
                raise DamagedData(name, at, "no section header where one should be")
            left -= len(more)
            buffer += more
            continue
        header, length = found
        reason = misfit(header)
        if reason:
            raise DamagedData(name, at, reason)
        end = length + int(header["size"])  # type: ignore[call-overload]
        if end > len(buffer):
            if end - len(buffer) > left:
                raise DamagedData(name, at, "a section reaches past the content's end")
            more = read(end - len(buffer))
            left -= len(more)
            buffer += more
        if end > len(buffer):
            raise DamagedData(name, at, "the content is cut off")
        yield Section(header, buffer[length:end])
        buffer = buffer[end:]
        at += end
    if read(1):
        raise DamagedData(name, at, "bytes follow the content")


def _first_header(buffer: bytes) -> tuple[dict[str, object], int] | None:
    """Return (the map at the front of *buffer*, its length in bytes), or None if there is none (yet)."""
    from carojournal.codec import iter_items, loads

    try:
        _, end, _ = next(iter_items(buffer))
        header = loads(buffer[:end])
    except (MalformedCBOR, StopIteration):
        return None
    return (header, end) if isinstance(header, dict) else ({}, end)


def split_records(section: Section, name: str) -> "Iterator[tuple[int, bytes]]":
    """Yield (seq, payload) of every record of *section*, in ascending order of seq.

    The payloads are CBOR maps, not yet checked against the schema.  Raises DamagedData where a record is malformed or
    the header's count or range of sequence numbers does not hold.
    """
    from carojournal.codec import iter_items

    body, header = section.body, section.header
    count, last = 0, -1
    try:
        for start, end, item in iter_items(body):
            if type(item) is not list or len(item) != 2 or type(item[0]) is not int or type(item[1]) is not dict:
                raise DamagedData(name, start, "not a record of a section")
            seq: int = item[0]
            head = b"\x82" + encode_int(seq) if 0 <= seq < 1 << 64 else b"-"
            if seq <= last or not body.startswith(head, start) or end - start - len(head) > PAYLOAD_BYTES_MAX:
                raise DamagedData(name, start, "a record out of order, too large or not deterministically encoded")
            if not count and seq != header["first_seq"]:
                break
            count, last = count + 1, seq
            yield seq, body[start + len(head) : end]
    except MalformedCBOR as error:
        raise DamagedData(name, 0, "a section's records are not a CBOR sequence") from error
    if count != header["events"] or (count and last != header["last_seq"]):
        raise DamagedData(name, 0, "a section's records are not those that its header counts")
