"""What became of every event of a soak, by identity, once all its processes have ended.

answered for = present or in a receipt or removed to make room      nothing missing, nothing besides
ids that the receiver took = ids of what receipts call accepted, and of intents that still stand in the outbox
losses, as the journal's own records sum them up = events of the files that were removed
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

from carobatch.outbox import standing_intents
from faults.conservation import Ranges, count, joined, survey, without
from faults.soak_log import read_runs, repeated

__all__ = ["settle"]

_ID_BYTES = 16


def settle(root: str, logs: str, writers: int) -> dict[str, Any]:
    """Return the sums, and in `problems` what does not add up.  *logs* is the folder with the processes' logs."""
    answers = read_runs(*(f"{logs}/acked-{number}" for number in range(writers)))
    evictions = read_runs(*(f"{logs}/evicted-{number}" for number in range(writers)))
    answered, evicted = joined(answers), joined(evictions)
    accepted, refused = joined(read_runs(f"{logs}/accepted")), joined(read_runs(f"{logs}/refused"))
    seen = survey(root)
    found = joined(seen.present, accepted, refused, evicted)
    told = sum(seen.claimed.values()) + sum(seen.carried.values())
    taken, copies = _ids_in(f"{logs}/ids")
    standing = {_raw(name) for intent in standing_intents(root) for name in intent.events()}
    strange = taken.difference(standing)
    missing = 0
    for name in _ids_of(accepted):
        missing += name not in taken
        strange.discard(name)
    unknown = len(strange)
    if strange:
        strange.difference_update(_ids_of(evicted))
    rows = (
        ("answered for and nowhere", count(without(answered, found))),
        ("there and never answered for", count(without(found, answered))),
        ("answered for twice under one identity", repeated(answers)),
        ("read twice from the journal", len(seen.repeated)),
        ("accepted by a receipt, not by the receiver", missing),
        ("taken by the receiver, in no receipt, no intent and not evicted", len(strange)),
        ("losses told less files removed", told - count(evicted)),
    )
    return {
        "answered": count(answered),
        "present": count(seen.present),
        "accepted": count(accepted),
        "refused": count(refused),
        "evicted": count(evicted),
        "evicted_by_two": repeated(evictions),
        "evicted_after_delivery": count(accepted) - count(without(accepted, evicted)),
        "losses_told": told,
        "evicted_and_taken_unknown": unknown - len(strange),
        "requests_repeated_events": copies,
        "problems": [f"{text}: {number:,}" for text, number in rows if number],
    }


def _raw(name: str) -> bytes:
    return bytes.fromhex(name.replace("-", ""))


def _ids_in(path: str) -> tuple[set[bytes], int]:
    """Return the event ids that the receiver took, and how many it took again."""
    if not os.path.exists(path):
        return set(), 0
    with open(path, "rb") as file:
        data = file.read()
    found = {data[at : at + _ID_BYTES] for at in range(0, len(data), _ID_BYTES)}
    return found, len(data) // _ID_BYTES - len(found)


def _ids_of(events: Mapping[bytes, list[list[int]]] | Ranges) -> Iterable[bytes]:
    """Yield the id of every identity, as `record.derive_event_id` makes it, in bytes."""
    for segment, runs in events.items():
        for first, last in runs:
            for seq in range(first, last + 1):
                digest = bytearray(hashlib.sha256(segment + seq.to_bytes(8, "big")).digest()[:_ID_BYTES])
                digest[6] = digest[6] & 0x0F | 0x80
                digest[8] = digest[8] & 0x3F | 0x80
                yield bytes(digest)
