"""Scrubbing: every packed file is read, and one that is damaged is written anew while something can be saved.

    the parity puts the frame right     the file as it was written, byte for byte
    the inventory is damaged            made anew from the content, each event checked again
    the frame is damaged beyond that    the sections that hold; of each other one an empty section, whose gaps say which
                                        events are gone ("damaged") and which receipts account for ("delivered"); the
                                        frame's bytes go to quarantine/.  A segment that also lies in another file is
                                        left out instead: there its events stand

What comes is synced and read back before it replaces a file in one rename, and only where no host has evicted that
meanwhile.  A file that was recorded under a schema that this program does not know is left alone, as by `compact`.
The bound: a file is replaced where that frees room or fits; for a moment both stand.  The caller holds batch.lock.
"""

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carobatch import quarantine
from carobatch.deliveries import accounted
from carobatch.ledger import Ledger
from carobatch.receipt import difference, intersect, union
from carobatch.sections import Sectioned, counted, recheck_section
from carobatch.spared import is_there, spared
from carojournal import packed, packed_salvage, zstd
from carojournal.errors import DamagedData, RecordTooLarge
from carojournal.packed import Section
from carojournal.packed_header import NOT_KNOWN, OTHER_WRITER, VERSION, lost_rows
from carojournal.schema_registry import is_known_schema
from carojournal.segment_file import read_file
from carojournal.segments import list_segments
from carojournal.unfinished import Tellers

if TYPE_CHECKING:
    from carobatch.deliveries import Accounted
    from carobatch.store import PackedStore
    from carojournal.packed import Inventory

__all__ = ["Scrubbed", "scrub"]

_KEPT = ("segment", "created", "lane", "consent", "previous", "schema", "losses")
Runs = list[list[int]]


@dataclass(slots=True)
class Scrubbed:
    """What one run did: files written anew, events that the rules of today refuse, bytes that went to quarantine."""

    mended: int = 0
    refused: int = 0
    damaged_bytes: int = 0


@dataclass(slots=True)
class _Anew:
    """What shall stand in a file's place: `data`, nothing if the file shall go; `found` is what was taken apart.

    `gone` is how many of its events it cannot have any more.
    """

    data: bytes
    old_bytes: int
    segments: list[bytes]
    found: list[Sectioned] = field(default_factory=list)
    gone: int = 0


def scrub(store: "PackedStore", problems: list[tuple[str, str]]) -> Scrubbed:
    """Write damaged packed files anew.  Raises JournalIOError, JournalBusy, OSError where nothing can be written.

    *problems* says which files lost events, and which are left as they are and why; of those whose inventory and
    content are both damaged whoever lists the files says so.
    """
    done = Scrubbed()
    for path in store.paths():
        try:
            anew = _anew(store, path)
        except FileNotFoundError:
            continue
        except (OSError, RecordTooLarge) as error:
            problems.append((path, f"damaged or not to be read, and left as it is: {error}"))
            continue
        except DamagedData as error:
            problems.append((path, error.reason))
            continue
        if anew is not None:
            _replace(store, path, anew, done, problems)
    return done


def _anew(store: "PackedStore", path: str) -> _Anew | None:
    """Return what the packed file at *path* shall be; None if it is as it was written, or nothing can be done.

    Raises DamagedData, RecordTooLarge, OSError.
    """
    try:
        inventory = packed.read_inventory(path)
    except DamagedData:
        return _from_content(store, path)
    if inventory.head_holds and packed.frame_damage(inventory) is None:
        return None
    try:
        data = zstd.skippable(read_file(path, inventory.start)[8:]) + packed.read_frame(inventory)
    except DamagedData:
        return _what_holds(store, inventory)
    return _Anew(data, inventory.size, [row["segment"] for row in inventory.sections])  # type: ignore[misc]


def _from_content(store: "PackedStore", path: str) -> _Anew | None:
    try:
        sections = list(packed_salvage.iter_salvaged(path))
    except DamagedData:
        return None  # Whoever lists the files says so.
    _refuse_unknown(path, [section.header for section in sections])
    found = [recheck_section(section, path) for section in sections]
    data = store.encode([one.section for one in found])
    return _Anew(data, len(read_file(path)), [one.section.segment for one in found], found)


def _refuse_unknown(path: str, rows: list[dict[str, object]]) -> None:
    if not all(is_known_schema(row["schema"]) for row in rows):  # type: ignore[arg-type]
        raise DamagedData(path, 0, "recorded under a schema that this program does not know")


