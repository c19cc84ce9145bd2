"""The index: small, incremental, never trusted, never in the way."""

import os
import sqlite3
import stat
import subprocess
import sys

import pytest
from carobatch_journals import close_lanes
from conftest import Clock
from full_journals import FULL_BYTES, by_hand, bytes_below, fill, session
from indexed_journals import QUERIES, add_one, both_ways, identities, opened, place, stored_blocks

from carobatch.compact import compact
from carobatch.store import PackedStore
from carojournal import Journal, index, index_build
from carojournal.filters import parse_filters
from carojournal.index import INDEX, open_index, rebuild
from carojournal.query import Query
from carojournal.reader import JournalReader
from carojournal.selection import newest, ordered


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A journal filled up to its default cap, with the index that a reader makes; not to be changed."""
    root = str(tmp_path_factory.mktemp("full") / "journal")
    fill(root, FULL_BYTES)
    return root


def test_a_full_journal_takes_less_than_two_percent(full):
    found = both_ways(full)
    data = bytes_below(full)
    assert data > 9_000_000
    assert os.path.getsize(place(full)) < 0.02 * data
    assert stat.S_IMODE(os.stat(place(full)).st_mode) == 0o600
    files, blocks = found.rows
    events = by_hand(full)
    assert files + blocks < len(events) / 100, "rows per segment and per block, not per event"
    totals = found.totals()
    assert (totals.oldest_ms, totals.newest_ms) == (events[0][0], events[-1][0])
    assert totals.rest == [info for info in JournalReader(full).segments() if info.size < 16_384]
    names = [row[3]["event"] for row in events]
    if not totals.rest:
        assert totals.counts == {name: names.count(name) for name in totals.counts}


def test_blocks_that_cannot_match_are_not_read(full):
    found = opened(full)
    everything = found.candidates(Query())
    assert len(found.candidates(parse_filters(["event=error_occurred"]))) < len(everything)
    events = by_hand(full)
    middle = events[len(events) // 2]
    assert len(found.candidates(Query(since_ms=middle[0], until_ms=middle[0]))) <= 2
    run = parse_filters([f"run_id={middle[3]['run_id'].hex()}"])
    assert len(found.candidates(run)) <= 4
    assert identities(ordered(JournalReader(full), run, found)) == [
        row[1:3] for row in events if row[3]["run_id"] == middle[3]["run_id"]
    ]
    assert found.candidates(parse_filters(["session_id=00000000"])) == []


def test_only_new_bytes_are_read(small, monkeypatch):
    read = []
    pread = os.pread

    def counted(descriptor, size, offset):
        data = pread(descriptor, size, offset)
        read.append(len(data))
        return data

    both_ways(small)
    before = bytes_below(small)
    add_one(small)
    grown = bytes_below(small) - before
    assert 0 < grown < 500
    infos = JournalReader(small).segments()
    monkeypatch.setattr(index_build.os, "pread", counted)
    found = open_index(small, infos)
    assert found.bytes_read == sum(read)
    assert grown < sum(read) < grown + 500, "the new record, and the one before it as a proof"
    read.clear()
    again = open_index(small, infos)
    assert (again.bytes_read, read) == (0, [])
    monkeypatch.undo()
    both_ways(small)


@pytest.mark.parametrize("step", [1, 3])
def test_growing_in_steps_ends_where_building_at_once_does(tmp_path, step):
    import random

    root, clock, rand = str(tmp_path / "journal"), Clock(), random.Random(step)
    environ = {"HOME": "/nonexistent"}
    with Journal.open(root, clock=clock, environ=environ, admin="/nonexistent") as journal:
        for _ in range(10):
            for _ in range(20 * step):
                session(journal, rand, clock)
            assert opened(root, always=True) is not None
    grown = opened(root)
    assert grown.bytes_read == 0
    assert stored_blocks(root) == [block for entry in grown._entries for block in entry.blocks]
    fresh = rebuild(root, JournalReader(root).segments())
    assert [entry.blocks for entry in fresh._entries] == [entry.blocks for entry in grown._entries]


def test_packed_files_have_one_row_each(small):
    close_lanes(small)
    before = by_hand(small)
    compact(small, PackedStore(small, 10_000_000), Clock().now_ms + 86_400_000 * 9)
    infos = JournalReader(small).segments()
    assert {info.state for info in infos} == {"packed"}
    found = opened(small, always=True)
    packed = os.listdir(os.path.join(small, "packed"))
    assert found.rows == (len(packed), len(packed))
    totals = found.totals()
    names = [row[3]["event"] for row in before]
    assert totals.counts == {name: names.count(name) for name in totals.counts}
    for query in QUERIES:
        assert identities(newest(JournalReader(small), query, 9, found)) == identities(
            newest(JournalReader(small), query, 9)
        )


def test_a_small_journal_gets_none_unless_asked_for(root, journal):
    journal.record("session_end", session_duration_ms=1)
    assert opened(root) is None
    assert not os.path.exists(place(root))
    assert opened(root, always=True) is not None
    assert os.path.exists(place(root))
    found = opened(root)
    assert found is not None, "one that is there is kept up to date"


def test_a_directory_that_cannot_be_written_has_no_index(small, monkeypatch):
    def refused(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(index.os, "open", refused)
    monkeypatch.setattr(index.sqlite3, "connect", refused)
    assert opened(small) is None


def test_an_index_that_somebody_writes_is_left_alone(small):
    both_ways(small)
    add_one(small)
    other = sqlite3.connect(place(small), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    inode = os.stat(place(small)).st_ino
    assert opened(small) is None
    other.execute("ROLLBACK")
    other.close()
    assert os.stat(place(small)).st_ino == inode
    both_ways(small)


def test_readers_side_by_side_agree(small):
    code = (
        "import sys\nfrom carojournal.reader import JournalReader\nfrom carojournal.index import open_index\n"
        "from carojournal.selection import newest\nfrom carojournal.filters import parse_filters\n"
        "reader = JournalReader(sys.argv[1])\nfound = open_index(sys.argv[1], reader.segments())\n"
        "print([record.seq for record in newest(reader, parse_filters(['event=session_end']), 30, found)])\n"
    )
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    running = [
        subprocess.Popen([sys.executable, "-c", code, small], stdout=subprocess.PIPE, text=True, cwd=here)
        for _ in range(4)
    ]
    shown = {process.communicate(timeout=60)[0] for process in running}
    assert [process.returncode for process in running] == [0] * 4
    assert len(shown) == 1
    assert shown.pop().startswith("[")
    assert [name for name in os.listdir(small) if name.startswith(INDEX)] == [INDEX]


def test_leftovers_of_a_killed_build_are_removed(small):
    old, young = (os.path.join(small, f"{INDEX}.{name}.tmp") for name in ("aaaa", "bbbb"))
    for path in (old, young):
        with open(path, "wb"):
            pass
    os.utime(old, (1, 1))
    assert opened(small) is not None
    assert not os.path.exists(old)
    assert os.path.exists(young), "it may be under way"


def test_a_torn_tail_of_a_lane_is_seen_too(small):
    both_ways(small)
    with open(os.path.join(small, "lanes", "0.seg"), "ab") as file:
        file.write(b"\x84\x1a\0")
    for _ in range(2):
        reader = JournalReader(small)
        list(ordered(reader, QUERIES[0], opened(small)))
        assert [(finding.size, finding.torn) for finding in reader.damage] == [(3, True)]


def test_a_reader_at_the_same_time_costs_only_that_nothing_is_kept(small):
    both_ways(small)
    add_one(small)
    other = sqlite3.connect(place(small), isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT * FROM file").fetchone()
    for _ in range(2):
        found = opened(small)
        assert found is not None
        assert found.bytes_read > 0
    other.execute("ROLLBACK")
    other.close()
    assert opened(small).bytes_read > 0
    assert opened(small).bytes_read == 0
