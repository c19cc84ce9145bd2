"""`carobatch schedule`: have cron, launchd or systemd call `carobatch run` every hour."""

import os
import unicodedata

from carobatch.cli.common import DIR_OPTION, journal_root
from carobatch.schedule import SYSTEMS
from carojournal import deletion, policy
from carojournal.errors import ConsentError, UsageError

__all__ = ["OPTIONS", "schedule"]

_ACTIONS = ("print", "install", "remove", "status")
OPTIONS = {
    "action": {"flags": ("action",), "choices": _ACTIONS, "help": "what to do with the entry"},
    "system": {"flags": ("system",), "choices": SYSTEMS, "help": "who is to call 'carobatch run'"},
    "dir": DIR_OPTION,
}


def schedule(action: str, system: str, *, dir: str | None = None) -> int:  # noqa: A002 - the option's name
    """Print, install, remove or show an entry that calls 'carobatch run' every hour.

    Only an entry of our own is ever touched; installing twice is installing once, and removing leaves what was there
    before.  An entry looks for the journal and the stored choice where this shell does; variables that restrict do not
    reach it, so that nothing is installed where one is set.  'status' exits 0 if the entry is there, 69 if not.
    """
    from carobatch.scheduler import Plan, open_scheduler
    from carobatch.timing import HOUR_MS, splay_ms
    from carojournal.cli.exits import UNAVAILABLE

    root = journal_root(dir)
    identity = deletion.read_identity(root)
    minute = splay_ms(identity.journal if identity else os.fsencode(root), HOUR_MS) // 60_000
    plan = Plan(root, minute, os.environ, named=dir is not None)
    # A newline in it would end a crontab's line or a unit's setting, and begin another.
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in "".join((root, *plan.environ.values()))):
        raise UsageError("the directory has a control character in its name, or bytes that are no UTF-8")
    scheduler = open_scheduler(system, plan)
    if action == "print":
        print(scheduler.text(), end="")
        return 0
    if action == "status":
        found = scheduler.installed()
        print("installed" if found else "not installed")
        return 0 if found else UNAVAILABLE
    if action == "install":
        _refuse_restricted(system)
        scheduler.install()
        print(f"'carobatch run' is called by {system}, every hour")
    else:
        scheduler.remove()
        print(f"{system} does not call 'carobatch run' any more")
    return 0


def _refuse_restricted(system: str) -> None:
    """Raise ConsentError if a variable restricts here what nothing would restrict there."""
    mode, _, variable = policy.environment_limits(os.environ)
    if variable:
        stored = f"'carojournal {mode}' stores what does"
        raise ConsentError(f"{variable} would not reach {system}: {stored}; then try again without {variable}")
