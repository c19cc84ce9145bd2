"""Make segments byte by byte with cbor2 and struct, so that nothing of the project's writer is in them."""

import hashlib
import struct
import zlib

import cbor2

from carojournal.events import SCHEMA_HASH

LABEL = bytes.fromhex("d9d9f8da434a4c3143424f52")
NOON_US = 1_790_000_000_000_000 // 86_400_000_000 * 86_400_000_000 + 43_200_000_000


def canonical(value):
    return cbor2.dumps(value, canonical=True)


def record(segment, seq, payload):
    """One record; *segment* is 16 zero bytes for the header."""
    total = len(payload) + 25
    body = b"\x1b" + struct.pack(">Q", seq) + b"\x5a" + struct.pack(">I", len(payload)) + payload
    body += b"\x1a" + struct.pack(">I", total)
    return b"\x84\x1a" + struct.pack(">I", zlib.crc32(segment + body)) + body


def header(segment, created_us=NOON_US, previous=None, **changed):
    value = {
        "record": "header",
        "version": 1,
        "segment": segment,
        "created": created_us,
        "lane": 0,
        "consent": 0,
        "previous": previous,
        "schema": SCHEMA_HASH,
        "writer": "forge/1",
    }
    return record(bytes(16), 0, canonical({**value, **changed}))


def event(number=0, time_ms=NOON_US // 1000, **fields):
    """The payload of an event that the schema allows."""
    value = {"event": "session_end", "session_duration_ms": number, "timestamp": time_ms + number}
    return canonical({**value, "session_id": b"s" * 16, "run_id": b"r" * 16, **fields})


def with_model(name):
    """The payload of an event with the model's name *name*, which nothing has checked."""
    fields = {"backend_used": "ollama", "inference_time_ms": 12, "model_name": name, "timestamp": NOON_US // 1000}
    return canonical({"event": "command_generated", "session_id": b"s" * 16, "run_id": b"r" * 16, **fields})


OLD_MODEL = "gpt-192.168.10.1"  # The grammar of earlier releases took it.
WITH_OLD_MODEL = with_model(OLD_MODEL)


def loss(segment, **changed):
    value = {"record": "loss", "reason": "evicted", "segment": segment, "first_seq": 1, "last_seq": 9, "events": 9}
    return canonical({**value, "bytes": 900, "carried": [], **changed})


def seal(data, count):
    return canonical({"record": "seal", "count": count, "bytes": len(data), "sha256": hashlib.sha256(data).digest()})


def segment_bytes(segment, payloads, *, sealed=False, **keywords):
    """A whole segment: label, header, records 1, 2 ... and a seal."""
    data = LABEL + header(segment, **keywords)
    for seq, payload in enumerate(payloads, 1):
        data += record(segment, seq, payload)
    if sealed:
        data += record(segment, len(payloads) + 1, seal(data, len(payloads) + 1))
    return data


def places(data):
    """The (start, end) of every record of a healthy segment."""
    at, found = len(LABEL), []
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at + 16)
        found.append((at, at + size + 25))
        at += size + 25
    return found


def closed_path(root, segment, created_us=NOON_US, mark=""):
    return root / "segments" / f"{created_us:016d}-{segment.hex()}.seg{mark}"


def lock_text(segment, created_us=NOON_US, consent_ms=0):
    text = f"{segment.hex()} {created_us:016d} {consent_ms:013d}".encode()
    return text + b" %08x\n" % zlib.crc32(text)
