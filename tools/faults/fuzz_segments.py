"""Fuzzing targets: what holds events.  Segments, packed files and their content, single payloads."""

import os
import re
import struct
from functools import cache
from random import Random
from zlib import crc32

import cbor2

from carobatch.sections import section_of
from carojournal import codec, held, redact
from carojournal.cbordecode import decode
from carojournal.codec import loads_fast
from carojournal.events import DETAILED, ENVELOPE
from carojournal.packed import iter_content, split_records
from carojournal.payload_pattern import payload_end
from carojournal.reader import JournalReader
from carojournal.recovery import verify
from carojournal.scan import scan
from carojournal.segment_file import SegmentInfo, describe_file, parse_lock
from carojournal.stored import check_payload
from faults import fuzz_samples as samples
from faults.fuzz_target import Target, WrongValue, attempt, scratch

__all__ = ["TARGETS", "check_event", "journal_root", "put", "take", "uuid_of", "with_losses"]

_LABEL = bytes.fromhex("d9d9f8da434a4c3143424f52")
_PLACE = re.compile(rb"\x84\x1a.{4}\x1b.{8}\x5a.{4}", re.DOTALL)
_MARKS = (b"\x84\x1a", b"\x1b", b"\x5a", b"\x1a\0\0", b"frecord", b"eevent", b"dloss", b"dseal", b"gcarried\x80")


def check_event(payload: bytes) -> None:
    """Raise WrongValue unless another CBOR library and the schema agree that *payload* is an event as we write it."""
    try:
        value = cbor2.loads(payload)
        again = cbor2.dumps(value, canonical=True)
    except (cbor2.CBORError, ValueError, TypeError) as error:
        raise WrongValue("an accepted payload that cbor2 does not read") from error
    if again != payload:
        raise WrongValue("an accepted payload that is not deterministically encoded")
    fields = {key: part for key, part in value.items() if key not in ENVELOPE}
    found = redact.check(value["event"], fields, DETAILED)
    if not isinstance(found, redact.Accepted) or found.refusals or found.fields != fields:
        raise WrongValue("an accepted payload that the schema refuses")


@cache
def _segments() -> list[bytes]:
    found = []
    for name in samples.names(samples.journal()):
        if name.endswith(".seg"):
            with open(os.path.join(samples.journal(), name), "rb") as file:
                found.append(file.read())
    return found


@cache
def with_losses() -> bytes:
    """Return a sealed segment with loss records in front."""
    from carojournal.closed import encode_closed

    losses = [
        held.encode_loss("evicted", bytes([number] * 16), 1, 9, 9, 900, {"evicted": [1, 2, 3]} if number else {})
        for number in range(2)
    ]
    data = _segments()[0]
    events = [data[start:end] for _, seq, start, end in scan(data, uuid_of(data)).records if seq]
    return encode_closed(bytes(range(16)), samples.NOON_MS * 1000, losses, events)


def uuid_of(data: bytes) -> bytes:
    """Return the uuid that the first record of a segment names, zeros if none does."""
    found = _PLACE.search(data, 12)
    if found is not None:
        at, size = found.start(), int.from_bytes(data[found.start() + 16 : found.end()], "big")
        mark = data.find(b"gsegmentP", at, at + 20 + size)
        if mark >= 0:
            return data[mark + 9 : mark + 25]
    return bytes(16)


