"""The table that caro 1.1 keeps its events in, in Python's sqlite3: every insert is a transaction of its own.

Imports what it needs and nothing else: a process that starts is measured too.
"""

import json
import os
import sqlite3
from collections.abc import Callable

__all__ = ["WAL", "database", "in_table", "open_autocommit", "open_unsynced", "open_wal"]

WAL = ("journal_mode = WAL", "synchronous = NORMAL")
_UNSYNCED = ("journal_mode = WAL", "synchronous = OFF")
_WAIT_S = 60  # For the lock: with the default of five seconds sixteen processes lose events.
_Append = Callable[[], object]
_TABLE = """CREATE TABLE IF NOT EXISTS events (
    id TEXT PRIMARY KEY, session_id TEXT NOT NULL, timestamp TEXT NOT NULL, event_type TEXT NOT NULL, data TEXT NOT NULL
)"""


def database(folder: str) -> sqlite3.Connection:
    """Open the file in *folder*."""
    return sqlite3.connect(os.path.join(folder, "events.db"), isolation_level=None, timeout=_WAIT_S)


def in_table(folder: str) -> int:
    """Count."""
    found: int = database(folder).execute("SELECT count(*) FROM events").fetchone()[0]
    return found


def _open(folder: str, row: dict[str, object], *pragmas: str) -> _Append:
    connection = database(folder)
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(_TABLE)
    session, kind, stamp = row["session_id"], row["event"], "2026-09-21T12:00:00.000Z"

    def append() -> None:
        values = (os.urandom(16).hex(), session, stamp, kind, json.dumps(row))
        connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", values)

    return append


def open_autocommit(folder: str, row: dict[str, object]) -> _Append:
    """Append as the source documents do: rollback journal, every commit on the disk."""
    return _open(folder, row)


def open_wal(folder: str, row: dict[str, object]) -> _Append:
    """Append to a write-ahead log, on the disk at a checkpoint."""
    return _open(folder, row, *WAL)


def open_unsynced(folder: str, row: dict[str, object]) -> _Append:
    """Append as fast as sqlite can while it survives `kill -9`."""
    return _open(folder, row, *_UNSYNCED)
