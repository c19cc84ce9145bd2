"""What receipts account for, and what may be removed because of them.

A file of the journal is removed when every event in it is accepted or in quarantine, by receipts that are durable, and
nothing in it is damaged.  First the segments are listed in receipts/uploads.cbor, where `verify` looks for segments
that are gone; losses that such a file recorded are copied, word for word, into a segment of their own.
"""

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING

from carobatch.noting import ReadFile, state_of
from carobatch.receipt import intersect, union
from carobatch.spared import spared
from carojournal import held, sent
from carojournal.closed import encode_closed
from carojournal.durable import sync_directory, write_file
from carojournal.errors import DamagedData, JournalIOError
from carojournal.eviction import in_flight
from carojournal.packed import read_inventory
from carojournal.rotation import closed_name
from carojournal.scan import scan
from carojournal.segment_file import read_file

if TYPE_CHECKING:
    from collections.abc import Collection

    from carobatch.noting import NotingReader
    from carojournal.segment_file import SegmentInfo

__all__ = ["Accounted", "accounted", "fold", "list_removed", "reclaim"]

RECEIPTS_MAX = 64  # That many receipts stand by themselves; older ones are folded into one file.
Runs = list[list[int]]
Accounted = dict[bytes, Runs]


def add(found: Accounted, ranges: "object") -> None:
    """Add [[segment, runs], ...] to *found*."""
    for segment, runs in ranges:  # type: ignore[attr-defined]
        found[segment] = union(found.get(segment, []), runs)


def accounted(root: str) -> Accounted:
    """Return segment -> runs of the events that receipts account for: accepted, or refused and in quarantine."""
    found: Accounted = {}
    add(found, sent.uploads(root)["ranges"])
    for _, receipt in sent.receipts(root):
        add(found, receipt["ranges"])
        add(found, receipt["refused"])
    return found


def _closed(info: "SegmentInfo", done: Accounted, noted: ReadFile | None) -> ReadFile | None:
    state = state_of(info.path)
    if state is None:
        return None
    if noted is None or noted.state != state:
        data = read_file(info.path)
        noted = ReadFile.of_closed(info, data, scan(data, info.segment), state)
    runs = noted.runs
    return noted if runs is not None and intersect(runs, done.get(info.segment, [])) == runs else None


def _packed(path: str, done: Accounted) -> ReadFile | None:
    rows = read_inventory(path).sections
    found = ReadFile(path, [])
    for row in rows:
        segment: bytes = row["segment"]  # type: ignore[assignment]
        runs: Runs = row["runs"]  # type: ignore[assignment]
        if intersect(runs, done.get(segment, [])) != runs or any(gap["reason"] == "damaged" for gap in row["gaps"]):  # type: ignore[attr-defined]
            return None  # Nobody else tells of what is damaged: it goes by eviction, which carries that on.
        found.segments.append(segment)
        found.created_us = max(found.created_us, int(row["created"]))  # type: ignore[call-overload]
        found.losses += [_loss_payload(loss) for loss in row["losses"]]  # type: ignore[attr-defined]
    return found if any(segment in done for segment in found.segments) else None


def _loss_payload(loss: dict[str, object]) -> bytes:
    carried = {row["reason"]: [row["segments"], row["events"], row["bytes"]] for row in loss["carried"]}  # type: ignore[attr-defined]
    keys = ("reason", "segment", "first_seq", "last_seq", "events", "bytes")
    return held.encode_loss(*[loss[key] for key in keys], carried)  # type: ignore[arg-type,call-arg]


