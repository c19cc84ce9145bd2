"""A process that appends to a peer's store, or to a journal.

    python peer_worker.py once NAME FOLDER             open, append once, end
    python peer_worker.py many NAME FOLDER COUNT       as append_worker: append COUNT times, print [began, ended] in ns
    python peer_worker.py endless NAME FOLDER          append until killed; one byte to standard output for each

NAME is a peer's, or "record()" or "record(), durability each".
"""

import json
import os
import sys
from collections.abc import Callable
from time import perf_counter_ns

__all__ = ["OURS", "OURS_SYNCED", "main", "opened"]

OURS, OURS_SYNCED = "record()", "record(), durability each"


def opened(name: str, folder: str) -> Callable[[], object]:
    """Return what appends one full event to the store of that name in *folder*."""
    from bench.workload import EVENT, FIELDS, open_journal

    if name in (OURS, OURS_SYNCED):
        durability = "each" if name == OURS_SYNCED else "os"
        journal = open_journal(os.path.join(folder, "journal"), folder, durability=durability)

        def append() -> None:
            assert journal.record(EVENT, **FIELDS)

        return append
    from bench.peers import by_name
    from bench.workload import sample_event

    return by_name(name).open(folder, sample_event())


def main(how: str, name: str, folder: str, count: int = 0) -> None:
    """Do what is described above."""
    append = opened(name, folder)
    append()
    if how == "once":
        return
    if how == "endless":
        os.write(1, b".")
        while True:
            append()
            os.write(1, b".")
    print(flush=True)
    sys.stdin.read()
    began = perf_counter_ns()
    for _ in range(count):
        append()
    json.dump([began, perf_counter_ns()], sys.stdout)


if __name__ == "__main__":
    sys.path.insert(1, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    main(sys.argv[1], sys.argv[2], sys.argv[3], *map(int, sys.argv[4:]))
