"""`carojournal inspect`: show what is kept, in the manner of journalctl.

Reads whatever the mode is: what was kept while telemetry was on stays the user's to look at.  Under `off` it writes no
file, so it makes no index.  The index is asked only where it can help: the newest few events of any kind need none.
"""

import os
import sys
import time
from typing import TYPE_CHECKING

from carojournal import policy
from carojournal.cli.event_formats import FORMATS, MACHINE_FORMATS, writer_of
from carojournal.cli.exits import INTERRUPTED
from carojournal.cli.output import bytes_text, count_text, is_terminal, say, uses_color
from carojournal.errors import UsageError
from carojournal.place import has_journal
from carojournal.root import is_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from carojournal.index import Index
    from carojournal.query import Query
    from carojournal.reader import JournalReader, Record

__all__ = ["OPTIONS", "inspect"]

LIMIT_DEFAULT = 20  # Fits a terminal.
_DAY_MS = 86_400_000

OPTIONS = {
    "filters": {
        "flags": ("filters",),
        "nargs": "*",
        "metavar": "FIELD=VALUE",
        "help": "show only events with this value; the same field twice: or, different fields: and",
    },
    "limit": {"flags": ("-n", "--limit"), "metavar": "N", "help": "the newest N events, or 'all' (default 20)"},
    "since": {
        "flags": ("-S", "--since"),
        "metavar": "TIME",
        "help": "from TIME on: today, '2 hours ago', -30min, '2026-09-21 14:30'",
    },
    "until": {"flags": ("-U", "--until"), "metavar": "TIME", "help": "until TIME"},
    "follow": {"flags": ("-f", "--follow"), "help": "go on with events as they are recorded, until --until if given"},
    "reverse": {"flags": ("-r", "--reverse"), "help": "newest first"},
    "session": {"flags": ("--session",), "metavar": "ID", "help": "'today', or the first digits of a session id"},
    "type": {"flags": ("-t", "--type"), "metavar": "EVENT", "action": "append", "help": "only this event; repeatable"},
    "output": {"flags": ("-o", "--output"), "choices": FORMATS, "help": "form of the output (default short)"},
    "after_cursor": {"flags": ("--after-cursor",), "metavar": "CURSOR", "help": "only what came after that cursor"},
    "cursor_file": {
        "flags": ("--cursor-file",),
        "metavar": "FILE",
        "help": "go on where FILE says (new or empty: from the start), and write there where this ended",
    },
    "show_cursor": {"flags": ("--show-cursor",), "help": "print the cursor at the end"},
    "disk_usage": {"flags": ("--disk-usage",), "help": "print what all files but the identity take on the disk"},
    "no_index": {"flags": ("--no-index",), "help": "read the segments themselves, and make no index"},
}


def inspect(  # noqa: PLR0913 - the options of the verb
    *filters: str,
    limit: str | None = None,
    since: str | None = None,
    until: str | None = None,
    follow: bool = False,
    reverse: bool = False,
    session: str | None = None,
    type: "list[str] | None" = None,  # noqa: A002 - the option's name
    output: str = "short",
    after_cursor: str | None = None,
    cursor_file: str | None = None,
    show_cursor: bool = False,
    disk_usage: bool = False,
    no_index: bool = False,
) -> int:
    """Show what is kept, newest last.

    Filters are FIELD=VALUE with the fields of 'carojournal schema' and event, session_id, run_id, event_id, generation.
    A TIME without a zone is local.  Times are shown in local time on a terminal, in UTC (with a Z) everywhere else.
    """
    root = policy.journal_root(os.environ)
    if disk_usage:
        has_journal(root)
        from carojournal.cli.disk_usage import print_disk_usage

        print_disk_usage(root)
        return 0
    with_cursor = after_cursor is not None or cursor_file is not None or show_cursor
    if follow and (reverse or with_cursor):
        raise UsageError("--follow goes with neither --reverse nor a cursor")
    if output == "cbor-seq" and is_terminal():
        raise UsageError("cbor-seq is binary: write it to a file or a pipe")
    query = _query(filters, since, until, session, type or [])
    count = _limit(limit, default=None if after_cursor or cursor_file else LIMIT_DEFAULT)
    from carojournal.reader import JournalReader

    has_journal(root)
    reader = JournalReader(root)
    show = _Show(output)
    if with_cursor:
        _after_cursor(reader, query, count, show, (after_cursor, cursor_file), reverse=reverse, print_it=show_cursor)
    elif follow:
        return _follow(reader, query, count, show)
    else:
        index = None if no_index or (query.everything and count is not None) else _index(reader)
        show.all(_ordered(_events(reader, query, count, index), reverse=reverse))
    _remarks(reader, query, show, quiet=with_cursor)
    return 0


