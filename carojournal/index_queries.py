"""What the index answers, from its rows in memory: no sqlite, no files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from carojournal.index_rows import Block, Unit
from carojournal.own_events import ALL_EVENTS
from carojournal.query import Query
from carojournal.segment_file import SegmentInfo

__all__ = ["Candidate", "Entry", "Index", "Totals"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one file; `blocks` are in the order of the file."""

    unit: Unit
    sessions: bytes | None
    blocks: list[Block]

    @property
    def is_whole(self) -> bool:
        """Whether the blocks count the unit's events and no others.

        Of a segment that lies elsewhere, too, as a `compact` that was killed leaves it, the other copy may count.
        """
        said = [info.row.get("events") for info in self.unit.infos]
        events = sum(count for count in said if type(count) is int)
        return not self.unit.packed or sum(sum(block.counts) for block in self.blocks) == events


@dataclass(frozen=True, slots=True)
class Candidate:
    """Bytes that may hold matching events.  `size` None: everything in *infos*, a small segment or a packed file.

    A block has the sequence numbers from `first_seq` to below `end_seq`, and nothing newer than `last_ms`.
    """

    infos: tuple[SegmentInfo, ...]
    offset: int = 0
    size: int | None = None
    first_seq: int = 0
    end_seq: int = 1 << 64
    last_ms: int = 1 << 63


@dataclass(slots=True)
class Totals:
    """What the index knows of everything it covers; `rest` are the segments that have to be read.

    `by_consent` counts events by the time of the yes that they were recorded under (UTC ms, 0: none).
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ALL_EVENTS, 0))
    others: int = 0
    by_consent: dict[int, int] = field(default_factory=dict)
    oldest_ms: int | None = None
    newest_ms: int | None = None
    rest: list[SegmentInfo] = field(default_factory=list)


class Index:
    """An index that agreed with the files when it was read.

    `bytes_read` counts what bringing it up to date took, in bytes.
    """

    def __init__(self, entries: Sequence[Entry], rest: Sequence[SegmentInfo], bytes_read: int) -> None:
        self._entries = entries
        self._rest = rest
        self.bytes_read = bytes_read

    @property
    def rows(self) -> tuple[int, int]:
        """The number of rows (files, blocks)."""
        return len(self._entries), sum(len(entry.blocks) for entry in self._entries)

    def candidates(self, query: Query) -> list[Candidate]:
        """Return what may hold events that *query* asks for, in no particular order."""
        found = [Candidate((info,)) for info in self._rest]
        wanted = query.possible_events
        for entry in self._entries:
            if not _may_hold(entry.sessions, 16, query.ids.get("session_id")):
                continue
            unit = entry.unit
            ends = [block.first_seq for block in entry.blocks[1:]] + [1 << 64]
            for block, end_seq in zip(entry.blocks, ends, strict=bool(entry.blocks)):
                if not query.covers(block.first_ms, block.last_ms) or not block.has_any(wanted):
                    continue
                if not _may_hold(block.runs, 2, query.ids.get("run_id")):
                    continue
                size = None if unit.packed else block.size
                found.append(Candidate(unit.infos, block.offset, size, block.first_seq, end_seq, block.last_ms))
        return found

    def totals(self) -> Totals:
        """Return counts and times of all that has rows."""
        totals = Totals(rest=list(self._rest))
        names = list(ALL_EVENTS)
        blocks = [(entry.unit, block) for entry in self._entries for block in entry.blocks]
        for unit, block in blocks:
            for name, count in zip(names, block.counts, strict=False):
                totals.counts[name] += count
            totals.others += block.counts[-1]
            # A packed file holds events of one state of consent only.
            consent_ms = unit.infos[0].consent_ms
            totals.by_consent[consent_ms] = totals.by_consent.get(consent_ms, 0) + sum(block.counts)
        totals.oldest_ms = min((block.first_ms for _, block in blocks), default=None)
        totals.newest_ms = max((block.last_ms for _, block in blocks), default=None)
        return totals


def _may_hold(known: bytes | None, size: int, prefixes: Iterable[str] | None) -> bool:
    """Tell whether *known*, the first *size* bytes of ids one after another, may belong to an id asked for."""
    if prefixes is None or known is None:
        return True
    starts = tuple(prefix[: 2 * size] for prefix in prefixes)
    return any(known[at : at + size].hex().startswith(starts) for at in range(0, len(known), size))
