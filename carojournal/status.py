"""What `carojournal status` tells, as a value: mode and why, what is kept, refused, dropped and lost.

Counts come from the index where there is one; segments without a row are read.  Under mode `off` nothing is written, so
no index is made; what an earlier choice left behind is still the user's and is counted all the same.  Without a journal
nothing but the configuration is looked at.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carojournal import drops, policy, spool
from carojournal.errors import UnsafeRoot
from carojournal.events import LEVELS
from carojournal.own_events import ALL_EVENTS
from carojournal.place import has_journal
from carojournal.root import check_root

if TYPE_CHECKING:
    from carojournal.index_queries import Totals
    from carojournal.reader import JournalReader, SegmentInfo
    from carojournal.settings import Settings

__all__ = ["Batches", "Kept", "Status", "gather", "losses_by_reason"]


@dataclass(slots=True)
class Kept:
    """What the journal holds.  Times are UTC milliseconds, None without events.

    `sent` events have left already, None if that cannot be told; `sendable` ones have not, and were recorded under the
    yes that holds now, which was given at `consent_ms` (0: none holds): an upload takes no other.  `segments` maps
    open, closed and packed to how many there are.
    """

    counts: dict[str, int]
    others: int = 0
    consent_ms: int = 0
    oldest_ms: int | None = None
    newest_ms: int | None = None
    sendable: int = 0
    sent: int | None = 0
    segments: dict[str, int] = field(default_factory=dict)
    damaged_bytes: int = 0
    damaged_places: int = 0
    torn_bytes: int = 0

    @property
    def events(self) -> int:
        """How many events there are."""
        return sum(self.counts.values()) + self.others

    @property
    def pending(self) -> int | None:
        """How many of them have not left, None if that cannot be told."""
        return None if self.sent is None else max(0, self.events - self.sent)

    def may_send(self, info: "SegmentInfo") -> bool:
        """Tell whether the events of this segment were recorded under the yes that holds now."""
        return self.consent_ms != 0 and info.consent_ms == self.consent_ms


@dataclass(slots=True)
class Batches:
    """What carobatch left: batches under way, receipts, when a batch was last confirmed (UTC ms), deletion requests.

    `receipts` counts bundles and what importers confirmed, too; `last_ms` is that of uploads alone.  `by_hand`: one of
    the receivers has no call to delete, or is not configured any more, so somebody must do it there and the user
    confirm it.
    """

    in_flight: int = 0
    receipts: int = 0
    last_ms: int | None = None
    deletion_requests: int = 0
    by_hand: bool = False


@dataclass(slots=True)
class Status:
    """Everything that `carojournal status` shows.  `kept` is None where there is no journal.

    `refusals` are (event, field, reason, count), `losses` maps a reason to (segments, events, bytes), `consent` is None
    without an answer, else (answer, whether it was given to the current text, UTC ms).  `notes` say what in
    the configuration has no effect, a mistyped key above all, and why hosts refuse the directory.
    `quarantine` is (files, bytes) of what could not be packed or was refused by a receiver.
    """

    root: str
    mode: str
    source: str
    level: str
    channel: str
    cap_bytes: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    consent: tuple[str, bool, int] | None
    used_bytes: int = 0
    kept: Kept | None = None
    drops: dict[str, int] = field(default_factory=dict)
    refusals: list[tuple[str, str, str, int]] = field(default_factory=list)
    losses: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    counters_damaged_bytes: int = 0
    batches: Batches = field(default_factory=Batches)
    quarantine: tuple[int, int] = (0, 0)


def gather(root: str, environ: Mapping[str, str], *, channel: str | None = None, admin: str | None = None) -> Status:
    """Return the status of the journal at *root*.

    Raises UnsafeRoot or JournalUnavailable if something else is there, JournalIOError, OSError if a folder cannot be
    read.

    *channel* is the host's release channel (default: the program's own), *admin* the administrator's file.
    """
    from carojournal import config

    found = policy.resolve(root, channel=channel or config.CHANNEL, environ=environ, admin=admin)
    settings = config.load_for(environ, admin)
    consent = settings.consent
    status = Status(
        root=root,
        mode=found.mode,
        source=found.source,
        level=LEVELS[found.level],
        channel=found.channel,
        cap_bytes=found.cap_bytes,
        problems=found.problems,
        notes=settings.notes,
        consent=(consent.answer, consent.current, consent.at_ms) if consent else None,
    )
    if found.mode != "off":
        _add_doubt(status)
    if has_journal(root):
        _add_identity(status)
        _add_counters(status)
        _add_batches(status, settings)
        consent_ms = found.consent_ms if found.mode == "on" else 0
        status.kept, status.losses = _kept(root, consent_ms, may_write=found.mode != "off")
        # Last, so that an index that was made just now is counted.
        used = spool.usage(root)
        status.used_bytes = sum(size for _, _, size in used)
        sizes = [size for folder, _, size in used if folder == "quarantine"]
        status.quarantine = (len(sizes), sum(sizes))
    return status


def _add_doubt(status: Status) -> None:
    """Note what makes hosts refuse the directory: whoever only reads it goes on."""
    try:
        check_root(status.root)
    except UnsafeRoot as error:
        place = "the directory" if error.path == status.root else error.path
        status.notes += (f"{place} {error.reason}: no event is kept",)
    except OSError:
        return  # Nothing is there, or `has_journal` says what is wrong with it.


def _add_identity(status: Status) -> None:
    from carojournal import deletion

    try:
        identity = deletion.read_identity(status.root)
    except OSError:
        return  # `verify` says what is wrong with it.
    if identity is not None and identity.half_cleared:
        status.problems += (deletion.HALF_CLEARED,)


def _add_counters(status: Status) -> None:
    counts, status.counters_damaged_bytes = drops.read_counts(status.root)
    for key, count in sorted(counts.items()):
        words = key.split(" ")
        if not count:
            continue
        if words[0] == "drop" and len(words) == 2:
            status.drops[words[1]] = count
        elif words[0] == "refuse" and len(words) == 4:
            status.refusals.append((words[1], words[2], words[3], count))


def _add_batches(status: Status, settings: "Settings") -> None:
    from carojournal import deletion
    from carojournal.receivers import configured

    batches = status.batches
    batches.in_flight = len(_files(status.root, "outbox"))
    receipts = _files(status.root, "receipts")
    batches.receipts = len(receipts)
    batches.last_ms = max((at_ms for name, at_ms in receipts.items() if deletion.is_upload(name)), default=None)
    waiting, here = deletion.pending(status.root), configured(settings)
    batches.deletion_requests = len(waiting)
    batches.by_hand = not all(deletion.is_deliverable(one, here) for one in waiting)


def _files(root: str, folder: str) -> dict[str, int]:
    """Return name -> modification time (UTC ms) of the files in a folder, which need not exist."""
    try:
        with os.scandir(os.path.join(root, folder)) as entries:
            return {
                entry.name: entry.stat(follow_symlinks=False).st_mtime_ns // 1_000_000
                for entry in entries
                if entry.is_file(follow_symlinks=False) and not entry.name.endswith(".tmp")
            }
    except OSError:
        return {}


def _kept(root: str, consent_ms: int, *, may_write: bool) -> tuple[Kept, dict[str, tuple[int, int, int]]]:
    from carojournal.reader import JournalReader

    reader = JournalReader(root)
    infos = reader.segments()
    kept = Kept(dict.fromkeys(ALL_EVENTS, 0), consent_ms=consent_ms)
    for info in infos:
        kept.segments[info.state] = kept.segments.get(info.state, 0) + 1
    rest: Iterable[SegmentInfo] = infos
    totals = _indexed(root, infos) if may_write and infos else None
    if totals is not None:
        kept.counts, kept.others = totals.counts, totals.others
        kept.sendable = totals.by_consent.get(consent_ms, 0) if consent_ms else 0
        kept.oldest_ms, kept.newest_ms = totals.oldest_ms, totals.newest_ms
        rest = totals.rest
    _count(reader, rest, kept)
    _leave_out_sent(reader, infos, kept)
    losses = losses_by_reason(reader)
    for found in reader.damage:
        if found.torn:
            kept.torn_bytes += found.size
        else:
            kept.damaged_bytes += found.size
            kept.damaged_places += 1
    return kept, losses


def _indexed(root: str, infos: "list[SegmentInfo]") -> "Totals | None":
    from carojournal.index import open_index

    index = open_index(root, infos)
    return None if index is None else index.totals()


def _count(reader: "JournalReader", infos: "Iterable[SegmentInfo]", kept: Kept) -> None:
    """Add the events of *infos*, which are read."""
    from carojournal.index_build import event_facts
    from carojournal.packed_streams import PackedStreams

    names = list(ALL_EVENTS)
    streams = PackedStreams()
    for info in infos:
        for record in reader.of_segment(info, streams):
            facts = event_facts(record.payload)
            if facts is None:
                if b"frecord" not in record.payload:
                    reader.report_payload(record)
                continue
            number, time_ms, _, _ = facts
            if number < len(names):
                kept.counts[names[number]] += 1
            else:
                kept.others += 1
            kept.sendable += kept.may_send(info)
            kept.oldest_ms = time_ms if kept.oldest_ms is None else min(kept.oldest_ms, time_ms)
            kept.newest_ms = time_ms if kept.newest_ms is None else max(kept.newest_ms, time_ms)


def _leave_out_sent(reader: "JournalReader", infos: "list[SegmentInfo]", kept: Kept) -> None:
    if not os.path.lexists(os.path.join(reader.root, "receipts")):
        return  # Nothing was ever sent, which is nearly everybody.
    from carojournal.arrived import sent_events
    from carojournal.errors import JournalIOError

    try:
        counts = sent_events(reader, infos)
    except JournalIOError:
        kept.sent = None
        return
    kept.sent = sum(counts.values())
    kept.sendable -= sum(counts.get(info.segment, 0) for info in infos if kept.may_send(info))
    kept.sendable = max(0, kept.sendable)  # A host may have made room between one look and the other.


def losses_by_reason(reader: "JournalReader") -> dict[str, tuple[int, int, int]]:
    """Return (segments, events, bytes) lost by reason.

    That is what loss records say, with the sums that evicted segments had carried, and single events that packed files
    name as gone: 0 segments.
    """
    from carojournal.packed_header import lost_rows

    rows: list[dict[str, object]] = []
    groups = reader.groups()
    for loss in reader.losses(groups):
        carried = loss.get("carried")
        rows += [{**loss, "segments": 1}, *(carried if isinstance(carried, list) else ())]
    for info, *_ in groups:
        if info.state == "packed":
            rows += lost_rows(info.row.get("gaps", []))  # type: ignore[arg-type]
    sums: dict[str, tuple[int, int, int]] = {}
    for row in rows:
        numbers = [row.get(name) for name in ("segments", "events", "bytes")]
        segments, events, size = (number if type(number) is int else 0 for number in numbers)
        reason = str(row.get("reason"))
        before = sums.get(reason, (0, 0, 0))
        sums[reason] = (before[0] + segments, before[1] + events, before[2] + size)
    return sums
