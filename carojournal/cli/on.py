"""`carojournal on`: the user agrees, by the verb itself, that events are kept and sent."""

import os
import sys
import time

from carojournal import asking
from carojournal.choices import choose, held_back, holds, is_chosen, refuse_if_locked
from carojournal.cli.output import say
from carojournal.config import load_for
from carojournal.consent import TIMEOUT_S
from carojournal.consent_text import PROMPT, QUESTION
from carojournal.errors import ConsentError

__all__ = ["OPTIONS", "on"]

OPTIONS = {"yes": {"flags": ("-y", "--yes"), "help": "agree without being asked"}}


def on(*, yes: bool = False) -> int:
    """Keep events and agree to send them.

    Shows what is collected and what never, and asks.  Without a terminal --yes is needed.
    """
    settings = load_for(os.environ)
    refuse_if_locked("on", settings)
    if not is_chosen("on", settings):
        if not yes:
            descriptor = asking.terminal(sys.stdin)
            if descriptor is None or asking.terminal(sys.stderr) is None:
                raise ConsentError("without a terminal to ask on, --yes is needed; nothing was changed")
            if asking.ask(f"{PROMPT}{QUESTION}", descriptor, sys.stderr, TIMEOUT_S) != "yes":
                raise ConsentError("no yes was given; nothing was changed")
        choose("on", settings, time.time_ns())
    print(holds("on", "events are kept and sent", os.environ))
    note = held_back("on", os.environ)
    if note:
        say(note)
    return 0
