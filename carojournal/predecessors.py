"""Loss records of an evicted segment that must not be summed: others ask for them, or tell the same.

An evicted segment's own loss records are summed up in the record of its eviction, and their names are gone.  Mostly
nobody asks for them any more, because what followed the named segment was evicted too.  But a batch under way spares
old segments, after a clock was set back the newest go first, and a lane that rests names its last segment in its lock
file until the next one takes it for its predecessor: then `verify` would miss it.  So such a record is copied, word for
word, and not summed.  So is the record of a file that still stands, because a crash or an error kept it from being
unlinked: it counts when the file is gone.

And a loss that another file tells as well is left to that one, or it would be summed twice in the end.
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

__all__ = ["Others", "take_asked_for"]

_HEAD_BYTES = 4_096  # Label, header and a dozen loss records; few segments have more.
_ASKED_BYTES = 512  # Label and header, which names the predecessor, take less than half of it.
_NAMES = (
    b"hprevious\x83\x50"  # In a header's and an inventory's CBOR: then come the 16 bytes of the predecessor's uuid.
)
_LOST = b"gsegment\x50"  # In a loss record's: the 16 bytes of the segment that went.


class Others:
    """What the files *names* (folder, name) below *root* say of segments; a file that cannot be read says nothing.

    Raises FileNotFoundError if one is gone.
    """

    __slots__ = ("_known", "told")

    def __init__(self, root: str, names: "list[tuple[str, str]]") -> None:
        self.told = set[bytes]()  # What their loss records name.
        found = []
        for folder, name in names:
            try:
                descriptor = open_file(os.path.join(root, folder, name))
            except FileNotFoundError:
                raise  # Renamed since it was listed, perhaps: what it says stands somewhere else.
            except OSError:
                continue
            try:
                found.append(name[17:49].encode())
                data = os.pread(descriptor, _HEAD_BYTES, 0)
                if data[:4] == held.SKIPPABLE_MAGIC:
                    data = os.pread(descriptor, 8 + int.from_bytes(data[4:8], "little"), 0)
                    found += self._packed(data)
                else:
                    if self._closed(data) and len(data) == _HEAD_BYTES:
                        self._closed(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
                    found.append(data[:_ASKED_BYTES])
            except OSError:
                continue
            finally:
                os.close(descriptor)
        # Their own uuids as hexadecimal digits, beginnings of segments and lock files, inventories of packed files.
        self._known = b"".join(found)

    def ask_for(self, segment: bytes) -> bool:
        """Tell whether one of them is *segment*, or names it as the one before it."""
        return _NAMES + segment in self._known or segment.hex().encode() in self._known

    def _packed(self, data: bytes) -> list[bytes]:
        try:
            rows: list[dict[str, Any]] = held.inventory_rows(data[8:])
            self.told.update(loss["segment"] for row in rows for loss in row["losses"])
            return [data, *(row["segment"].hex().encode() for row in rows)]
        except (MalformedCBOR, KeyError, TypeError, AttributeError):
            return [data]

    def _closed(self, data: bytes) -> bool:
        """Take note of the losses that the beginning of a segment tells; return whether there may be more of them."""
        at, key = FIRST_RECORD_OFFSET, NO_SEGMENT
        try:
            while (record := decode_record(key, data, at)) is not None:
                payload = data[record[1] : record[2]]
                if b"frecord" not in payload:
                    return False
                place = payload.find(_LOST) + len(_LOST)
                uuid = payload[place : place + 16]
                if key == NO_SEGMENT:
                    key = uuid  # The header's.
                elif b"dloss" in payload:
                    self.told.add(uuid)
                at = record[2] + 5
        except CorruptRecord:
            return False
        return True


def take_asked_for(
    path: str, segment: bytes, carried: dict[str, list[int]], others: Others, told: set[bytes]
) -> list[bytes]:
    """Return the loss records (payloads) that *segment* in the file at *path* holds and that *others* ask for.

    They are taken out of the sums in *carried*, and so is every record that somebody else tells: one of the others, or
    the one that makes room, for segments in *told*; what is returned is added there.  Raises OSError.
    """
    kept = []
    for loss in _losses(path, segment):
        is_told = loss["segment"] in others.told or loss["segment"] in told
        if not is_told and not others.ask_for(loss["segment"]):
            continue
        sums = {row["reason"]: [row["segments"], row["events"], row["bytes"]] for row in loss["carried"]}
        own = [1, loss["events"], loss["bytes"]]
        for reason, numbers in [*sums.items(), (loss["reason"], own)]:
            carried[reason] = [had - now for had, now in zip(carried[reason], numbers, strict=True)]
        if is_told:
            continue
        told.add(loss["segment"])
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
