"""Packed segments: what is left of closed segments once framing is dropped and zstd has had its turn (FORMAT.md).

    packed/<created us, 16 digits>-<uuid, 32 hex>.cborseq.zst     named after its oldest section

    file       skippable zstd frame, magic 0x184D2A50, holding the inventory: one deterministic CBOR map
               one zstd frame with content size and checksum, holding the content
    content    a CBOR sequence (RFC 8742) of sections, oldest first; one section is what one segment held
    section    header: a map; then `events` events, `size` bytes of them, ascending by seq
    inventory  crc: CRC-32 (4 bytes) of what follows it in the map; version; sections: of each section its header's
               segment, created, lane, consent, previous, schema, first_seq, last_seq, events, runs, gaps, losses, and
               size; bytes (of the segment's file), carried (losses and gaps, summed by reason),
               sha256 (of header and events), types (event -> count), times ([first, last] ms, null without events),
               sessions (ids of the events, null: more than SESSIONS_MAX);
               content: {bytes, sha256}; frame: {bytes, sha256} of the zstd frame; checked: 32 bytes, see
               `packed_write.rules_hash`; parity: {block, crcs, even, odd} of the zstd frame, see `parity`

What a section header holds stands in `packed_header`.  An event keeps its identity (segment, seq); the sequence numbers
stand in the header's `runs`.  The design wanted each event as [seq, event]; that costs 2.9 of 14.6 bytes an event after
zstd -9, because a number that grows breaks every match, and says no more than one run for a whole segment does.

All events of a file are of one UTC day and one state of consent, because a batch never mixes either.
The inventory lets a host evict with the standard library alone (`held.describe`), and planning read no content.

Damage costs, in this order: nothing, as long as the parity puts the frame right; else what lies in sections that do not
hold any more; of an inventory nothing, because the content has a checksum of its own.  Who needs to know whether the
file is as it was written asks `frame_damage`.
"""

import hashlib
import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carojournal.errors import DamagedData, MalformedCBOR
from carojournal.frame import PAYLOAD_BYTES_MAX
from carojournal.held import INVENTORY_BYTES_MAX, SKIPPABLE_MAGIC
from carojournal.held import read_inventory as inventory_bytes
from carojournal.packed_header import HEADER_BYTES_MAX, SECTION_BYTES_MAX, inventory_misfit, misfit
from carojournal.root import open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "CONTENT_BYTES_MAX",
    "INVENTORY_BYTES_MAX",
    "PACKED",
    "SECTION_BYTES_MAX",
    "SUFFIX",
    "Inventory",
    "Section",
    "first_header",
    "frame_damage",
    "iter_content",
    "iter_sections",
    "packed_name",
    "read_content",
    "read_frame",
    "read_inventory",
    "reads_back",
    "split_records",
]

PACKED = "packed"
SUFFIX = ".cborseq.zst"
CONTENT_BYTES_MAX = 268_435_456  # Decompressed bytes of one file: bounds a reader's work, not its memory.
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

    def seqs(self) -> "Iterator[int]":
        """Yield the sequence numbers of the events, ascending."""
        runs: list[list[int]] = self.header["runs"]  # type: ignore[assignment]
        for first, last in runs:
            yield from range(first, last + 1)

    def encode(self) -> bytes:
        """Return the section's part of a content."""
        from carojournal.codec import dumps

        return dumps({**self.header, "size": len(self.body)}) + self.body


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a packed file says about itself, in bytes; its zstd frame begins at `start`, and the file has `size`.

    `head_holds` tells whether the bytes before the inventory are those of a skippable frame of its size.
    """

    path: str
    sections: list[dict[str, object]]
    content_bytes: int
    content_sha256: bytes
    frame_bytes: int
    frame_sha256: bytes
    checked: bytes
    parity: dict[str, object]
    start: int
    size: int
    head_holds: bool = True


def packed_name(created_us: int, segment: bytes) -> str:
    """Return the name of a packed file whose oldest section is *segment*, created at *created_us*."""
    return f"{created_us:016d}-{segment.hex()}{SUFFIX}"


def read_inventory(path: str) -> Inventory:
    """Return the inventory of the packed file at *path*.  Raises DamagedData, OSError."""
    from carojournal.codec import iter_items

    with open(open_file(path), "rb") as file:
        head = file.read(8)
        data = inventory_bytes(file.fileno())
        file_size = os.fstat(file.fileno()).st_size
    if not data:
        raise DamagedData(path, 0, "the inventory cannot be read")
    try:
        _, end, item = next(iter_items(data))  # Not `loads`: what we wrote ourselves need not be compared.
    except (MalformedCBOR, StopIteration):
        raise DamagedData(path, 0, "the inventory cannot be read") from None
    reason = "the inventory cannot be read" if end != len(data) else inventory_misfit(item)
    if reason:
        raise DamagedData(path, 0, reason)
    found: dict[str, Any] = item  # type: ignore[assignment]
    return Inventory(
        path=path,
        sections=found["sections"],
        content_bytes=found["content"]["bytes"],
        content_sha256=found["content"]["sha256"],
        frame_bytes=found["frame"]["bytes"],
        frame_sha256=found["frame"]["sha256"],
        checked=found["checked"],
        parity=found["parity"],
        start=8 + len(data),
        size=file_size,
        head_holds=head == SKIPPABLE_MAGIC + len(data).to_bytes(4, "little"),
    )


def read_content(inventory: Inventory) -> bytes:
    """Return the content of a packed file, whose hashes all hold.  Raises DamagedData, OSError."""
    from carojournal import zstd

    content = zstd.decompress(read_frame(inventory), CONTENT_BYTES_MAX, inventory.path)
    if len(content) != inventory.content_bytes or hashlib.sha256(content).digest() != inventory.content_sha256:
        raise DamagedData(inventory.path, inventory.start, "the content's SHA-256 does not hold")
    return content


def reads_back(inventory: Inventory, parts: "Iterable[bytes]") -> bool:
    """Tell whether the content of a packed file is *parts*, one after another, and its hashes hold without any mending.

    One part and the frame are in memory at a time.  Raises DamagedData, OSError.
    """
    from carojournal import zstd

    frame, holds = _frame_as_it_is(inventory)
    if not holds or inventory.size != inventory.start + inventory.frame_bytes:
        return False
    reader, size = zstd.open_frame(frame, CONTENT_BYTES_MAX, inventory.path)
    digest = hashlib.sha256()
    for part in parts:
        if reader.read(len(part)) != part:
            return False
        digest.update(part)
    ended = not reader.read(1)
    return ended and reader.count == size == inventory.content_bytes and digest.digest() == inventory.content_sha256


def read_frame(inventory: Inventory) -> bytes:
    """Return the zstd frame of a packed file; its SHA-256 holds.  Raises DamagedData, OSError.

    Where its bytes are damaged, and the parity can put them right, it is the frame that was written.
    """
    frame, holds = _frame_as_it_is(inventory)
    if holds:
        return frame
    from carojournal.parity import mend

    mended = mend(frame, inventory.frame_bytes, inventory.parity)
    if mended is None or hashlib.sha256(mended).digest() != inventory.frame_sha256:
        raise DamagedData(inventory.path, inventory.start, "the frame's SHA-256 does not hold")
    return mended


def frame_damage(inventory: Inventory) -> tuple[int, int] | None:
    """Return (offset, bytes) of what is not as it was written behind the inventory of a packed file, None if it all is.

    Raises OSError.
    """
    end = inventory.start + inventory.frame_bytes
    frame, holds = _frame_as_it_is(inventory)
    if holds:
        return (end, inventory.size - end) if inventory.size > end else None
    from carojournal.parity import bad_blocks

    block: int = inventory.parity["block"]  # type: ignore[assignment]
    bad = bad_blocks(frame, inventory.parity)
    first, last = (bad[0] * block, (bad[-1] + 1) * block) if bad else (0, inventory.frame_bytes)
    return inventory.start + first, min(last, inventory.frame_bytes) - first


def _frame_as_it_is(inventory: Inventory) -> tuple[bytes, bool]:
    """Return the bytes that stand in the frame's place, and whether its SHA-256 holds."""
    with open(open_file(inventory.path), "rb") as file:
        file.seek(inventory.start)
        frame = file.read(inventory.frame_bytes)
    return frame, hashlib.sha256(frame).digest() == inventory.frame_sha256


