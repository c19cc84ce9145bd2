"""Segments that are closed on purpose: made whole at once, or taken from the lanes.

A segment that no writer ever appends to (migrated history, the record of what was removed) is encoded in one piece,
with its loss records directly after the header and its seal last, and belongs to no lane: its header names NO_LANE
and no previous segment, so that it is a link in no lane's chain.
"""

import contextlib
import errno
import os
from hashlib import sha256
from typing import TYPE_CHECKING

from carojournal.cbor import encode_map
from carojournal.errors import JournalBusy, LaneLost, UnsafeRoot
from carojournal.frame import encode_record
from carojournal.lanes import LANES_MAX, Lane
from carojournal.locks import lane_lock
from carojournal.policy import CAP_BYTES_DEFAULT
from carojournal.rotation import close_segment, encode_header, encode_start
from carojournal.segment_file import open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["NO_LANE", "close_lanes", "encode_closed"]

NO_LANE = LANES_MAX  # One more than any lane's number.


def encode_closed(
    segment: bytes, created_us: int, losses: "Iterable[bytes]", events: "Iterable[bytes]", consent_ms: int = 0
) -> bytes:
    """Return a whole sealed segment: header, loss records, events (payloads), seal.

    *segment* is its uuid (16 bytes), *created_us* UTC microseconds, *consent_ms* the time of the yes (UTC ms) under
    which the events were recorded, 0 without one.  Raises RecordTooLarge.
    """
    header = encode_header(segment, created_us, NO_LANE, consent_ms, None)
    payloads = [*losses, *events]
    body = encode_start(segment, header, payloads)
    count = 1 + len(payloads)
    seal = encode_map({"record": "seal", "count": count, "bytes": len(body), "sha256": sha256(body).digest()})
    return body + encode_record(segment, count, seal)


def close_lanes(
    root: str, now_ms: int, random: "Callable[[int], bytes]" = os.urandom, *, forget: bool = False
) -> list[tuple[str, OSError]]:
    """Close the open segment of every lane: rename it into segments/, under the lane's lock.

    One lane at a time: a writer that meets the lock takes another lane.  What it opens meanwhile is not waited for, or
    the two would chase each other to the last lane; whatever was recorded before the call is closed afterwards.  With
    *forget* the lock files' text is emptied, so that the next segment names no predecessor.

    Returns (path, why) of lanes that hold no segment of ours, or none that can be closed.  Raises JournalBusy, after
    the others are closed, if a writer does not let go of its lane, and OSError if the lanes cannot be listed.
    """
    odd: list[tuple[str, OSError]] = []
    busy: JournalBusy | None = None
    for number in _numbers(root):
        path = os.path.join(root, "lanes", str(number))
        try:
            with lane_lock(root, number):
                try:
                    _take(root, number, now_ms, random)
                finally:
                    if forget:
                        _empty(f"{path}.lock")
        except JournalBusy as error:
            busy = busy or error
        except FileNotFoundError:
            continue  # The journal was removed meanwhile.
        except OSError as error:
            odd.append((f"{path}.seg", error))
            if forget:  # The segment goes all the same, and then nothing may name it; no lock is needed to say nothing.
                with contextlib.suppress(OSError):
                    _empty(f"{path}.lock")
        except (LaneLost, UnsafeRoot):
            odd.append((f"{path}.seg", OSError(errno.ESTALE, "the lane was replaced", path)))
    if busy is not None:
        raise busy
    return odd


def _numbers(root: str) -> list[int]:
    """Return the numbers of the lanes that there are."""
    try:
        names = [] if os.path.islink(os.path.join(root, "lanes")) else os.listdir(os.path.join(root, "lanes"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    stems = {name.partition(".")[0] for name in names if name.endswith((".lock", ".seg"))}
    return sorted(int(stem) for stem in stems if stem.isdecimal() and stem.isascii())


def _take(root: str, number: int, now_ms: int, random: "Callable[[int], bytes]") -> None:
    lane = Lane(root, number, CAP_BYTES_DEFAULT, random)
    try:
        lane.attach(now_ms)
        close_segment(lane)
    finally:
        lane.close()


def _empty(path: str) -> None:
    descriptor = open_file(path, os.O_WRONLY)
    try:
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
