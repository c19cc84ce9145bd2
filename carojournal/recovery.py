"""Verify a journal: read every byte that is kept, say what is damaged, and find what is missing without a reason.

Nothing is repaired and nothing is written.  Three kinds of findings, because they mean different things:

    torn     the unfinished append of a process or machine that died: expected, nothing acknowledged is lost
    damage   bytes that do not verify
    gaps     records that must have existed and are gone: a hole in a segment's sequence numbers, a segment that is
             shorter than its successor says, or one that nobody has and that another names as its predecessor, or the
             lock file of a lane that rests as its last.  Such a segment is accounted for if it is still here, if a
             loss record names it, if a receipt lists it, or if the journal was cleared since the lane began.

One segment is in memory at a time.
"""

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carojournal import segments as listing
from carojournal import spool, verify_files, verify_segment
from carojournal.errors import JournalIOError
from carojournal.held import is_packed
from carojournal.reader import JournalReader
from carojournal.segment_file import CLOSED_NAME, PACKED_NAME, Damage, SegmentInfo, describe_file, read_file
from carojournal.verify_files import cleared_ms, explained_segments
from carojournal.verify_segment import Gap, Verified, verify_packed

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "CLEAN",
    "DAMAGED",
    "GAPS",
    "GAP_REASONS",
    "REASONS",
    "TORN",
    "Report",
    "explained_segments",
    "verify",
    "verify_paths",
]

CLEAN, TORN, DAMAGED, GAPS = 0, 1, 2, 3  # Exit codes of `carojournal verify`.

_LOOKS = 4
_HEAD_BYTES = 16  # Enough to know a packed file by.
REASONS = listing.REASONS | verify_segment.REASONS | verify_files.REASONS
GAP_REASONS = {
    "sequence": "sequence numbers are missing inside the segment",
    "shorter": "the segment ends before the place where its successor says it ended",
    "previous": "the segment that this one follows is gone, and no loss record, receipt or clearing accounts for it",
    "lane": "the segment that the lane had last is gone, and no loss record, receipt or clearing accounts for it",
}


@dataclass(slots=True)
class Report:
    """What `verify` found; counts of files, records, events and bytes that were read, and the findings."""

    root: str
    files: int = 0
    records: int = 0
    events: int = 0
    bytes: int = 0
    torn: list[Damage] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 clean, 1 only torn tails, 2 damage (whatever else there is), 3 unexplained gaps without damage."""
        if self.damage:
            return DAMAGED
        return GAPS if self.gaps else TORN if self.torn else CLEAN

    def merge(self, other: "Report") -> None:
        """Add what *other* found."""
        self.files += other.files
        self.records += other.records
        self.events += other.events
        self.bytes += other.bytes
        self.sort_in([*other.torn, *other.damage])
        self.gaps += other.gaps

    def keep(self, other: "Report") -> None:
        """Keep only what *other* has found as well, wherever the file lies by now."""
        for ours, theirs in ((self.torn, other.torn), (self.damage, other.damage)):
            known = {(one.offset, one.size, one.reason) for one in theirs}
            ours[:] = [one for one in ours if (one.offset, one.size, one.reason) in known]
        gaps = {(gap.segment, gap.first_seq, gap.reason) for gap in other.gaps}
        self.gaps = [gap for gap in self.gaps if (gap.segment, gap.first_seq, gap.reason) in gaps]

    def sort_in(self, findings: "Iterable[Damage]") -> None:
        """Add findings, each to its kind, once."""
        for finding in findings:
            kind = self.torn if finding.torn else self.damage
            if finding not in kind:
                kind.append(finding)


def verify(root: str) -> Report:
    """Check the journal at *root* as a whole.  A missing or empty one is clean.  Raises JournalIOError.

    What a journal that is being written to seems to have wrong is looked at again: segments are closed and evicted
    between one look and the next, and what is really wrong stays so.
    """
    before, report = _state(root), _verify_once(root)
    for _ in range(_LOOKS - 1):
        now = _state(root)
        if report.exit_code == CLEAN or now == before:
            break
        before, again = now, _verify_once(root)
        again.keep(report)
        report = again
    return report


def _state(root: str) -> list[tuple[str, str, int]]:
    try:
        return sorted(spool.usage(root))
    except OSError:
        return []


def _verify_once(root: str) -> Report:
    report = Report(root)
    reader = JournalReader(root)
    known: dict[bytes, Verified] = {}
    heads: dict[bytes, SegmentInfo] = {}
    packed: list[str] = []
    groups = reader.groups()
    for group in groups:
        for info in group:
            heads.setdefault(info.segment, info)
            if info.state == "packed":
                if info.path not in packed:
                    packed.append(info.path)
                continue
            try:
                done = verify_segment.verify_segment(reader, info)
            except OSError:
                report.sort_in([Damage(info.path, 0, info.size, "unreadable")])
                continue
            if done is not None:
                report.files += 1
                _add(report, known, info.segment, done)
    for path in packed:
        _verify_packed(report, known, path)
    report.sort_in(reader.damage)
    opened = {group[0].lane: group[0] for group in groups if group[0].state == "open"}
    report.sort_in(verify_files.verify_files(root, {lane: info for lane, info in opened.items() if lane is not None}))
    _check_chains(report, reader, known, heads)
    _check_resting(report, reader, heads)
    return report


def _add(report: Report, known: dict[bytes, Verified], segment: bytes, done: Verified) -> None:
    report.sort_in(done.damage)
    report.gaps += done.gaps
    before = known.get(segment)
    if before is None:
        report.bytes += done.size
    # A segment that lies in two places counts once, with what the better copy holds.
    report.records += max(0, done.records - (before.records if before else 0))
    report.events += max(0, done.events - (before.events if before else 0))
    if before is None or before.last_seq < done.last_seq:
        known[segment] = done


def _verify_packed(report: Report, known: dict[bytes, Verified], path: str) -> None:
    report.files += 1
    try:
        for segment, done in verify_packed(path):
            if segment:
                _add(report, known, segment, done)
            else:
                report.sort_in(done.damage)
    except FileNotFoundError:
        return
    except OSError:
        report.sort_in([Damage(path, 0, 0, "unreadable")])


def _check_chains(
    report: Report, reader: JournalReader, known: dict[bytes, Verified], heads: dict[bytes, SegmentInfo]
) -> None:
    """Follow every segment's word on its predecessor."""
    explained = explained_segments(reader.root)
    lost = {loss["segment"] for loss in reader.losses()}
    cleared = cleared_ms(reader.root)
    damaged = {finding.path for finding in report.damage}
    for info in heads.values():
        if info.previous is None:
            continue
        segment, last_seq, size = info.previous
        before = known.get(segment)
        if before is not None:
            path = heads.get(segment, info).path
            misses_end = last_seq is not None and before.last_seq < last_seq and path not in damaged and not before.told
            if misses_end or (size is not None and before.size < size):
                first = before.last_seq + 1
                last = last_seq if last_seq is not None and last_seq >= first else None
                report.gaps.append(Gap(path, before.size, segment, first, last, "shorter"))
        elif segment in heads or segment in explained or segment in lost or _began_cleared(info, heads, cleared):
            continue
        elif not _stands(segment, report.damage):
            report.gaps.append(Gap(info.path, 0, segment, None, last_seq, "previous"))


