"""Queues and exports that are damaged, hostile or in use: bounded, said, and nothing is written beside them."""

import gzip
import json
import os
import sqlite3
from contextlib import closing

import pytest
from old_queues import old_event, queue, queue_of_five, take

from carojournal.cli import main
from carojournal.errors import DamagedData, JournalBusy, JournalUnavailable, UsageError


@pytest.fixture
def five(tmp_path):
    """The five events of the progress document."""
    return queue_of_five(tmp_path / "events.db")


@pytest.mark.parametrize(
    "data",
    [
        b"no json at all",
        b"[" * 100_000,
        b'{"events": [',
        b'"text"',
        b"\xff\xfe[]",
        b"\x1f\x8b\x08\x00garbage",
        b"[1e",
        b'{"events": 5} trailing',
        b"SQLite format 3\0" + b"\xff" * 4096,
    ],
)
def test_garbage_is_damage_and_makes_no_journal(tmp_path, root, capfd, data):
    path = tmp_path / "garbage"
    path.write_bytes(data)
    with pytest.raises(DamagedData):
        take(path, root)
    assert not os.path.exists(root)
    assert main(["migrate", str(path)]) == 65
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_what_comes_before_the_damage_is_taken(tmp_path, root, capsys):
    path = tmp_path / "cut.json.gz"
    path.write_bytes(gzip.compress(json.dumps([old_event(number) for number in range(99)]).encode())[:-200])
    report = take(path, root)
    assert (0 < report.taken < 99, report.damage.reason) == (True, "the gzip data is cut off")
    assert main(["migrate", str(path)]) == 65
    assert "cannot be read" in capsys.readouterr().err


def test_a_gzip_bomb_stops_at_the_budget(tmp_path, root, monkeypatch):
    monkeypatch.setattr("carojournal.migrate_sources.TEXT_BYTES_MAX", 1_000_000)
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(b"[" + b" " * 50_000_000 + b"]"))
    with pytest.raises(DamagedData, match="more than 1000000 bytes"):
        take(path, root)


def test_rows_are_bounded(tmp_path, root, monkeypatch):
    monkeypatch.setattr("carojournal.migrate_sources.ROWS_MAX", 3)
    report = take(queue(tmp_path / "q", [old_event(number) for number in range(9)]), root)
    assert (report.taken, report.damage.reason) == (3, "more than 3 rows")


@pytest.mark.parametrize(
    "script",
    [
        "CREATE VIEW events AS SELECT '1' id, '2' session_id, '3' timestamp, '4' event_type, '5' data",
        "CREATE TABLE t(a); CREATE VIEW events AS SELECT load_extension('x') id FROM t",
        "CREATE VIRTUAL TABLE events USING fts5(id, session_id, timestamp, event_type, data)",
        "CREATE TABLE events(id, session_id, timestamp, event_type)",
        "CREATE TABLE events(id, session_id, timestamp, event_type, data AS (printf('%s', zeroblob(9))))",
        "CREATE TABLE other(id)",
    ],
)
def test_only_a_plain_table_of_caros_shape_is_read(tmp_path, root, script):
    path = tmp_path / "planted.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    with pytest.raises((JournalUnavailable, DamagedData)):
        take(path, root)
    assert not os.path.exists(root)


def test_a_queue_may_have_any_name_that_the_system_allows(five, root):
    strange = os.path.join(os.path.dirname(str(five)), os.fsdecode(b"a b%3f?#\xff.db"))
    os.rename(five, strange)
    assert take(strange, root).taken == 5


def test_nothing_is_written_beside_the_queue(five, root):
    before = (sorted(os.listdir(five.parent)), five.read_bytes())
    os.chmod(five, 0o400)
    take(five, root)
    assert (sorted(os.listdir(five.parent)), five.read_bytes()) == (sorted({*before[0], "home"}), before[1])


def test_a_queue_that_caro_has_open_is_left_for_later(five, root):
    with open(f"{five}-wal", "wb") as file:
        file.write(b"unsettled")
    with pytest.raises(JournalBusy):
        take(five, root)
    assert not os.path.exists(root)


def test_a_damaged_queue_gives_what_is_readable(tmp_path, root):
    path = queue(tmp_path / "q", [old_event(number) for number in range(60)])
    data = bytearray(path.read_bytes())
    at = data.rindex(b'"duration_ms": 159')
    page = at // 4096 * 4096
    data[page : page + 12] = b"\xff" * 12
    path.write_bytes(data)
    report = take(path, root)
    assert 0 < report.taken < 60
    assert report.damage is not None


def test_what_is_no_regular_file_is_a_usage_error(tmp_path, root):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(UsageError):
            take(path, root)
    with pytest.raises(JournalUnavailable):
        take(tmp_path / "missing", root)
