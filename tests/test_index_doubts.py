"""An index is never trusted: whatever is wrong with it, or with what it describes, costs time and nothing else."""

import os
import sqlite3
from pathlib import Path

import pytest
from carobatch_journals import close_lanes, fill, journal_at
from full_journals import bytes_below
from indexed_journals import QUERIES, both_ways, identities, opened, place
from packed_files import run

from carojournal import index, status
from carojournal.reader import JournalReader
from carojournal.selection import ordered


def damaged_database(path):
    with open(path, "r+b") as file:
        file.seek(2_000)
        file.write(b"\xff" * 3_000)


def cut_database(path):
    os.truncate(path, os.path.getsize(path) // 2)


def empty_database(path):
    os.truncate(path, 0)


def foreign_database(path):
    os.unlink(path)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE other(x)")


def newer_layout(path):
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {index.LAYOUT + 1}")


def other_schema(path):
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE about SET schema = ?", (b"other",))


def no_key(path):
    with open(path, "rb") as file:
        data = file.read()
    assert data.count(b"(id INTEGER PRIMARY KEY") == 1
    with open(path, "wb") as file:
        file.write(data.replace(b"(id INTEGER PRIMARY KEY", b"(id INTEGER PRIMARX KEY"))


def no_database(path):
    with open(path, "wb") as file:
        file.write(b"hello" * 1_000)


def link(path):
    os.rename(path, f"{path}.elsewhere")
    os.symlink(f"{path}.elsewhere", path)


@pytest.mark.parametrize(
    "spoil",
    [
        damaged_database,
        cut_database,
        empty_database,
        foreign_database,
        newer_layout,
        other_schema,
        no_key,
        no_database,
        link,
    ],
)
def test_any_doubt_builds_it_anew(small, spoil):
    both_ways(small)
    spoil(place(small))
    found = both_ways(small)
    assert found.bytes_read >= bytes_below(small) - 500
    assert not os.path.islink(place(small))
    again = opened(small)
    assert again.bytes_read == 0


def replaced(path, data):
    os.unlink(path)
    with open(path, "wb") as file:
        file.write(data)


def flipped(path, data):
    with open(path, "r+b") as file:
        file.seek(len(data) // 2)
        file.write(bytes([data[len(data) // 2] ^ 1]))


def shortened(path, data):
    os.truncate(path, len(data) - 1_000)


def lengthened(path, data):
    with open(path, "ab") as file:
        file.write(data[-300:])


@pytest.mark.parametrize("change", [replaced, flipped, shortened, lengthened])
def test_a_file_that_does_not_fit_its_row_is_read_again(small, change):
    both_ways(small)
    name = sorted(os.listdir(os.path.join(small, "segments")))[2]
    path = os.path.join(small, "segments", name)
    with open(path, "rb") as file:
        data = file.read()
    change(path, data)
    os.utime(path, ns=(1, 1))
    found = opened(small)
    assert found.bytes_read >= len(data) // 2
    both_ways(small)


def test_a_segment_that_was_moved_or_evicted_costs_no_reading(small):
    both_ways(small)
    close_lanes(small)
    os.unlink(os.path.join(small, "segments", min(os.listdir(os.path.join(small, "segments")))))
    found = both_ways(small)
    assert found.bytes_read == 0
    assert found.rows[0] == len([info for info in JournalReader(small).segments() if info.size >= 16_384])


def test_a_file_with_damage_has_no_row_and_its_damage_is_seen_each_time(small):
    name = sorted(os.listdir(os.path.join(small, "segments")))[2]
    path = os.path.join(small, "segments", name)
    with open(path, "rb") as file:
        flipped(path, file.read())
    for _ in range(2):
        found = opened(small)
        reader = JournalReader(small)
        list(ordered(reader, QUERIES[0], found))
        assert [finding.path for finding in reader.damage] == [path]


def test_a_block_whose_bytes_changed_after_the_check_is_read_as_a_whole_segment(small):
    found = opened(small)
    expected = identities(ordered(JournalReader(small), QUERIES[2]))
    name = sorted(os.listdir(os.path.join(small, "segments")))[2]
    path = os.path.join(small, "segments", name)
    with open(path, "rb") as file:
        flipped(path, file.read())
    reader = JournalReader(small)
    left = identities(ordered(reader, QUERIES[2], found))
    assert left == identities(ordered(JournalReader(small), QUERIES[2]))
    assert len(expected) - 1 <= len(left) <= len(expected)
    assert [finding.path for finding in reader.damage] == [path]


def test_a_segment_beside_its_packed_copy_is_counted_once(tmp_path, clock):
    """A `compact` that is killed between two removals leaves it so: `status` said more events than there were."""
    root = str(tmp_path / "journal")
    with journal_at(root, clock) as journal:
        for _ in range(3):
            fill(journal, clock, 5_000, 10)
            close_lanes(root)
    folder = os.path.join(root, "segments")
    last = Path(folder, max(os.listdir(folder)))
    data = last.read_bytes()
    run(root, clock)
    assert os.listdir(folder) == []
    last.write_bytes(data)
    for _ in range(2):
        assert opened(root, always=True) is not None
        assert status.gather(root, {"HOME": str(tmp_path)}, admin="/nonexistent").kept.events == 15_000
