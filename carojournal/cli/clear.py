"""`carojournal clear`: delete what is kept."""

import json as jsonlib
import os
import time
from dataclasses import asdict

from carojournal import clear as clearing
from carojournal import policy
from carojournal.cli.confirm import confirm
from carojournal.cli.output import bytes_text, count_text, say
from carojournal.config import CHANNEL

__all__ = ["OPTIONS", "clear"]

OPTIONS = {
    "force": {"flags": ("-f", "--force"), "action": "store_true", "help": "do not ask"},
    "json": {"flags": ("--json",), "action": "store_true", "help": "print the counts as JSON"},
}

_SENT = (
    "events were sent earlier; once their session ids are gone, nobody can ask to delete them there: "
    "run 'carojournal delete-remote' first"
)


def clear(*, force: bool = False, json: bool = False) -> int:
    """Delete every event that is kept on this machine, and all that was derived from events.

    The journal's identifiers are replaced.  Requests to delete what was sent remain.  While telemetry is off, the
    journal's directory goes as well.  Nothing can be brought back; what was sent elsewhere is not touched.
    """
    root = policy.journal_root(os.environ)
    kept = clearing.survey(root)
    if kept.was_sent:
        say(_SENT)
    if kept.files:
        confirm(f"Delete {count_text(kept.files, 'file')} ({bytes_text(kept.bytes)}) below {root}?", forced=force)
    off = policy.resolve(root, channel=CHANNEL, environ=os.environ).mode == "off"
    done = clearing.clear(root, time.time_ns() // 1_000_000, remove_root=off)
    if json:
        print(jsonlib.dumps({"root": root, **asdict(done)}))
        return 0
    removed = f"{count_text(done.events, 'event')} in {count_text(done.files, 'file')}, {bytes_text(done.bytes)}"
    print(f"Removed {removed}." if done.files else "There was nothing to remove.")
    if done.pending_requests:
        requests = count_text(done.pending_requests, "request")
        print(
            f"{requests} to delete what was sent {'waits' if done.pending_requests == 1 else 'wait'} to be delivered."
        )
    if done.left:
        say(f"{count_text(done.left, 'file')} below {root} left alone: not ours")
    return 0
