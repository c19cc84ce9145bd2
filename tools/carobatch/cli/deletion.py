"""`carobatch deletion`: requests to delete what was sent, and the user's word that it was done by hand."""

import json as json_
import os
import time
from typing import TYPE_CHECKING

from carobatch.cli.common import DIR_OPTION, is_made, journal_root
from carojournal import deletion as requests
from carojournal import sent
from carojournal.cli.output import is_terminal, say, table, uses_color
from carojournal.config import load_for
from carojournal.errors import JournalUnavailable, UsageError
from carojournal.times import utc_text

if TYPE_CHECKING:
    from carojournal.deletion import Request

__all__ = ["OPTIONS", "deletion"]

_ACTIONS = ("list", "confirm")
OPTIONS = {
    "action": {"flags": ("action",), "choices": _ACTIONS, "help": "what to do"},
    "request": {
        "flags": ("request",),
        "nargs": "?",
        "default": "",
        "metavar": "REQUEST",
        "help": "with confirm: the first digits of the request's id",
    },
    "json": {"help": "print JSON"},
    "dir": DIR_OPTION,
}


def deletion(
    action: str,
    request: str = "",
    *,
    json: bool = False,
    dir: str | None = None,  # noqa: A002 - the option's name
) -> int:
    """List the requests to delete what was sent, or confirm one that somebody has carried out at the receiver.

    Requests are made by 'carojournal delete-remote' and delivered by 'carobatch run', where the wire format has a call
    for it.  Where it has none, the list says what whoever runs the receiver must do; confirm it when it was done.
    """
    root = journal_root(dir)
    found = requests.requests(root)
    if action == "confirm":
        return _confirm(root, found, request)
    if request:
        raise UsageError("list takes no request")
    from carobatch.sinks import deletion_by_hand

    wire = str(load_for(os.environ).value("wire_format"))
    by_hand = deletion_by_hand(wire)
    places = sorted({(one.sink, one.url) for one in sent.sent_batches(root)}) if is_made(root) else []
    if json:
        print(json_.dumps(_view(found, wire, by_hand, places)))
        return 0
    if not found:
        print("No requests to delete.")
        return 0
    rows = [
        (one.request, _state(one), day, session.hex()) for one in found for day, session in one.sessions or (("", b""),)
    ]
    headings = ("request", "state", "day (UTC)", "session id")
    print("\n".join(table(headings, rows, terminal=is_terminal(), color=uses_color())))
    if any(one.done_ms is None for one in found):
        say(_what_to_do(wire, by_hand), "carobatch")
        others = [f"{sink} {url}" for sink, url in places if sink != wire]
        if others:
            say(f"events were also sent to {', '.join(others)}: ask there by hand", "carobatch")
    return 0


def _what_to_do(wire: str, by_hand: str) -> str:
    if not by_hand:
        return "'carobatch run' delivers what is waiting, while telemetry is on"
    return f"wire_format {wire}: {by_hand}; then: carobatch deletion confirm REQUEST"


def _state(one: "Request") -> str:
    if one.done_ms is None:
        return f"waiting since {utc_text(one.created_ms)}"
    return f"confirmed {'by hand' if one.by_hand else 'by the receiver'} {utc_text(one.done_ms)}"


def _confirm(root: str, found: "list[Request]", prefix: str) -> int:
    if not prefix:
        raise UsageError("confirm takes the first digits of a request's id")
    chosen = [one for one in found if one.request.startswith(prefix.lower())]
    if len(chosen) != 1:
        raise JournalUnavailable("no request of that id" if not chosen else "more than one request begins like that")
    [one] = chosen
    if one.done_ms is not None:
        print(f"Request {one.request} was confirmed already.")
        return 0
    requests.acknowledge(root, one.request, time.time_ns() // 1_000_000, by_hand=True)
    print(f"Request {one.request} is confirmed by hand.")
    return 0


def _view(found: "list[Request]", wire: str, by_hand: str, places: list[tuple[str, str]]) -> dict[str, object]:
    return {
        "wire_format": wire,
        "by_hand": by_hand or None,
        "sent_to": [{"sink": sink, "url": url} for sink, url in places],
        "requests": [
            {
                "request": one.request,
                "created": utc_text(one.created_ms),
                "confirmed": None if one.done_ms is None else utc_text(one.done_ms),
                "confirmed_by": None if one.done_ms is None else "user" if one.by_hand else "receiver",
                "sessions": [{"day": day, "session_id": session.hex()} for day, session in one.sessions],
            }
            for one in found
        ],
    }