def reclaim(reader: "NotingReader", done: Accounted, *, whole: bool = True) -> tuple[int, int]:
    """Remove the files that *done* accounts for whole; return (files, bytes).  Raises JournalIOError, OSError.

    Not *whole*: only those that *reader* has read, without a new listing.
    """
    root = reader.root
    named = in_flight(root)
    files: dict[str, ReadFile] = {}
    seen: set[str] = set()
    # A copy: another thread may be reading on.
    infos = (
        [info for group in reader.groups() for info in group] if whole else [one for one, _ in [*reader.noted.values()]]
    )
    for info in infos:
        if info.path in seen or info.state == "open" or info.consent_ms == 0 or info.segment in named:
            continue
        if info.state == "packed":
            seen.add(info.path)
        elif info.segment not in done:
            continue
        try:
            noted = reader.noted.get(info.path, (info, None))[1]
            found = _packed(info.path, done) if info.state == "packed" else _closed(info, done, noted)
        except (FileNotFoundError, DamagedData):
            continue
        if found is not None and not any(segment in named for segment in found.segments):
            files[info.path] = found
    if not files:
        return 0, 0
    going = sorted({segment for file in files.values() for segment in file.segments})
    carrier = hashlib.sha256(b"carojournal carried losses" + b"".join(going)).digest()[:16]
    with spared(root, [*going, carrier]):
        return _remove(reader, {path: file for path, file in files.items() if os.path.exists(path)}, carrier)


def _remove(reader: "NotingReader", files: dict[str, ReadFile], carrier: bytes) -> tuple[int, int]:
    """Remove *files*, which nobody else removes meanwhile; return (files, bytes).

    *carrier* is the uuid of the segment that what they tell of losses goes to.  No host may evict that one either, as
    long as they stand: it would leave those losses to them.
    """
    gone = sorted({segment for file in files.values() for segment in file.segments})
    if not gone:
        return 0, 0
    _carry(reader.root, carrier, files)
    list_removed(reader.root, gone)
    size = 0
    for path in files:
        with contextlib.suppress(FileNotFoundError):  # Evicted meanwhile.
            size += os.lstat(path).st_size
            os.unlink(path)
        reader.noted.pop(path, None)
    reader.present.difference_update(gone)
    for folder in {os.path.dirname(path) for path in files}:
        sync_directory(folder)
    return len(files), size


def _carry(root: str, segment: bytes, files: dict[str, ReadFile]) -> None:
    """Copy the losses that the files record into a segment of their own."""
    losses = [payload for file in files.values() for payload in file.losses]
    if losses:
        created_us = max(file.created_us for file in files.values())
        path = os.path.join(root, "segments", closed_name(created_us, segment))
        data = encode_closed(segment, created_us, losses, ())
        write_file(path, data, overwrite=True, error=JournalIOError)


def _write(root: str, value: dict[str, object]) -> None:
    path = os.path.join(root, sent.RECEIPTS, sent.UPLOADS)
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    write_file(path, sent.encode_map(value), overwrite=True, error=JournalIOError)


def list_removed(root: str, gone: list[bytes]) -> None:
    """Keep durably that the segments *gone* (uuids) are accounted for and may be missing."""
    value = sent.uploads(root)
    known: list[bytes] = value["segments"]  # type: ignore[assignment]
    value["segments"] = list(dict.fromkeys([*known, *gone]))[-sent.SEGMENTS_MAX :]
    _write(root, value)


def fold(root: str, present: "Collection[bytes]", receipts_max: int = RECEIPTS_MAX) -> None:
    """Fold all but the newest receipts into one file, once there are more than *receipts_max*.

    Of runs only those of segments in *present* are kept.  Raises JournalIOError, OSError.
    """
    standing = sorted(sent.receipts(root), key=lambda row: int(row[1]["at"]))  # type: ignore[call-overload]
    if len(standing) <= receipts_max:
        return
    value = sent.uploads(root)
    ranges: Accounted = {}
    add(ranges, value["ranges"])
    rows: dict[bytes, list[object]] = {row[0]: row for row in value["batches"]}  # type: ignore[attr-defined]
    folded = standing[: len(standing) - receipts_max // 2]
    for _, receipt in folded:
        add(ranges, receipt["ranges"])
        add(ranges, receipt["refused"])
        rows[receipt["batch"]] = sent.row_of(receipt)  # type: ignore[index]
    kept = list(rows.values())
    dropped = kept[: -sent.BATCHES_MAX]
    value["ranges"] = [[segment, runs] for segment, runs in sorted(ranges.items()) if segment in present]
    value["batches"] = kept[-sent.BATCHES_MAX :]
    value["earlier"] = int(value["earlier"]) + sum(int(row[6]) for row in dropped)  # type: ignore[call-overload]
    _write(root, value)
    for path, _ in folded:
        os.unlink(path)
    sync_directory(os.path.join(root, sent.RECEIPTS))
