"""The tables of the index, brought up to date and read into memory in one transaction.

Whose file this is and whether to trust it: `index`.
"""

import sqlite3
from collections.abc import Sequence
from zlib import crc32

from carojournal.index_build import extend
from carojournal.index_queries import Entry, Index
from carojournal.index_rows import Block, FileRow, Unit, units_of
from carojournal.segment_file import SegmentInfo

__all__ = ["TABLES", "brought_up_to_date"]

TABLES = """
CREATE TABLE about(schema BLOB NOT NULL);
CREATE TABLE file(id INTEGER PRIMARY KEY, uuid BLOB NOT NULL, packed INTEGER NOT NULL, device INTEGER NOT NULL,
  inode INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, size INTEGER NOT NULL, last_offset INTEGER NOT NULL,
  next_seq INTEGER NOT NULL, sessions BLOB, crc INTEGER NOT NULL);
CREATE TABLE block(file INTEGER NOT NULL, offset INTEGER NOT NULL, size INTEGER NOT NULL, first_seq INTEGER NOT NULL,
  first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, counts BLOB NOT NULL, runs BLOB,
  PRIMARY KEY(file, offset)) WITHOUT ROWID;
"""
_FILE_COLUMNS = "uuid, packed, device, inode, mtime_ns, size, last_offset, next_seq, sessions"
_BLOCK_COLUMNS = "offset, size, first_seq, first_ms, last_ms, counts, runs"
# Built from constants alone.
_ALL_FILES = f"SELECT id, {_FILE_COLUMNS}, crc FROM file"  # noqa: S608
_BLOCKS = f"SELECT {_BLOCK_COLUMNS} FROM block WHERE file = ? ORDER BY offset"  # noqa: S608
_ADD_FILE = f"INSERT INTO file({_FILE_COLUMNS}, crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_SET_FILE = f"UPDATE file SET {' = ?, '.join(_FILE_COLUMNS.split(', '))} = ?, crc = ? WHERE id = ?"  # noqa: S608
_PUT_BLOCK = f"INSERT OR REPLACE INTO block(file, {_BLOCK_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608


def brought_up_to_date(connection: sqlite3.Connection, infos: Sequence[SegmentInfo]) -> Index:
    """Return the index of *infos* after reading what is new; writes only if something is.

    Raises sqlite3.Error, OSError.  If only the end of the transaction fails, because somebody reads at the same time,
    what was found holds all the same; it is not kept.
    """
    tables = _Tables(connection)
    connection.execute("BEGIN")
    try:
        index = tables.update(infos)
        try:
            connection.execute("COMMIT")
        except sqlite3.OperationalError:
            connection.execute("ROLLBACK")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return index


def _checksum(row: FileRow, blocks: Sequence[tuple[object, ...]]) -> int:
    """Return the CRC-32 of a file's row and its blocks' rows, as they stand in the tables."""
    return crc32(repr((row.values(), list(blocks))).encode())


class _Tables:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._bytes_read = 0

    def update(self, infos: Sequence[SegmentInfo]) -> Index:
        units, rest = units_of(infos)
        rows = {
            (row[1], bool(row[2])): (row[0], FileRow(row[1], bool(row[2]), *row[3:-1]), row[-1])
            for row in self._connection.execute(_ALL_FILES)
        }
        entries = []
        for unit in units:
            number, row, crc = rows.pop((unit.uuid, unit.packed), (None, None, 0))
            known = self._blocks(number, row, crc) if number is not None and row is not None else []
            entry: Entry | None
            if row is not None and row.is_current(unit.path):
                entry = Entry(unit, row.sessions, known)
            else:
                entry = self._index(unit, number, row, known)
            if entry is not None and entry.is_whole:
                entries.append(entry)
            else:
                rest += unit.infos  # It cannot be read as we expect: the reader has to say why.
        for number, _, _ in rows.values():
            self._drop(number)
        return Index(entries, rest, self._bytes_read)

    def _blocks(self, number: int, row: FileRow, crc: object) -> list[Block]:
        """Return a file's blocks.  Raises sqlite3.DatabaseError unless they are what was written."""
        blocks = self._connection.execute(_BLOCKS, (number,)).fetchall()
        if _checksum(row, blocks) != crc:
            raise sqlite3.DatabaseError("a row's checksum does not hold")
        return [Block.of_row(block) for block in blocks]

    def _drop(self, number: int) -> None:
        self._connection.execute("DELETE FROM block WHERE file = ?", (number,))
        self._connection.execute("DELETE FROM file WHERE id = ?", (number,))

    def _index(self, unit: Unit, number: int | None, row: FileRow | None, known: list[Block]) -> Entry | None:
        """Index what is new in a file, or all of it; None if it cannot be indexed."""
        done = extend(unit, row, known[-1] if known else None)
        self._bytes_read += done.bytes_read
        if number is not None and not done.extends:
            self._drop(number)
            number, known = None, []
        if done.row is None:
            return None
        blocks = known[:-1] + done.blocks
        values = (*done.row.values(), _checksum(done.row, [block.values() for block in blocks]))
        if number is None:
            number = self._connection.execute(_ADD_FILE, values).lastrowid or 0
        else:
            self._connection.execute(_SET_FILE, (*values, number))
        self._connection.executemany(_PUT_BLOCK, [(number, *block.values()) for block in done.blocks])
        return Entry(unit, done.row.sessions, blocks)
