"""When an upload is due: slots that spread the machines of a fleet, and what the last tries came to.

    slots      one every interval, shifted by the journal's splay, which is a hash and so the same every day
    due        a slot has begun since the last success (or since the first run), and `not_before` has passed
    failures   the next try is a time drawn evenly from the next 2^failures half intervals, at most one interval, and
               never before Retry-After
    whose      a wait is that of the receiver (wire format and URL) that failed: another one, configured since, has
               asked for none

After an outage the machines that missed their slot come back spread over a whole interval, on top of those whose slot
it is: the receiver sees hardly more than on any other day.  Retries within seconds would only help whoever is waiting;
`upload --wait` does that.

    sent/state.json   {"version", "since_ms", "last_success_ms", "failures", "not_before_ms", "asked_ms", "reason",
                       "batch", "attempts", "asked_by", "crc": CRC-32 of the rest as JSON, keys sorted}
                       damaged or missing: as if nothing was ever tried
"""

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from zlib import crc32

from carobatch.verdicts import RETRY_AFTER_MS_MAX, backoff_ms
from carojournal.root import open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from carojournal.receivers import Receiver

__all__ = [
    "HOUR_MS",
    "Tries",
    "failed",
    "is_due",
    "load_tries",
    "of_receiver",
    "save_tries",
    "splay_ms",
    "succeeded",
    "until_text",
    "waits",
]

HOUR_MS = 3_600_000
_NUMBER_MAX = (1 << 53) - 1  # Times in ms and small counts: more was not written here.
_STATE = os.path.join("sent", "state.json")


@dataclass(slots=True)
class Tries:
    """What the last tries came to; times are UTC ms, 0: never.

    `not_before_ms` binds `run`, `asked_ms`, which is the receiver's own word, `upload` too.  Both are those of
    the receiver whose hash is `asked_by`, "": not known.  `attempts` counts the tries of `batch` (64 hex digits).
    """

    since_ms: int = 0
    last_success_ms: int = 0
    failures: int = 0
    not_before_ms: int = 0
    asked_ms: int = 0
    reason: str = ""
    batch: str = ""
    attempts: int = 0
    asked_by: str = ""


def splay_ms(journal: bytes, interval_ms: int) -> int:
    """Return the shift of a journal's slots, 0 to *interval_ms*; *journal* is its random id, which it does not show."""
    digest = hashlib.sha256(b"carobatch splay" + journal).digest()
    return int.from_bytes(digest[:8], "big") % interval_ms


def waits(until_ms: int, now_ms: int) -> bool:
    """Tell whether *until_ms* is still to come; so far away that only a wrong clock can have set it does not count."""
    return now_ms < until_ms <= now_ms + RETRY_AFTER_MS_MAX


def until_text(until_ms: int) -> str:
    """Return a time to wait for as text, never earlier than it is."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(-(-until_ms // 1000)))


def _hash(receiver: "Receiver") -> str:
    return hashlib.sha256(str(receiver).encode("utf-8", "surrogateescape")).hexdigest()


def of_receiver(tries: Tries, receiver: "Receiver") -> Tries:
    """Return *tries* without the waits that another receiver than *receiver* was the reason of."""
    if tries.asked_by not in ("", _hash(receiver)):
        tries.not_before_ms = tries.asked_ms = 0
    return tries


def is_due(tries: Tries, now_ms: int, interval_ms: int, splay: int) -> bool:
    """Tell whether to upload now."""
    if waits(tries.not_before_ms, now_ms):
        return False
    if tries.failures:
        return True
    since = tries.last_success_ms or tries.since_ms
    # Not "later": a clock that was set back must not stop the uploads until it has caught up.
    return (now_ms - splay) // interval_ms != (since - splay) // interval_ms


def failed(
    tries: Tries,
    now_ms: int,
    reason: str,
    retry_after_ms: int,
    interval_ms: int,
    random: "Callable[[], float]",
    hold_ms: int = 0,
    receiver: "Receiver | None" = None,
) -> None:
    """Note a failure of *receiver*; *retry_after_ms* is its word, *hold_ms* ours, as the least time to wait."""
    tries.failures += 1
    tries.reason = reason
    least = max(retry_after_ms, hold_ms)
    tries.not_before_ms = now_ms + backoff_ms(tries.failures, least, interval_ms // 2, interval_ms, random)
    tries.asked_ms = now_ms + retry_after_ms if retry_after_ms else 0
    tries.asked_by = _hash(receiver) if receiver else ""


def succeeded(tries: Tries, now_ms: int) -> None:
    """Note that everything pending was delivered."""
    tries.last_success_ms = now_ms
    tries.failures = tries.not_before_ms = tries.asked_ms = tries.attempts = 0
    tries.reason = tries.batch = tries.asked_by = ""


def _crc(value: "Mapping[str, object]") -> int:
    return crc32(json.dumps(value, sort_keys=True).encode())


def load_tries(root: str) -> Tries:
    """Return the state of the journal at *root*."""
    try:
        with open(open_file(os.path.join(root, _STATE)), "rb") as file:
            found = json.loads(file.read(65_536))
    except (OSError, ValueError, RecursionError):
        return Tries()
    tries = Tries()
    if type(found) is not dict or found.pop("crc", None) != _crc(found):
        return tries
    for name, empty in asdict(tries).items():
        value = found.get(name)
        if type(value) is type(empty) and not (type(value) is int and not 0 <= value <= _NUMBER_MAX):
            setattr(tries, name, value)
    return tries


def save_tries(root: str, tries: Tries) -> None:
    """Keep the state durably.  Raises JournalIOError, OSError."""
    from carojournal.durable import write_file
    from carojournal.errors import JournalIOError

    os.makedirs(os.path.join(root, "sent"), 0o700, exist_ok=True)
    value = {"version": 1, **asdict(tries)}
    data = json.dumps({**value, "crc": _crc(value)}).encode() + b"\n"
    write_file(os.path.join(root, _STATE), data, overwrite=True, error=JournalIOError)