def _stands(segment: bytes, damage: "Iterable[Damage]") -> bool:
    """Tell whether a file under the name of *segment* is there that cannot be read, also one of another version."""
    return any(segment.hex() in finding.path for finding in damage)


def _check_resting(report: Report, reader: JournalReader, heads: dict[bytes, SegmentInfo]) -> None:
    """Ask where the last segment is of every lane that has none."""
    for path, segment, created_us in verify_files.resting_lanes(reader.root):
        if segment in heads or any(at >= created_us // 1000 for at in cleared_ms(reader.root)):
            continue
        now = JournalReader(reader.root)  # It may have been closed, packed, delivered or evicted since it was listed.
        here = any(info.segment == segment for group in now.groups() for info in group)
        if not here and not _stands(segment, now.damage):
            accounted = explained_segments(reader.root).union(loss["segment"] for loss in now.losses())
            if segment not in accounted:
                report.gaps.append(Gap(path, 0, segment, None, None, "lane"))


def _began_cleared(info: SegmentInfo, heads: dict[bytes, SegmentInfo], cleared: list[int]) -> bool:
    """Tell whether what came before *info* may have been cleared.

    Either nothing of its lane is left since a clearing, or it is itself what a clearing that was killed has left.
    """
    if cleared and info.created_us // 1000 <= cleared[-1]:
        return True
    before = [
        other.created_us for other in heads.values() if other.lane == info.lane and other.created_us < info.created_us
    ]
    since_ms = max(before, default=0) // 1000
    return any(since_ms <= at <= info.created_us // 1000 for at in cleared)


def verify_paths(paths: "Iterable[str]") -> Report:
    """Check segment and packed files by themselves, or whole journals where a path is a directory.

    Of a file alone it cannot be said whether others are missing.  Raises JournalIOError.
    """
    report = Report("")
    for path in paths:
        if os.path.isdir(path):
            report.merge(verify(path))
            continue
        try:
            report.merge(_verify_file(os.path.abspath(path)))
        except OSError as error:
            raise JournalIOError("open", path, error.errno, error.strerror or "") from error
    return report


def _verify_file(path: str) -> Report:
    report = Report(path)
    if is_packed(read_file(path, _HEAD_BYTES)) or PACKED_NAME.search(path):
        _verify_packed(report, {}, path)
        return report
    folder, base = os.path.split(path)
    name, lock = CLOSED_NAME.match(base), f"{path.removesuffix('.seg')}.lock"
    reader = JournalReader(os.path.dirname(folder))
    if name is None and os.path.exists(lock):
        what = describe_file(path, "open", named=listing.lock_names(lock))
    else:
        what = describe_file(path, "closed", named=(bytes.fromhex(name[2]), int(name[1])) if name else None)
    report.files = 1
    if isinstance(what, Damage):
        report.sort_in([what])
    elif what is not None:
        done = verify_segment.verify_segment(reader, what)
        if done is not None:
            _add(report, {}, what.segment, done)
        report.sort_in(reader.damage)
    return report
