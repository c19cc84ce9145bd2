"""Which events, and in which order: a query as a value, and the merge of segments by time.

Events are ordered by (timestamp, segment, seq), which no two of them share.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from carojournal.cbor import encode, encode_text
from carojournal.own_events import ALL_EVENTS, ALL_TYPES

if TYPE_CHECKING:
    from carojournal.reader import Record

__all__ = ["FIELDS", "IDS", "Positioned", "Query", "merged", "order_of", "time_of"]

IDS = ("session_id", "run_id", "event_id")  # Matched by prefix, in hexadecimal.
CLOCK_SLACK_MS = 60_000  # How far a clock may be set back, or a writer be late, before the merge shows it.

# Field -> type, over all events: a name means the same wherever it occurs.
FIELDS: dict[str, str] = {name: spec[0] for _, declared in ALL_EVENTS.values() for name, spec in declared.items()}
assert all(FIELDS[name] == spec[0] for _, declared in ALL_EVENTS.values() for name, spec in declared.items())

_TIMESTAMP = b"itimestamp\x1b"


def _nothing() -> "Mapping[str, frozenset[object]]":
    return {}


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for.  Times are UTC milliseconds, both ends included; an empty set asks for nothing in particular.

    `events` are canonical names, `ids` maps a name of IDS to prefixes (hexadecimal), `fields` a field to its values as
    they are stored.
    """

    since_ms: int | None = None
    until_ms: int | None = None
    events: frozenset[str] = frozenset()
    ids: Mapping[str, frozenset[str]] = field(default_factory=dict)
    fields: Mapping[str, frozenset[object]] = field(default_factory=_nothing)
    _needles: tuple[tuple[bytes, ...], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_needles", tuple(self._signs()))

    @property
    def everything(self) -> bool:
        """Whether every event matches."""
        return self.since_ms is None and self.until_ms is None and not (self.events or self.ids or self.fields)

    @property
    def possible_events(self) -> frozenset[str] | None:
        """The events that can match, None for all: those asked for which have every field asked for."""
        named = self.events or frozenset(ALL_EVENTS)
        asked = set(self.fields) - {"generation"}
        if not self.events and not asked:
            return None
        return frozenset(name for name in named if asked <= ALL_EVENTS[name][1].keys())

    def _signs(self) -> Iterator[tuple[bytes, ...]]:
        """Yield, for every condition, bytes of which a matching payload holds one: encodings are deterministic.

        A payload that holds none need not be decoded, which is what makes a scan with filters fast.
        """
        if self.events:
            yield tuple(b"eevent" + encode_text(name) for name in self.events)
        for name in ("session_id", "run_id"):
            if name in self.ids:
                mark = encode_text(name) + b"P"
                yield tuple(mark + bytes.fromhex(text[: len(text) // 2 * 2]) for text in self.ids[name])
        for name, values in self.fields.items():
            if FIELDS.get(name) is None or ALL_TYPES[FIELDS[name]][0] != "words":
                yield tuple(encode_text(name) + encode(value) for value in values)

    def matches(self, record: "Record") -> bool:
        """Tell whether an event record is asked for."""
        payload = record.payload
        for needles in self._needles:
            if not any(needle in payload for needle in needles):
                return False
        time_ms = time_of(payload)
        if time_ms is not None and not self.covers(time_ms, time_ms):
            return False
        return self.everything or self._matches_value(record)

    def covers(self, first_ms: int, last_ms: int) -> bool:
        """Tell whether the asked time overlaps [*first_ms*, *last_ms*]."""
        return (self.since_ms is None or last_ms >= self.since_ms) and (
            self.until_ms is None or first_ms <= self.until_ms
        )

    def _matches_value(self, record: "Record") -> bool:
        value = record.value
        time_ms = value.get("timestamp")
        if type(time_ms) is not int or not self.covers(time_ms, time_ms):
            return False
        if self.events and value.get("event") not in self.events:
            return False
        for name, prefixes in self.ids.items():
            found = record.event_id.replace("-", "") if name == "event_id" else value.get(name)
            text = found.hex() if isinstance(found, bytes) else str(found)
            if not text.startswith(tuple(prefixes)):
                return False
        for name, wanted in self.fields.items():
            found = value.get(name)
            items = found if isinstance(found, list) else [found]
            # True equals 1 in Python, but no count is a flag.
            if not any(item == want and type(item) is type(want) for item in items for want in wanted):
                return False
        return True


def time_of(payload: bytes) -> int | None:
    """Return an event's timestamp without decoding the payload, None where that could be wrong."""
    at = payload.find(_TIMESTAMP)
    if at < 0 or payload.find(_TIMESTAMP, at + 1) >= 0:
        return None
    at += len(_TIMESTAMP)
    return int.from_bytes(payload[at : at + 8], "big")


class Positioned(Protocol):
    """What `merged` needs of a record."""

    @property
    def segment(self) -> bytes:
        """The uuid of its segment."""

    @property
    def seq(self) -> int:
        """Its number in the segment."""

    @property
    def payload(self) -> bytes:
        """Its encoded map."""


_T = TypeVar("_T", bound=Positioned)


def order_of(record: Positioned) -> tuple[int, bytes, int]:
    """Return the key by which events are ordered; one without a readable time comes first."""
    return time_of(record.payload) or 0, record.segment, record.seq


def merged(groups: Iterable[tuple[int, Iterable[_T]]]) -> Iterator[_T]:
    """Yield the records of *groups* in order.

    A group is (created, records): when its segment was created (UTC milliseconds), ascending over the groups, and its
    records in any order.  Only segments that overlap in time are held at once.  Events that are earlier than their
    segment by more than CLOCK_SLACK_MS, because a clock was set back, come where their segment comes.
    """
    waiting: list[tuple[tuple[int, bytes, int], int, _T]] = []
    count = 0  # Two copies of one event have the same key; records themselves have no order.
    for created_ms, records in groups:
        while waiting and waiting[0][0][0] < created_ms - CLOCK_SLACK_MS:
            yield heapq.heappop(waiting)[2]
        for record in records:
            count += 1
            heapq.heappush(waiting, (order_of(record), count, record))
    while waiting:
        yield heapq.heappop(waiting)[2]
