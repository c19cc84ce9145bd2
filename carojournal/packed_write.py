"""Writing packed files; `packed` describes the format and reads it."""

import hashlib
import os
import re
from typing import TYPE_CHECKING
from zlib import crc32

from carojournal import zstd
from carojournal.cbor import encode_text
from carojournal.codec import dumps
from carojournal.errors import RecordTooLarge
from carojournal.events import SCHEMA_HASH
from carojournal.held import INVENTORY_HEAD_BYTES
from carojournal.own_events import ALL_EVENTS
from carojournal.packed import INVENTORY_BYTES_MAX
from carojournal.packed_header import SESSIONS_MAX, VERSION, lost_rows
from carojournal.parity import parity_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carojournal.packed import Section

__all__ = ["encode_packed", "listed_sessions", "rules_hash", "sessions_in", "with_checksum"]

_HEADER_KEYS = (
    *("segment", "created", "lane", "consent", "previous", "schema"),
    *("first_seq", "last_seq", "events", "runs", "gaps", "losses"),
)
# Counting marks in the bytes of checked events is exact but for identifiers that by chance (2**-96) contain one.
_TYPES = {name: b"eevent" + encode_text(name) for name in ALL_EVENTS}
# The modules that decide what may be kept, but for patterns/.  A test follows the imports.
_RULES = (
    *("error_codes", "events", "grammars", "kinds", "own_events", "payload_pattern", "payload_shapes", "redact"),
    *("recheck", "refusal", "shape", "stored"),
)
_TIME = re.compile(rb"itimestamp\x1b(.{8})", re.DOTALL)
_SESSION = re.compile(rb"jsession_idP(.{16})", re.DOTALL)


def rules_hash() -> bytes:
    """Return the SHA-256 (32 bytes) of the schema and of every file that decides what may be kept.

    A packed file that names the same hash has been checked by these very rules and need not be checked again here.
    """
    package = os.path.dirname(os.path.abspath(__file__))
    digest = hashlib.sha256(SCHEMA_HASH)
    patterns = sorted(name for name in os.listdir(f"{package}/patterns") if name.endswith((".py", ".txt")))
    for name in (*(f"{rules}.py" for rules in _RULES), *(f"patterns/{name}" for name in patterns)):
        with open(f"{package}/{name}", "rb") as file:
            digest.update(name.encode() + b"\0" + hashlib.sha256(file.read()).digest())
    return digest.digest()


def sessions_in(body: bytes) -> set[bytes]:
    """Return the session ids (16 bytes) in the bytes of checked events."""
    return set(_SESSION.findall(body))


def listed_sessions(sessions: set[bytes]) -> list[bytes] | None:
    """Return what an inventory's row lists of *sessions*."""
    return sorted(sessions) if len(sessions) <= SESSIONS_MAX else None


def _carried(losses: "Sequence[dict[str, object]]", gaps: "Sequence[dict[str, object]]") -> list[dict[str, object]]:
    """Return what an eviction of the section has to carry on, as `held` sums it.

    Those are the losses that it records, and its own damaged and refused events: nothing else knows of them.
    """
    rows: list[dict[str, object]] = []
    for loss in {loss["segment"]: loss for loss in losses}.values():
        rows += [*loss["carried"], {**loss, "segments": 1}]  # type: ignore[misc]
    rows += lost_rows(gaps)
    sums: dict[str, list[int]] = {}
    for row in rows:
        known = sums.setdefault(str(row["reason"]), [0, 0, 0])
        for place, name in enumerate(("segments", "events", "bytes")):
            known[place] += int(row[name])  # type: ignore[call-overload]
    return [
        {"reason": reason, "segments": known[0], "events": known[1], "bytes": known[2]}
        for reason, known in sorted(sums.items())
    ]


def with_checksum(inventory: "dict[str, object]") -> bytes:
    """Return the encoding of *inventory* with its checksum, the key `crc`, which stands first in any inventory."""
    head = dumps({**inventory, "crc": bytes(4)})[:INVENTORY_HEAD_BYTES]
    rest = dumps(inventory)[1:]
    return head[:-4] + crc32(rest).to_bytes(4, "big") + rest


def encode_packed(sections: "Sequence[Section]", compress: "Callable[[bytes], bytes]", checked: bytes) -> bytes:
    """Return the bytes of a packed file; the same for the same sections, compressor and zstd library.

    *sections* are in the order they shall have, *compress* is one of `zstd.compressor`, *checked* is the `rules_hash`
    under which every event was checked (32 zero bytes: it was not).  Raises RecordTooLarge if the inventory of that
    many sections is larger than INVENTORY_BYTES_MAX.
    """
    parts = [section.encode() for section in sections]
    rows = [_row(section, part) for section, part in zip(sections, parts, strict=True)]
    content = b"".join(parts)
    del parts  # As much memory as the content.
    frame = compress(content)
    inventory = with_checksum(
        {
            "version": VERSION,
            "sections": rows,
            "content": {"bytes": len(content), "sha256": hashlib.sha256(content).digest()},
            "frame": {"bytes": len(frame), "sha256": hashlib.sha256(frame).digest()},
            "checked": checked,
            "parity": parity_of(frame),
        }
    )
    if len(inventory) > INVENTORY_BYTES_MAX:
        raise RecordTooLarge(len(inventory), INVENTORY_BYTES_MAX)
    return zstd.skippable(inventory) + frame


def _row(section: "Section", encoded: bytes) -> dict[str, object]:
    """Return a section's line of the inventory."""
    header, body = section.header, section.body
    losses: list[dict[str, object]] = header["losses"]  # type: ignore[assignment]
    gaps: list[dict[str, object]] = header["gaps"]  # type: ignore[assignment]
    source: dict[str, object] = header["source"]  # type: ignore[assignment]
    times = _TIME.findall(body)
    types = _types(body, int(header["events"]))  # type: ignore[call-overload]
    row = {key: header[key] for key in _HEADER_KEYS}
    return {
        **row,
        "size": len(body),
        "carried": _carried(losses, gaps),
        "bytes": source["bytes"],
        "sha256": hashlib.sha256(encoded).digest(),
        "types": types,
        "times": [int.from_bytes(min(times), "big"), int.from_bytes(max(times), "big")] if times else None,
        "sessions": listed_sessions(sessions_in(body)),
    }


def _types(body: bytes, events: int) -> dict[str, int]:
    """Return how many of the *events* in *body* are of which type."""
    types = {}
    for name, mark in _TYPES.items():
        if count := body.count(mark):
            types[name] = count
            events -= count
            if not events:
                break  # Most types are rare, and each that is looked for costs a walk over the body.
    return types
