"""`carojournal off`: keep nothing.

The choice is stored even where something else keeps the mode off already (a variable, a channel's default): those end
with the shell or the release, the choice does not.  Where it is stored already, nothing is written.  The only file that
`off` can make is the user's own config.toml, never one below the journal's root.
"""

import os
import time

from carojournal.choices import choose, is_chosen
from carojournal.config import load_for

__all__ = ["off"]


def off() -> int:
    """Keep nothing from now on; hosts that are running notice within a second.

    A yes that was given before is taken back.  What was kept stays until 'carojournal clear'.
    """
    settings = load_for(os.environ)
    if not is_chosen("off", settings):
        choose("off", settings, time.time_ns())
    print("off: nothing is kept from now on; hosts that are running notice within a second")
    return 0
