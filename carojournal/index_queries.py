"""The tables of the index: brought up to date, and asked.  Whose file this is and whether to trust it: `index`."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from carojournal.events import EVENTS
from carojournal.index_build import extend
from carojournal.index_rows import Block, FileRow, Unit, units_of
from carojournal.query import Query
from carojournal.segment_file import SegmentInfo

__all__ = ["TABLES", "Candidate", "Index", "Totals"]

TABLES = """
CREATE TABLE about(schema BLOB NOT NULL);
CREATE TABLE file(id INTEGER PRIMARY KEY, uuid BLOB NOT NULL, packed INTEGER NOT NULL, device INTEGER NOT NULL,
  inode INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, size INTEGER NOT NULL, last_offset INTEGER NOT NULL,
  next_seq INTEGER NOT NULL, sessions BLOB);
CREATE TABLE block(file INTEGER NOT NULL, offset INTEGER NOT NULL, size INTEGER NOT NULL, first_seq INTEGER NOT NULL,
  first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, counts BLOB NOT NULL, runs BLOB,
  PRIMARY KEY(file, offset)) WITHOUT ROWID;
"""
_FILE_COLUMNS = "uuid, packed, device, inode, mtime_ns, size, last_offset, next_seq, sessions"
_BLOCK_COLUMNS = "offset, size, first_seq, first_ms, last_ms, counts, runs"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Bytes that may hold matching events.  `size` None: everything in *infos*, a small segment or a packed file.

    A block has the sequence numbers from `first_seq` to below `end_seq`, and nothing newer than `last_ms`.
    """

    infos: tuple[SegmentInfo, ...]
    offset: int = 0
    size: int | None = None
    first_seq: int = 0
    end_seq: int = 1 << 64
    last_ms: int = 1 << 63


