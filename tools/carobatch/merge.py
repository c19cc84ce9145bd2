"""Merging small packed files, so that a journal of few events a day is not a thousand files of a kilobyte.

Only files of one UTC day and one consent meet, because a batch never mixes either.  A merged file takes the place of
its oldest part in one rename; the other parts go afterwards.  A kill in between leaves parts whose segments all lie in
the merged file too: the next run finds them equal and removes them.
"""

from typing import TYPE_CHECKING

from carobatch import quarantine
from carobatch.sections import Sectioned, recheck_section, says_same
from carobatch.spared import is_there, spared
from carobatch.store import SECTIONS_MAX
from carojournal.errors import DamagedData
from carojournal.unfinished import Tellers, finish_evictions

if TYPE_CHECKING:
    from carobatch.store import PackedStore
    from carojournal.packed import Inventory

__all__ = ["day_and_consent", "merge_small"]

_DAY_US = 86_400_000_000
Problems = list[tuple[str, str]]


def day_and_consent(header: dict[str, object]) -> tuple[int, int]:
    """Return the UTC day (days since 1970) and the consent (ms, 0: none) of a section header or inventory row."""
    return int(header["created"]) // _DAY_US, int(header["consent"])  # type: ignore[call-overload]


def merge_small(store: "PackedStore", problems: Problems) -> int:
    """Remove repeated packed files and merge small ones; return how many files are fewer.  Raises OSError.

    What cannot be read, or says two things of one segment, stays as it is and goes to *problems*.
    """
    inventories = store.inventories(problems)
    kept = _without_repeats(store, inventories, problems)
    fewer = len(inventories) - len(kept)
    groups: dict[tuple[int, int], list[Inventory]] = {}
    for inventory in kept:
        keys = {day_and_consent(row) for row in inventory.sections}
        if len(keys) == 1 and _is_small(inventory, store):
            groups.setdefault(keys.pop(), []).append(inventory)
    for group in groups.values():
        batch: list[Inventory] = []
        for inventory in group:
            if batch and _is_full([*batch, inventory], store):
                fewer += _merge(store, batch, problems)
                batch = []
            batch.append(inventory)
        fewer += _merge(store, batch, problems)
    return fewer


def _is_small(inventory: "Inventory", store: "PackedStore") -> bool:
    return _size(inventory) < store.file_bytes_max // 2 and inventory.content_bytes < store.content_bytes_max // 2


def _is_full(batch: "list[Inventory]", store: "PackedStore") -> bool:
    """Tell whether a file of *batch* would be larger than any should be."""
    return (
        sum(map(_size, batch)) > store.file_bytes_max
        or sum(inventory.content_bytes for inventory in batch) > store.content_bytes_max
        or sum(len(inventory.sections) for inventory in batch) > SECTIONS_MAX
    )


def _size(inventory: "Inventory") -> int:
    return inventory.start + inventory.frame_bytes


def _without_repeats(store: "PackedStore", inventories: "list[Inventory]", problems: Problems) -> "list[Inventory]":
    """Remove every file whose segments all lie, equal, in another one."""
    places: dict[bytes, list[Inventory]] = {}
    for inventory in inventories:
        for row in inventory.sections:
            places.setdefault(row["segment"], []).append(inventory)  # type: ignore[arg-type]
    kept = list(inventories)
    for inventory in inventories:
        segments: list[bytes] = [row["segment"] for row in inventory.sections]  # type: ignore[misc]
        for other in places[segments[0]] if segments else ():
            if other is inventory or len(other.sections) < len(inventory.sections):
                continue
            if not any(other is one for one in kept):
                continue
            if any(all(other is not one for one in places[segment]) for segment in segments):
                continue
            try:
                theirs = {section.segment: section for section in store.sections(other.path)}
                same = all(says_same(part, theirs.get(part.segment)) for part in store.sections(inventory.path))
            except (DamagedData, FileNotFoundError) as error:
                problems.append((inventory.path, str(error)))
                break
            if not same:
                problems.append((inventory.path, "another packed file says something else of the same segment"))
                break
            store.remove(inventory.path)
            kept.remove(inventory)
            break
    return kept


def _merge(store: "PackedStore", batch: "list[Inventory]", problems: Problems) -> int:
    """Merge *batch* into one file; return how many files are fewer."""
    if len(batch) < 2 or not store.fits(sum(map(_size, batch))):
        return 0
    segments: list[bytes] = [row["segment"] for inventory in batch for row in inventory.sections]  # type: ignore[misc]
    tellers = Tellers(store.root)
    if tellers.told(segments):
        finish_evictions(store.root)
    with spared(store.root, segments):
        told = tellers.told(segments)
        here = [one for one in batch if is_there(one.path) and told.isdisjoint(row["segment"] for row in one.sections)]
        return _merge_spared(store, here, problems) if len(here) > 1 else 0


def _merge_spared(store: "PackedStore", batch: "list[Inventory]", problems: Problems) -> int:
    found: list[Sectioned] = []
    try:
        for inventory in batch:
            for section in store.sections(inventory.path):
                is_checked = inventory.checked == store.rules
                found.append(Sectioned(section) if is_checked else recheck_section(section, inventory.path))
    except (DamagedData, FileNotFoundError) as error:
        problems.append((batch[0].path, str(error)))
        return 0
    sections = [item.section for item in found]
    if len({section.segment for section in sections}) != len(sections):
        problems.append((batch[0].path, "two packed files hold the same segment"))
        return 0
    sections.sort(key=lambda section: (section.header["created"], section.segment))
    for item in found:
        quarantine.keep(store.root, item)
    oldest = sections[0].segment
    path = next(one.path for one in batch if any(row["segment"] == oldest for row in one.sections))
    store.write(sections, store.encode(sections), path)
    for item in found:
        quarantine.count_refusals(store.root, item)
    for inventory in batch:
        if inventory.path != path:
            store.remove(inventory.path)
    return len(batch) - 1