def iter_sections(path: str) -> "Iterator[tuple[dict[str, object], Iterator[tuple[int, bytes]]]]":
    """Yield (header, records) of every section of the packed file at *path*; a record is (seq, payload).

    The payloads are not checked against the schema here.  Raises DamagedData, from the inner iterator too, and OSError.
    Of a frame that is damaged beyond its parity the sections come that hold, and then DamagedData.  An inventory that
    does not verify costs nothing.
    """
    from carojournal import packed_salvage, zstd

    try:
        inventory = read_inventory(path)
    except DamagedData:
        for section in packed_salvage.iter_salvaged(path):
            yield section.header, split_records(section, path)
        return
    try:
        frame = read_frame(inventory)
    except DamagedData:
        for section in packed_salvage.sections_that_hold(inventory):
            yield section.header, split_records(section, path)
        raise
    reader = zstd.BoundedReader(io.BytesIO(frame), CONTENT_BYTES_MAX, path)
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
        found = first_header(buffer)
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


def first_header(buffer: bytes) -> tuple[dict[str, object], int] | None:
    """Return (the map at the front of *buffer*, its length in bytes), or None if there is none (yet)."""
    from carojournal.codec import iter_items, loads

    try:
        _, end, _ = next(iter_items(buffer))
        header = loads(buffer[:end])
    except (MalformedCBOR, StopIteration):
        return None
    return (header, end) if isinstance(header, dict) else ({}, end)


def split_records(section: Section, name: str) -> "Iterator[tuple[int, bytes]]":
    """Yield (seq, payload) of every event of *section*, in ascending order of seq.

    The payloads are CBOR maps, not yet checked against the schema.  Raises DamagedData where one is malformed or the
    header's count does not hold.
    """
    from carojournal.payload_pattern import payloads

    body = section.body
    seqs = iter(section.seqs())
    walk = payloads(body)
    resume = None
    while True:
        try:
            start, end = next(walk) if resume is None else walk.send(resume)
        except StopIteration:
            break
        resume = None
        if end < 0:
            end = resume = _item_end(body, start, name)
        seq = next(seqs, None)
        if seq is None:
            raise DamagedData(name, start, "a section holds more events than its header counts")
        yield seq, body[start:end]
    if next(seqs, None) is not None:
        raise DamagedData(name, len(body), "a section holds fewer events than its header counts")


def _item_end(body: bytes, start: int, name: str) -> int:
    """Return where the map at *start* ends, which is no payload of this version's schema."""
    from carojournal.codec import iter_items

    try:
        _, length, item = next(iter_items(body[start : start + PAYLOAD_BYTES_MAX]))
    except (MalformedCBOR, StopIteration) as error:
        raise DamagedData(name, start, "not an event of a section") from error
    if type(item) is not dict:
        raise DamagedData(name, start, "not an event of a section")
    return start + length
