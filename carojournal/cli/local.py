"""`carojournal local`: keep events on this machine and never send them."""

import os
import time

from carojournal.choices import choose, held_back, holds, is_chosen, refuse_if_locked
from carojournal.cli.output import say
from carojournal.config import load_for

__all__ = ["local"]


def local() -> int:
    """Keep events on this machine and never send them.

    A yes that was given before is taken back.
    """
    settings = load_for(os.environ)
    refuse_if_locked("local", settings)
    if not is_chosen("local", settings):
        choose("local", settings, time.time_ns())
    print(holds("local", "events are kept and never sent", os.environ))
    note = held_back("local", os.environ)
    if note:
        say(note)
    return 0