class _Show:
    """Writes events to standard output and counts them."""

    def __init__(self, form: str) -> None:
        self.form = form
        self.count = 0
        self._write = writer_of(form, terminal=is_terminal(), color=uses_color())

    def one(self, record: "Record") -> None:
        sys.stdout.buffer.write(self._write(record))
        self.count += 1

    def all(self, records: "Iterable[Record]") -> None:
        sys.stdout.flush()
        for record in records:
            self.one(record)
        sys.stdout.buffer.flush()


def _query(
    filters: tuple[str, ...], since: str | None, until: str | None, session: str | None, types: list[str]
) -> "Query":
    if not filters and since is until is session is None and not types:
        from carojournal.query import Query

        return Query()
    from carojournal.filters import event_choice, id_prefix, parse_filters
    from carojournal.times import parse_time

    now_ms = time.time_ns() // 1_000_000
    since_ms = None if since is None else parse_time(since, now_ms)
    until_ms = None if until is None else parse_time(until, now_ms)
    if session == "today":
        # A session is a UTC day's (or what is left of it after its ids were rotated).
        midnight_ms = now_ms // _DAY_MS * _DAY_MS
        since_ms = max(midnight_ms, since_ms or 0)
        until_ms = min(midnight_ms + _DAY_MS - 1, until_ms if until_ms is not None else midnight_ms + _DAY_MS)
    elif session is not None:
        filters = (*filters, f"session_id={id_prefix(session, '--session')}")
    return parse_filters(filters, since_ms=since_ms, until_ms=until_ms, events=map(event_choice, types))


def _limit(text: str | None, default: int | None) -> int | None:
    """Return how many events to show, None for all."""
    if text is None:
        return default
    if text == "all":
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise UsageError("-n takes a number or 'all'")
    return int(text)


def _index(reader: "JournalReader") -> "Index | None":
    """Return the index if the mode allows one and the journal is worth it."""
    from carojournal.config import CHANNEL

    if policy.resolve(reader.root, channel=CHANNEL, environ=os.environ).mode == "off":
        return None
    infos = reader.segments()
    if not infos:
        return None
    from carojournal.index import open_index

    return open_index(reader.root, infos)


def _events(reader: "JournalReader", query: "Query", count: int | None, index: "Index | None") -> "Iterable[Record]":
    from carojournal import selection

    if count is None:
        return selection.ordered(reader, query, index)
    return selection.newest(reader, query, count, index)


def _ordered(records: "Iterable[Record]", *, reverse: bool) -> "Iterable[Record]":
    return reversed(list(records)) if reverse else records


def _after_cursor(
    reader: "JournalReader",
    query: "Query",
    count: int | None,
    show: _Show,
    given: tuple[str | None, str | None],
    *,
    reverse: bool,
    print_it: bool,
) -> None:
    from collections import deque

    from carojournal.cli.cursor_file import given_cursor, store_cursor
    from carojournal.selection import unread

    cursor = given_cursor(*given)
    infos = reader.segments()
    seen: dict[bytes, int] = {}
    found: Iterable[Record] = unread(reader, query, cursor, seen, infos)
    if count is not None:
        found = deque(found, maxlen=count)
    show.all(_ordered(found, reverse=reverse))
    after = cursor.advanced(infos, seen)
    if print_it:
        # On standard output it would be one more line that is no JSON.
        stream = sys.stderr if show.form in MACHINE_FORMATS else sys.stdout
        stream.write(f"-- cursor: {after}\n")
    if given[1] is not None:
        store_cursor(given[1], after)


def _follow(reader: "JournalReader", query: "Query", count: int | None, show: _Show) -> int:
    from carojournal.cli.follow_end import FollowEnd

    # The follower notes where it starts before we look for the newest: what comes in between is met twice, not never.
    coming = reader.follow(stop=FollowEnd(query.until_ms))
    try:
        shown: set[tuple[bytes, int]] = set()
        for record in _events(reader, query, count, None):
            shown.add((record.segment, record.seq))
            show.one(record)
        sys.stdout.buffer.flush()
        for record in _fresh(coming, query, shown):
            show.one(record)
            sys.stdout.buffer.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _fresh(coming: "Iterator[Record]", query: "Query", shown: "set[tuple[bytes, int]]") -> "Iterator[Record]":
    for record in coming:
        if record.is_event and query.matches(record) and (record.segment, record.seq) not in shown:
            yield record


def _remarks(reader: "JournalReader", query: "Query", show: _Show, *, quiet: bool) -> None:
    """Say on standard error why there is nothing (unless *quiet*), and what could not be read."""
    if not show.count:
        if not is_folder(reader.root):
            say("there is no journal yet")
        elif not reader.segments():
            say("the journal is empty")
        elif not quiet:
            say("no event matches" if not query.everything else "no events")
    damage = reader.damage
    if damage:
        size = bytes_text(sum(found.size for found in damage))
        places = count_text(len(damage), "place")
        say(f"{size} could not be read, in {places} (see 'carojournal verify')")