@dataclass(slots=True)
class Totals:
    """What the index knows of everything it covers; `rest` are the segments that have to be read."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(EVENTS, 0))
    others: int = 0
    sendable: int = 0
    oldest_ms: int | None = None
    newest_ms: int | None = None
    rest: list[SegmentInfo] = field(default_factory=list)


class Index:
    """An index that agrees with the files, as far as anybody can see.

    `bytes_read` counts what bringing it up to date has read, in bytes; `rows` what it holds.
    """

    def __init__(self, connection: sqlite3.Connection, infos: Sequence[SegmentInfo]) -> None:
        self._connection = connection
        self._units, self._small = units_of(infos)
        self._ids: dict[bytes, int] = {}
        self.bytes_read = 0

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    @property
    def rows(self) -> tuple[int, int]:
        """The number of rows (files, blocks)."""
        (files,) = self._connection.execute("SELECT count(*) FROM file").fetchone()
        (blocks,) = self._connection.execute("SELECT count(*) FROM block").fetchone()
        return files, blocks

    def update(self) -> None:
        """Bring the index up to date; writes only if something is new.  Raises sqlite3.Error, OSError."""
        rows = {
            (row[1], bool(row[2])): (row[0], FileRow(row[1], bool(row[2]), *row[3:]))
            for row in self._connection.execute(f"SELECT id, {_FILE_COLUMNS} FROM file")  # noqa: S608 - a constant
        }
        for unit in self._units:
            number, row = rows.pop((unit.uuid, unit.packed), (None, None))
            if row is not None and row.is_current(unit.path):
                self._ids[unit.uuid] = number or 0
            else:
                self._index(unit, number, row)
        for number, _ in rows.values():
            self._begin()
            self._drop(number)
        if self._connection.in_transaction:
            self._connection.execute("COMMIT")

    def _begin(self) -> None:
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")

    def _drop(self, number: int | None) -> None:
        self._connection.execute("DELETE FROM block WHERE file = ?", (number,))
        self._connection.execute("DELETE FROM file WHERE id = ?", (number,))

    def _index(self, unit: Unit, number: int | None, row: FileRow | None) -> None:
        """Index what is new in a file, or all of it."""
        last = None
        if row is not None:
            found = self._connection.execute(
                f"SELECT {_BLOCK_COLUMNS} FROM block WHERE file = ? ORDER BY offset DESC LIMIT 1",  # noqa: S608 - a constant
                (number,),
            ).fetchone()
            last = Block.of_row(found) if found else None
        done = extend(unit, row, last)
        self.bytes_read += done.bytes_read
        if done.row is None:
            self._small += unit.infos  # It cannot be read as we expect: the reader has to say why.
            if number is not None:
                self._begin()
                self._drop(number)
            return
        self._begin()
        if not done.extends and number is not None:
            self._drop(number)
            number = None
        values = done.row.values()
        if number is None:
            marks = ", ".join("?" * len(values))
            cursor = self._connection.execute(f"INSERT INTO file({_FILE_COLUMNS}) VALUES ({marks})", values)  # noqa: S608
            number = cursor.lastrowid
        else:
            marks = ", ".join(f"{name} = ?" for name in _FILE_COLUMNS.split(", "))
            self._connection.execute(f"UPDATE file SET {marks} WHERE id = ?", (*values, number))  # noqa: S608
        self._connection.executemany(
            f"INSERT OR REPLACE INTO block(file, {_BLOCK_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            [(number, *block.values()) for block in done.blocks],
        )
        self._ids[unit.uuid] = number or 0

    def candidates(self, query: Query) -> list[Candidate]:
        """Return what may hold events that *query* asks for, in no particular order.  Raises sqlite3.Error."""
        found = [Candidate((info,)) for info in self._small]
        wanted = query.possible_events
        for unit in self._units:
            number = self._ids.get(unit.uuid)
            if number is None:
                continue
            (sessions,) = self._connection.execute("SELECT sessions FROM file WHERE id = ?", (number,)).fetchone()
            if not _may_hold(sessions, 16, query.ids.get("session_id")):
                continue
            rows = self._connection.execute(
                f"SELECT {_BLOCK_COLUMNS} FROM block WHERE file = ? ORDER BY offset",  # noqa: S608 - a constant
                (number,),
            )
            blocks = [Block.of_row(row) for row in rows]
            ends = [block.first_seq for block in blocks[1:]] + [1 << 64]
            for block, end_seq in zip(blocks, ends, strict=True):
                if not query.covers(block.first_ms, block.last_ms) or not block.has_any(wanted):
                    continue
                if not _may_hold(block.runs, 2, query.ids.get("run_id")):
                    continue
                size = None if unit.packed else block.size
                found.append(Candidate(unit.infos, block.offset, size, block.first_seq, end_seq, block.last_ms))
        return found

    def totals(self) -> Totals:
        """Return counts and times of all that is indexed.  Raises sqlite3.Error."""
        totals = Totals(rest=list(self._small))
        names = list(EVENTS)
        for unit in self._units:
            number = self._ids.get(unit.uuid)
            if number is None:
                continue
            rows = self._connection.execute(f"SELECT {_BLOCK_COLUMNS} FROM block WHERE file = ?", (number,))  # noqa: S608
            for block in map(Block.of_row, rows):
                for name, count in zip(names, block.counts, strict=False):
                    totals.counts[name] += count
                totals.others += block.counts[-1]
                # A packed file holds events of one state of consent only.
                totals.sendable += sum(block.counts) if unit.infos[0].consent_ms else 0
                totals.oldest_ms = min(block.first_ms, block.first_ms if totals.oldest_ms is None else totals.oldest_ms)
                totals.newest_ms = max(block.last_ms, block.last_ms if totals.newest_ms is None else totals.newest_ms)
        return totals


def _may_hold(known: bytes | None, size: int, prefixes: Iterable[str] | None) -> bool:
    """Tell whether *known*, the first *size* bytes of ids one after another, may belong to an id asked for."""
    if prefixes is None or known is None:
        return True
    starts = tuple(prefix[: 2 * size] for prefix in prefixes)
    return any(known[at : at + size].hex().startswith(starts) for at in range(0, len(known), size))
