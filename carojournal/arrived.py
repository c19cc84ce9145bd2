"""How many of the events that are kept have left already: what receipts of uploads account for, of what is still here.

A file stays until all in it is accounted for, so for a while the journal keeps events that were sent.  Receipts
(formats in `sent`) are decoded only if they name a segment that is here; of a packed file the inventory says which
events it holds, another file is read, and nothing counts that is not there.
"""

import os
import re
from bisect import bisect_left
from typing import TYPE_CHECKING

from carojournal import sent
from carojournal.deletion import is_upload
from carojournal.errors import JournalIOError
from carojournal.index_build import event_facts
from carojournal.segment_file import read_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from carojournal.reader import JournalReader
    from carojournal.segment_file import SegmentInfo

__all__ = ["sent_events"]

_UUID = re.compile(rb"(?=\x50(.{16}))", re.DOTALL)  # The head of a CBOR byte string of 16 bytes, and these.
Runs = list[list[int]]


def sent_events(reader: "JournalReader", infos: "Iterable[SegmentInfo]") -> dict[bytes, int]:
    """Return how many events of each of *infos* (each of another segment) were accepted, or refused, by a receiver.

    Segments without any are left out.  Raises JournalIOError where a receipt cannot be read now, so that nobody can
    tell.
    """
    named = {info.segment: info for info in infos}
    counts = {}
    for segment, runs in _accounted(reader.root, named).items():
        count = _held_of(_merged(runs), _runs_here(reader, named[segment]))
        if count:
            counts[segment] = count
    return counts


def _accounted(root: str, present: "Collection[bytes]") -> dict[bytes, Runs]:
    """Return segment -> runs of sequence numbers that receipts name, of the segments in *present*."""
    folder = os.path.join(root, sent.RECEIPTS)
    try:
        names = [name for name in sorted(os.listdir(folder)) if is_upload(name) and name != sent.UPLOADS]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise JournalIOError("list", folder, error.errno, error.strerror or "") from error
    found: dict[bytes, Runs] = {}
    # What others were folded into comes last: a receipt that goes meanwhile is in there.
    for name in (*names, sent.UPLOADS):
        path = os.path.join(folder, name)
        if not _may_name(path, present):
            continue
        value = sent.read_map(path, "uploads" if name == sent.UPLOADS else "upload") or {}
        for key in ("ranges", "refused"):
            for segment, runs in value.get(key, ()):  # type: ignore[attr-defined]
                if segment in present:
                    found.setdefault(segment, []).extend(runs)
    return found


def _may_name(path: str, present: "Collection[bytes]") -> bool:
    """Tell whether the file may name one of *present*: nearly none does, and decoding it takes ten times as long."""
    try:
        data = read_file(path)
    except OSError:
        return True  # Whoever reads it says whether it is gone, or cannot be read.
    return any(match[1] in present for match in _UUID.finditer(data))


def _runs_here(reader: "JournalReader", info: "SegmentInfo") -> Runs:
    """Return the sequence numbers of the events that the file of *info* holds, as ascending runs."""
    if info.state == "packed" and "runs" in info.row:
        return info.row["runs"]  # type: ignore[return-value]
    seqs = {record.seq for record in reader.of_segment(info) if event_facts(record.payload) is not None}
    return [[seq, seq] for seq in sorted(seqs)]


def _merged(runs: Runs) -> Runs:
    """Return *runs* without overlaps, ascending."""
    found: Runs = []
    for first, last in sorted(runs):
        if found and first <= found[-1][1]:
            found[-1][1] = max(found[-1][1], last)
        else:
            found.append([first, last])
    return found


def _held_of(runs: Runs, here: Runs) -> int:
    """Return how many numbers are in both; the runs of each ascend and do not overlap."""
    total = 0
    for first, last in runs:
        for at in range(bisect_left(here, first, key=_end), len(here)):
            if here[at][0] > last:
                break
            total += min(last, here[at][1]) - max(first, here[at][0]) + 1
    return total


def _end(run: list[int]) -> int:
    return run[1]
