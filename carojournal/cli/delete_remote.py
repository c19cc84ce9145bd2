"""`carojournal delete-remote`: queue a request to delete what was sent."""

import json as jsonlib
import os
import time
from typing import TYPE_CHECKING

from carojournal import deletion, policy
from carojournal.cli.confirm import confirm
from carojournal.cli.output import count_text, is_terminal, say, table, uses_color
from carojournal.config import CHANNEL, load_for
from carojournal.identity import Identity
from carojournal.place import has_journal
from carojournal.receivers import Receiver, configured
from carojournal.root import check_root
from carojournal.times import utc_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    Wanted = dict[Receiver | None, tuple[tuple[str, bytes], ...]]

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


def _sessions(sessions: "Iterable[tuple[str, bytes]]") -> list[dict[str, str]]:
    return [{"day": day, "session_id": session.hex()} for day, session in sessions]


def _print_json(root: str, queued: list[deletion.Request]) -> None:
    """Print all that was queued; `request` is the first of `requests`, one a receiver, and mostly the only one."""
    rows = [
        {
            "request": one.request,
            "receiver": one.receiver._asdict() if one.receiver else None,
            "sessions": _sessions(one.sessions),
        }
        for one in queued
    ]
    sessions = dict.fromkeys(session for one in queued for session in one.sessions)
    view = {
        "queued": bool(queued),
        "request": queued[0].request if queued else None,
        "requests": rows,
        "sessions": _sessions(sorted(sessions)),
        "pending_requests": len(deletion.pending(root)),
    }
    print(jsonlib.dumps(view))


def _next_step(asked: deletion.Request, here: Receiver) -> str:
    if deletion.is_deliverable(asked, here):
        return "'carobatch run' delivers it"
    sink = asked.receiver.sink if asked.receiver else here.sink
    by_hand = sink in deletion.BY_HAND
    why = f"wire_format {sink} has no call for it" if by_hand else f"{asked.receiver} is not configured"
    return (
        f"{why}: hand the ids to whoever runs the receiver, and say 'carobatch deletion confirm {asked.request[:8]}'"
        " once they have deleted them ('carobatch deletion list' says how)"
    )


def _queue(root: str, wanted: "Wanted", now_ms: int) -> list[deletion.Request]:
    return [deletion.queue(root, sessions, now_ms, receiver=receiver) for receiver, sessions in wanted.items()]


def delete_remote(*, yes: bool = False, force: bool = False, all: bool = False, json: bool = False) -> int:  # noqa: A002 - the option's name
    """Ask the receiver to delete everything that this journal has sent.

    Shows the session ids, their days and who received them, asks, and stores a request for each receiver; 'carobatch
    run' delivers it while telemetry is on and that receiver is the one configured.  Where it is not, or the wire format
    has no call for it, the ids are yours to hand on ('carobatch deletion list').  The ids are replaced, so that nothing
    recorded later can be tied to them, and events that still carry them are never sent.  What is kept on this machine
    stays: 'carojournal clear' removes that.
    """
    root = policy.journal_root(os.environ)
    identity = _identity(root)
    wanted = deletion.to_ask(root, identity, everything=all) if identity else {}
    if identity is None or not wanted:
        _say_nothing_to_ask(root, json=json)
        return 0
    if not json:
        rows = [
            (day, session.hex(), str(receiver or "the one configured"))
            for receiver, sessions in wanted.items()
            for day, session in sessions
        ]
        for row in table(("day (UTC)", "session id", "receiver"), rows, terminal=is_terminal(), color=uses_color()):
            print(row, flush=True)
    count = len({session for sessions in wanted.values() for session in sessions})
    confirm(
        f"Ask {'the receiver' if len(wanted) == 1 else count_text(len(wanted), 'receiver')} to delete the data of"
        f" {count_text(count, 'session')}?",
        forced=yes or force,
        flag="--yes",
    )
    now_ms = time.time_ns() // 1_000_000
    queued = _queue(root, wanted, now_ms)
    # A batch under way may have gone to somebody else meanwhile, who was not marked before; none goes from here on.
    asked = {session for sessions in wanted.values() for session in sessions}
    found = deletion.to_ask(root, deletion.read_identity(root) or identity).items()
    late = {receiver: tuple(session for session in sessions if session in asked) for receiver, sessions in found}
    queued += _queue(root, {receiver: sessions for receiver, sessions in late.items() if sessions}, now_ms)
    off = policy.resolve(root, channel=CHANNEL, environ=os.environ).mode == "off"
    if not off:
        # Under off the requests are the one file that is written; nothing is recorded that could carry an id.
        identity.append(f"rotate {now_ms}")
    if json:
        _print_json(root, queued)
    else:
        here = configured(load_for(os.environ))
        for one in queued:
            to = f" to {one.receiver}" if one.receiver else ""
            print(f"Request {one.request}{to} of {utc_text(now_ms)} is queued; {_next_step(one, here)}.")
    if off:
        say("telemetry is off: the request alone was stored, and nothing is sent before it is on again")
    return 0


def _say_nothing_to_ask(root: str, *, json: bool) -> None:
    if json:
        _print_json(root, [])
        return
    waiting = len(deletion.pending(root))
    print(
        "Nothing was sent that no request asks for yet."
        if waiting
        else "Nothing was sent, so there is nothing to ask for."
    )
    if waiting:
        print(f"{count_text(waiting, 'request')} not confirmed by the receiver yet.")
