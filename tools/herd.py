"""A thundering herd, simulated: every machine of a fleet after an outage of the receiver.

    python tools/herd.py [--clients 10000] [--outage-h 6] [--interval-h 24] [--seed 1]

Drives the real `carobatch.timing` and `carobatch.verdicts` with an injected clock: each client is woken up every hour
at its own minute, as its cron entry does, asks `is_due`, and on failure draws its wait as `run` does.  Baseline: the
same clients with plain exponential backoff without jitter and without slots (woken up on the hour, they wait 1, 2, 4
... hours after a failure, and an interval after a success).

Printed: requests an hour in the splay window (one interval) that follows the outage, peak by mean.  An hour holds about
417 of 10,000 clients' requests, so chance alone makes a peak of about 1.1.
"""

import argparse
import random
import sys
from collections import Counter

from carobatch.timing import HOUR_MS, Tries, failed, is_due, splay_ms, succeeded
from carobatch.verdicts import backoff_ms

__all__ = ["baseline", "main", "ours", "peak_by_mean"]

_START_MS = 1_790_000_000_000 // HOUR_MS * HOUR_MS
Hours = Counter[int]


def peak_by_mean(hours: Hours, first: int, count: int) -> float:
    """Return the largest number of requests in an hour by the mean, over *count* hours from *first*."""
    found = [hours[hour] for hour in range(first, first + count)]
    return max(found) / (sum(found) / count)


def ours(clients: int, interval_ms: int, outage: tuple[int, int], hours: int, seed: int) -> Hours:
    """Return hour -> requests of a fleet under our own schedule; *outage* is [from, until) in hours."""
    rand = random.Random(seed)  # noqa: S311 - a simulation
    found: Hours = Counter()
    for _ in range(clients):
        journal = rand.randbytes(16)
        splay, minute_ms = splay_ms(journal, interval_ms), splay_ms(journal, HOUR_MS)
        # Every client has been at it for an interval: what it sent last was in its slot.
        tries = Tries(since_ms=1, last_success_ms=_START_MS - 1)
        for hour in range(hours):
            now_ms = _START_MS + hour * HOUR_MS + minute_ms
            if not is_due(tries, now_ms, interval_ms, splay):
                continue
            found[hour] += 1
            if outage[0] <= hour < outage[1]:
                failed(tries, now_ms, "status 503", 0, interval_ms, rand.random)
            else:
                succeeded(tries, now_ms)
    return found


def baseline(clients: int, interval_ms: int, outage: tuple[int, int], hours: int, seed: int) -> Hours:
    """Return hour -> requests with plain exponential backoff: no jitter, no splay but where chance put each client."""
    rand = random.Random(seed)  # noqa: S311 - a simulation
    found: Hours = Counter()
    for _ in range(clients):
        next_ms, failures = _START_MS + rand.randrange(interval_ms // HOUR_MS) * HOUR_MS, 0
        for hour in range(hours):
            now_ms = _START_MS + hour * HOUR_MS
            if now_ms < next_ms:
                continue
            found[hour] += 1
            if outage[0] <= hour < outage[1]:
                next_ms = now_ms + backoff_ms(failures, 0, HOUR_MS, interval_ms, _whole)
                failures += 1
            else:
                next_ms, failures = now_ms + interval_ms, 0
    return found


def _whole() -> float:
    """Return what makes a window of jitter the wait itself."""
    return 1.0


def main(argv: list[str] | None = None) -> int:
    """Simulate both and print them; return 1 if ours exceeds 1.2."""
    parser = argparse.ArgumentParser(description="Simulate a fleet after an outage.")
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--outage-h", type=int, default=6)
    parser.add_argument("--interval-h", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(argv)
    interval_ms = given.interval_h * HOUR_MS
    outage = (2 * given.interval_h, 2 * given.interval_h + given.outage_h)
    hours = outage[1] + 2 * given.interval_h
    ratios = {}
    for name, simulate in (("carobatch", ours), ("plain backoff", baseline)):
        found = simulate(given.clients, interval_ms, outage, hours, given.seed)
        ratios[name] = peak_by_mean(found, outage[1], given.interval_h)
        window = [found[hour] for hour in range(outage[1], outage[1] + given.interval_h)]
        print(f"{name:14} peak/mean {ratios[name]:.2f}  requests an hour after the outage: {window}")
    return 0 if ratios["carobatch"] <= 1.2 else 1


if __name__ == "__main__":
    sys.exit(main())
