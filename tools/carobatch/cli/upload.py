"""`carobatch upload`: send now what the user agreed to send."""

import json as json_
import os
import random
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from carobatch.cli.common import DIR_OPTION, is_made, journal_root
from carojournal import locks, policy
from carojournal.cli.exits import RETRY
from carojournal.cli.output import bytes_text, count_text, say
from carojournal.config import CHANNEL, load_for
from carojournal.errors import ConfigError, ConsentError, UsageError

if TYPE_CHECKING:
    from carobatch.target import Target
    from carobatch.upload import Outcome
    from carojournal.recheck import Refusals
    from carojournal.settings import Settings

__all__ = ["OPTIONS", "say_withheld", "summary", "upload", "upload_once"]

_WAIT_BASE_MS = 1_000  # With --wait somebody is waiting: full jitter over 2, 4, 8 ... seconds,
_WAIT_CAP_MS = 300_000  # and at most five minutes.
OPTIONS = {
    "dir": DIR_OPTION,
    "dry_run": {
        "help": "print the requests with all headers (<...> where a value is that of the try), their bodies unpacked,"
        " and send nothing"
    },
    "max_batches": {"type": int, "metavar": "N", "help": "send at most N batches, at least 1 (default: all)"},
    "wait": {"help": "wait and try again until everything is sent or nothing can be"},
    "json": {"help": "print JSON: one object, or with --dry-run one a line, the exact body in base64"},
}


def upload(
    *,
    dir: str | None = None,  # noqa: A002 - the option's name
    dry_run: bool = False,
    max_batches: int | None = None,
    wait: bool = False,
    json: bool = False,
) -> int:
    """Send what was recorded after the yes, whether it is due or not.

    Exit 75: not now, and nothing is lost; 77: the user's choice forbids it; 78: the configuration lacks something.
    """
    from carobatch.target import read_target

    if max_batches is not None and max_batches < 1:
        raise UsageError("--max-batches is at least 1; leave it out to send all")
    root = journal_root(dir)
    found = policy.resolve(root, channel=CHANNEL, environ=os.environ)
    settings = _settings()
    allowed = found.mode == "on"
    if dry_run:
        return _dry_run(root, read_target(settings), found, json=json)
    if not allowed and not _may_ask(root):
        raise ConsentError(f"nothing is sent: the mode is {found.mode} (set by {found.source})")
    if not is_made(root):
        say("nothing to send", "carobatch")
        return 0
    with locks.batch_lock(root):
        outcome = upload_once(root, read_target(settings), max_batches or 0)
        tries = 1
        while wait and outcome.kind == "later":
            _sleep(outcome, tries)
            tries += 1
            outcome = upload_once(root, read_target(_settings()), max_batches or 0, waited=True)
    say_withheld(outcome.withheld, outcome.refused)
    if json:
        print(json_.dumps(_view(outcome)))
    elif outcome.kind in ("done", "more"):
        print(summary(outcome) or "nothing to send")
    if outcome.kind == "denied":
        found = policy.resolve(root, channel=CHANNEL, environ=os.environ)
        if found.mode != "on":
            raise ConsentError(f"nothing is sent: the mode is {found.mode} (set by {found.source})")
        outcome.reason = "the configuration changed, or could not be read, meanwhile"
    if outcome.kind in ("done", "more"):
        return 0
    if not json:
        say(
            "; ".join(text for text in (summary(outcome), f"not everything was sent: {outcome.reason}") if text),
            "carobatch",
        )
    return RETRY


def _settings() -> "Settings":
    """Return what the configuration says now.  Raises ConfigError."""
    settings = load_for(os.environ)
    if settings.problems:
        raise ConfigError(settings.problems[0])
    return settings


def _may_ask(root: str) -> bool:
    from carobatch.target import may_ask_deletion
    from carojournal import deletion

    return bool(deletion.pending(root)) and may_ask_deletion(root, os.environ)


