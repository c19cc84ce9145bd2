"""Loss records of an evicted segment that must not be summed: others ask for them, or tell the same.

An evicted segment's own loss records are summed up in the record of its eviction, and their names are gone.  Mostly
nobody asks for them any more, because what followed the named segment was evicted too.  But a batch under way spares
old segments, after a clock was set back the newest go first, and a lane that rests names its last segment in its lock
file until the next one takes it for its predecessor: then `verify` would miss it.  So such a record is copied, word for
word, and not summed.  So is the record of a file that still stands, because a crash or an error kept it from being
unlinked: it counts when the file is gone.

And a loss that another file tells as well is left to that one, or it would be summed twice in the end.  But not to a
copy of the very segment, which a crash has left: that one goes without a word, for its segment is told by then.
"""

import os

from carojournal.cbordecode import decode
from carojournal.errors import CorruptRecord, MalformedCBOR
from carojournal.frame import FIRST_RECORD_OFFSET, NO_SEGMENT, decode_record
from carojournal.held import INVENTORY_BYTES_MAX, encode_loss, inventory_rows, is_packed, read_inventory
from carojournal.root import open_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Any

    _File = tuple[str, str]  # Folder and name.

__all__ = ["Others", "losses_of", "take_asked_for"]

_HEAD_BYTES = 4_096  # Label, header and a dozen loss records; few segments have more.
_ASKED_BYTES = 512  # Label and header, which names the predecessor, take less than half of it.
_NAMES = (
    b"hprevious\x83\x50"  # In a header's and an inventory's CBOR: then come the 16 bytes of the predecessor's uuid.
)
_LOST = b"gsegment\x50"  # In a loss record's: the 16 bytes of the segment that went.


class Others:
    """What the files *names* (folder, name) below *root* say of segments; a file that cannot be read says nothing.

    Each is read once.  Who asks names the files whose word does not count, because they go as well.  Raises
    FileNotFoundError if one is gone.
    """

    __slots__ = ("_named", "_said", "_told")

    def __init__(self, root: str, names: "list[tuple[str, str]]") -> None:
        self._said: dict[_File, _Said] = {}
        self._told: dict[bytes, int] = {}  # How many of them tell it as lost,
        self._named: dict[bytes, int] = {}  # and hold it or name it as the one before theirs.
        for folder, name in names:
            try:
                said = self._said[folder, name] = _Said(os.path.join(root, folder, name), name)
            except FileNotFoundError:
                raise  # Renamed since it was listed, perhaps: what it says stands somewhere else.
            except OSError:
                continue
            for counts, segments in ((self._told, said.told), (self._named, said.holds | said.follows)):
                for segment in segments:
                    counts[segment] = counts.get(segment, 0) + 1

    def copies(self, segments: "Collection[bytes]") -> "set[_File]":
        """Return the files that hold one of *segments*."""
        return {file for file, said in self._said.items() if not said.holds.isdisjoint(segments)}

    def held(self) -> "Iterable[tuple[_File, set[bytes]]]":
        """Return (file, the segments that it holds) of each."""
        return [(file, said.holds) for file, said in self._said.items()]

    def tell_any(self) -> bool:
        """Tell whether one of them tells of any loss."""
        return bool(self._told)

    def tell(self, segment: bytes, apart: "Collection[_File]" = ()) -> bool:
        """Tell whether one of them, *apart* from some, tells *segment* as lost."""
        return self._told.get(segment, 0) > sum(
            segment in self._said[file].told for file in apart if file in self._said
        )

    def ask_for(self, segment: bytes, apart: "Collection[_File]" = ()) -> bool:
        """Tell whether one of them, *apart* from some, is *segment*, or names it as the one before it."""
        left_out = sum(self._said[file].names(segment) for file in apart if file in self._said)
        return self._named.get(segment, 0) > left_out


