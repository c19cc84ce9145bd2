"""What could not be packed or imported: kept beside the journal, counted, never silently deleted.

    quarantine/<created us, 16 digits>-<uuid, 32 hex>.cbor    one deterministic CBOR map
        record "quarantine", segment (16 bytes)
        refused [{seq, refusals: [[event, field, reason]]}], damaged [{offset, data, reason}]

Of an event that the allowlist refuses only the reasons are here: what it held must not be kept anywhere.  Damaged bytes
are the journal's own and are kept as they were.  What was kept of a segment before stays.
"""

import contextlib
import os
from typing import TYPE_CHECKING

from carojournal import drops
from carojournal.codec import dumps, loads
from carojournal.durable import write_file
from carojournal.errors import JournalIOError, MalformedCBOR
from carojournal.segment_file import read_file

if TYPE_CHECKING:
    from carobatch.sections import Sectioned

__all__ = ["FOLDER", "count_refusals", "keep", "missing_bytes"]

_Parts = dict[str, list[dict[str, object]]]

FOLDER = "quarantine"


def keep(root: str, found: "Sectioned") -> None:
    """Write what *found* left out; does nothing if that is nothing.  Raises JournalIOError."""
    path, parts, before = _parts(root, found)
    if not any(part not in before[key] for key in parts for part in parts[key]):
        return
    os.makedirs(os.path.join(root, FOLDER), 0o700, exist_ok=True)
    every = {key: [*before[key], *(part for part in parts[key] if part not in before[key])] for key in parts}
    data = dumps({"record": "quarantine", "segment": found.section.segment, **every})
    write_file(path, data, overwrite=True, error=JournalIOError)


def missing_bytes(root: str, found: "Sectioned") -> int:
    """Return how many damaged bytes of *found* are not kept yet."""
    _, parts, before = _parts(root, found)
    fresh = [part["data"] for part in parts["damaged"] if part not in before["damaged"]]
    return len(b"".join(fresh))  # type: ignore[arg-type]


def _parts(root: str, found: "Sectioned") -> "tuple[str, _Parts, _Parts]":
    """Return the file's path, what of *found* belongs there, and what is there."""
    created_us: int = found.section.header["created"]  # type: ignore[assignment]
    path = os.path.join(root, FOLDER, f"{created_us:016d}-{found.section.segment.hex()}.cbor")
    parts: _Parts = {
        "refused": [{"seq": seq, "refusals": [list(row) for row in bad]} for seq, bad in found.refused],
        "damaged": [{"offset": at, "data": raw, "reason": reason} for at, raw, reason in found.damaged if raw],
    }
    return path, parts, {"refused": [], "damaged": [], **_kept(path)}


def _kept(path: str) -> "_Parts":
    """Return what the file holds already; nothing if there is none, or it cannot be read."""
    with contextlib.suppress(OSError, MalformedCBOR):
        value = loads(read_file(path))
        if isinstance(value, dict):
            return {key: value[key] for key in ("refused", "damaged") if isinstance(value.get(key), list)}
    return {}


def count_refusals(root: str, found: "Sectioned") -> None:
    """Count the refused events where `carojournal status` looks.  A busy counter file loses the count, not the gap."""
    counts: dict[str, int] = {}
    for _, bad in found.refused:
        for event, field, reason in bad:
            key = f"refuse {event} {field} {reason}"
            counts[key] = counts.get(key, 0) + 1
    if counts:
        drops.add_counts(root, counts, drops.PATIENCE_S)
