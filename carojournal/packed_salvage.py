"""Packed files that are damaged, and what can be read of them all the same.

Where it is the inventory, the content has a checksum of its own, and is all that counts: the inventory only repeats
what the section headers say, so its damage costs no record.  The parity stands in front of it and often survives: then
damage that goes on into the frame costs none either, because what is put right so proves itself by its SHA-256.  Else
the zstd frame is looked for.

Where it is the frame, beyond what its parity puts right (`packed.read_frame`), the inventory's SHA-256 of every section
says which still hold.  zstd goes on behind a damaged byte as long as what it meets makes any sense
(`zstd.decompress_damaged`).
"""

import contextlib
import hashlib
import io
from itertools import islice
from typing import TYPE_CHECKING

from carojournal import zstd
from carojournal.codec import iter_items
from carojournal.errors import DamagedData, MalformedCBOR
from carojournal.held import INVENTORY_BYTES_MAX, INVENTORY_HEAD_BYTES
from carojournal.packed import CONTENT_BYTES_MAX, Inventory, Section, first_header, iter_content
from carojournal.packed_header import HEADER_BYTES_MAX, is_of_frame, misfit
from carojournal.parity import mend
from carojournal.segment_file import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["iter_salvaged", "sections_that_hold"]

_MAGIC = b"\x28\xb5\x2f\xfd"
_HEADER = b"\xb2\x64gaps"  # What every section's header begins with: a map of 18 keys, and the first of them.
_TRIES_MAX = 64  # Other bytes look like a frame's beginning once in 2**32, and like a header's once in 2**48.
_MORE_BYTES = 1_048_576  # A damaged block of zstd may become up to 128 KiB, whatever it was.


def iter_salvaged(path: str) -> "Iterator[Section]":
    """Yield the sections of the packed file at *path* without a look at its inventory.  Raises DamagedData, OSError."""
    for frame in _frames(read_file(path)):
        try:
            content = zstd.decompress(frame, CONTENT_BYTES_MAX, path)
        except DamagedData:
            continue
        yield from iter_content(io.BytesIO(content).read, len(content), path)
        return
    raise DamagedData(path, 0, "neither the inventory nor the content can be read")


def _frames(data: bytes) -> "Iterator[bytes]":
    """Yield what may be the zstd frame of a packed file *data*, the likeliest first."""
    if mended := _mended(data):
        yield mended
    at = -1
    for _ in range(_TRIES_MAX):
        at = data.find(_MAGIC, at + 1)
        if at < 0:
            break
        yield data[at:]


def _mended(data: bytes) -> bytes:
    """Return the frame as it was written, empty where what is left of the inventory does not prove it."""
    start = 8 + int.from_bytes(data[4:8], "little")
    items: list[object] = []
    front = data[8 + INVENTORY_HEAD_BYTES : min(start, INVENTORY_BYTES_MAX)]  # Its sizes bound what mending may need.
    with contextlib.suppress(MalformedCBOR):
        items.extend(item for _, _, item in islice(iter_items(front), 4))
    if len(items) < 4 or items[0::2] != ["frame", "parity"] or not is_of_frame(items[1], items[3]):
        return b""
    sizes: dict[str, Any] = items[1]  # type: ignore[assignment]
    frame = mend(data[start:], sizes["bytes"], items[3])  # type: ignore[arg-type]
    return frame if frame is not None and hashlib.sha256(frame).digest() == sizes["sha256"] else b""


def sections_that_hold(inventory: Inventory) -> "Iterator[Section]":
    """Yield those sections of a packed file whose SHA-256 is what its inventory says.  Raises OSError.

    Each is looked for by the bytes that its header begins with.  Memory: the file's content as far as it decompresses,
    which is what its inventory says at most.
    """
    hashes = {row["segment"]: row["sha256"] for row in inventory.sections}
    content = _as_far_as_it_goes(inventory)
    at = -1
    tries = max(_TRIES_MAX, len(hashes))  # Each section that is damaged may take one.
    while hashes and tries and (at := content.find(_HEADER, at + 1)) >= 0:
        # What comes of a header that is damaged says nothing on where the next one begins.
        tries -= 1
        header, length = first_header(content[at : at + HEADER_BYTES_MAX]) or ({}, 0)
        if header.get("segment") not in hashes or misfit(header):
            continue
        after = at + length + int(header["size"])  # type: ignore[call-overload]
        if hashlib.sha256(content[at:after]).digest() == hashes[header["segment"]]:
            del hashes[header["segment"]]
            yield Section(header, content[at + length : after])
            at, tries = after - 1, tries + 1


def _as_far_as_it_goes(inventory: Inventory) -> bytes:
    """Return what of the frame decompresses, little more than the inventory says that there is."""
    frame = read_file(inventory.path)[inventory.start :]
    return zstd.decompress_damaged(frame, min(inventory.content_bytes, CONTENT_BYTES_MAX) + _MORE_BYTES)