def upload_once(root: str, target: "Target", max_batches: int = 0, *, waited: bool = False) -> "Outcome":
    """Seal what the lanes hold and send what is pending; the caller holds batch.lock.

    Without *waited* nothing is tried while the receiver has asked to wait.
    """
    from carobatch import timing
    from carobatch.seal import seal_idle_lanes
    from carobatch.sinks import receiver_of
    from carobatch.target import make_job, sending_allowed
    from carobatch.upload import Outcome, Upload
    from carojournal import deletion

    identity = deletion.read_identity(root)
    if identity is not None and identity.half_cleared:
        return Outcome("hold", deletion.HALF_CLEARED)
    now_ms = time.time_ns() // 1_000_000
    tries = timing.of_receiver(timing.load_tries(root), receiver_of(target.sink))
    if not waited and timing.waits(tries.asked_ms, now_ms):
        reason = f"the receiver asked to wait until {timing.until_text(tries.asked_ms)}"
        return Outcome("later", reason, retry_after_ms=tries.asked_ms - now_ms + 1000)
    job = make_job(root, target, batches_max=max_batches)
    if sending_allowed(root, os.environ):
        seal_idle_lanes(root, now_ms, 0)
    else:
        # What the lanes hold is not ready: a yes that can only be read from now on is the next run's.
        job = replace(job, allowed=lambda: 0)
    try:
        return Upload(job).run()
    finally:
        job.client.close()


def _sleep(outcome: "Outcome", tries: int) -> None:
    """Wait for the next try, and say why and until when: it may take a week."""
    from carobatch.timing import until_text
    from carobatch.verdicts import backoff_ms

    pause_ms = backoff_ms(tries, outcome.retry_after_ms, _WAIT_BASE_MS, _WAIT_CAP_MS, random.random)
    until = until_text(time.time_ns() // 1_000_000 + pause_ms)
    say(f"waiting until {until} for the next try: {outcome.reason}", "carobatch")
    time.sleep(pause_ms / 1000)


def summary(outcome: "Outcome") -> str:
    """Return one line on what was done, "" for nothing."""
    parts = []
    if outcome.deletions:
        parts.append(f"{count_text(outcome.deletions, 'deletion request')} confirmed")
    if outcome.batches:
        parts.append(f"sent {count_text(outcome.events, 'event')} in {count_text(outcome.batches, 'batch', 'batches')}")
    if outcome.quarantined:
        parts.append(f"{count_text(outcome.quarantined, 'event')} refused by the receiver and kept in quarantine")
    if outcome.rejected:
        parts.append(f"{count_text(outcome.rejected, 'event')} rejected by the receiver")
    if outcome.reclaimed_files:
        parts.append(f"{bytes_text(outcome.reclaimed_bytes)} freed")
    return ", ".join(parts)


def say_withheld(events: int, refused: "Counter[tuple[str, str, str]]") -> None:
    """Say on standard error, in one line, how many *events* were not sent because the allowlist refuses them, and why.

    *refused* counts (event, field, reason), closed words all of them.
    """
    if events:
        why = ", ".join(
            f"{event}.{field}: {reason} ({count:,})" for (event, field, reason), count in sorted(refused.items())
        )
        say(f"{count_text(events, 'event')} withheld, not allowed any more: {why}", "carobatch")


def _view(outcome: "Outcome") -> dict[str, object]:
    names = ("kind", "reason", "batches", "events", "quarantined", "withheld", "rejected", "requests", "deletions")
    return {name: getattr(outcome, name) for name in names} | {
        "reclaimed_bytes": outcome.reclaimed_bytes,
        "counts": dict(sorted(outcome.counts.items())),
        "refused": [
            {"event": event, "field": field, "reason": reason, "count": count}
            for (event, field, reason), count in sorted(outcome.refused.items())
        ],
    }


def _dry_run(root: str, target: "Target", found: policy.Policy, *, json: bool) -> int:
    from carobatch.preview import preview, request_object, request_text

    consent_ms = found.consent_ms if found.mode == "on" else 0
    count = withheld = 0
    refused: Counter[tuple[str, str, str]] = Counter()

    def withhold(_identity: tuple[bytes, int], bad: "Refusals") -> None:
        nonlocal withheld
        withheld += 1
        refused.update(set(bad))

    requests = preview(root, target.sink, target.events_max, consent_ms, withhold) if is_made(root) else ()
    for request, headers in requests:
        print(json_.dumps(request_object(request, headers)) if json else request_text(request, headers) + "\n")
        count += 1
    if not consent_ms:
        say(f"this is a preview: nothing is sent, the mode is {found.mode} (set by {found.source})", "carobatch")
        say("what is recorded before a yes is never sent; this is what such events would look like", "carobatch")
    say_withheld(withheld, refused)
    say(f"{count_text(count, 'request')}, none of them sent", "carobatch")
    return 0
