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
from carojournal.receivers import Receiver, configured
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

    Requests are made by 'carojournal delete-remote', one for each receiver that had something, and delivered by
    'carobatch run', where that receiver is the one configured and its wire format has a call for it.  For the others
    the list says what whoever runs the receiver must do; confirm it when it was done.
    """
    root = journal_root(dir)
    found = requests.requests(root)
    if action == "confirm":
        return _confirm(root, found, request)
    if request:
        raise UsageError("list takes no request")
    from carobatch.sinks import deletion_by_hand

    here = _here()
    places = sorted({Receiver(one.sink, one.url) for one in sent.sent_batches(root)}) if is_made(root) else []
    if json:
        print(json_.dumps(_view(found, here.sink, deletion_by_hand(here.sink), places)))
        return 0
    if not found:
        print("No requests to delete.")
        return 0
    rows = [
        (one.request, _state(one), day, session.hex(), str(one.receiver or "the one configured"))
        for one in found
        for day, session in one.sessions or (("", b""),)
    ]
    headings = ("request", "state", "day (UTC)", "session id", "receiver")
    print("\n".join(table(headings, rows, terminal=is_terminal(), color=uses_color())))
    waiting = [one for one in found if one.done_ms is None]
    for told in dict.fromkeys(_what_to_do(one, here) for one in waiting):
        say(told, "carobatch")
    others = [str(place) for place in places if place != here]
    if others and any(one.receiver is None for one in waiting):
        say(f"events were also sent to {', '.join(others)}: ask there by hand", "carobatch")
    return 0


def _here() -> Receiver:
    """Return the receiver that is configured."""
    from carobatch.sinks import open_sink, receiver_of

    settings = load_for(os.environ)
    found = configured(settings)
    if not found.url:
        return found
    # The sink knows its whole URL; a key that is missing is no matter here.
    return receiver_of(open_sink(found.sink, found.url, str(settings.value("posthog_key") or "?")))


def _what_to_do(one: "Request", here: Receiver) -> str:
    from carobatch.sinks import SINKS, deletion_by_hand

    if requests.is_deliverable(one, here):
        return "'carobatch run' delivers what is waiting, while telemetry is on"
    confirm = "then: carobatch deletion confirm REQUEST"
    sink = one.receiver.sink if one.receiver else here.sink
    by_hand = deletion_by_hand(sink) if sink in SINKS else ""
    if by_hand:
        return f"wire_format {one.receiver or sink}: {by_hand}; {confirm}"
    return f"{one.receiver} is not configured any more: whoever runs it deletes what has these session ids; {confirm}"


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


def _view(found: "list[Request]", wire: str, by_hand: str, places: list[Receiver]) -> dict[str, object]:
    return {
        "wire_format": wire,
        "by_hand": by_hand or None,
        "sent_to": [place._asdict() for place in places],
        "requests": [
            {
                "request": one.request,
                "created": utc_text(one.created_ms),
                "confirmed": None if one.done_ms is None else utc_text(one.done_ms),
                "receiver": one.receiver._asdict() if one.receiver else None,
                "confirmed_by": None if one.done_ms is None else "user" if one.by_hand else "receiver",
                "sessions": [{"day": day, "session_id": session.hex()} for day, session in one.sessions],
            }
            for one in found
        ],
    }
