"""`carojournal delete-remote`: queue a request to delete what was sent."""

import json as jsonlib
import os
import time

from carojournal import deletion, policy
from carojournal.cli.confirm import confirm
from carojournal.cli.output import count_text, is_terminal, say, table, uses_color
from carojournal.config import CHANNEL, load_for
from carojournal.identity import Identity
from carojournal.place import has_journal
from carojournal.root import check_root
from carojournal.times import utc_text

__all__ = ["OPTIONS", "delete_remote"]

OPTIONS = {
    "yes": {"flags": ("-y", "--yes"), "action": "store_true", "help": "do not ask"},
    "force": {"flags": ("-f", "--force"), "action": "store_true", "help": "the same, as 'clear' calls it"},
    "all": {
        "flags": ("--all",),
        "action": "store_true",
        "help": "ask for every session id, not only those that were sent",
    },
    "json": {"flags": ("--json",), "action": "store_true", "help": "print the request as JSON"},
}


def _identity(root: str) -> Identity | None:
    if not has_journal(root):
        return None
    check_root(root)
    return deletion.read_identity(root)


def _print_json(root: str, request: deletion.Request | None) -> None:
    print(
        jsonlib.dumps(
            {
                "queued": request is not None,
                "request": request.request if request else None,
                "sessions": [
                    {"day": day, "session_id": session.hex()} for day, session in (request.sessions if request else ())
                ],
                "pending_requests": len(deletion.pending(root)),
            }
        )
    )


def _next_step(request: str) -> str:
    wire = str(load_for(os.environ).value("wire_format"))
    if wire not in deletion.BY_HAND:
        return "'carobatch run' delivers it"
    return (
        f"wire_format {wire} has no call for it: hand the ids to whoever runs the receiver, and say"
        f" 'carobatch deletion confirm {request[:8]}' once they have deleted them ('carobatch deletion list' says how)"
    )


def delete_remote(*, yes: bool = False, force: bool = False, all: bool = False, json: bool = False) -> int:  # noqa: A002 - the option's name
    """Ask the receiver to delete everything that this journal has sent.

    Shows the session ids and their days, asks, and stores the request; 'carobatch run' delivers it while telemetry is
    on.  Where the wire format has no call for it, the ids are yours to hand on ('carobatch deletion list').  The ids
    are replaced, so that nothing recorded later can be tied to them, and events that still carry them are never sent.
    What is kept on this machine stays: 'carojournal clear' removes that.
    """
    root = policy.journal_root(os.environ)
    identity = _identity(root)
    sessions = deletion.sessions_sent(root, identity, everything=all) if identity else ()
    if identity is None or not sessions:
        if json:
            _print_json(root, None)
        else:
            waiting = len(deletion.pending(root))
            print(
                "Nothing was sent that no request asks for yet."
                if waiting
                else "Nothing was sent, so there is nothing to ask for."
            )
            if waiting:
                print(f"{count_text(waiting, 'request')} not confirmed by the receiver yet.")
        return 0
    if not json:
        rows = [(day, session.hex()) for day, session in sessions]
        for row in table(("day (UTC)", "session id"), rows, terminal=is_terminal(), color=uses_color()):
            print(row, flush=True)
    confirm(
        f"Ask the receiver to delete the data of {count_text(len(sessions), 'session')}?",
        forced=yes or force,
        flag="--yes",
    )
    now_ms = time.time_ns() // 1_000_000
    request = deletion.queue(root, sessions, now_ms)
    off = policy.resolve(root, channel=CHANNEL, environ=os.environ).mode == "off"
    if not off:
        # Under off the request is the one file that is written; nothing is recorded that could carry an id.
        identity.append(f"rotate {now_ms}")
    if json:
        _print_json(root, request)
    else:
        print(f"Request {request.request} of {utc_text(now_ms)} is queued; {_next_step(request.request)}.")
    if off:
        say("telemetry is off: the request alone was stored, and nothing is sent before it is on again")
    return 0
