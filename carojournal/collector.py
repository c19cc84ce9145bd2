"""Append off the host's thread: a bounded queue and one daemon thread that writes what stands in it.

    with Collector(journal) as collector:
        collector.record("session_start", caro_version="1.1.0", os="linux")

An append takes 15 to 30 microseconds (`tools/bench`), so most hosts need none of this: it is for those whose disk may
stall and who would rather lose an event than wait.  `record` then means "queued"; a `kill -9` loses what is in the
queue, which is empty again within milliseconds.  What does not fit, and what is left at the deadline, is dropped and
counted.

An event is checked in the caller's thread: what is refused is not queued, and what the caller changes afterwards
changes nothing.  The time of the event is the time of the call.

No lock is taken on the caller's side (SimpleQueue's `put` may even be interrupted by a signal handler that calls it),
so a fork at any moment leaves the child nothing to wait for; it begins with an empty queue and a thread of its own.
"""

import atexit
import os
import threading
import time
from queue import Empty, SimpleQueue

# All but redact are for the journal, which imports them when it first needs them: a fork while the collector's thread
# does that would leave the child with half a module, and its events would be lost.
from carojournal import batches, cbor, drops, held, redact, rotation, spool  # noqa: F401
from carojournal.events import RECORDER_OWNED
from carojournal.journal import Journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from carojournal.refusal import Refused

    _Queue = SimpleQueue["_Event | _Refusals | threading.Event"]
    _Event = tuple[int, str, dict[str, object]]  # (UTC ms, type, fields), as Journal.append_timed takes them

__all__ = ["BATCH_EVENTS_MAX", "Collector"]

BATCH_EVENTS_MAX = 256  # One write of at most about 60 KB; the deadline is looked at between two.
GRACE_S = 0.1  # For the write that is under way when the deadline passes, and for counting what is dropped.


class _Refusals:
    """Refusals that wait to be counted, and whether they refused the whole event."""

    __slots__ = ("events", "keys")

    def __init__(self, found: "redact.Accepted | Refused") -> None:
        self.keys = [f"refuse {event} {field} {reason}" for event, field, reason in found.refusals]
        self.events = 0 if isinstance(found, redact.Accepted) else 1


def _copied(fields: dict[str, object]) -> dict[str, object]:
    """Return accepted fields as they are now; what the recorder overrides anyway is left out."""
    return {
        key: dict(value) if isinstance(value, dict) else list(value) if isinstance(value, list) else value
        for key, value in fields.items()
        if key not in RECORDER_OWNED
    }


