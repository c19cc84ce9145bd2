"""Segments that are closed on purpose: made whole at once, or taken from the lanes.

A segment that no writer ever appends to (migrated history, the record of what was removed) is encoded in one piece,
with its loss records directly after the header and its seal last, and belongs to no lane: its header names NO_LANE
and no previous segment, so that it is a link in no lane's chain.
"""

import contextlib
import os
from hashlib import sha256
from typing import TYPE_CHECKING

from carojournal.cbor import encode_map
from carojournal.frame import encode_record
from carojournal.lanes import LANES_MAX, Lane
from carojournal.locks import lane_lock
from carojournal.rotation import encode_header, encode_start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["NO_LANE", "encode_closed", "hold_lanes", "take_from_lanes"]

NO_LANE = LANES_MAX  # One more than any lane's number.


def encode_closed(segment: bytes, created_us: int, losses: "Iterable[bytes]", events: "Iterable[bytes]") -> bytes:
    """Return a whole sealed segment recorded without consent: header, loss records, events (payloads), seal.

    *segment* is its uuid (16 bytes), *created_us* UTC microseconds.  Raises RecordTooLarge.
    """
    header = encode_header(segment, created_us, NO_LANE, 0, None)
    payloads = [*losses, *events]
    body = encode_start(segment, header, payloads)
    count = 1 + len(payloads)
    seal = encode_map({"record": "seal", "count": count, "bytes": len(body), "sha256": sha256(body).digest()})
    return body + encode_record(segment, count, seal)


def hold_lanes(root: str, held: contextlib.ExitStack) -> list[int]:
    """Lock every lane of the journal at *root* until *held* is left, and return their numbers.

    Writers never wait: they open further lanes meanwhile, which are locked too as they appear.  Raises JournalBusy,
    OSError.
    """
    taken: list[int] = []
    while True:
        try:
            names = os.listdir(os.path.join(root, "lanes"))
        except FileNotFoundError:
            return taken
        stems = {name.partition(".")[0] for name in names if name.endswith((".lock", ".seg"))}
        fresh = sorted({int(stem) for stem in stems if stem.isdecimal()}.difference(taken))
        if not fresh:
            return taken
        for number in fresh:
            held.enter_context(lane_lock(root, number))
            taken.append(number)


def take_from_lanes(
    root: str, lanes: "Iterable[int]", cap_bytes: int, now_ms: int, random: "Callable[[int], bytes]" = os.urandom
) -> None:
    """Close the open segments of *lanes*, whose locks the caller holds: rename them into segments/.  Raises OSError."""
    for number in lanes:
        lane = Lane(root, number, cap_bytes, random)
        try:
            lane.attach(now_ms)
            lane.rotate()
        finally:
            lane.close()
