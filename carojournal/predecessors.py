"""Loss records that are still asked for: of a segment that another names as its predecessor, or will.

An evicted segment's own loss records are summed up in the record of its eviction, and their names are gone.  Mostly
nobody asks for them any more, because what followed the named segment was evicted too.  But a batch under way spares
old segments, after a clock was set back the newest go first, and a lane that rests names its last segment in its lock
file until the next one takes it for its predecessor: then `verify` would miss it.  So such a record is copied, word for
word, and not summed.
"""

import os

from carojournal import held
from carojournal.cbordecode import decode
from carojournal.errors import CorruptRecord, MalformedCBOR
from carojournal.frame import FIRST_RECORD_OFFSET, NO_SEGMENT, decode_record
from carojournal.root import open_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["heads", "take_asked_for"]

_HEAD_BYTES = 512  # Label and header, which names the predecessor, take less than half of it.
_NAMES = (
    b"hprevious\x83\x50"  # In a header's and an inventory's CBOR: then come the 16 bytes of the predecessor's uuid.
)


def heads(root: str, names: "list[tuple[str, str]]") -> bytes:
    """Return the beginnings of segments and lock files *names* (folder, name), of packed files the whole inventory."""
    found = []
    for folder, name in names:
        try:
            descriptor = open_file(os.path.join(root, folder, name))
        except OSError:
            continue
        try:
            data = os.pread(descriptor, _HEAD_BYTES, 0)
            if data[:4] == held.SKIPPABLE_MAGIC:
                data = os.pread(descriptor, 8 + int.from_bytes(data[4:8], "little"), 0)
            found.append(data)
        except OSError:
            continue
        finally:
            os.close(descriptor)
    return b"".join(found)


def take_asked_for(path: str, segment: bytes, carried: dict[str, list[int]], known: bytes) -> list[bytes]:
    """Return the loss records (payloads) that *segment* in the file at *path* holds and a header in *known* asks for.

    They are taken out of the sums in *carried*.  Raises OSError.
    """
    kept = []
    for loss in _losses(path, segment):
        if _NAMES + loss["segment"] not in known and loss["segment"].hex().encode() not in known:
            continue
        sums = {row["reason"]: [row["segments"], row["events"], row["bytes"]] for row in loss["carried"]}
        own = [1, loss["events"], loss["bytes"]]
        for reason, numbers in [*sums.items(), (loss["reason"], own)]:
            carried[reason] = [had - now for had, now in zip(carried[reason], numbers, strict=True)]
        keys = ("reason", "segment", "first_seq", "last_seq", "events", "bytes")
        kept.append(held.encode_loss(*[loss[key] for key in keys], sums))  # type: ignore[call-arg]
    for reason in [reason for reason, numbers in carried.items() if not any(numbers)]:
        del carried[reason]
    return kept


def _losses(path: str, segment: bytes) -> "list[dict[str, Any]]":
    """Return the loss records of *segment* in a closed or packed file, as far as they can be read."""
    with open(open_file(path), "rb") as file:
        data = file.read(8)
        if data[:4] == held.SKIPPABLE_MAGIC:
            data = file.read(int.from_bytes(data[4:8], "little"))
            try:
                rows: list[dict[str, Any]] = decode(data)["sections"]  # type: ignore[assignment]
                return next((row["losses"] for row in rows if row["segment"] == segment), [])
            except (MalformedCBOR, KeyError, TypeError):
                return []
        data += file.read()
    found = []
    at, key = FIRST_RECORD_OFFSET, NO_SEGMENT
    try:
        while (record := decode_record(key, data, at)) is not None and b"frecord" in data[record[1] : record[2]]:
            value = decode(data[record[1] : record[2]])
            if value["record"] == "loss":
                found.append(value)
            at, key = record[2] + 5, segment
    except (CorruptRecord, MalformedCBOR, KeyError, IndexError):
        return []  # Of a damaged segment the sums are carried on.
    return found
