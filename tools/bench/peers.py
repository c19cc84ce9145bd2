"""Other ways to keep an event on the disk, each with what it guarantees.

All take the same event as a dictionary that JSON can hold.  What each guarantees is not from memory: `peer_facts` kills
its process, looks what is there afterwards, and counts the calls that wait for the disk; bench_peers prints that beside
the times.  None but carojournal reports torn writes or is bounded.  "Same work" are storages that get what `record`
would write, schema check and encoding included, so that only the way to the disk differs.

    peer                    waits for the disk   processes             checks
    bare write              never                share (O_APPEND)      nothing
    bare calls              never                take turns            whose file it is, by `lstat`
    write + fdatasync       each append          share (O_APPEND)      nothing
    sqlite3 autocommit      each append          wait for each other   column types at most
    sqlite3 WAL             at a checkpoint      wait for each other   column types at most
    sqlite3 WAL, sync off   never                wait for each other   column types at most
    persist-queue file      never                one only              nothing (pickle)
    persist-queue sqlite    each append          wait for each other   nothing (pickle)
    litequeue               at a checkpoint      wait for each other   nothing
    diskcache deque         at a checkpoint      wait for each other   nothing (pickle)
    glean-sdk               never                one only              known keys, texts of 500 bytes; a thread writes
    posthog                 keeps nothing        no disk               sizes; a thread sends
"""

import fcntl
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench import peer_clients, peer_sqlite
from bench.workload import packed_event

__all__ = ["PEERS", "Event", "Peer", "by_name", "is_available"]

Event = dict[str, Any]
_Append = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Peer:
    """A way to keep an event.

    `open` gets a folder and the event and returns what appends it once; `count` tells how many a folder holds, for a
    process that did not write them.  `synced` survives a power cut: compared with durability="each".  `survives` tells
    whether what was acknowledged survives `kill -9`, which `peer_facts` tests.  `shared` stores take several processes.
    `comparable` is false for a floor, which does less than is needed, and for "same work".
    """

    name: str
    open: Callable[[str, Event], _Append]
    count: Callable[[str], int]
    synced: bool = False
    survives: bool = True
    shared: bool = True
    comparable: bool = True
    module: str = ""


def is_available(peer: Peer) -> bool:
    """Tell whether the package that *peer* needs is installed."""
    return not peer.module or importlib.util.find_spec(peer.module) is not None


def by_name(name: str) -> Peer:
    """Return the peer of that name.  Raises StopIteration."""
    return next(peer for peer in PEERS if peer.name == name)


def _file(folder: str) -> int:
    return os.open(os.path.join(folder, "file"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _write(folder: str, _: Event) -> _Append:
    data, descriptor = packed_event(), _file(folder)
    return lambda: os.write(descriptor, data)


def _calls(folder: str, _: Event) -> _Append:
    """Make the four system calls of a `record` that was not disturbed, and do nothing else."""
    data, descriptor, path = packed_event(), _file(folder), os.path.join(folder, "file")

    def append() -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.lstat(path)
        os.write(descriptor, data)
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    return append


def _write_synced(folder: str, _: Event) -> _Append:
    data, descriptor = packed_event(), _file(folder)
    sync = getattr(os, "fdatasync", os.fsync)

    def append() -> None:
        os.write(descriptor, data)
        sync(descriptor)

    return append


def _in_file(folder: str) -> int:
    """Count the maps of a CBOR sequence."""
    with open(os.path.join(folder, "file"), "rb") as file:
        return file.read().count(b"itimestamp")


def _same_write(folder: str, _: Event) -> _Append:
    descriptor, payload = _file(folder), packed_event
    return lambda: os.write(descriptor, payload())


def _same_sqlite(folder: str, _: Event) -> _Append:
    connection, payload = peer_sqlite.database(folder), packed_event
    for pragma in peer_sqlite.WAL:
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, data BLOB NOT NULL)")
    return lambda: connection.execute("INSERT INTO events (data) VALUES (?)", (payload(),))


def _same_litequeue(folder: str, _: Event) -> _Append:
    queue, payload = peer_clients.litequeue(folder), packed_event
    return lambda: queue.put(payload())


PEERS = (
    Peer("bare write", _write, _in_file, comparable=False),
    Peer("bare calls", _calls, _in_file, shared=False, comparable=False),
    Peer("write + fdatasync", _write_synced, _in_file, synced=True, comparable=False),
    Peer("same work: bare write", _same_write, _in_file, comparable=False),
    Peer("same work: sqlite3 WAL", _same_sqlite, peer_sqlite.in_table, comparable=False),
    Peer("same work: litequeue", _same_litequeue, peer_clients.in_litequeue, comparable=False, module="litequeue"),
    Peer("sqlite3 WAL", peer_sqlite.open_wal, peer_sqlite.in_table),
    Peer("sqlite3 WAL, sync off", peer_sqlite.open_unsynced, peer_sqlite.in_table),
    Peer("sqlite3 autocommit", peer_sqlite.open_autocommit, peer_sqlite.in_table, synced=True),
    Peer(
        "persist-queue file",
        peer_clients.open_persist_queue,
        peer_clients.in_persist_queue,
        shared=False,
        module="persistqueue",
    ),
    Peer(
        "persist-queue sqlite",
        peer_clients.open_persist_queue_sqlite,
        peer_clients.in_persist_queue_sqlite,
        synced=True,
        module="persistqueue",
    ),
    Peer("litequeue", peer_clients.open_litequeue, peer_clients.in_litequeue, module="litequeue"),
    Peer("diskcache deque", peer_clients.open_diskcache, peer_clients.in_diskcache, module="diskcache"),
    Peer(
        "glean-sdk",
        peer_clients.open_glean,
        peer_clients.in_glean,
        survives=False,
        shared=False,
        comparable=False,
        module="glean",
    ),
    Peer(
        "posthog",
        peer_clients.open_posthog,
        peer_clients.in_posthog,
        survives=False,
        shared=False,
        comparable=False,
        module="posthog",
    ),
)
