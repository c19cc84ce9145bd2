"""Compaction: lanes -> segments -> packed, one way, and killed anywhere it loses and duplicates nothing.

    1  damaged packed files -> what of them can be saved                 (scrub)
    2  seal idle lanes                                                   (seal)
    3  closed segments of one UTC day and consent -> one packed file     (sections, carojournal.packed)
    4  small packed files of one day and consent -> one larger file

The order of steps within 3 and 4 is what makes a kill harmless: what cannot be packed goes to quarantine/ first; the
new file is written under another name, synced, put in place, read back and compared byte for byte; only then the
sources go.  A kill before the last step leaves the same segment in two places, which readers count once (by its uuid)
and the next run finds equal and finishes.  Everything but sealing happens under batch.lock.

A packed file stays below a tenth of the cap: it is what an eviction takes at a time.  And the bound holds meanwhile:
a file is only written where it fits below the cap beside its sources, or is smaller than one segment.
"""

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carobatch import quarantine
from carobatch.merge import day_and_consent, merge_small
from carobatch.scrub import scrub
from carobatch.seal import seal_idle_lanes
from carobatch.sections import says_same, section_of
from carobatch.spared import is_there, spared
from carobatch.store import SECTIONS_MAX, PackedStore
from carobatch.sweep import sweep
from carojournal.durable import sync_directory
from carojournal.errors import DamagedData
from carojournal.packed_header import is_emptied
from carojournal.schema_registry import is_known_schema
from carojournal.segment_file import read_file
from carojournal.segments import REASONS, list_segments
from carojournal.unfinished import Tellers, finish_evictions

if TYPE_CHECKING:
    from concurrent.futures import Future

    from carobatch.sections import Sectioned
    from carojournal.segment_file import SegmentInfo
    from carojournal.segments import Listing

__all__ = ["IDLE_MS", "Compaction", "compact"]

IDLE_MS = 60_000  # A host that is busy keeps its segment: it rotates by itself when it is full, old or midnight comes.


@dataclass(slots=True)
class Compaction:
    """What one run did.  Sizes are in bytes; `problems` are (path, reason) of what was left as it was."""

    sealed: int = 0
    busy: int = 0
    segments: int = 0
    events: int = 0
    refused: int = 0
    damaged_bytes: int = 0
    source_bytes: int = 0
    packed_bytes: int = 0
    files: int = 0
    merged: int = 0
    mended: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Batch:
    """Segments of one day and consent that wait to be packed; `size` is of their content."""

    parts: "list[tuple[SegmentInfo, Sectioned]]" = field(default_factory=list)
    size: int = 0


def compact(root: str, store: PackedStore, now_ms: int, idle_ms: int = IDLE_MS) -> Compaction:
    """Seal, pack and merge; the caller holds batch.lock.  *store* says where packed files go and how.

    *now_ms* is UTC milliseconds, *idle_ms* how long a lane must rest before it is sealed.  Raises OSError and
    JournalIOError.
    """
    done = Compaction()
    store.remove_temporaries()
    sweep(root)
    finish_evictions(root)
    scrubbed = scrub(store, done.problems)
    done.mended, done.refused, done.damaged_bytes = scrubbed.mended, scrubbed.refused, scrubbed.damaged_bytes
    done.sealed, done.busy = seal_idle_lanes(root, now_ms, idle_ms)
    listing = list_segments(root)
    with ThreadPoolExecutor(max_workers=1) as worker:
        _pack_closed(root, store, listing, worker, done)
    if done.segments:
        # Once is enough: a source that a power cut brings back is found equal to its packed copy, and goes again.
        sync_directory(os.path.join(root, "segments"))
    done.merged = merge_small(store, done.problems)
    done.problems += [(damage.path, REASONS[damage.reason]) for damage in listing.damage]
    return done