class _Said:
    """What one file says: the segments that it tells as lost, holds, and names as the one before its own."""

    __slots__ = ("follows", "holds", "told")

    def __init__(self, path: str, name: str) -> None:
        self.told, self.holds, self.follows = set[bytes](), _uuids(name[17:49].encode()), set[bytes]()
        descriptor = open_file(path)
        try:
            data = os.pread(descriptor, _HEAD_BYTES, 0)
            if is_packed(data):
                self._packed(read_inventory(descriptor) or _said_inventory(descriptor))
                return
            if name.endswith(".lock"):
                self.follows |= _uuids(data[:32])  # The lane's next segment will name it.
            if self._closed(data) and len(data) == _HEAD_BYTES:
                self._closed(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
            self._note_previous(data[:_ASKED_BYTES])
        finally:
            os.close(descriptor)

    def names(self, segment: bytes) -> bool:
        return segment in self.holds or segment in self.follows

    def _note_previous(self, data: bytes) -> None:
        at = data.find(_NAMES)
        while at >= 0:
            self.follows.add(data[at + len(_NAMES) : at + len(_NAMES) + 16])
            at = data.find(_NAMES, at + 1)

    def _packed(self, data: bytes) -> None:
        self._note_previous(data)
        try:
            rows: list[dict[str, Any]] = inventory_rows(data)
            told = {loss["segment"] for row in rows for loss in row["losses"]}
            holds = {row["segment"] for row in rows}
        except (MalformedCBOR, KeyError, TypeError, AttributeError):
            return
        self.told |= told
        self.holds |= holds

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
                    self.holds.add(uuid)
                elif b"dloss" in payload:
                    self.told.add(uuid)
                at = record[2] + 5
        except CorruptRecord:
            return False
        return True


def _uuids(digits: bytes) -> set[bytes]:
    """Return the uuid that *digits* are in hexadecimal, nothing if they are none."""
    return {bytes.fromhex(digits.decode())} if len(digits) == 32 and not digits.strip(b"0123456789abcdef") else set()


def take_asked_for(
    path: str,
    segment: bytes,
    carried: dict[str, list[int]],
    others: Others,
    told: set[bytes],
    apart: "Collection[_File]" = (),
) -> list[bytes]:
    """Return the loss records (payloads) that *segment* in the file at *path* holds and that *others* ask for.

    They are taken out of the sums in *carried*, and so is every record that somebody else tells: one of the others, or
    the one that makes room, for segments in *told*; what is returned is added there.  *apart* are files whose word does
    not count: the one at *path*, those that go with it, and whatever else holds *segment*, for when that goes it will
    find its losses told here.  Raises OSError.
    """
    kept = []
    for loss in losses_of(path, segment):
        is_told = others.tell(loss["segment"], apart) or loss["segment"] in told
        if not is_told and not others.ask_for(loss["segment"], apart):
            continue
        sums = {row["reason"]: [row["segments"], row["events"], row["bytes"]] for row in loss["carried"]}
        own = [1, loss["events"], loss["bytes"]]
        for reason, numbers in [*sums.items(), (loss["reason"], own)]:
            carried[reason] = [had - now for had, now in zip(carried[reason], numbers, strict=True)]
        if is_told:
            continue
        told.add(loss["segment"])
        keys = ("reason", "segment", "first_seq", "last_seq", "events", "bytes")
        kept.append(encode_loss(*[loss[key] for key in keys], sums))  # type: ignore[call-arg]
    for reason in [reason for reason, numbers in carried.items() if not any(numbers)]:
        del carried[reason]
    return kept


def _said_inventory(descriptor: int) -> bytes:
    """Return what stands in the place of an inventory that does not hold: whom it asks for must not be missed."""
    size = int.from_bytes(os.pread(descriptor, 4, 4), "little")
    return os.pread(descriptor, min(size, INVENTORY_BYTES_MAX), 8)


def losses_of(path: str, segment: bytes) -> "list[dict[str, Any]]":
    """Return the loss records of *segment* in a closed or packed file, each loss once, as far as they can be read."""
    with open(open_file(path), "rb") as file:
        data = file.read(_HEAD_BYTES)
        if is_packed(data):
            data = read_inventory(file.fileno()) or _said_inventory(file.fileno())
            try:
                rows: list[dict[str, Any]] = decode(data)["sections"]  # type: ignore[assignment]
                losses: list[dict[str, Any]] = next((row["losses"] for row in rows if row["segment"] == segment), [])
                return list({loss["segment"]: loss for loss in losses}.values())
            except (MalformedCBOR, KeyError, TypeError):
                return []
        data += file.read()
    found: dict[bytes, dict[str, Any]] = {}
    at, key = FIRST_RECORD_OFFSET, NO_SEGMENT
    try:
        while (record := decode_record(key, data, at)) is not None and b"frecord" in data[record[1] : record[2]]:
            value: dict[str, Any] = decode(data[record[1] : record[2]])
            if value["record"] == "loss":
                found[value["segment"]] = value
            at, key = record[2] + 5, segment
    except (CorruptRecord, MalformedCBOR, KeyError, IndexError, TypeError):
        return []  # Of a damaged segment the sums are carried on.
    return list(found.values())
