"""The JSON of events without decoding them: each part of a payload is turned into text once and then looked up.

    {"event": ..., "timestamp": ..., "session_id": ..., members}

`members` are the rest of `carojournal.document` in its order, each behind a comma.  Decoding a payload, building the
document and encoding that takes 40 microseconds, this 4; a test holds the two equal.
"""

import functools
import itertools
import json
from operator import itemgetter
from typing import TYPE_CHECKING

from carojournal.codec import loads
from carojournal.document import document_view, generation_id
from carojournal.frame import encode_text
from carojournal.own_events import ALL_EVENTS
from carojournal.payload_pattern import field_keys
from carojournal.times import utc_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from carojournal.record import Record

__all__ = ["EventText", "encode", "event_texts"]

# Event, timestamp and session id as they stand between quotes, then the members.
EventText = tuple[str, str, str, str]

_KNOWN_MAX = 8_192  # Texts kept of one event's parts.  Words are few; of numbers the frequent ones stay.
_OWN = ("event", "timestamp", "session_id")
_DAY_MS = 86_400_000
_SECONDS = [f"{second:02d}." for second in range(60)]
_LABEL_BYTES = len(encode_text("generation"))
_MAJOR = 0x20  # Below that, the first byte of what CBOR encodes is that of a whole number.

encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


class _Layout:
    """How the members of one event stand in its document."""

    def __init__(self, event: str) -> None:
        keys = field_keys(event)
        declared = ALL_EVENTS[event][1]
        self._labels = {encode_text(key): key for key in declared}
        self._texts: dict[bytes | None, str] = {None: ""}
        self.ordinal = keys.index("generation") if "generation" in keys else -1
        self._ordered = itemgetter(*map(keys.index, declared))
        self._pieces: list[tuple[str, int, int]] = []
        at = 0
        for group, members in itertools.groupby(declared.values(), key=itemgetter(3)):
            end = at + len(list(members))
            self._pieces.append((group, at, end))
            at = end
        grouped = [group for group, _, _ in self._pieces if group]
        assert len(grouped) == len(set(grouped)), "a group's fields stand together in the schema"

    def members(self, fields: tuple[bytes | None, ...]) -> str:
        """Return the members that *fields* (of `Parts`) are."""
        texts, ordered = self._texts, self._ordered(fields)
        try:
            found = [texts[field] for field in ordered]
        except KeyError:
            found = [self._learned(field) for field in ordered]
        if len(self._pieces) == 1:
            return "".join(found)
        written = ""
        for group, start, end in self._pieces:
            text = "".join(found[start:end])
            written += f',"{group}":{{{text[1:]}}}' if group and text else text
        return written

    def _learned(self, field: bytes | None) -> str:
        text = self._texts.get(field)
        if text is None:
            assert field is not None
            if len(self._texts) >= _KNOWN_MAX:
                self._texts = {None: ""}
            size = 1 + (field[0] & 31) if field[0] < 0x78 else 2 + field[1]
            text = f',"{self._labels[field[:size]]}":{encode(_value(field[size:]))}'
            self._texts[field] = text
        return text


_layout = functools.cache(_Layout)


def event_texts(records: "Iterable[Record]") -> "Iterator[EventText]":
    """Yield the text of each of *records*, which are events that may be kept (`recheck`)."""
    sessions: dict[bytes, str] = {}
    for record in records:
        parts = record.parts
        if parts is None:
            yield _slowly(record)
            continue
        event, run, session, time_ms, fields = parts
        layout = _layout(event)
        members = layout.members(fields)
        part = fields[layout.ordinal] if layout.ordinal >= 0 else None
        if part is not None:
            members = f',"generation_id":"{_generation(run, part[_LABEL_BYTES:])}"{members}'
        if session not in sessions:
            sessions[session] = session.hex()
        day, within = divmod(time_ms, _DAY_MS)
        minutes, milliseconds = divmod(within, 60_000)
        time = f"{_minute(day, minutes)}{_SECONDS[milliseconds // 1_000]}{milliseconds % 1_000:03d}Z"
        yield event, time, sessions[session], members


def _slowly(record: "Record") -> EventText:
    view = document_view(record.value)
    members = encode({key: value for key, value in view.items() if key not in _OWN})[1:-1]
    event, timestamp, session = (str(view[key]) for key in _OWN)
    return event, timestamp, session, f",{members}" if members else ""


def _value(raw: bytes) -> object:
    return _number(raw) if raw[0] < _MAJOR else loads(raw)


def _number(raw: bytes) -> int:
    return raw[0] if len(raw) == 1 else int.from_bytes(raw[1:], "big")


@functools.lru_cache(maxsize=64)
def _generation(run: bytes, ordinal: bytes) -> str:
    return generation_id(run, _number(ordinal))


@functools.lru_cache(maxsize=1_440)
def _minute(day: int, minute: int) -> str:
    return utc_text(day * _DAY_MS + minute * 60_000)[:17]