def _fix_segment(random: Random, data: bytes) -> bytes:
    """Make totals and checksums fit wherever a record's head stands; now and then the sequence numbers too."""
    raw, at, uuid, renumber, seq = bytearray(data), 12, uuid_of(data), random.random() < 0.2, 0
    while (found := _PLACE.search(raw, at)) is not None:
        at = found.start()
        size = int.from_bytes(raw[at + 16 : at + 20], "big")
        if size > 65_536 or at + 20 + size + 5 > len(raw):
            # A payload that a mutation made longer or shorter: up to what ends it.
            end = raw.find(b"\x1a", at + 20)
            if not 0 < end - at - 20 <= 65_536 or end + 5 > len(raw):
                at += 2
                continue
            size = end - at - 20
            struct.pack_into(">I", raw, at + 16, size)
        if renumber:
            struct.pack_into(">Q", raw, at + 7, seq)
        struct.pack_into(">BI", raw, at + 20 + size, 0x1A, size + 25)
        key = bytes(16) if at == 12 else uuid
        struct.pack_into(">I", raw, at + 2, crc32(raw[at + 6 : at + size + 25], crc32(key)))
        at, seq = at + size + 25, seq + 1
    return bytes(raw)


@cache
def journal_root(name: str) -> str:
    """Return the root of an empty journal for the target *name*."""
    root = scratch(name)
    for folder in ("lanes", "segments", "packed"):
        os.makedirs(os.path.join(root, folder), 0o700, exist_ok=True)
    return root


def put(path: str, data: bytes) -> None:
    """Write a file."""
    with open(path, "wb") as file:
        file.write(data)


def _run_segment(data: bytes) -> str:
    uuid = uuid_of(data)
    root = journal_root("segment")
    path = os.path.join(root, "segments", f"{samples.NOON_MS * 1000:016d}-{uuid.hex()}.seg")
    put(path, data)
    try:
        return _read_segment(root, path, uuid, data)
    finally:
        os.unlink(path)


def _read_segment(root: str, path: str, uuid: bytes, data: bytes) -> str:
    found = scan(data, uuid)
    pieces = [(place.offset, place.end + 5) for place in found.records]
    pieces += [(span.offset, span.offset + span.size) for span in found.spans if span.reason != "order"]
    at = 0 if any(span.reason == "label" for span in found.spans) or not data else len(_LABEL)
    for start, end in sorted(pieces):
        if start != at:
            raise WrongValue("bytes that are neither a record nor reported")
        at = end
    if at != len(data):
        raise WrongValue("bytes at the end that are neither a record nor reported")
    reader = JournalReader(root)
    read = {}
    for record in reader.records(decode=False):
        at, size = record.offset, len(record.payload)
        key = bytes(16) if record.seq == 0 else record.segment
        if data[at + 20 : at + 20 + size] != record.payload or record.seq in read:
            raise WrongValue("a record that does not stand where it is said to, or twice")
        if crc32(key + data[at + 6 : at + size + 25]) != int.from_bytes(data[at + 2 : at + 6], "big"):
            raise WrongValue("a record whose checksum does not hold")
        read[record.seq] = record.payload
    decoded = {record.seq: record.value for record in reader.records()}
    for seq, value in decoded.items():
        if cbor2.loads(read[seq]) != value:
            raise WrongValue("a record that cbor2 reads otherwise")
    list(reader.records(since_ms=samples.NOON_MS, events_only=True))
    reader.tail(3)
    losses = reader.losses()
    report = verify(root)
    good = [raw for raw in read.values() if check_payload(raw) is None]
    for raw in good:
        check_event(raw)
    for _, first, last, events, carried in held.describe(path):
        if min(first, last, events, *(min(sums) for sums in carried.values()), 0) < 0:
            raise WrongValue("an eviction that would count less than nothing")
        held.encode_loss("evicted", uuid, first, last, events, len(data), carried)
    info = describe_file(path, "closed", named=(uuid, samples.NOON_MS * 1000))
    if isinstance(info, SegmentInfo):
        _check_section(info, data)
    reasons = ",".join(sorted({damage.reason for damage in report.damage}))
    return f"{len(good)} events, {len(losses)} losses, exit {report.exit_code}: {reasons}"


