"""Import: the events of a verified bundle into a journal of their own, once, however often and in whatever order.

    INTO/<journal, 32 hex>/journal     the source's pseudonym, so that a relay exports under the same one
                           packed/     as in any journal; `carobatch export --dir` relays it, identities are kept
                           received/   the receipts of all bundles that were imported

First the whole bundle is verified, and nothing is written if anything but single events is wrong with it.  Then it is
read again, and every section whose SHA-256 is that of the verified manifest is taken: a segment that is not held is
added; one that is held must say the same of every event that both have.  Where it does not, neither version is
changed or taken for the other: that is an alarm, and the receipt names it.  A kill leaves some segments imported, which
the next run finds.  Memory: what packing one file takes (`store`), one section, and a line for each segment held.
"""

import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carobatch.archive import BagArchive
from carobatch.bag_folder import BagFolder
from carobatch.merge import day_and_consent, merge_small
from carobatch.receipt import difference, intersect, union, write_receipt
from carobatch.scrub import scrub
from carobatch.sections import runs_of, with_events
from carobatch.source import open_bundle
from carobatch.store import SECTIONS_MAX, PackedStore
from carobatch.sweep import sweep
from carobatch.verify import verify_bundle
from carojournal import locks
from carojournal.errors import DamagedData
from carojournal.identity import IDENTITY, line
from carojournal.packed import iter_content, split_records
from carojournal.root import make_folders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from carobatch.sshsig import Signer
    from carobatch.verify import Verdict
    from carojournal.packed import Section

__all__ = ["RECEIVED", "Imported", "import_bundle"]

RECEIVED = "received"
_ARCHIVE_CAP_BYTES = 1 << 62  # An archive is not a spool: nothing is evicted from it.
_KEPT_HEADER = ("created", "lane", "consent", "schema", "previous")
_SELECTION = "selection"
Runs = list[list[int]]


@dataclass(slots=True)
class Imported:
    """What became of a bundle.  `accepted` maps segment (hex) to runs; `new` events were not held before."""

    verdict: "Verdict"
    root: str = ""
    receipt: str = ""
    new: int = 0
    accepted: dict[str, Runs] = field(default_factory=dict)
    conflicts: list[dict[str, object]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)

    @property
    def events(self) -> int:
        """How many events of the bundle are held now."""
        return sum(last - first + 1 for runs in self.accepted.values() for first, last in runs)


def import_bundle(
    path: str,
    into: str,
    *,
    identity: str = "",
    allowed: dict[bytes, str] | None = None,
    signer: "Signer | None" = None,
) -> Imported:
    """Import the bundle at *path* below the directory *into*; options as of `verify.verify_bundle`.

    The result has no receipt if the bundle is not usable; its verdict says why.  Raises JournalBusy if somebody else
    imports the same journal, JournalIOError, OSError and what `source.open_bundle` raises.
    """
    verdict = verify_bundle(path, identity=identity, allowed=allowed)
    done = Imported(verdict)
    if verdict.errors or verdict.manifest is None:
        if not verdict.errors:
            verdict.errors.append("not a bundle of carojournal")
        return done
    done.root = os.path.join(into, str(verdict.manifest["journal"]))
    _make_root(done.root, str(verdict.manifest["journal"]))
    with locks.batch_lock(done.root):
        store = PackedStore(done.root, _ARCHIVE_CAP_BYTES)
        store.remove_temporaries()
        sweep(done.root)
        scrub(store, done.problems)  # What cannot be read would be taken for not held.
        intake = _Intake(store, done)
        with open_bundle(path, identity) as opened:
            if isinstance(opened, str):
                folder = BagFolder(opened)
                for name in folder.paths():
                    if name.startswith("data/"):
                        with folder.open(name) as file:
                            intake.take_file(name, folder.size(name), file.read)
            else:
                BagArchive(opened, path, intake.take_file)
        intake.flush()
        merge_small(store, done.problems)
        done.receipt = write_receipt(os.path.join(done.root, RECEIVED), _receipt(done), signer)
    return done


def _make_root(root: str, journal: str) -> None:
    make_folders(root)
    path = os.path.join(root, IDENTITY)
    if not os.path.exists(path):
        from carojournal.durable import write_file

        text = line("carojournal 1") + line(f"journal {journal}")
        write_file(path, text, overwrite=True)


def _receipt(done: Imported) -> dict[str, object]:
    manifest = done.verdict.manifest
    assert manifest is not None
    rejected = [
        {"segment": segment.hex(), "seq": seq, "event": event, "field": name, "reason": reason}
        for segment, seq, bad in done.verdict.refusals
        for event, name, reason in bad
    ]
    return {
        **{key: manifest[key] for key in ("journal", "chain", "bundle", "previous")},
        "manifest_sha256": done.verdict.manifest_sha256,
        "accepted": done.accepted,
        "rejected": rejected,
        "conflicts": done.conflicts,
        "events": done.events,
    }


