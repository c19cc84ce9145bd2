"""What the processes of a soak write down, and how it is read: fixed rows, so that fifty million events stay small.

    offset  size  field
    0       16    segment uuid
    16      8     first sequence number, big-endian
    24      8     last sequence number

One row is a run of events of one segment.  A log is whole rows only: every write is one or several of them.
"""

import os
import struct
from collections.abc import Mapping

from faults.conservation import Ranges

__all__ = ["ROW_BYTES", "RunLog", "read_runs", "repeated"]

_ROW = struct.Struct(">16sQQ")
ROW_BYTES = _ROW.size
_OPEN_MAX = 32  # Segments that grow at the same time: one for each lane that a writer falls back to.
assert ROW_BYTES == 32


class RunLog:
    """Appends runs to a file; events that follow one another in a segment become one row."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._open: dict[bytes, tuple[int, int]] = {}
        self.events = 0

    def add(self, segment: bytes, first: int, events: int) -> None:
        """Add *events* events from *first* on; nothing for none."""
        if not events:
            return
        self.events += events
        begin, end = self._open.get(segment, (first, first))
        if end != first:
            os.write(self._descriptor, _ROW.pack(segment, begin, end - 1))
            begin = first
        elif len(self._open) >= _OPEN_MAX and segment not in self._open:
            self.flush()
        self._open[segment] = begin, first + events

    def flush(self) -> None:
        """Write what is held back."""
        rows = [_ROW.pack(segment, begin, end - 1) for segment, (begin, end) in self._open.items()]
        os.write(self._descriptor, b"".join(rows))
        self._open = {}

    def close(self) -> None:
        """Write what is held back and close the file."""
        self.flush()
        os.close(self._descriptor)


def read_runs(*paths: str) -> Ranges:
    """Return every run in the logs at *paths*, unsorted and not joined; a log that was never begun is empty."""
    found: Ranges = {}
    for path in paths:
        if not os.path.exists(path):
            continue
        with open(path, "rb") as file:
            data = file.read()
        for segment, first, last in _ROW.iter_unpack(data[: len(data) // ROW_BYTES * ROW_BYTES]):
            found.setdefault(segment, []).append([first, last])
    return found


def repeated(runs: Mapping[bytes, list[list[int]]]) -> int:
    """Return how many identities stand in more than one of *runs*, as `read_runs` returns them."""
    more = 0
    for listed in runs.values():
        end = -1
        for first, last in sorted(listed):
            more += max(0, min(end, last) - first + 1)
            end = max(end, last)
    return more
