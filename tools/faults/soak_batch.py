"""carobatch in the soak: `python soak_batch.py ROOT LOGS` packs and uploads, round after round, until SIGTERM.

One process for the whole run, so that what it leaks shows.  Each round is what `carobatch compact` and `carobatch
upload` do, under the lock that they take, with the configuration below $HOME; the last one begins after SIGTERM.
LOGS/accepted and LOGS/refused get the events of every receipt, as `soak_log` has them.  Last it prints a line of JSON:
{"rounds", "batches", "outcomes", "packed_events", "reclaimed_files", "quarantined", "problems", "errors"}; an error is
an exception that no round should have raised, and where; LOGS/errors gets the first traceback of each.
"""

import json
import os
import signal
import sys
import time
import traceback
from collections import Counter
from typing import TYPE_CHECKING, Any

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), *up) for up in (("..", ".."), ("..",))]

from carobatch.cli.common import open_store  # noqa: E402
from carobatch.cli.upload import upload_once  # noqa: E402
from carobatch.compact import compact  # noqa: E402
from carobatch.outbox import Outbox  # noqa: E402
from carobatch.target import read_target  # noqa: E402
from carojournal import locks  # noqa: E402
from carojournal.config import load_for  # noqa: E402
from faults.soak_log import RunLog  # noqa: E402

if TYPE_CHECKING:
    from carobatch.outbox import Intent

__all__ = ["main"]

_BATCHES = 10  # Of one round: then it is time to pack again.
_IDLE_MS = 60_000


def _log_receipts(accepted: RunLog, refused: RunLog) -> None:
    """Let the logs name the events of every receipt once it is durable."""
    settle = Outbox.settle

    def logged(self: Outbox, intent: "Intent", *rest: Any) -> None:
        settle(self, intent, *rest)
        for log, ranges in ((accepted, rest[-2]), (refused, rest[-1])):
            for segment, runs in ranges.items():
                for first, last in runs:
                    log.add(segment, first, last - first + 1)

    Outbox.settle = logged  # type: ignore[method-assign,assignment]


def _name(error: Exception) -> str:
    """Return what and where, without the names of files, so that the same error counts as the same."""
    places = [
        f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)
    ]
    return f"{type(error).__name__} at {' '.join(places[-4:])}"


def main(root: str, logs: str) -> None:
    """Pack and upload, and print what is described above."""
    going = True

    def stop(*_: object) -> None:
        nonlocal going
        going = False

    signal.signal(signal.SIGTERM, stop)
    accepted, refused = RunLog(f"{logs}/accepted"), RunLog(f"{logs}/refused")
    _log_receipts(accepted, refused)
    totals, outcomes, problems, errors = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    print(flush=True)
    last = False
    while not last:
        last = not going
        totals["rounds"] += 1
        try:
            with locks.batch_lock(root):
                packed = compact(root, open_store(root), time.time_ns() // 1_000_000, _IDLE_MS)
                sent = upload_once(root, read_target(load_for(os.environ)), _BATCHES, waited=True)
        except Exception as error:  # what a round must not do; the soak fails on it
            name = _name(error)
            if name not in errors:
                with open(f"{logs}/errors", "a", encoding="utf-8") as file:
                    file.write(traceback.format_exc())
            errors[name] += 1
            continue
        totals["packed_events"] += packed.events
        problems.update(reason for _, reason in packed.problems)
        outcomes[f"{sent.kind}: {sent.reason}" if sent.reason else sent.kind] += 1
        for name in ("batches", "quarantined", "reclaimed_files"):
            totals[name] += getattr(sent, name)
    accepted.close()
    refused.close()
    print(json.dumps({**totals, "outcomes": outcomes, "problems": problems, "errors": errors}))


if __name__ == "__main__":
    main(*sys.argv[1:3])
