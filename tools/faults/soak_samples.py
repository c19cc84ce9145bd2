"""What a soak looks at while it runs: memory and descriptors of its processes, and every byte of the spool.  Linux."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Sample", "growth", "look", "spool_bytes"]

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_LOOKS_MAX = 50  # Until two looks agree: writers that rotate all the time leave milliseconds in between.
_IDENTITY = "journal"  # The one file that the bound leaves out.


@dataclass(frozen=True, slots=True)
class Sample:
    """One look: seconds since the start, the spool's bytes, and (resident bytes, descriptors) of each process."""

    at_s: float
    spool: int
    processes: tuple[tuple[int, int], ...]


def _files(root: str) -> dict[int, int]:
    """Return inode -> bytes of every file that counts; one that is renamed meanwhile counts once."""
    found = {}
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif folder != root or entry.name != _IDENTITY:
                        status = entry.stat(follow_symlinks=False)
                        found[status.st_ino] = status.st_size
        except FileNotFoundError:
            continue
    return found


def spool_bytes(root: str) -> int:
    """Return the bytes of the journal at *root* at one instant.

    A listing is no instant: what is removed and what is made while it runs may both be in it.  So it is repeated until
    two in a row have the same files; if that never happens, the smallest one counts.
    """
    before = _files(root)
    totals = [sum(before.values())]
    for _ in range(_LOOKS_MAX):
        now = _files(root)
        totals.append(sum(now.values()))
        if now.keys() == before.keys():
            return totals[-1]
        before = now
    return min(totals)


def look(root: str, pids: Sequence[int], at_s: float) -> Sample:
    """Return a sample.  Raises OSError if a process is gone."""
    processes = []
    for pid in pids:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            resident = int(file.read().split()[1]) * _PAGE_BYTES
        processes.append((resident, len(os.listdir(f"/proc/{pid}/fd"))))
    return Sample(at_s, spool_bytes(root), tuple(processes))


def growth(values: Sequence[float]) -> float:
    """Return by how much the median of the last quarter exceeds that of the second; the first is warming up."""
    quarter = len(values) // 4
    return median(values[-quarter:]) - median(values[quarter : 2 * quarter]) if quarter else 0.0
