"""A packed file of four segments, and damage to it."""

from pathlib import Path

from carobatch_journals import DAY_MS, close_lanes, events_of, fill, journal_at
from uploads import names

from carobatch.compact import compact
from carobatch.store import PackedStore
from carojournal import packed

CAP = 10_000_000
EVENTS = 4_000  # Of more than one block of zstd.


def run(root, clock, cap=CAP, level=9):
    return compact(root, PackedStore(root, cap, level), clock.now_ms + 100 * DAY_MS, 0)


def pack(root, clock, events=EVENTS):
    """Make a packed file of four segments; returns its path, its bytes, and the journal's events."""
    with journal_at(root, clock) as journal:
        for _ in range(4):
            fill(journal, clock, events // 4, 10)
            close_lanes(root)
    run(root, clock)
    path = Path(root, "packed", names(root, "packed")[-1])
    return path, path.read_bytes(), events_of(root)


def beyond_parity(path, share=2 / 3):
    """Damage that takes the sections behind that share of the file."""
    whole = path.read_bytes()
    inventory = packed.read_inventory(str(path))
    at = inventory.start + int(inventory.frame_bytes * share)
    path.write_bytes(whole[:at] + bytes(3 * inventory.parity["block"]) + whole[at + 3 * inventory.parity["block"] :])


def rows_of(path):
    return packed.read_inventory(str(path)).sections


def gaps_of(path):
    """segment -> [(first, last, reason)] of every section that has gaps."""
    return {
        row["segment"]: [(gap["first_seq"], gap["last_seq"], gap["reason"]) for gap in row["gaps"]]
        for row in rows_of(path)
        if row["gaps"]
    }
