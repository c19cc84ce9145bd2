"""`carojournal sent`: what left this machine, when, to where."""

import json as jsonlib
import os
import sys
from dataclasses import asdict

from carojournal import policy
from carojournal import sent as log
from carojournal.cli.exits import DAMAGED
from carojournal.cli.output import count_text, escape, is_terminal, say, table, uses_color
from carojournal.errors import JournalUnavailable, UsageError
from carojournal.place import has_journal
from carojournal.times import local_text, utc_text

__all__ = ["OPTIONS", "sent"]

_PREFIX = 8  # Hex digits that name a batch in the list.
OPTIONS = {
    "batch": {
        "flags": ("batch",),
        "nargs": "?",
        "metavar": "BATCH",
        "help": "print what was sent in this batch",
    },
    "raw": {"help": "with BATCH: its URL, its headers and the exact body, whose SHA-256 the list shows"},
    "json": {"help": "print JSON"},
}


def sent(batch: str | None = None, *, raw: bool = False, json: bool = False) -> int:
    """List what left this machine, or print one batch of it.

    A batch is named by the first digits of its id.  Each try to send it had, besides, Host, User-Agent, Accept-Encoding
    and Content-Length, and of some wire formats the number and the time of the try, which `carobatch upload --dry-run`
    shows.  Exit 65: a copy is not what its receipt says was sent.
    """
    if batch == "" or (raw and batch is None):
        raise UsageError("name the batch by the first digits of its id: 'carojournal sent' lists them")
    root = policy.journal_root(os.environ)
    found = log.sent_batches(root) if has_journal(root) else []
    if batch:
        chosen = [one for one in found if one.batch.startswith(batch)]
        if len(chosen) != 1:
            raise JournalUnavailable("no batch of that id" if not chosen else "more than one batch begins like that")
        return _print_one(chosen[0], raw=raw)
    if json:
        rows = [{**asdict(one), "at": utc_text(one.at_ms)} for one in found]
        print(jsonlib.dumps({"batches": rows, "earlier_events": log.uploads(root)["earlier"] if found else 0}))
        return 0
    if not found:
        print("Nothing was sent.")
        return 0
    headings = ("batch", "sent", "events", "of which", "to", "sha256")
    lines = [
        (
            one.batch[:_PREFIX],
            local_text(one.at_ms),
            str(one.events),
            ", ".join(f"{count} {event}" for event, count in one.counts.items()),
            f"{one.sink} {one.url}",
            one.sha256,
        )
        for one in found
    ]
    print("\n".join(table(headings, lines, terminal=is_terminal(), color=uses_color(), right=(2,))))
    earlier = log.uploads(root)["earlier"]
    if earlier:
        say(f"and {count_text(int(earlier), 'event')} in batches before these")  # type: ignore[call-overload]
    return 0


def _print_one(one: log.SentBatch, *, raw: bool) -> int:
    copy = log.copy_of(one)
    if copy is None:
        raise JournalUnavailable("the copy of that batch made room for newer ones; its receipt remains")
    data, digest = copy
    if raw:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        head, _, body = data.partition(b"\n\n")
        for line in [*head.decode().splitlines(), "", log.unpacked(body).decode()]:
            print(escape(line))
    if digest != one.sha256:
        say("this is not what the receipt says was sent")
        return DAMAGED
    return 0
