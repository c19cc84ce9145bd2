"""Other ways to keep an event on the disk, each with what it guarantees.

All take the same event as a dictionary and keep it before they return.  None checks it against a schema, none reports
torn writes, and only sqlite and what is built on it can be shared between processes.  Queues that keep events in memory
until a thread sends them (posthog's) do other work and are left out.
"""

import importlib.util
import json
import os
import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from carojournal import codec

__all__ = ["PEERS", "Event", "Peer", "is_available"]

Event = dict[str, Any]
_Append = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Peer:
    """A way to keep an event.  `open` gets an empty folder and the event, and returns what appends it once."""

    name: str
    guarantee: str
    open: Callable[[str, Event], _Append]
    synced: bool = False  # Survives a power cut too: compared with durability="each".
    comparable: bool = True  # False for a floor: does less than is needed to survive.
    module: str = ""


def is_available(peer: Peer) -> bool:
    """Tell whether the package that *peer* needs is installed."""
    return not peer.module or importlib.util.find_spec(peer.module) is not None


def _write(folder: str, event: Event) -> _Append:
    data = codec.dumps(event)
    descriptor = os.open(os.path.join(folder, "file"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return lambda: os.write(descriptor, data)


def _write_synced(folder: str, event: Event) -> _Append:
    data = codec.dumps(event)
    descriptor = os.open(os.path.join(folder, "file"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    sync = getattr(os, "fdatasync", os.fsync)

    def append() -> None:
        os.write(descriptor, data)
        sync(descriptor)

    return append


def _plain(event: Event) -> Event:
    """Return the event with its ids as text, as JSON needs them."""
    return {key: value.hex() if isinstance(value, bytes) else value for key, value in event.items()}


def _sqlite(folder: str, event: Event, *pragmas: str) -> _Append:
    """Fill the table that caro 1.1 keeps its events in; every insert is a transaction of its own."""
    connection = sqlite3.connect(os.path.join(folder, "events.db"), isolation_level=None)
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(
        "CREATE TABLE events (id TEXT PRIMARY KEY, session_id TEXT NOT NULL, timestamp TEXT NOT NULL,"
        " event_type TEXT NOT NULL, data TEXT NOT NULL)"
    )
    row = _plain(event)
    session, kind, stamp = row["session_id"], row["event"], "2026-09-21T12:00:00.000Z"

    def append() -> None:
        connection.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?)", (str(uuid.uuid4()), session, stamp, kind, json.dumps(row))
        )

    return append


def _sqlite_wal(folder: str, event: Event) -> _Append:
    return _sqlite(folder, event, "journal_mode = WAL", "synchronous = NORMAL")


def _persist_queue(folder: str, event: Event) -> _Append:
    from persistqueue import Queue  # type: ignore[import-not-found,unused-ignore]

    queue, row = Queue(os.path.join(folder, "queue"), tempdir=folder), _plain(event)
    return lambda: queue.put(row)


def _persist_queue_sqlite(folder: str, event: Event) -> _Append:
    from persistqueue import SQLiteQueue  # type: ignore[import-not-found,unused-ignore]

    queue, row = SQLiteQueue(os.path.join(folder, "queue"), auto_commit=True), _plain(event)
    return lambda: queue.put(row)


def _litequeue(folder: str, event: Event) -> _Append:
    from litequeue import LiteQueue  # type: ignore[import-not-found,unused-ignore]

    queue, row = LiteQueue(os.path.join(folder, "queue.db")), _plain(event)
    return lambda: queue.put(json.dumps(row))


def _diskcache(folder: str, event: Event) -> _Append:
    from diskcache import Deque  # type: ignore[import-not-found,unused-ignore]

    queue, row = Deque(directory=os.path.join(folder, "deque")), _plain(event)
    return lambda: queue.append(row)


PEERS = (
    Peer("bare write", "kill -9, unless it hits inside a write; one process", _write, comparable=False),
    Peer(
        "write + fdatasync",
        "power cut, unless inside a write; one process",
        _write_synced,
        synced=True,
        comparable=False,
    ),
    Peer("sqlite3 WAL", "kill -9; processes wait for each other", _sqlite_wal),
    Peer("sqlite3 autocommit", "power cut; processes wait for each other", _sqlite, synced=True),
    Peer("persist-queue file", "kill -9; one process", _persist_queue, module="persistqueue"),
    Peer(
        "persist-queue sqlite", "power cut; processes wait", _persist_queue_sqlite, synced=True, module="persistqueue"
    ),
    Peer("litequeue", "kill -9; processes wait for each other", _litequeue, module="litequeue"),
    Peer("diskcache deque", "kill -9; processes wait for each other", _diskcache, module="diskcache"),
)
