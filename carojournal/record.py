"""One record as readers see it: identity, place, payload."""

from typing import TYPE_CHECKING

from carojournal import codec
from carojournal.errors import CorruptRecord, MalformedCBOR
from carojournal.frame import FIRST_RECORD_OFFSET, NO_SEGMENT, decode_record, find_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from carojournal.payload_pattern import Parts
    from carojournal.segment_file import SegmentInfo

__all__ = [
    "CONTROLS",
    "Record",
    "control_payloads",
    "derive_event_id",
    "derive_event_ids",
    "event_time_ms",
    "is_ours",
]

CONTROLS = ("header", "loss", "seal")
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_TIMESTAMP = b"itimestamp\x1b"  # Milliseconds have needed 64 bits since 1970-02-19.


def derive_event_id(segment: bytes, seq: int) -> str:
    """Return the event id (UUIDv8, RFC 9562 section 5.8) of record *seq* of the segment with uuid *segment*."""
    return next(derive_event_ids(segment, (seq,)))


def derive_event_ids(segment: bytes, seqs: "Iterable[int]") -> "Iterator[str]":
    """Yield the event ids of records of one segment; an upload derives every id it sends."""
    from hashlib import sha256

    begun = sha256(segment)
    for seq in seqs:
        digest = begun.copy()
        digest.update(seq.to_bytes(8, "big"))
        text = digest.hexdigest()
        # Version 8 and the two bits of the variant replace what stands there.
        yield f"{text[:8]}-{text[8:12]}-8{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


class Record:
    """One record: identity (`segment`, `seq`), `payload`, and where it was read (`path`, `offset`, `source`).

    `offset` is the record's first byte in the file; 0 in a packed file, whose bytes are compressed.  `parts` are what
    the payload consists of, where somebody has recognised it.
    """

    __slots__ = ("_value", "offset", "parts", "path", "payload", "segment", "seq", "source")

    def __init__(self, segment: bytes, seq: int, payload: bytes, path: str, offset: int, source: "SegmentInfo") -> None:
        self.segment = segment
        self.seq = seq
        self.payload = payload
        self.path = path
        self.offset = offset
        self.source = source
        self.parts: Parts | None = None
        self._value: dict[str, object] | None = None

    def __repr__(self) -> str:
        return f"Record({self.segment.hex()}, {self.seq}, {self.path}@{self.offset})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return (self.segment, self.seq, self.payload) == (other.segment, other.seq, other.payload)

    def __hash__(self) -> int:
        return hash((self.segment, self.seq))

    @property
    def value(self) -> dict[str, object]:
        """The payload's map, decoded once.  Raises MalformedCBOR if it is none of ours (`records` leaves those out)."""
        if self._value is None:
            value = codec.loads_fast(self.payload)
            if type(value) is not dict or not is_ours(value):
                raise MalformedCBOR("neither an event nor a control record")
            self._value = value
        return self._value

    @property
    def time_ms(self) -> int:
        """An event's timestamp, UTC milliseconds."""
        return event_time_ms(self.payload) if self.parts is None else self.parts[3]

    @property
    def is_event(self) -> bool:
        """Whether this is an event, not one of the journal's own control records."""
        return "event" in self.value

    @property
    def event_id(self) -> str:
        """The event's id, derived from its identity: the same in every upload, bundle and import."""
        return derive_event_id(self.segment, self.seq)


def is_ours(value: dict[str, object]) -> bool:
    """Tell whether a decoded payload is an event or a control record of this version of the format."""
    if "event" in value:
        return "record" not in value and type(value.get("timestamp")) is int and type(value["event"]) is str
    return value.get("record") in CONTROLS


def event_time_ms(payload: bytes) -> int:
    """Return an event's timestamp without decoding the rest, -1 if there is none."""
    at = payload.find(_TIMESTAMP) + len(_TIMESTAMP)
    return int.from_bytes(payload[at : at + 8], "big") if at >= len(_TIMESTAMP) else -1


def control_payloads(data: bytes, segment: bytes) -> "Iterator[bytes]":
    """Yield the payloads of the control records that precede a segment's first event."""
    at: int | None = FIRST_RECORD_OFFSET
    key = NO_SEGMENT
    while at is not None and at < len(data):
        try:
            found = decode_record(key, data, at)
        except CorruptRecord:
            found = None
        key = segment
        if found is None:
            at = find_record(segment, data, at + 1)
            continue
        payload = data[found[1] : found[2]]
        if b"frecord" not in payload:
            return
        yield payload
        at = found[2] + 5