def _pack_closed(
    root: str, store: PackedStore, listing: "Listing", worker: "ThreadPoolExecutor", done: Compaction
) -> None:
    """Pack every closed segment.

    *worker* compresses and writes one batch while the next is read and checked: zstd, hashing and syncing need no
    interpreter, so two processors share the work.  Memory: two batches, and one of them twice more (`store`).
    """
    running: Future[None] | None = None
    tellers = Tellers(root)
    waiting: dict[tuple[int, int], _Batch] = {}

    def pack(key: tuple[int, int]) -> None:
        nonlocal running
        if running:
            running.result()
        running = worker.submit(_pack_spared, root, store, tellers, waiting.pop(key).parts, done)

    for group in listing.groups:
        closed = [info for info in group if info.state == "closed"]
        packed = [info for info in group if info.state == "packed"]
        for info in closed:
            found = _read(info, done)
            if found is None:
                continue
            if packed:
                _finish(store, info, found, packed[0], done)
                continue
            key = day_and_consent(found.section.header)
            for other in [other for other in waiting if other[0] < key[0]]:
                pack(other)  # Segments come by age: that day has no more.
            batch = waiting.setdefault(key, _Batch())
            batch.parts.append((info, found))
            batch.size += len(found.section.body)
            if store.is_full(batch.size) or len(batch.parts) >= SECTIONS_MAX:
                pack(key)
    for key in list(waiting):
        pack(key)
    if running:
        running.result()


def _read(info: "SegmentInfo", done: Compaction) -> "Sectioned | None":
    """Return the closed segment *info* as a section, None if it is gone or of a schema that we do not know."""
    try:
        data = read_file(info.path)
    except FileNotFoundError:
        return None  # Evicted or cleared meanwhile.
    if info.schema and not is_known_schema(info.schema):
        done.problems.append((info.path, "recorded under a schema that this program does not know"))
        return None
    return section_of(info, data)


def _pack_spared(
    root: str, store: PackedStore, tellers: Tellers, batch: "list[tuple[SegmentInfo, Sectioned]]", done: Compaction
) -> None:
    """Pack what of *batch* is still there: a copy of an evicted segment would be lost a second time."""
    if tellers.told(info.segment for info, _ in batch):
        finish_evictions(root)  # What tells of one may be packed with it.
    with spared(root, [info.segment for info, _ in batch]):
        told = tellers.told(info.segment for info, _ in batch)
        here = [(info, found) for info, found in batch if is_there(info.path) and info.segment not in told]
        if here:
            _pack(root, store, here, done)


def _pack(root: str, store: PackedStore, batch: "list[tuple[SegmentInfo, Sectioned]]", done: Compaction) -> None:
    """Turn *batch* into one packed file, or several where one would be too large or would not fit below the cap."""
    size = sum(info.size for info, _ in batch)
    data = b""
    if len(batch) == 1 or store.may_fit(size):
        data = store.encode([found.section for _, found in batch])
    if len(batch) > 1 and (not data or len(data) > store.file_bytes_max or not store.fits(len(data))):
        _pack(root, store, batch[: len(batch) // 2], done)
        _pack(root, store, batch[len(batch) // 2 :], done)
        return
    for _, found in batch:
        quarantine.keep(root, found)
    sections = [found.section for _, found in batch]
    store.write(sections, data, store.free_path(sections[0]))
    for info, found in batch:
        quarantine.count_refusals(root, found)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(info.path)
        done.segments += 1
        done.events += int(found.section.header["events"])  # type: ignore[call-overload]
        done.refused += len(found.refused)
        done.damaged_bytes += sum(len(raw) for _, raw, _ in found.damaged)
    done.files += 1
    done.source_bytes += size
    done.packed_bytes += len(data)


def _finish(
    store: PackedStore, info: "SegmentInfo", found: "Sectioned", packed: "SegmentInfo", done: Compaction
) -> None:
    """Remove a source that a killed run had packed already, if the packed file holds all of it."""
    try:
        copies = [section for section in store.sections(packed.path) if section.segment == info.segment]
    except DamagedData as error:
        done.problems.append((error.path, error.reason))
        return
    if any(is_emptied(copy.header) for copy in copies):
        store.replace_section(packed.path, found.section)  # Its events were given up, and here they are.
    elif not any(says_same(copy, found.section) for copy in copies):
        done.problems.append((info.path, "differs from its packed copy; both are kept"))
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(info.path)
