"""What caro 1.1 left behind, read as hostile input: its sqlite queue and its JSON exports, one row at a time.

    sqlite   table events(id TEXT PRIMARY KEY, session_id TEXT, timestamp TEXT, event_type TEXT, data TEXT holding JSON)
    JSON     an array of events, {"events": [...], ...}, one event, or any of these after one another (NDJSON)
    gzip     of such JSON, in one member or several

Nothing of a file is executed and nothing is written beside it: the database is opened read-only and immutable, its
schema is not trusted, and an authorizer lets two SELECTs through.  JSON is parsed value by value, so that memory is
bounded by one value and not by the file.  A bad row is a row with a reason; what cannot be read any further is
DamagedData, after the rows before it were handed out.  No word of the file appears in an error.
"""

import os
import stat
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from carojournal.errors import DamagedData, JournalBusy, JournalUnavailable, UsageError
from carojournal.json_stream import DECODER, TEXT_BYTES_MAX, VALUE_CHARACTERS_MAX, Scanner, gunzip
from carojournal.named import named

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ROWS_MAX", "Row", "open_source", "parse_text"]

ROWS_MAX = 1_000_000  # Ten times what the default spool can hold; bounds the time that a planted file costs.
COLUMN_BYTES_MAX = 128  # Of id, session, timestamp and event name; a UUID has 36.
SQLITE_VALUE_BYTES_MAX = 16_777_216  # Beyond that sqlite itself stops reading.
_COLUMNS = (b"id", b"session_id", b"timestamp", b"event_type", b"data")
_SQLITE_MAGIC = b"SQLite format 3\0"
_GZIP_MAGIC = b"\x1f\x8b"


class Row(NamedTuple):
    """One row: its JSON value, or None and the `reason` why there is none; sqlite's columns where they exist."""

    value: object
    reason: str = ""
    id: str | None = None
    session_id: str | None = None
    timestamp: str | None = None
    event_type: str | None = None


def parse_text(text: str) -> Row:
    """Return the row that *text* holds as JSON."""
    if len(text) > VALUE_CHARACTERS_MAX:
        return Row(None, "too_large")
    try:
        return Row(DECODER.decode(text))
    except (ValueError, RecursionError):
        return Row(None, "json")


def _rows_of_json(path: str, descriptor: int, *, compressed: bool) -> "Iterator[Row]":
    with open(descriptor, "rb", buffering=0) as file:
        read = gunzip(path, file.read) if compressed else file.read
        for number, value in enumerate(Scanner(path, read, TEXT_BYTES_MAX).values()):
            if number == ROWS_MAX:
                raise DamagedData(path, 0, f"more than {ROWS_MAX} events")
            yield Row(value)


def _authorize(action: int, first: str | None, second: str | None, *_: object) -> int:
    import sqlite3

    allowed = (
        action == sqlite3.SQLITE_SELECT
        or (action == sqlite3.SQLITE_READ and first in ("events", "sqlite_master"))
        or (action == sqlite3.SQLITE_FUNCTION and second == "substr")
    )
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _text(value: object, limit: int) -> str | None:
    """Return a column's text; None for anything else, and for what is too long."""
    if type(value) is not bytes or len(value) > limit:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _rows_of_queue(path: str) -> "Iterator[Row]":
    import sqlite3

    for suffix in ("-wal", "-journal"):
        if os.path.exists(path + suffix) and os.path.getsize(path + suffix):
            raise JournalBusy("the queue has unsettled changes: quit caro, so that it closes the queue, and try again")
    connection = sqlite3.connect(f"file:{quote(os.fsencode(os.path.abspath(path)))}?mode=ro&immutable=1", uri=True)
    try:
        connection.text_factory = bytes
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, SQLITE_VALUE_BYTES_MAX)
        connection.execute("PRAGMA trusted_schema = OFF")
        described = connection.execute("PRAGMA table_xinfo(events)").fetchall()
        columns = {row[1] for row in described}
        generated = any(row[6] for row in described)  # Computed columns would run expressions of the file.
        connection.set_authorizer(_authorize)
        kinds = connection.execute("SELECT type, rootpage FROM sqlite_master WHERE name = 'events'").fetchall()
        # A virtual table has no root page; its module's code, like a view's SELECT, would be the file's word.
        plain = len(kinds) == 1 and kinds[0][0] == b"table" and kinds[0][1]
        if not plain or not columns.issuperset(_COLUMNS) or generated:
            raise JournalUnavailable("the database has no table 'events' of caro's")
        short, long = COLUMN_BYTES_MAX + 1, VALUE_CHARACTERS_MAX + 1
        cursor = connection.execute(
            "SELECT substr(id, 1, ?1), substr(session_id, 1, ?1), substr(timestamp, 1, ?1), "
            "substr(event_type, 1, ?1), substr(data, 1, ?2) FROM events",
            (short, long),
        )
        for number, (*envelope, data) in enumerate(cursor):
            if number == ROWS_MAX:
                raise DamagedData(path, 0, f"more than {ROWS_MAX} rows")
            text = _text(data, 4 * long)
            row = parse_text(text) if text is not None else Row(None, "type")
            yield Row(row.value, row.reason, *(_text(column, COLUMN_BYTES_MAX) for column in envelope))
    except (sqlite3.Error, UnicodeDecodeError):  # sqlite3 decodes messages that quote a damaged schema.
        raise DamagedData(path, 0, "not a database that can be read, or not to its end") from None
    finally:
        connection.close()


def open_source(path: str) -> "Iterator[Row]":
    """Yield the rows of the file at *path*.

    Raises UsageError (not a regular file), JournalUnavailable (no such file, or not caro's), JournalBusy (caro has not
    closed its queue), OSError, and DamagedData once the rest of the file cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise JournalUnavailable(f"{path}: there is no such file") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UsageError("only a regular file can be taken over")
        with named(path):
            magic = os.pread(descriptor, len(_SQLITE_MAGIC), 0)
            if magic != _SQLITE_MAGIC:
                yield from _rows_of_json(path, os.dup(descriptor), compressed=magic.startswith(_GZIP_MAGIC))
    finally:
        os.close(descriptor)
    if magic == _SQLITE_MAGIC:
        yield from _rows_of_queue(path)