def _check_section(info: SegmentInfo, data: bytes) -> None:
    """Compact a segment: what comes of it must be a section that reads back as the same events."""
    done = section_of(info, data)
    raw = done.section.encode()
    stream = [raw]
    sections = list(iter_content(lambda size: take(stream, size), len(raw), "content"))
    events = list(split_records(sections[0], "content"))
    if len(sections) != 1 or sections[0].header["events"] != len(events):
        raise WrongValue("a section that does not read back as it was made")
    for _, payload in events:
        check_event(payload)


def take(stream: list[bytes], size: int) -> bytes:
    """Read from the bytes that *stream* holds."""
    data, stream[0] = stream[0][:size], stream[0][size:]
    return data


def _payloads() -> list[bytes]:
    found = []
    for data in (*_segments(), with_losses()):
        found += [data[start:end] for _, _, start, end in scan(data, uuid_of(data)).records]
    return list(dict.fromkeys(found))[:24]


def _run_payload(data: bytes) -> str:
    """Every reader of a payload, held against cbor2 and against one another."""
    strict, refused = attempt(lambda: codec.loads(data))
    attempt(lambda: list(codec.iter_items(data)))
    control, control_refused = attempt(lambda: decode(data))
    fast, _ = attempt(lambda: loads_fast(data))
    if not refused and cbor2.dumps(cbor2.loads(data), canonical=True) != data:
        raise WrongValue("codec.loads accepts what cbor2 encodes otherwise")
    if not refused and repr(fast) != repr(strict):
        raise WrongValue("codec.loads and loads_fast differ")
    if not control_refused and not refused and repr(control) != repr(strict):
        raise WrongValue("cbordecode and codec.loads differ")
    bad = check_payload(data)
    if payload_end(data) == len(data) and bad is not None:
        raise WrongValue("the pattern accepts what check_payload refuses")
    if bad is None:
        check_event(data)
        return "event"
    if any(len(part) > 64 or "Qz7" in part for row in bad for part in row):
        raise WrongValue("a refusal that holds a value")
    return f"{refused or 'item'}; {bad[0][2]}"


def _locks() -> list[bytes]:
    with open(os.path.join(samples.journal(), "lanes", "0.lock"), "rb") as file:
        return [file.read(), b""]


def _fix_lock(_: Random, data: bytes) -> bytes:
    text = data.rstrip(b"\n").rpartition(b" ")[0]
    return text + b" %08x\n" % crc32(text)


def _run_lock(data: bytes) -> str:
    """Read a lane's lock file: whatever it says, the next append works and everything is read."""
    found = parse_lock(data)
    if found is not None:
        text = b"%s %016d %013d" % (found[0].hex().encode(), found[1], found[2])
        if data != text + b" %08x\n" % crc32(text):
            raise WrongValue("a lock text that is accepted and written otherwise")
    root = journal_root("lock")
    lanes = os.path.join(root, "lanes")
    put(os.path.join(lanes, "0.seg"), _segments()[0])
    put(os.path.join(lanes, "0.lock"), data)
    before = len(list(JournalReader(root).records(events_only=True)))
    verify(root)
    kept, refused = attempt(lambda: _append(root))
    after = len(list(JournalReader(root).records(events_only=True)))
    for folder in ("lanes", "segments"):
        for name in os.listdir(os.path.join(root, folder)):
            os.unlink(os.path.join(root, folder, name))
    if not kept or after != before + 1:
        raise WrongValue(f"an append that was lost ({refused or kept}: {before} to {after})")
    return "good" if found else "not read"


def _append(root: str) -> bool:
    with samples.open_at(root, samples.NOON_MS + 60_000, Random(3)) as opened:
        return bool(opened.append("session_end", session_duration_ms=1, commands_generated=0))


TARGETS = [
    Target("segment", lambda: [*_segments(), with_losses()], _run_segment, _fix_segment, tokens=_MARKS, runs=60),
    Target("payload", _payloads, _run_payload, shape="cbor", tokens=_MARKS, runs=400),
    Target("lane-lock", _locks, _run_lock, _fix_lock, shape="lines", runs=60),
]
