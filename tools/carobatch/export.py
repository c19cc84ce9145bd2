"""Export: choose what of packed/ goes into a bundle, and write it.  Nothing at the source is changed or removed.

A packed file that is wanted whole, and was checked under today's rules, goes as it is.  One that lies across --since or
--until, that holds events of sessions that must not leave (`sessions`), or was checked under older rules, is taken
apart, filtered, checked and packed anew for this bundle.
"""

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carobatch import bundle, manifest
from carobatch.ledger import Ledger
from carobatch.sections import gaps_of, recheck_section, with_events
from carobatch.sessions import Sessions
from carojournal import packed
from carojournal.codec import loads
from carojournal.errors import DamagedData
from carojournal.packed import Section, split_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carobatch.sshsig import Signer
    from carobatch.store import PackedStore
    from carojournal.packed import Inventory

__all__ = ["Export", "plan_export"]

Window = tuple[int | None, int | None]
Row = dict[str, object]
_TIMESTAMP = b"itimestamp\x1b"


@dataclass(slots=True)
class Export:
    """A bundle that is decided on but not written; `chunks()` yields its bytes, `entry` is for the ledger."""

    name: str
    events: int
    manifest: dict[str, object]
    entry: dict[str, object]
    chunks: "Callable[[], Iterator[bytes]]"
    size_guess: int
    problems: list[tuple[str, str]] = field(default_factory=list)


