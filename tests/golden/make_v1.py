"""Make the golden files of format version 1 with cbor2, struct, zlib and hashlib alone, as FORMAT.md describes them.

    python tests/golden/make_v1.py

Nothing of the project is imported, so that writer and golden files cannot share a mistake.  The files are committed;
the tests build them again in memory, compare, and then ask the real writer for the same bytes.
"""

import hashlib
import os
import struct
import sys
import zlib

import cbor2

NOW_MS = 1_790_000_000_000  # 2026-09-21T13:33:20Z
# The first released schema: what was written under it stays readable, and is what the files on disk name.
SCHEMA = bytes.fromhex("f096de0bce911d9017a229a98a4dbc743a57306dddd8b465e1f168cffc561c02")


def serial(number):
    """Return the 16 bytes that the tests' random source gives at its *number*th call."""
    return number.to_bytes(16, "big")


def record(segment, seq, value):
    payload = cbor2.dumps(value, canonical=True)
    body = struct.pack(">BQBI", 0x1B, seq, 0x5A, len(payload)) + payload + struct.pack(">BI", 0x1A, len(payload) + 25)
    return struct.pack(">BBI", 0x84, 0x1A, zlib.crc32((segment if seq else bytes(16)) + body)) + body


def line(text):
    return f"{text} {zlib.crc32(text.encode()):08x}\n".encode()


def count_line(key, count):
    text = f"{key:<96} {count:020d} "
    return f"{text}{zlib.crc32(text.encode()):08x} \n".encode()


def segment(uuid, values):
    label = cbor2.dumps(cbor2.CBORTag(55800, cbor2.CBORTag(0x434A4C31, b"BOR")))
    return label + b"".join(record(uuid, seq, value) for seq, value in enumerate(values))


def sealed(data, values):
    seal = {"record": "seal", "count": len(values), "bytes": len(data), "sha256": hashlib.sha256(data).digest()}
    return data + record(values[0]["segment"], len(values), seal)


def event(number, **fields):
    return {
        "timestamp": NOW_MS + number,
        "session_id": serial(SESSION),
        "run_id": serial(RUN),
        **fields,
    }


# The order in which a writer asks for random bytes: journal id, secret, session, temporary name, run, segment.
JOURNAL, SECRET, SESSION, TEMPORARY, RUN, SEGMENT = range(1, 7)
HEADER = {
    "record": "header",
    "version": 1,
    "segment": serial(SEGMENT),
    "created": NOW_MS * 1000,
    "lane": 0,
    "consent": 0,
    "previous": None,
    "schema": SCHEMA,
    "writer": "carojournal/0.1.0",
}
EVENTS = [
    event(
        0,
        event="session_start",
        caro_version="1.1.0-beta",
        os="linux",
        arch="x86_64",
        shell="zsh",
        primary="embedded-cpu",
        fallback_enabled=True,
        backend_available=["embedded-cpu", "ollama"],
        safety_level="moderate",
        is_first_run=False,
    ),
    event(
        1,
        event="command_generated",
        generation=1,
        backend_used="ollama",
        inference_time_ms=843,
        risk_level="safe",
        patterns_matched=0,
        success=True,
        model_name="llama3:8b",
        input_token_count=12_300,
        confidence_score=0.87,
    ),
    event(2, event="command_executed", generation=1, execution_mode="confirmed", exit_code_category="success"),
    event(3, event="session_end", session_duration_ms=130_000, commands_generated=1),
]


def files(schema=SCHEMA):
    """Return name -> bytes of every golden file; *schema* is the hash that the headers name."""
    header = {**HEADER, "schema": schema}
    values = [header, *EVENTS]
    opened = segment(serial(SEGMENT), values)
    lock = f"{serial(SEGMENT).hex()} {NOW_MS * 1000:016d} {0:013d}"
    loss = {
        "record": "loss",
        "reason": "evicted",
        "segment": serial(77),
        "first_seq": 1,
        "last_seq": 812,
        "events": 812,
        "bytes": 249_911,
        "carried": [{"reason": "evicted", "segments": 3, "events": 2_400, "bytes": 749_001}],
    }
    after_loss = {**header, "segment": serial(9), "previous": [serial(8), 900, 249_950], "consent": NOW_MS - 5}
    with_loss = [after_loss, loss, EVENTS[3]]
    return {
        "open.seg": opened,
        "sealed.seg": sealed(opened, values),
        "loss.seg": segment(serial(9), with_loss),
        "torn.seg": opened[:-9],
        "lock": line(lock),
        "journal": b"".join(
            line(text)
            for text in (
                "carojournal 1",
                f"journal {serial(JOURNAL).hex()}",
                f"created {NOW_MS}",
                f"secret {serial(SECRET).hex()}",
                f"session 2026-09-21 {serial(SESSION).hex()}",
            )
        ),
        "drops-line": count_line("refuse session_start caro_version value", 7),
    }


def main():
    """Write the files beside this program, into v1/."""
    place = os.path.join(os.path.dirname(os.path.abspath(__file__)), "v1")
    for name, data in files().items():
        with open(os.path.join(place, name), "wb") as file:
            file.write(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
