"""When `inspect -f` has nothing more to do: nobody reads any more, or nothing that comes can match."""

import select
import sys
import time

__all__ = ["FollowEnd"]

LATE_MS = 1_000  # How long an event may be under way from its clock to its file: a writer waits 100 ms at most.


class FollowEnd:
    """Called before every look for what is new; answers True once that is in vain.

    *until_ms* is the last time asked for, in UTC milliseconds, or None.
    """

    def __init__(self, until_ms: int | None) -> None:
        self._until_ms = until_ms
        self._over = False
        self._output: select.poll | None = None
        try:
            descriptor = sys.stdout.fileno()
        except (OSError, ValueError, AttributeError):
            return
        self._output = select.poll()
        self._output.register(descriptor, 0)  # No event of ours: an error and a hang-up are told without being asked.

    def __call__(self) -> bool:
        """Tell whether to end."""
        if self._output is not None and any(
            events & (select.POLLERR | select.POLLHUP) for _, events in self._output.poll(0)
        ):
            return True
        over = self._over
        # One more look after the end: what was recorded in time may have reached its file since the last one.
        self._over = self._until_ms is not None and time.time_ns() // 1_000_000 > self._until_ms + LATE_MS
        return over