def plan_export(
    store: "PackedStore",
    ledger: Ledger,
    journal: bytes,
    window: Window = (None, None),
    signer: "Signer | None" = None,
    bad: "frozenset[str]" = frozenset(),
    sessions: Sessions | None = None,
) -> Export | None:
    """Return the bundle of all events in *window* (since, until; UTC ms), or None if there is nothing to carry.

    *journal* is the journal's pseudonym, *bad* are paths of packed files that turned out to be damaged, *sessions* say
    whose events are carried (default: anybody's), and count the others.  The caller holds batch.lock.  Raises
    DamagedData (ledger), JournalIOError, OSError.
    """
    sessions = sessions or Sessions(None)
    problems: list[tuple[str, str]] = []
    known = {bytes.fromhex(segment): "acknowledged" for segment in ledger.acks()}
    payloads: list[bundle.Payload] = []
    rows: list[list[Row]] = []
    for inventory in store.inventories(problems):
        if inventory.path in bad:
            known.update(dict.fromkeys(_segments(inventory.sections), "damaged"))
            continue
        try:
            chosen = _choose(store, inventory, window, sessions)
        except DamagedData as error:
            problems.append((error.path, error.reason))
            known.update(dict.fromkeys(_segments(inventory.sections), "damaged"))
            continue
        taken = set(_segments(chosen[1])) if chosen else set()
        known.update({segment: "selection" for segment in _segments(inventory.sections) if segment not in taken})
        if chosen:
            payloads.append(chosen[0])
            rows.append(chosen[1])
    if not rows:
        return None
    entries = [
        (f"data/{payload.name}", payload.size, payload.sha256, inner)
        for payload, inner in zip(payloads, rows, strict=True)
    ]
    value = manifest.make_manifest({"journal": journal.hex()}, entries, window, store.rules, known)
    lines = manifest.canonical_lines(value)
    fingerprint = hashlib.sha256(manifest.join_lines(lines)).hexdigest()
    place = ledger.place(fingerprint)
    value |= place
    text = manifest.join_lines(lines | manifest.canonical_lines(place))
    name = bundle.bundle_name(str(value["journal"]), str(value["chain"]), value["bundle"])  # type: ignore[arg-type]
    newest = max((max(row["times"]) for inner in rows for row in inner if row["times"]), default=0)  # type: ignore[call-overload]
    newest = newest or max(int(row["created"]) // 1000 for inner in rows for row in inner)  # type: ignore[call-overload]
    tags = bundle.tag_files(name, text, payloads, newest, signer.sign(text) if signer else None)
    entry = {key: value[key] for key in ("bundle", "chain", "previous", "events")}
    entry |= {
        "fingerprint": fingerprint,
        "manifest_sha256": hashlib.sha256(text).hexdigest(),
        "segments": {row["segment"].hex(): row["runs"] for inner in rows for row in inner},  # type: ignore[attr-defined]
    }
    return Export(
        name=name,
        events=value["events"],  # type: ignore[arg-type]
        manifest=value,
        entry=entry,
        chunks=lambda: bundle.bundle_chunks(name, tags, payloads, newest),
        size_guess=sum(payload.frame_bytes for payload in payloads),
        problems=problems,
    )


def _segments(rows: list[Row]) -> list[bytes]:
    return [row["segment"] for row in rows]  # type: ignore[misc]


def _place(row: Row, window: Window) -> int:
    """Return 1 if all of a section lies in *window*, 0 if part of it may, -1 if nothing does."""
    since, until = window
    times: list[int] | None = row["times"]  # type: ignore[assignment]
    first, last = times or [int(row["created"]) // 1000] * 2  # type: ignore[call-overload]
    if (since is None or first >= since) and (until is None or last < until):
        return 1
    return -1 if (since is not None and last < since) or (until is not None and first >= until) else 0


def _choose(
    store: "PackedStore", inventory: "Inventory", window: Window, sessions: Sessions
) -> tuple[bundle.Payload, list[Row]] | None:
    """Return what of a packed file goes into the bundle, with its inventory rows; None if nothing does."""
    places = [_place(row, window) for row in inventory.sections]
    if all(place < 0 for place in places):
        return None
    is_whole = all(place > 0 for place in places) and inventory.checked == store.rules
    if is_whole and all(map(sessions.owns, inventory.sections)):
        name = inventory.path.rpartition("/")[2].removesuffix(".zst")
        frame = lambda: packed.read_frame(inventory)  # noqa: E731 - one expression, called when its turn comes
        payload = bundle.Payload(name, inventory.content_bytes, inventory.content_sha256, inventory.frame_bytes, frame)
        return payload, inventory.sections
    sections = []
    found = list(store.sections(inventory.path))
    if [section.segment for section in found] != _segments(inventory.sections):
        raise DamagedData(inventory.path, 0, "the inventory does not list what its sections are")
    for section, place in zip(found, places, strict=True):
        if place >= 0:
            checked = recheck_section(section, inventory.path).section
            cut = checked if place else _within(checked, window, inventory.path)
            ours = sessions.part_of(cut, inventory.path)
            if ours.header["events"] or (place and ours is cut):
                sections.append(ours)
    return _repacked(store, sections) if sections else None


def _within(section: Section, window: Window, name: str) -> Section:
    """Return the events of *section* in *window*; the others become a gap, reason "selection"."""
    since, until = window
    kept, left = [], []
    for seq, payload in split_records(section, name):
        at = payload.index(_TIMESTAMP) + len(_TIMESTAMP)
        time_ms = int.from_bytes(payload[at : at + 8], "big")
        if (since is None or time_ms >= since) and (until is None or time_ms < until):
            kept.append((seq, payload))
        else:
            left.append(seq)
    return with_events(section, kept, gaps_of(left, "selection"))


def _repacked(store: "PackedStore", sections: list[Section]) -> tuple[bundle.Payload, list[Row]]:
    data = store.encode(sections)
    size = int.from_bytes(data[4:8], "little")
    inventory: dict[str, dict[str, object]] = loads(data[8 : 8 + size])  # type: ignore[assignment]
    frame = data[8 + size :]
    header = sections[0].header
    name = packed.packed_name(header["created"], sections[0].segment).removesuffix(".zst")  # type: ignore[arg-type]
    content = inventory["content"]
    payload = bundle.Payload(name, content["bytes"], content["sha256"], len(frame), lambda: frame)  # type: ignore[arg-type]
    return payload, inventory["sections"]  # type: ignore[return-value]
