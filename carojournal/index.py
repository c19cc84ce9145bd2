"""The index: which blocks of which segments can hold what is asked for.  A cache: delete it, and nothing is lost.

    index.sqlite3    file    one row for a segment, or for a packed file: identity, how far it is indexed, its sessions
                     block   one row for some 256 records: place, time range, counts by event, runs (2 bytes each)

No row per event, so that it stays below 2 % of what it indexes; for the same reason files below FILE_BYTES_MIN have no
row (they are read outright) and a journal below JOURNAL_BYTES_MIN gets no index unless somebody asks (`reindex`).
Readers make it when they first need it and read only bytes that are new since.  Nobody waits for it: where it is
locked, or the directory cannot be written, there is no index this time.

Any doubt means reading again.  A file whose device, inode or size does not fit, or whose last indexed record is gone,
is indexed anew; another layout, another schema, a failed `quick_check`, a row whose checksum does not hold or any error
of sqlite builds the whole index anew, beside the old one, and puts it in place with one rename.  A file with damage has
no row: it is read every time, so that the damage is seen.  What a block says is verified when it is read.
"""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress

from carojournal.events import SCHEMA_HASH
from carojournal.index_queries import Index
from carojournal.index_rows import indexable
from carojournal.index_tables import TABLES, brought_up_to_date
from carojournal.segment_file import SegmentInfo

__all__ = ["INDEX", "JOURNAL_BYTES_MIN", "Index", "open_index", "rebuild"]

INDEX = "index.sqlite3"
JOURNAL_BYTES_MIN = 524_288  # Half a megabyte is read in 20 ms, and sqlite's own pages would weigh over 2 % of less.
LAYOUT = 2
_APPLICATION = 0x434A_4958  # "CJIX"; says to file(1) and to us whose database this is
_PAGE_BYTES = 1024  # Small tables in small pages: four of them are the least that an index takes.
_STATEMENTS = [text.strip() for text in TABLES.split(";") if text.strip()]  # As sqlite keeps them.
_TMP_AGE_S = 3_600  # A build takes seconds: what is older was left by a crash.


def open_index(root: str, infos: Sequence[SegmentInfo], *, always: bool = False) -> Index | None:
    """Return an index of *infos*, brought up to date, or None: then read without.  Never raises for what it finds.

    Without *always*, a journal too small for an index gets none.  Do not call it under mode `off`: it may write.
    """
    path = os.path.join(root, INDEX)
    exists = os.path.lexists(path)
    if not exists and not always and sum(info.size for info in infos if indexable(info)) < JOURNAL_BYTES_MIN:
        return None
    try:
        if exists and (found := _open_existing(path, infos)) is not None:
            return found
        return rebuild(root, infos)
    except (sqlite3.Error, OSError):
        return None


def _open_existing(path: str, infos: Sequence[SegmentInfo]) -> Index | None:
    """Return the index that is there, up to date; None if it has to be built anew.

    Raises sqlite3.OperationalError if somebody else is writing it or nobody may, OSError.
    """
    if os.path.islink(path) or not os.path.isfile(path):
        return None
    try:
        with closing(_connect(path)) as connection:
            return brought_up_to_date(connection, infos) if _is_ours(connection) else None
    except UnicodeDecodeError:
        return None  # sqlite3 decodes messages that quote a damaged schema.
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY):
            raise
        return None


def _connect(path: str) -> sqlite3.Connection:
    # Nobody waits (timeout 0), and a power cut may cost the index: it is checked when it is opened.
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def _is_ours(connection: sqlite3.Connection) -> bool:
    def ask(pragma: str) -> object:
        row = connection.execute(f"PRAGMA {pragma}").fetchone()
        return row[0] if row else None

    if ask("application_id") != _APPLICATION or ask("user_version") != LAYOUT or ask("quick_check") != "ok":
        return False
    # Of the tables' own text sqlite believes whatever it can read: without its key a file's row has no blocks.
    if [sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL")] != _STATEMENTS:
        return False
    return connection.execute("SELECT schema FROM about").fetchall() == [(SCHEMA_HASH,)]


def rebuild(root: str, infos: Sequence[SegmentInfo]) -> Index:
    """Build the index anew and put it in place.  Raises sqlite3.Error, OSError."""
    path = os.path.join(root, INDEX)
    _sweep(root)
    temporary = f"{path}.{os.urandom(4).hex()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    os.close(os.open(temporary, flags, 0o600))
    try:
        with closing(_connect(temporary)) as connection:
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {LAYOUT}")
            connection.executescript(TABLES)
            connection.execute("INSERT INTO about VALUES (?)", (SCHEMA_HASH,))
            index = brought_up_to_date(connection, infos)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    return index


def _sweep(root: str) -> None:
    """Remove what builds that were killed have left."""
    import time

    for name in os.listdir(root):
        if name.startswith(f"{INDEX}.") and name.endswith((".tmp", ".tmp-journal")):
            path = os.path.join(root, name)
            with suppress(OSError):
                if time.time() - os.lstat(path).st_mtime > _TMP_AGE_S:
                    os.unlink(path)
