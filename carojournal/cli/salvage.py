"""`carojournal salvage`: copy what is readable out of a damaged journal."""

import os

from carojournal import policy
from carojournal.cli.exits import DAMAGED
from carojournal.cli.output import bytes_text, count_text, is_terminal, say
from carojournal.errors import UsageError
from carojournal.place import has_journal
from carojournal.reader import JournalReader
from carojournal.recovery import REASONS
from carojournal.salvage import FORMATS, STDOUT
from carojournal.salvage import salvage as copy

__all__ = ["OPTIONS", "salvage"]

OPTIONS = {
    "out": {"flags": ("--out",), "metavar": "FILE", "help": "the new file to write ('-': standard output)"},
    "format": {
        "flags": ("--format",),
        "choices": tuple(FORMATS),
        "help": "cborseq: CBOR sequence of [segment, seq, event] (default); ndjson: one JSON object a line",
    },
}


def salvage(*, out: str = "", format: str = "cborseq") -> int:  # noqa: A002 - the option's name
    """Copy every event that can be read to a new file, and say what could not be read.

    Damage costs the records that it touches; of a packed file all events are read or none, because one checksum covers
    them.  The journal is not changed.  Exits 65 if anything was unreadable or refused, 0 otherwise.
    """
    if not out:
        raise UsageError("--out FILE is needed")
    if out == STDOUT and format == "cborseq" and is_terminal():
        raise UsageError("cborseq is binary: write it to a file or a pipe, or say --format ndjson")
    root = policy.journal_root(os.environ)
    has_journal(root)
    reader = JournalReader(root)
    done = copy(reader, out, format)
    for item in done.damage:
        kind = "torn tail" if item.torn else "unreadable"
        say(f"{kind}: {item.path} at byte {item.offset}, {count_text(item.size, 'byte')}: {REASONS[item.reason]}")
    if done.refused:
        say(f"{count_text(done.refused, 'event')} left behind: not what the schema allows")
    copied = f"{count_text(done.events, 'event')}, {bytes_text(done.bytes)} copied"
    if out == STDOUT:
        say(copied)
    else:
        print(f"{copied} to {out}")
    return DAMAGED if done.refused or any(not item.torn for item in done.damage) else 0
