"""`carojournal reindex`: build the index anew from the segments.  It is a cache: nothing ever needs this."""

import os
import sqlite3

from carojournal import policy
from carojournal.cli.event_formats import json_text
from carojournal.cli.output import bytes_text, count_text, say
from carojournal.config import CHANNEL
from carojournal.errors import JournalIOError, JournalOff
from carojournal.index import INDEX, rebuild
from carojournal.place import has_journal
from carojournal.root import is_folder

__all__ = ["OPTIONS", "reindex"]

OPTIONS = {"json": {"flags": ("--json",), "help": "print one JSON object"}}


def reindex(*, json: bool = False) -> int:
    """Rebuild the index from the segments, and say what it takes.

    Under mode off this is refused, because it would write a file.
    """
    from carojournal.reader import JournalReader

    root = policy.journal_root(os.environ)
    found = policy.resolve(root, channel=CHANNEL, environ=os.environ)
    if found.mode == "off":
        raise JournalOff(f"telemetry is off ({found.source}), so no index is kept")
    has_journal(root)
    reader = JournalReader(root)
    infos = reader.segments()
    if not infos:
        say("there is no journal yet" if not is_folder(root) else "the journal is empty")
        return 0
    path = os.path.join(root, INDEX)
    try:
        index = rebuild(root, infos)
    except sqlite3.Error as error:
        raise JournalIOError("build", path, None, "the index cannot be written") from error
    files, blocks = index.rows
    size = os.path.getsize(path)
    data = sum(info.size for info in infos)
    if json:
        view = {"files": files, "blocks": blocks, "bytes_read": index.bytes_read, "bytes": size, "data_bytes": data}
        print(json_text(view))
    else:
        rows = f"{count_text(files, 'file')}, {count_text(blocks, 'block')}"
        print(f"{rows}; {bytes_text(size)} for {bytes_text(data)} of data ({100 * size / max(1, data):.2f} %)")
    return 0
