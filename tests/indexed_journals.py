"""Journals with an index, asked with it and without."""

import os
import sqlite3

from conftest import Clock
from full_journals import by_hand

from carojournal import Journal
from carojournal.filters import parse_filters
from carojournal.index import INDEX, open_index
from carojournal.index_rows import Block
from carojournal.reader import JournalReader
from carojournal.selection import newest, ordered

QUERIES = [
    parse_filters(words)
    for words in (
        ["event=error_occurred"],
        ["risk_level=high", "backend_used=mlx"],
        ["event=session_start"],
        ["inference_time_ms=17"],
        ["output_token_count=1"],
    )
]


def opened(root, **options):
    return open_index(root, JournalReader(root).segments(), **options)


def place(root):
    return os.path.join(root, INDEX)


def identities(records):
    return [(record.segment, record.seq) for record in records]


def stored_blocks(root):
    with sqlite3.connect(place(root)) as connection:
        columns = "block.offset, block.size, first_seq, first_ms, last_ms, counts, runs"
        query = f"SELECT {columns} FROM block JOIN file ON file.id = block.file ORDER BY first_ms, block.offset"
        return [Block.of_row(row) for row in connection.execute(query)]


def add_one(root):
    """Record one more event, in the lane that is open."""
    clock = Clock(by_hand(root)[-1][0])
    with Journal.open(root, clock=clock, environ={"HOME": "/nonexistent"}, admin="/nonexistent") as journal:
        assert journal.record("session_end", session_duration_ms=77)


def both_ways(root):
    """Assert that every query finds the same with and without the index; return the index."""
    found = opened(root)
    assert found is not None
    for query in QUERIES:
        with_index, without = JournalReader(root), JournalReader(root)
        assert identities(ordered(with_index, query, found)) == identities(ordered(without, query))
        assert identities(newest(with_index, query, 9, found)) == identities(newest(without, query, 9))
    return found
