"""Fuzzing targets: packed files, their content, zstd frames."""

import os
from functools import cache
from random import Random

import cbor2

from carobatch.sections import section_of
from carojournal import held, zstd
from carojournal.codec import dumps
from carojournal.packed import iter_content, iter_sections, read_content, read_inventory, split_records
from carojournal.reader import JournalReader
from carojournal.recovery import verify
from carojournal.segment_file import SegmentInfo, describe_file
from carojournal.zstd import BoundedReader, walk_frames
from faults import fuzz_samples as samples
from faults.fuzz_segments import journal_root, put, take, uuid_of, with_losses
from faults.fuzz_target import Target, WrongValue, attempt

__all__ = ["TARGETS"]


@cache
def _packed() -> list[bytes]:
    found = []
    for name in samples.names(samples.journal()):
        if name.endswith(".zst"):
            with open(os.path.join(samples.journal(), name), "rb") as file:
                found.append(file.read())
    return found


def _split(data: bytes) -> tuple[bytes, bytes]:
    size = int.from_bytes(data[4:8], "little")
    return data[8 : 8 + size], data[8 + size :]


def _fix_packed(random: Random, data: bytes) -> bytes:
    """Make the inventory's own length and checksum, and frame size, hash and parity in it, fit, most of the time."""
    from hashlib import sha256

    from carojournal.packed_write import with_checksum
    from carojournal.parity import parity_of
    from faults.fuzz_mutate import mutated_value

    inventory, frame = _split(data)
    try:
        value = cbor2.loads(inventory)
        del value["crc"]
        if random.random() < 0.7:  # Else the frame is damaged, and the parity may put it right.
            value["frame"] = {"bytes": len(frame), "sha256": sha256(frame).digest()}
            value["parity"] = parity_of(frame)
        for key, chance in (("sections", 0.4), ("parity", 0.2), ("frame", 0.1)):
            if random.random() < chance:
                value[key] = mutated_value(random, value[key])
        inventory = with_checksum(value)
    except (cbor2.CBORError, ValueError, TypeError, KeyError, OverflowError):
        pass
    return zstd.skippable(inventory) + frame


def _run_packed(data: bytes) -> str:
    root = journal_root("packed")
    path = os.path.join(root, "packed", f"{samples.NOON_MS * 1000:016d}-{bytes(16).hex()}.cborseq.zst")
    put(path, data)
    try:
        return _read_packed(root, path)
    finally:
        os.unlink(path)


def _read_packed(root: str, path: str) -> str:
    reader = JournalReader(root)
    records = list(reader.records(decode=False))
    list(reader.records(events_only=True))
    reader.tail(2)
    reader.losses()
    report = verify(root)
    for _, first, last, events, carried in held.describe(path):
        held.encode_loss("evicted", bytes(16), first, last, events, 1, carried)
    inventory, refused = attempt(lambda: read_inventory(path))
    if inventory is None:
        return f"{refused}; exit {report.exit_code}"
    content, refused = attempt(lambda: read_content(inventory))
    if content is not None:
        sections, refused = attempt(lambda: [(header, list(pairs)) for header, pairs in iter_sections(path)])
        whole = sum(len(pairs) for _, pairs in sections) if sections is not None else -1
        if whole > len(records) and not report.damage:
            raise WrongValue("records that are in the file but not read, and nothing is said")
    return f"{len(records)} records, {refused or 'read'}; exit {report.exit_code}"


@cache
def _contents() -> list[bytes]:
    found = [read_content_of(data) for data in _packed()]
    uuid = uuid_of(with_losses())
    path = os.path.join(journal_root("content"), "segments", f"{samples.NOON_MS * 1000:016d}-{uuid.hex()}.seg")
    damaged = bytearray(with_losses())
    damaged[-700] ^= 1
    put(path, bytes(damaged))
    info = describe_file(path, "closed", named=(uuid, 1))
    assert isinstance(info, SegmentInfo)
    os.unlink(path)
    return [*found, section_of(info, bytes(damaged)).section.encode()]


def read_content_of(data: bytes) -> bytes:
    """Return the content of a whole packed file."""
    return zstd.decompress(_split(data)[1], 1 << 24, "sample")


def _fix_content(random: Random, data: bytes) -> bytes:
    """Mutate a header as a value, and make its `size` fit."""
    from faults.fuzz_mutate import mutated_value

    try:
        import io

        stream = io.BytesIO(data)
        header = cbor2.CBORDecoder(stream).decode()
        body = data[stream.tell() :]
        if random.random() < 0.6:
            header = mutated_value(random, header)
        if random.random() < 0.8:
            header["size"] = len(body)
        return dumps(header) + body
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError):
        return data


def _run_content(data: bytes) -> str:
    stream = [data]

    def read() -> list[tuple[object, list[tuple[int, bytes]]]]:
        return [
            (section.header, list(split_records(section, "content")))
            for section in iter_content(lambda size: take(stream, size), len(data), "content")
        ]

    found, refused = attempt(read)
    if found is None:
        return refused
    encoded = b"".join(dumps(header) + b"".join(raw for _, raw in pairs) for header, pairs in found)
    if encoded != data:
        raise WrongValue("a content that is accepted and encodes otherwise")
    from carobatch.contents import read_contents

    stream[0] = data
    contents = read_contents(lambda size: take(stream, size), len(data), "content")
    return f"{len(found)} sections, {sum(len(pairs) for _, pairs in found)} records, {len(contents.refused)} refused"


def _run_zstd(data: bytes) -> str:
    import io

    def read() -> bytes:
        list(walk_frames(lambda at, size: data[at : at + size], len(data), "frame"))
        return BoundedReader(io.BytesIO(data), 1 << 24, "frame").read(1 << 24)

    found, refused = attempt(read)
    one, _ = attempt(lambda: zstd.decompress(data, 1 << 24, "frame"))
    if one is not None and one != found:
        raise WrongValue("decompress and the bounded reader differ")
    return refused or "read"


TARGETS = [
    Target("packed", _packed, _run_packed, _fix_packed, runs=60),
    Target("packed-content", _contents, _run_content, _fix_content),
    Target("zstd", lambda: [_split(data)[1] for data in _packed()] + [_packed()[0]], _run_zstd),
]