class _Intake:
    """Sections on their way into the store."""

    def __init__(self, store: PackedStore, done: Imported) -> None:
        self._store = store
        self._done = done
        self._pending: list[Section] = []
        self._pending_bytes = 0
        assert done.verdict.manifest is not None
        files: list[dict[str, object]] = done.verdict.manifest["files"]  # type: ignore[assignment]
        self._expected: dict[str, str] = {row["segment"]: row["sha256"] for file in files for row in file["segments"]}  # type: ignore[attr-defined]
        self._refused: dict[bytes, set[int]] = {}
        for segment, seq, _ in done.verdict.refusals:
            self._refused.setdefault(segment, set()).add(seq)
        self._held = {
            row["segment"]: inventory.path
            for inventory in store.inventories(done.problems)
            for row in inventory.sections
        }

    def take_file(self, name: str, size: int, read: "Callable[[int], bytes]") -> None:
        """Take every section of a payload file."""
        for section in iter_content(read, size, name):
            if hashlib.sha256(section.encode()).hexdigest() != self._expected.get(section.segment.hex()):
                raise DamagedData(name, 0, "changed since it was verified")
            self._take(section)

    def _take(self, section: "Section") -> None:
        refused = self._refused.get(section.segment)
        if refused:
            from carobatch.sections import gaps_of

            kept = [(seq, raw) for seq, raw in split_records(section, "bundle") if seq not in refused]
            section = with_events(section, kept, gaps_of(sorted(refused), "refused"))
        path = self._held.get(section.segment)
        if path is not None:
            self._compare(section, path)
            return
        key = day_and_consent(section.header)
        if self._pending and (
            day_and_consent(self._pending[0].header) != key
            or self._pending_bytes + len(section.body) > self._store.content_bytes_max
            or len(self._pending) >= SECTIONS_MAX
        ):
            self.flush()
        self._pending.append(section)
        self._pending_bytes += len(section.body)

    def flush(self) -> None:
        """Write what is pending; only then does it count as accepted."""
        if not self._pending:
            return
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        path = self._store.write(pending, self._store.encode(pending), self._store.free_path(pending[0]))
        for section in pending:
            self._held[section.segment] = path
            runs: Runs = section.header["runs"]  # type: ignore[assignment]
            self._accept(section.segment, runs)
            self._done.new += int(section.header["events"])  # type: ignore[call-overload]

    def _accept(self, segment: bytes, runs: Runs) -> None:
        name = segment.hex()
        self._done.accepted[name] = union(self._done.accepted.get(name, []), runs)

    def _compare(self, section: "Section", path: str) -> None:
        """Take what a segment that is held already adds to it, and raise the alarm where it contradicts."""
        held = next((old for old in self._store.sections(path) if old.segment == section.segment), None)
        if held is None:
            raise DamagedData(path, 0, "the inventory lists a segment that the content does not hold")
        if held.encode() == section.encode():
            self._accept(section.segment, section.header["runs"])  # type: ignore[arg-type]
            return
        events = dict(split_records(held, path))
        incoming = dict(split_records(section, "bundle"))
        is_same = all(held.header[key] == section.header[key] for key in _KEPT_HEADER)
        wrong = {seq for seq, raw in incoming.items() if not is_same or events.get(seq, raw) != raw}
        self._done.conflicts += [{"segment": section.segment.hex(), "seq": seq} for seq in sorted(wrong)]
        fresh = {seq: raw for seq, raw in incoming.items() if seq not in events and seq not in wrong}
        merged = _with_gaps_of(with_events(held, sorted({**events, **fresh}.items()), []), section)
        if is_same and (fresh or merged.header["gaps"] != held.header["gaps"]):
            self._store.replace_section(path, merged)
            self._done.new += len(fresh)
        self._accept(section.segment, runs_of(sorted(set(incoming) - wrong)))


def _with_gaps_of(held: "Section", other: "Section") -> "Section":
    """Return *held* with only those gaps that its events leave open.

    What was not selected when it came, *other*, of the same segment, may tell of now: that it is gone, and why.
    """
    from carojournal.packed import Section

    runs: Runs = held.header["runs"]  # type: ignore[assignment]
    known: list[dict[str, Any]] = held.header["gaps"]  # type: ignore[assignment]
    theirs: list[dict[str, Any]] = other.header["gaps"]  # type: ignore[assignment]
    told = [gap for gap in theirs if gap["reason"] != _SELECTION]
    chosen, gone = _spans(gap for gap in known if gap["reason"] == _SELECTION), _spans(told)
    rows = [(gap, difference(_spans([gap]), gone if gap["reason"] == _SELECTION else [])) for gap in known]
    rows += [(gap, intersect(_spans([gap]), chosen)) for gap in told]
    gaps = [
        {**gap, "first_seq": first, "last_seq": last} for gap, spans in rows for first, last in difference(spans, runs)
    ]
    return Section({**held.header, "gaps": sorted(gaps, key=lambda gap: gap["first_seq"])}, held.body)


def _spans(gaps: "Iterable[dict[str, Any]]") -> Runs:
    return [[gap["first_seq"], gap["last_seq"]] for gap in gaps]
