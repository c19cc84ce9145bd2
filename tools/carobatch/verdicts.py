"""What an answer means: the one table from statuses to verdicts, and when to try again.  No I/O, no clock.

    2xx                          judged by the sink: accepted, in part or whole; what is no verdict at all: hold
    408 425 429 5xx, no answer   later
    413                          too large: two halves
    400 422                      one event is at fault: two halves, until it is alone; it goes to quarantine
    401 402 403                  hold: no retry tells the receiver more than it knows
    3xx                          failure: nothing was delivered, and nobody is followed
    anything else                hold

`later` and `failure` are tried again, at max(Retry-After, full jitter); `hold` a whole HOLD_MS later, because somebody
has to change something first.  Nothing that is held or failed is ever given up or removed.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from carobatch.http import Failure, Reply

__all__ = ["HOLD_MS", "RETRY_AFTER_MS_MAX", "Verdict", "backoff_ms", "judge_status", "parse_retry_after"]

HOLD_MS = 86_400_000  # A day: an operator has fixed the key, or the user has seen `status`.
RETRY_AFTER_MS_MAX = 604_800_000  # A week: a wrong date in one header must not end the uploads of a machine for good.

ACCEPTED, LATER, SPLIT, ISOLATE, HOLD, FAILURE = "accepted", "later", "split", "isolate", "hold", "failure"
_LATER = frozenset((408, 425, 429, *range(500, 600)))
_APART = {413: SPLIT, 400: ISOLATE, 422: ISOLATE}
_DENIED = frozenset((401, 402, 403))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a batch.

    `kind` is accepted, later, split, isolate, hold or failure; `reason` a short text of ours, never the receiver's.
    Of an accepted batch `refused` and `again` are the ids of events that the receiver refuses for good, or wants again;
    `rejected` counts those that it refused without saying which.  `retry_after_ms` is what the receiver asked for.
    """

    kind: str
    reason: str = ""
    retry_after_ms: int = 0
    refused: frozenset[str] = field(default_factory=frozenset)
    again: frozenset[str] = field(default_factory=frozenset)
    rejected: int = 0


def judge_status(answer: "Reply | Failure", now_ms: int) -> Verdict | None:
    """Return the verdict on an answer by its status alone, None for 2xx, whose body the sink must judge."""
    status = getattr(answer, "status", None)
    if status is None:
        return Verdict(LATER, f"no answer ({answer.kind})")  # type: ignore[union-attr]
    if 200 <= status < 300:
        return None
    reason = f"status {status}"
    wait = parse_retry_after(answer.headers, now_ms)  # type: ignore[union-attr]
    if status in _LATER:
        return Verdict(LATER, reason, wait)
    if status in _APART:
        return Verdict(_APART[status], reason, wait)
    if 300 <= status < 400:
        return Verdict(FAILURE, f"{reason}: redirects are not followed", wait)
    return Verdict(HOLD, f"{reason}: not allowed" if status in _DENIED else reason, wait)


def parse_retry_after(headers: "Mapping[str, str]", now_ms: int) -> int:
    """Return how long Retry-After (RFC 9110 section 10.2.3) asks to wait, 0 to RETRY_AFTER_MS_MAX milliseconds.

    *headers* have names in lower case.  A date counts from the answer's own `Date`, so that a wrong clock on either
    side makes no difference; *now_ms* (UTC) stands in where there is none.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return min(int(text[:9]) * 1000, RETRY_AFTER_MS_MAX)
    until, since = _http_date(text), _http_date(headers.get("date", ""))
    if until is None:
        return 0
    return min(max(0, until - (now_ms if since is None else since)), RETRY_AFTER_MS_MAX)


def _http_date(text: str) -> int | None:
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def backoff_ms(failures: int, retry_after_ms: int, base_ms: int, cap_ms: int, random: "Callable[[], float]") -> int:
    """Return how long to wait after that many failures in a row: max(Retry-After, full jitter over 2^n of *base_ms*).

    Full jitter is a time drawn evenly from 0 to min(*cap_ms*, *base_ms* * 2^failures); *random* yields 0 <= x < 1.
    """
    window = min(cap_ms, base_ms << min(failures, 40))
    return max(retry_after_ms, int(random() * window))
