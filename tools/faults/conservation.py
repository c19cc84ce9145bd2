"""Does a journal add up?  The one check that every fault harness makes, by identity and not by number alone.

    acknowledged = present + outcomes (delivered, confirmed, cleared ...) + losses

An identity is (segment uuid, seq).  Sets of them are `Ranges`: segment -> ascending runs [first, last], so that fifty
million acknowledgements fit into memory.  What a harness knows (acknowledged events and what became of them elsewhere)
is held against what the journal says of itself: events that can be read, loss records that count, gaps that packed
files name.  A loss that its segment carried on keeps only sums, so those are compared as numbers, from both sides:

    gone without another outcome <= losses + gaps <= gone + what was written without being acknowledged
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from carojournal.reader import JournalReader
from carojournal.record import Record

__all__ = ["Balance", "Ranges", "Survey", "check", "count", "joined", "ranges", "survey", "without"]

Runs = list[list[int]]
Ranges = dict[bytes, Runs]
_GAPS = ("damaged", "refused")  # "torn" was never acknowledged; a "selection" is a matter of bundles.


def ranges(identities: Iterable[tuple[bytes, int]]) -> Ranges:
    """Return a set of identities as ranges."""
    seqs: dict[bytes, set[int]] = {}
    for segment, seq in identities:
        seqs.setdefault(segment, set()).add(seq)
    return {segment: _union([[seq, seq] for seq in found]) for segment, found in seqs.items()}


def count(found: Mapping[bytes, Runs]) -> int:
    """Return how many identities ranges hold."""
    return sum(last - first + 1 for runs in found.values() for first, last in runs)


def joined(*parts: Mapping[bytes, Runs]) -> Ranges:
    """Return the union of ranges."""
    segments = {segment for part in parts for segment in part}
    return {segment: _union([run for part in parts for run in part.get(segment, [])]) for segment in segments}


def without(whole: Mapping[bytes, Runs], part: Mapping[bytes, Runs]) -> Ranges:
    """Return what is in *whole* and not in *part*; both are as `joined` leaves them."""
    found = {segment: _difference(runs, part.get(segment, [])) for segment, runs in whole.items()}
    return {segment: runs for segment, runs in found.items() if runs}


def _union(runs: Runs) -> Runs:
    found: Runs = []
    for first, last in sorted(runs):
        if found and first <= found[-1][1] + 1:
            found[-1][1] = max(found[-1][1], last)
        else:
            found.append([first, last])
    return found


def _difference(runs: Runs, taken: Runs) -> Runs:
    found: Runs = []
    for first, last in runs:
        at = first
        for begin, end in taken:
            if end < at or begin > last:
                continue
            if begin > at:
                found.append([at, begin - 1])
            at = end + 1
        if at <= last:
            found.append([at, last])
    return found


@dataclass(slots=True)
class Survey:
    """What a journal says of itself: events present, gaps that packed files name, losses that name their segment.

    `lost` and `carried` map a reason to a number of events; `repeated` are identities that were read twice, `wrong`
    those whose value is not what it should be.
    """

    present: Ranges = field(default_factory=dict)
    gaps: Ranges = field(default_factory=dict)
    named: Ranges = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    carried: dict[str, int] = field(default_factory=dict)
    claimed: dict[bytes, int] = field(default_factory=dict)
    repeated: list[tuple[bytes, int]] = field(default_factory=list)
    wrong: list[tuple[bytes, int]] = field(default_factory=list)


@dataclass(slots=True)
class Balance:
    """The sums, and in `problems` what does not add up (empty: everything does)."""

    acknowledged: int
    present: int
    outcomes: dict[str, int]
    lost: dict[str, int]
    problems: list[str]

    def __str__(self) -> str:
        parts = [f"{self.present:,} present"]
        parts += [f"{number:,} {name}" for name, number in sorted(self.outcomes.items()) if number]
        parts += [f"{number:,} lost ({reason})" for reason, number in sorted(self.lost.items()) if number]
        return f"{self.acknowledged:,} acknowledged = {' + '.join(parts)}"


def survey(root: str, judge: Callable[[Record], bool] | None = None) -> Survey:
    """Read the journal at *root*; *judge* tells of an event whether its value is right.  Raises JournalIOError."""
    found = Survey()
    reader = JournalReader(root)
    seqs: dict[bytes, list[int]] = {}
    for record in reader.records(events_only=True):
        seqs.setdefault(record.segment, []).append(record.seq)
        if judge is not None and not judge(record):
            found.wrong.append((record.segment, record.seq))
    for segment, listed in seqs.items():
        listed.sort()
        found.repeated += [(segment, seq) for seq, following in pairwise(listed) if seq == following]
        found.present[segment] = _union([[seq, seq] for seq in listed])
    for group in reader.groups():
        for info in group:
            if info.state == "packed":
                _take_gaps(found, info.segment, info.row["gaps"])
    for loss in reader.losses():
        _take_loss(found, loss)
    return found


def _take_gaps(found: Survey, segment: bytes, gaps: object) -> None:
    runs = [[gap["first_seq"], gap["last_seq"]] for gap in gaps if gap["reason"] in _GAPS]  # type: ignore[attr-defined]
    if runs:
        found.gaps[segment] = _union([*found.gaps.get(segment, []), *runs])


def _take_loss(found: Survey, loss: dict[str, object]) -> None:
    segment, reason, events = bytes(loss["segment"]), str(loss["reason"]), int(loss["events"])  # type: ignore[call-overload]
    if events:
        found.named[segment] = [[int(loss["first_seq"]), int(loss["last_seq"])]]  # type: ignore[call-overload]
    found.claimed[segment] = events
    found.lost[reason] = found.lost.get(reason, 0) + events
    for row in loss["carried"]:  # type: ignore[attr-defined]
        found.carried[row["reason"]] = found.carried.get(row["reason"], 0) + int(row["events"])


def _take_archives(found: Survey, root: str, archives: Iterable[str]) -> None:
    """Count the losses that the journal or an archive records of segments that neither of them has."""
    readers = [JournalReader(path) for path in (root, *archives)]
    held = {info.segment for reader in readers for group in reader.groups() for info in group}
    found.named, found.lost, found.carried, found.claimed = {}, {}, {}, {}
    for loss in (loss for reader in readers for loss in reader.losses()):
        segment = bytes(loss["segment"])  # type: ignore[call-overload]
        if segment not in held and segment not in found.claimed:
            _take_loss(found, loss)


def check(
    root: str,
    acknowledged: Mapping[bytes, Runs],
    *,
    outcomes: Mapping[str, Mapping[bytes, Runs]] | None = None,
    extra: int = 0,
    judge: Callable[[Record], bool] | None = None,
    archives: Iterable[str] = (),
) -> Balance:
    """Return the balance of the journal at *root*.

    *acknowledged* are the events that were acknowledged to a writer; *outcomes* maps a word (delivered, confirmed,
    cleared, damaged ...) to those that need not be in the journal because of it.  *extra* bounds how many records may
    be there, or be lost, that nobody was told of: what a kill between write and acknowledgement leaves.  *archives* are
    importers' journals: a file that `ack` has reclaimed has left its loss records there.  With them the sums are no
    upper bound: a file that was exported may have been evicted all the same, and what it recorded is then told twice.
    """
    outcomes = {} if outcomes is None else outcomes
    seen = survey(root, judge)
    if archives:
        _take_archives(seen, root, archives)
    known = joined(acknowledged)
    problems = [f"read twice: {segment.hex()} {seq}" for segment, seq in seen.repeated]
    problems += [f"wrong value: {segment.hex()} {seq}" for segment, seq in seen.wrong]
    gone = without(known, seen.present)
    needy = without(gone, joined(*outcomes.values()))
    unnamed = without(without(needy, seen.gaps), seen.named)
    carried = sum(seen.carried.values())
    told = sum(seen.claimed.values()) + carried + count(without(seen.gaps, seen.present))
    unknown = count(without(seen.present, known))
    if count(unnamed) > carried:
        problems.append(f"{count(unnamed):,} events are gone; losses of {carried:,} are carried: {_some(unnamed)}")
    if count(needy) > told:
        problems.append(f"{count(needy):,} events are gone and only {told:,} are accounted for: {_some(needy)}")
    if not archives and told > count(gone) + max(0, extra - unknown):
        problems.append(f"{told:,} events are said to be lost and only {count(gone):,} are gone")
    if unknown > extra:
        problems.append(f"{unknown:,} events that nobody recorded: {_some(without(seen.present, known))}")
    lost = {reason: seen.lost.get(reason, 0) + seen.carried.get(reason, 0) for reason in {*seen.lost, *seen.carried}}
    return Balance(
        acknowledged=count(known),
        present=count(seen.present),
        outcomes={name: count(without(part, without(part, gone))) for name, part in outcomes.items()},
        lost=lost,
        problems=problems,
    )


def _some(found: Ranges) -> str:
    parts = [f"{segment.hex()} {first}-{last}" for segment, runs in found.items() for first, last in runs]
    return ", ".join(parts[:3]) + (" ..." if len(parts) > 3 else "")