def _what_holds(store: "PackedStore", inventory: "Inventory") -> _Anew:
    """Return every section that the inventory lists: as it was where it holds, else empty, with what it had as gaps."""
    _refuse_unknown(inventory.path, inventory.sections)
    held = {section.segment: section for section in packed_salvage.sections_that_hold(inventory)}
    elsewhere = {
        info.segment for group in list_segments(store.root).groups for info in group if info.path != inventory.path
    }
    sent = _accounted(store.root)
    found, gone = [], 0
    raw = read_file(inventory.path)[inventory.start :]
    for row in inventory.sections:
        segment: bytes = row["segment"]  # type: ignore[assignment]
        if segment in held:
            found.append(recheck_section(held[segment], inventory.path))
        elif segment not in elsewhere:
            empty = _empty(row, sent.get(segment, []))
            found.append(Sectioned(empty, damaged=[(inventory.start, raw, "packed")]))
            gone += _gone(empty.header) - _gone(row)
            raw = b""  # Once is enough.
    data = store.encode([one.section for one in found]) if found else b""
    return _Anew(data, inventory.size, [row["segment"] for row in inventory.sections], found, gone)  # type: ignore[misc]


def _gone(row: dict[str, object]) -> int:
    return sum(lost["events"] for lost in lost_rows(row["gaps"]))  # type: ignore[arg-type]


def _accounted(root: str) -> "Accounted":
    """Return segment -> runs of what receipts of uploads and of importers account for."""
    found = accounted(root)
    with contextlib.suppress(DamagedData):  # Confirms nothing, then.
        for segment, runs in Ledger(root).acks().items():
            name = bytes.fromhex(segment)
            found[name] = union(found.get(name, []), runs)
    return found


def _empty(row: dict[str, object], sent: Runs) -> Section:
    """Return the section of an inventory's *row* without its events, which become gaps; receipts account for *sent*."""
    runs: Runs = row["runs"]  # type: ignore[assignment]
    known: list[dict[str, int]] = row["gaps"]  # type: ignore[assignment]
    losses: list[dict[str, int]] = row["losses"]  # type: ignore[assignment]
    gone = [("delivered", run) for run in intersect(runs, sent)] + [("damaged", run) for run in difference(runs, sent)]
    gaps = [
        {"first_seq": first, "last_seq": last, "bytes": 0 if at else row["size"], "reason": reason}
        for at, (reason, (first, last)) in enumerate(gone)
    ]
    newest = [last for _, last in runs] + [gap["last_seq"] for gap in known] + [loss["seq"] for loss in losses]
    header = {
        "record": "section",
        "version": VERSION,
        **{key: row[key] for key in _KEPT},
        "writer": OTHER_WRITER,
        "records": max(newest, default=-1) + 1,
        **counted([]),
        "gaps": [*known, *gaps],
        "source": {"bytes": row["bytes"], "sha256": NOT_KNOWN, "sealed": False, "damaged": True},
    }
    return Section(header, b"")


def _replace(store: "PackedStore", path: str, anew: _Anew, done: Scrubbed, problems: list[tuple[str, str]]) -> None:
    """Put *anew* in the place of the file at *path*, unless a host has evicted that or is about to."""
    new_bytes = len(anew.data) - anew.old_bytes
    new_bytes += sum(quarantine.missing_bytes(store.root, item) for item in anew.found)
    if anew.found and new_bytes > 0 and not store.fits(new_bytes):  # What parity puts right is no larger than it was.
        problems.append((path, "damaged, and the bound leaves no room to write what of it can be saved"))
        return
    with spared(store.root, anew.segments):
        if not is_there(path) or Tellers(store.root).told(anew.segments):
            return
        for item in anew.found:
            quarantine.keep(store.root, item)
        try:
            if anew.data:
                store.put(path, anew.data)
            else:
                store.remove(path)
        except DamagedData as error:
            problems.append((path, error.reason))
            return
    done.mended += 1
    for item in anew.found:
        quarantine.count_refusals(store.root, item)
        done.refused += len(item.refused)
        done.damaged_bytes += sum(len(raw) for _, raw, _ in item.damaged)
    if any(item.damaged for item in anew.found):
        problems.append((path, f"damaged: what of it holds was written anew; {anew.gone:,} events are gone, and named"))
