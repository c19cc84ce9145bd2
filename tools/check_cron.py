"""Let a real cron (Debian's) call an entry of `carobatch schedule` once, and take the entry out again.

    python tools/check_cron.py

Needs root or a user whose crontab may be changed; takes up to two minutes, because cron wakes up once a minute.  The
journal is a temporary one with a lane at rest, which `carobatch run` packs: that is how we see that it ran.
"""

import datetime as dt
import os
import subprocess
import sys
import tempfile
import time

from carobatch.scheduler import Cron, Plan
from carojournal import Journal

__all__ = ["main"]

_PATIENCE_S = 130
_TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main() -> int:
    """Return 0 if cron ran the entry, and the crontab is what it was before."""
    with tempfile.TemporaryDirectory(prefix="cron-") as folder:
        root = os.path.join(folder, "journal")
        with Journal.open(root, environ={"HOME": folder}, admin="/nonexistent") as journal:
            journal.append("session_end", session_duration_ms=1)
        rest = time.time() - 7_200
        os.utime(os.path.join(root, "lanes", "0.seg"), (rest, rest))
        minute = (dt.datetime.now().astimezone() + dt.timedelta(seconds=65)).minute
        plan = Plan(root, minute, os.environ, named=True)
        # A checkout is not on the module path of whoever cron is.
        plan.command = ["env", f"PYTHONPATH={_TREE}:{_TREE}/tools", f"HOME={folder}", *plan.command]
        before = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False).stdout
        entry = Cron(plan)
        entry.install()
        daemon = subprocess.Popen(["cron", "-f"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + _PATIENCE_S
            while not (ran := os.path.isdir(os.path.join(root, "packed"))) and time.monotonic() < until:
                time.sleep(1)
        finally:
            daemon.terminate()
            daemon.wait()
            entry.remove()
        after = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False).stdout
    print(
        f"cron {'ran' if ran else 'did not run'} the entry; the crontab is {'' if after == before else 'not '}as before"
    )
    return 0 if ran and after == before else 1


if __name__ == "__main__":
    sys.exit(main())
