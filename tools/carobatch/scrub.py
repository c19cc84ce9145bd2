"""Scrubbing: every packed file is read, and one that is damaged is written anew while something can be saved.

    the parity puts the frame right     the file as it was written
    the inventory is damaged            made anew from the content, each event checked again
    the frame is damaged beyond that    the sections that hold; of each other one an empty section, whose gaps say which
                                        events are gone ("damaged"); the frame's bytes go to quarantine/

A file is replaced in one rename, by one that was synced and read back, and only where no host has evicted it meanwhile.
The caller holds batch.lock.
"""

from typing import TYPE_CHECKING

from carobatch import quarantine
from carobatch.sections import Sectioned, counted, recheck_section
from carobatch.spared import is_there, spared
from carojournal import packed, packed_salvage
from carojournal.errors import DamagedData
from carojournal.packed import Section
from carojournal.packed_header import OTHER_WRITER, VERSION
from carojournal.segment_file import read_file
from carojournal.unfinished import Tellers

if TYPE_CHECKING:
    from carobatch.store import PackedStore
    from carojournal.packed import Inventory

__all__ = ["scrub"]

_KEPT = ("segment", "created", "lane", "consent", "previous", "schema", "losses")
_NOT_KNOWN = bytes(32)


def scrub(store: "PackedStore", problems: list[tuple[str, str]]) -> tuple[int, int]:
    """Return how many packed files were written anew, and how many bytes of them went to quarantine.

    *problems* says which files lost events, and which are left because there is no room; a file of which nothing can be
    read stays as well.  Raises OSError, JournalIOError, JournalBusy.
    """
    mended = lost = 0
    for path in store.paths():
        try:
            found = _read(store, path)
        except (DamagedData, FileNotFoundError):
            continue  # Whoever lists the files says so.
        if not found:
            continue
        sections = [item.section for item in found]
        data, damaged = store.encode(sections), sum(len(raw) for item in found for _, raw, _ in item.damaged)
        if not store.fits(len(data) + damaged):
            problems.append((path, "damaged, and the bound leaves no room to write what of it can be saved"))
        elif _replace(store, path, found, data):
            mended += 1
            lost += damaged
            if any(item.damaged for item in found):
                problems.append(
                    (path, "damaged: what of it holds was written anew, and names the events that are gone")
                )
    return mended, lost


def _read(store: "PackedStore", path: str) -> list[Sectioned]:
    """Return the sections that the packed file at *path* shall have; none if it is as it was written.

    Raises DamagedData, OSError.
    """
    try:
        inventory = packed.read_inventory(path)
    except DamagedData:
        return [recheck_section(section, path) for section in packed_salvage.iter_salvaged(path)]
    if packed.frame_damage(inventory) is None:
        return []
    try:
        sections = list(store.sections(path))
    except DamagedData:
        return _what_holds(inventory)
    return [recheck_section(section, path) for section in sections]


def _what_holds(inventory: "Inventory") -> list[Sectioned]:
    """Return every section that the inventory lists: as it was where it holds, else empty, with what it had as gaps."""
    held = {section.segment: section for section in packed_salvage.sections_that_hold(inventory)}
    found = []
    raw = read_file(inventory.path)[inventory.start :]
    for row in inventory.sections:
        section = held.get(row["segment"])  # type: ignore[call-overload]
        if section is not None:
            found.append(recheck_section(section, inventory.path))
        else:
            found.append(Sectioned(_empty(row), damaged=[(inventory.start, raw, "packed")]))
            raw = b""  # Once is enough.
    return found


def _empty(row: dict[str, object]) -> Section:
    """Return the section of an inventory's *row* without its events, each of which it names as damaged."""
    runs: list[list[int]] = row["runs"]  # type: ignore[assignment]
    gone = [
        {"first_seq": first, "last_seq": last, "bytes": 0 if at else row["size"], "reason": "damaged"}
        for at, (first, last) in enumerate(runs)
    ]
    known: list[dict[str, object]] = row["gaps"]  # type: ignore[assignment]
    header = {
        "record": "section",
        "version": VERSION,
        **{key: row[key] for key in _KEPT},
        "writer": OTHER_WRITER,
        "records": runs[-1][1] + 1 if runs else 0,
        **counted([]),
        "gaps": [*known, *gone],
        "source": {"bytes": row["bytes"], "sha256": _NOT_KNOWN, "sealed": False, "damaged": True},
    }
    return Section(header, b"")


def _replace(store: "PackedStore", path: str, found: list[Sectioned], data: bytes) -> bool:
    """Put *data*, the encoding of *found*, in the place of the file at *path*, unless a host has evicted that."""
    sections = [item.section for item in found]
    segments = [section.segment for section in sections]
    with spared(store.root, segments):
        if not is_there(path) or Tellers(store.root).told(segments):
            return False
        for item in found:
            quarantine.keep(store.root, item.section.header["created"], item)  # type: ignore[arg-type]
        store.write(sections, data, path)
    for item in found:
        quarantine.count_refusals(store.root, item)
    return True
