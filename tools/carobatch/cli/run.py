"""`carobatch run`: what cron, launchd and systemd call."""

import contextlib
import os
import time
from typing import TYPE_CHECKING

from carobatch.cli.common import DIR_OPTION, is_made, journal_root, open_store, say_compaction
from carojournal import policy
from carojournal.cli.exits import CONFIG, RETRY, UNAVAILABLE
from carojournal.cli.output import say
from carojournal.config import CHANNEL, load_for
from carojournal.errors import ConfigError, JournalBusy, JournalError

if TYPE_CHECKING:
    from carobatch.upload import Outcome
    from carojournal.settings import Settings

__all__ = ["ALERT_FAILURES", "ALERT_SHARE", "OPTIONS", "run"]

ALERT_FAILURES = 5  # In a row: with the default interval the better part of a week.
ALERT_SHARE = 0.8  # Of the cap: above, the next thing to happen is that events are lost.
PACK_AGE_MS = 3_600_000  # A closed segment, or a lane at rest, is packed after an hour,
PACK_SHARE = 10  # or when there is a tenth of the cap of them.
OPTIONS = {"dir": DIR_OPTION}
_REQUESTS = "deletion-requests"  # `deletion.REQUESTS`, whose module an hourly look need not import.


def run(
    *,
    dir: str | None = None,  # noqa: A002 - the option's name
) -> int:
    """Do what is due: requests to delete, a look at what was discarded, upload, packing.

    For cron: silent when there is nothing to say.

    Exit 0: done, or nothing to do; 75: not now, try again at the next turn; 69: it fails for the fifth time in a row,
    or the journal is four fifths full, and says why; 78: the configuration cannot be used, and says why: that counts
    as off, so that nothing is done and requests to delete wait, too.
    """
    root = journal_root(dir)
    if not is_made(root):
        return 0
    now_ms = time.time_ns() // 1_000_000
    try:
        found = policy.resolve(root, channel=CHANNEL, environ=os.environ)
        _refuse_problems(found)
        if not _has_work(root, found, now_ms):
            return _report(root, None, found)
        from carojournal import locks

        with locks.batch_lock(root):
            return _run(root, now_ms)
    except JournalBusy:
        return RETRY
    except ConfigError as error:
        say(error, "carobatch")
        return CONFIG


def _refuse_problems(found: policy.Policy) -> None:
    """Raise ConfigError where a broken file is why the mode is off: who set up a schedule hears of it nowhere else."""
    if found.problems:
        raise ConfigError(found.problems[0])


def _has_work(root: str, found: policy.Policy, now_ms: int) -> bool:
    """Tell, without a lock and without what only work needs, whether there may be something to do."""
    from carobatch import discards, timing

    if os.path.exists(os.path.join(root, _REQUESTS)):
        return True
    if found.mode != "off" and (discards.is_due(root, now_ms) or _pack_is_due(root, found.cap_bytes, now_ms)):
        return True
    if found.mode != "on":
        return False
    tries, settings = timing.load_tries(root), load_for(os.environ)
    if timing.waits(tries.not_before_ms, now_ms):
        from carojournal.receivers import configured

        timing.of_receiver(tries, configured(settings))
    return not tries.since_ms or timing.is_due(tries, now_ms, *_slots(root, settings))


def _slots(root: str, settings: "Settings") -> tuple[int, int]:
    """Return the interval and this journal's splay in it, both in milliseconds."""
    from carobatch import timing
    from carojournal import deletion

    identity = deletion.read_identity(root)
    interval = int(settings.value("batch_interval_hours") or 24) * timing.HOUR_MS
    return interval, timing.splay_ms(identity.journal if identity else b"", interval)


def _run(root: str, now_ms: int) -> int:
    found = policy.resolve(root, channel=CHANNEL, environ=os.environ)
    _refuse_problems(found)
    settings = load_for(os.environ)
    if found.mode != "off":
        _tell_discards(root, found, now_ms)
    outcome = _upload_if_due(root, settings, found.mode, now_ms)
    if found.mode != "off" and _pack_is_due(root, found.cap_bytes, now_ms):
        from carobatch.compact import IDLE_MS, compact

        say_compaction(compact(root, open_store(root), now_ms, IDLE_MS))
    if found.mode == "off":
        return 0 if outcome is None or outcome.kind == "denied" else RETRY
    return _report(root, outcome, found)


def _tell_discards(root: str, found: policy.Policy, now_ms: int) -> None:
    from carobatch import discards

    # What keeps this one event from being written is counted already, and must not keep the others from being sent.
    with contextlib.suppress(JournalError, OSError):
        discards.tell(root, found, now_ms)


def _upload_if_due(root: str, settings: "Settings", mode: str, now_ms: int) -> "Outcome | None":
    from carobatch import timing
    from carojournal import deletion
    from carojournal.receivers import configured

    here = configured(settings)
    tries = timing.of_receiver(timing.load_tries(root), here)
    # A request that no call can deliver waits for the user, and must not make this the hour of an upload.
    asked = any(deletion.is_deliverable(one, here) for one in deletion.pending(root))
    if asked := asked and not timing.waits(tries.not_before_ms, now_ms):
        from carobatch.target import may_ask_deletion

        asked = may_ask_deletion(root, os.environ)
    if mode != "on" and not asked:
        return None
    if mode == "on" and not tries.since_ms:
        tries.since_ms = now_ms
        timing.save_tries(root, tries)
    if not asked and not timing.is_due(tries, now_ms, *_slots(root, settings)):
        return None
    from carobatch.cli.upload import upload_once
    from carobatch.target import read_target

    return upload_once(root, read_target(settings))


def _pack_is_due(root: str, cap_bytes: int, now_ms: int) -> bool:
    """Tell by names, sizes and times alone whether there is enough, or anything old enough, to pack."""
    total = 0
    for folder in ("segments", "lanes"):
        try:
            with os.scandir(os.path.join(root, folder)) as entries:
                for entry in entries:
                    if not entry.name.endswith((".seg", ".seg~")):
                        continue
                    status = entry.stat(follow_symlinks=False)
                    total += status.st_size if folder == "segments" else 0
                    if abs(now_ms - status.st_mtime_ns // 1_000_000) >= PACK_AGE_MS:
                        return True
        except FileNotFoundError:
            continue
    return total * PACK_SHARE >= cap_bytes


def _report(root: str, outcome: "Outcome | None", found: policy.Policy) -> int:
    from carobatch import timing

    code = 0
    if outcome is not None:
        from carobatch.cli.upload import say_withheld, summary

        say_withheld(outcome.withheld, outcome.refused)
        line = summary(outcome)
        if line:
            print(line)
        if outcome.kind not in ("done", "more", "denied"):
            code = RETRY
    if found.mode != "on":
        return code
    tries = timing.load_tries(root)
    if tries.failures >= ALERT_FAILURES:
        say(f"{tries.failures} uploads failed in a row: {tries.reason}", "carobatch")
        return UNAVAILABLE
    from carojournal.spool import usage

    used = sum(size for _, _, size in usage(root))
    if used > ALERT_SHARE * found.cap_bytes:
        say(f"the journal is {100 * used // found.cap_bytes} % full; the oldest events go next", "carobatch")
        return UNAVAILABLE
    return code