class Collector:
    """A journal's queue and its thread.  The journal stays the caller's: close the collector first.

    *queue_max* bounds the events that wait (as many threads as call at the same instant may exceed it by one each),
    *deadline_s* the seconds that `close` and the exit of the interpreter wait for the rest; *clock* gives UTC
    nanoseconds and *monotonic* seconds.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        queue_max: int = 1024,
        deadline_s: float = 0.5,
        clock: "Callable[[], int]" = time.time_ns,
        monotonic: "Callable[[], float]" = time.monotonic,
    ) -> None:
        self.journal = journal
        self._queue_max = queue_max
        self._deadline_s = deadline_s
        self._clock = clock
        self._monotonic = monotonic
        self._closed = False
        self._begin()
        atexit.register(self.close)

    def _begin(self) -> None:
        """Start empty, at first and in a child: what the parent queued is the parent's to write."""
        self._pid = os.getpid()
        self._queue: _Queue = SimpleQueue()
        # One byte for every event that found the queue full.  `append` and `del` of a slice are atomic, a `+= 1` of two
        # threads is not, and a lock might be held by the very code that a signal handler interrupts.
        self._overflow = bytearray()
        self._stop_at: float | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()  # Only ever tried, never waited for.

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        self.close()

    @property
    def waiting(self) -> int:
        """How many events are queued now."""
        return self._queue.qsize()

    def record(self, event_type: str, /, **fields: object) -> bool:
        """Queue one event; return whether it will be written.  Never raises, never blocks, does no I/O.

        False: telemetry is off, the level leaves the event out, it was refused, or the queue is full.  The last two are
        counted.
        """
        try:
            return self._record(event_type, fields)
        except Exception:  # noqa: BLE001 - "never raises" has no exceptions
            return False

    def _record(self, event_type: str, fields: dict[str, object]) -> bool:
        if self._closed or self.journal.mode == "off":
            return False
        self._own()
        found = redact.check(event_type, fields, self.journal.policy.level)
        if found is None:
            return False
        if self._queue.qsize() >= self._queue_max:
            self._overflow.append(0)
            return False
        if found.refusals:
            self._queue.put(_Refusals(found))
        if isinstance(found, redact.Accepted):
            kept = {**found.fields, "generation": found.generation} if found.refusals else _copied(fields)
            self._queue.put((self._clock() // 1_000_000, found.event, kept))
        if self._closed:
            self._drain()  # `close` may have looked at the queue for the last time before this event was in it.
        elif self._thread is None:
            self._start()
        return isinstance(found, redact.Accepted)

    def _own(self) -> None:
        if self._pid != os.getpid():
            self._begin()

    def _start(self) -> None:
        """Start the thread, once: of two, one would outlive `close` and keep it waiting."""
        if not self._starting.acquire(blocking=False):
            return
        try:
            if self._thread is None:
                thread = threading.Thread(target=self._write_all, args=(self._queue,), name="carojournal", daemon=True)
                self._thread = thread
                thread.start()
        except RuntimeError:  # No thread to be had now: the next event tries again, and `close` writes what is left.
            self._thread = None
        finally:
            self._starting.release()

    def flush(self, deadline_s: float | None = None) -> bool:
        """Wait until all that is queued is written, at most *deadline_s* seconds; return whether it is."""
        self._own()
        if self._thread is None:
            return self._queue.qsize() == 0
        done = threading.Event()
        self._queue.put(done)
        return done.wait(self._deadline_s if deadline_s is None else deadline_s)

    def close(self) -> None:
        """Write what is queued within the deadline, count what is not, stop the thread.  Idempotent; never raises."""
        atexit.unregister(self.close)
        if self._closed:
            return
        self._closed = True
        if self._pid != os.getpid():
            return
        self._stop_at = self._monotonic() + self._deadline_s
        self._queue.put(threading.Event())  # Wakes the thread, which then sees the deadline.
        if self._thread is None:
            self._write_all(self._queue)
        else:
            self._thread.join(self._deadline_s + GRACE_S)
            self._drain()  # Another thread was in `record` while we closed.

    def _drain(self) -> None:
        """Write what is queued although the thread has ended."""
        batch = []
        try:
            while self._thread is None or not self._thread.is_alive():
                batch.append(self._queue.get_nowait())
        except Empty:
            pass
        if batch:
            self._write(batch, late=False)

    def _write_all(self, queue: "_Queue") -> None:
        """Write batches until `close` and an empty queue: the thread's work."""
        while True:
            batch = [queue.get()]
            try:
                while len(batch) < BATCH_EVENTS_MAX:
                    batch.append(queue.get_nowait())
            except Empty:
                pass
            late = self._stop_at is not None and self._monotonic() >= self._stop_at
            self._write(batch, late=late)
            if self._stop_at is not None and queue.qsize() == 0:
                return

    def _write(self, batch: "list[_Event | _Refusals | threading.Event]", *, late: bool) -> None:
        events: list[_Event] = []
        counts: dict[str, int] = {}
        refused = 0
        waiters: list[threading.Event] = []
        for item in batch:
            if isinstance(item, _Refusals):
                refused += item.events
                for key in item.keys:
                    counts[key] = counts.get(key, 0) + 1
            elif isinstance(item, threading.Event):
                waiters.append(item)
            else:
                events.append(item)
        if late and events:
            counts["drop deadline"] = len(events)
        elif events:
            self.journal.append_timed(events)
        full = len(self._overflow)
        if full:
            del self._overflow[:full]
            counts["drop queue_full"] = full
        if counts:
            self.journal.count(counts, refused=refused)
        for waiter in waiters:
            waiter.set()
