"""The journal as a host sees it: open it, record events, forget about it.

    journal = Journal.open()
    journal.record("session_start", caro_version="1.1.0", os="linux")

`record` answers True only when the event is in the segment file, where it survives `kill -9` of this process
(`durability="os"`) or a power cut (`"each"`).  It never raises and waits for no other writer.  `append` does the
same and raises.  Under `off` neither looks at the disk.

Everything that is expensive happens once: policy, identity and lane are looked up at the first event, not at `open`.
The policy is looked at again once a second while events come in, so that `carojournal off` reaches hosts that are
running.

This is the part of the class that an ordinary first event needs; `batches`, `runs` and `tally` are the rest of it, each
loaded when one of its functions runs for the first time.
"""

import _thread
import os
import time

import carojournal
from carojournal import events, ids, lanes, policy, redact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

__all__ = ["Journal"]

TIME_MS_MIN, TIME_MS_MAX = 1 << 40, 4_102_444_800_000  # As `stored` has them: no event that it would refuse.
POLICY_CHECK_MS = 1_000  # One `stat` a second is not measurable; a second is soon enough for "off".
_DAY_MS = 86_400_000
_getpid = os.getpid  # As a name of this module: every append looks it up.
_STARTS_GENERATION = "command_generated"
_FOLLOWS_GENERATION = ("command_executed", "safety_triggered")


class Journal:
    """A host's handle on its journal; safe to share between threads and to carry across `fork`."""

    _renumbers = False  # Since the journal was cleared, see `runs.ordinal_of`.

    def __init__(
        self,
        root: str,
        asked: "dict[str, Any]",
        *,
        level: int,
        mode: str,
        run: "bytes | str | None",
        durability: str,
        clock: "Callable[[], int]",
        random: "Callable[[int], bytes]",
    ) -> None:
        self.root = root
        self._asked = asked
        self._level = level
        self._mode = mode
        self._given_run = run
        self._sync = durability == "each"
        self._clock = clock
        self._steady = time.monotonic_ns if clock is time.time_ns else clock  # A clock may be set back behind an "off".
        self._random = random
        self._closed = self._checked = self._within = self._counting = False
        self._begin_locks()
        self._lanes: list[lanes.Lane] = []
        self._lane: lanes.Lane | None = None
        self._pseudonym = self._run = self._session = b""
        self._identity_seen = (-1, -1)
        self._day = self._from_ms = self._until_ms = self._generation = 0
        self._generations: dict[str, int] = {}
        self._counts = {"recorded": 0, "refused": 0, "filtered": 0, "dropped": 0}
        self._reasons: dict[str, int] = {}
        self._pending: dict[str, int] = {}
        self._uncounted: list[Mapping[str, int]] = []
        self._resolve()
        self._resolved_ms, self._stale_ns = clock() // 1_000_000, self._steady() + POLICY_CHECK_MS * 1_000_000

    @classmethod
    def open(  # noqa: PLR0913 - keyword-only, each with a default
        cls,
        dir: "str | os.PathLike[str] | None" = None,  # noqa: A002 - the documented name
        *,
        channel: str = "beta",
        level: "str | None" = None,
        mode: "str | None" = None,
        run: "bytes | str | None" = None,
        durability: str = "os",
        environ: "Mapping[str, str] | None" = None,
        clock: "Callable[[], int]" = time.time_ns,
        random: "Callable[[int], bytes]" = os.urandom,
        no_telemetry: bool = False,
        admin: "str | None" = None,
    ) -> "Journal":
        """Return a journal at *dir* (default: `policy.journal_root`).  Nothing is created before the first event.

        *channel* is the host's release channel, "beta" or "ga".  *level* and *mode* can narrow what the user chose,
        never widen it.  *run* continues a run: 16 bytes, or 32 hexadecimal digits, as `identity.issue_run` issued them;
        any other is refused when the first event is recorded.  *durability* "os" survives the death of the process,
        "each" syncs every append.  *environ*, *clock* (UTC nanoseconds), *random* and *admin* (the administrator's
        file) are for tests.

        Raises UsageError for a word that is none of the allowed ones, an empty *dir* and a *run* of another type.
        """
        if dir == "":
            raise carojournal.errors.UsageError("dir is empty: leave it out for the default")
        if run is not None and not isinstance(run, (bytes, str)):
            raise carojournal.errors.UsageError("run is 16 bytes or 32 hexadecimal digits")
        environ = os.environ if environ is None else environ
        level = events.LEVEL_ALIASES.get(level or "detailed", level or "detailed")
        for name, word, words in (
            ("channel", channel, policy.CHANNELS),
            ("mode", mode or "on", policy.MODES),
            ("level", level, events.LEVELS),
            ("durability", durability, ("os", "each")),
        ):
            if word not in words:
                raise carojournal.errors.UsageError(f"{name} is one of {', '.join(words)}")
        return cls(
            policy.find_root(environ, dir),
            {"channel": channel, "environ": environ, "no_telemetry": no_telemetry, "admin": admin},
            level=events.LEVELS.index(level),
            mode=mode or "on",
            run=run,
            durability=durability,
            clock=clock,
            random=random,
        )

    def __enter__(self) -> "Journal":  # noqa: PYI034 - Self lives in `typing`, which costs 15 ms
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    @property
    def mode(self) -> str:
        """The mode that holds now: "off", "local" or "on"."""
        return self._policy.mode

    @property
    def policy(self) -> policy.Policy:
        """The policy that holds now."""
        return self._policy

    @property
    def run_id(self) -> str:
        """The id of this run, 32 hexadecimal digits; empty before the first event."""
        return self._run.hex()

    @property
    def stats(self) -> "dict[str, object]":
        """Counts of this handle: recorded, refused, filtered (left out by level), dropped, and `reasons` by key."""
        return {**self._counts, "mode": self.mode, "reasons": dict(self._reasons)}

    def _resolve(self) -> None:
        if self._mode == "off":
            # Nobody else is asked: an answer of "local" would leave its snapshot below the root.
            self._policy = policy.Policy("off", source="host", channel=self._asked["channel"], level=self._level)
        else:
            self._policy = policy.resolve(self.root, **self._asked).narrowed(self._mode, self._level, "host")
        self._on = self._policy.mode != "off" and not self._closed
        self._consent_ms = self._policy.consent_ms if self._policy.mode == "on" else 0
        for lane in self._lanes:
            lane.bound(self._policy.cap_bytes)

    def new_generation(self) -> int:
        """Return the ordinal of a new generation of this run: 1, 2, 3 ..."""
        self._generation = min(self._generation + 1, redact.GENERATION_MAX)
        return self._generation

    def record(self, event_type: str, /, **fields: object) -> bool:
        """Append one event; return whether it is kept.  Never raises, waits for no writer; 15 to 30 us (`tools/bench`).

        False: telemetry is off, the level leaves the event out, it was refused, or it could not be written.  The last
        two are counted (`stats`, `carojournal status`).  In a signal handler or a finalizer that interrupts another
        call of this thread it cannot be written.
        """
        if not self._on:
            return False
        try:
            return self._append_one(event_type, fields) is not None
        except Exception as error:  # noqa: BLE001 - "never raises" has no exceptions
            try:
                self._count_failure(error)
            except RecursionError:  # The host has come as deep as it may: not one call more.
                self._counts["dropped"] += 1
                for counts in self._reasons, self._pending:
                    counts["drop bug"] = counts["drop bug"] + 1 if "drop bug" in counts else 1
            return False

    def append(self, event_type: str, /, **fields: object) -> "tuple[bytes, int] | None":
        """Append one event; return its identity (segment uuid, seq), or None if the level leaves it out.

        Raises JournalOff, JournalClosed, EventRefused, JournalBusy (all lanes locked, the spool full and somebody else
        about to make room, or an append of this thread interrupted), UnsafeRoot, JournalUnavailable, JournalIOError.
        """
        return self.append_many(((event_type, fields),))

    def _append_one(self, event_type: str, fields: "dict[str, object]") -> "tuple[bytes, int] | None":
        """Do what `batches.append_many` does, for one event: the hot path."""
        now_ms = self._clock() // 1_000_000
        if not self._from_ms <= now_ms < self._until_ms or self._steady() >= self._stale_ns or self._pid != _getpid():
            self._refresh(now_ms)
        found = redact.check(event_type, fields, self._policy.level)
        if type(found) is not redact.Accepted or found.refusals:
            found = carojournal.tally.judge(self, found)
        if found is None:
            return None
        ordinal = self._ordinal(found)
        with self._lock:
            if self._within:
                raise carojournal.errors.JournalBusy(carojournal.errors.INTERRUPTED)
            try:
                self._within = True
                if not self._from_ms <= now_ms < self._until_ms:
                    now_ms = carojournal.batches.time_of_overtaken(self)
                payload = found.payload(now_ms, self._session, self._run, ordinal)
                lane = self._lane
                identity = None
                try:
                    if lane is not None:
                        identity = lane.append((payload,), now_ms, self._consent_ms, sync=self._sync)
                except (carojournal.errors.LaneLost, FileNotFoundError):
                    pass  # `_write` meets the same, and knows what to do.
                if identity is None:
                    identity = self._write((payload,), now_ms)
                self._counts["recorded"] += 1
            finally:
                self._within = False
        if self._pending:
            self._write_counts()
        return identity

    def append_many(self, events: "Iterable[tuple[str, dict[str, object]]]") -> "tuple[bytes, int] | None":
        """Append several events with one write, all or none; return the identity of the first.  Errors as `append`."""
        return carojournal.batches.append_many(self, events)

    def append_timed(self, events: "Sequence[tuple[int, str, dict[str, object]]]") -> int:
        """Append events that happened a moment ago (`Collector`), with one write; return how many are kept.

        An event is (time in UTC milliseconds, type, fields).  Refused ones are counted and left out.  A time before
        today or after now becomes the nearest that is not: segments and session ids belong to one UTC day.  Never
        raises.
        """
        try:
            return carojournal.batches.append_timed(self, events)
        except Exception as error:  # noqa: BLE001 - runs in a thread that nobody watches
            self._count_failure(error, len(events))
            return 0

    def count(self, counts: "Mapping[str, int]", refused: int = 0) -> None:
        """Count what a layer above kept from being recorded: keys of `drops`, and *refused* events.  Never raises."""
        carojournal.tally.count(self, counts, refused)

    def issue_run(self) -> str:
        """Return a run id, 32 hexadecimal digits, that other processes may pass as `run` to `open`.

        Makes the journal if there is none.  Raises JournalOff, JournalClosed, OSError, UnsafeRoot.
        """
        return carojournal.runs.issue_run(self)

    def _count_failure(self, error: Exception, events: int = 1) -> None:
        """Count what *error* kept from being recorded.  Never raises."""
        before = self._counts["dropped"]
        try:
            carojournal.tally.count_failure(self, error, events)
        except Exception as failed:  # noqa: BLE001 - no descriptor is left, not even for the module that counts
            if self._counts["dropped"] != before:
                return  # Counted; what failed was writing it down.
            key = "drop bug" if type(failed) is RecursionError else "drop descriptors"
            self._counts["dropped"] += events
            for counts in self._reasons, self._pending:  # Calls nothing: the stack may be at its end.
                counts[key] = counts[key] + events if key in counts else events

    def _write_counts(self) -> None:
        try:
            carojournal.tally.write_counts(self)
        except Exception:  # noqa: BLE001 - as above; they stay pending
            return

    def _refresh(self, now_ms: int) -> None:
        """Do whatever time and process ask for: look at the policy, begin a session, recover from a fork.

        Raises JournalOff, OSError, UnsafeRoot, ClockUnusable, EventRefused (a run id that was not issued here).
        """
        if self._pid != os.getpid():
            self._after_fork()
        if not TIME_MS_MIN <= now_ms < TIME_MS_MAX:
            raise carojournal.errors.ClockUnusable("the system's clock stands before November 2004 or after 2099")
        with self._lock:
            if self._within:
                raise carojournal.errors.JournalBusy(carojournal.errors.INTERRUPTED)
            try:
                self._within = True
                self._renew(now_ms)
            finally:
                self._within = False

    def _renew(self, now_ms: int) -> None:
        if not 0 <= now_ms - self._resolved_ms < POLICY_CHECK_MS or self._steady() >= self._stale_ns:
            self._resolve()
            self._resolved_ms, self._stale_ns = now_ms, self._steady() + POLICY_CHECK_MS * 1_000_000
        if not self._on:
            self._until_ms = 0  # For threads that looked before us and have yet to write.
            raise carojournal.errors.JournalOff(f"telemetry is off ({self._policy.source})")
        today = self._session and now_ms // _DAY_MS == self._day
        if not today or not ids.is_unchanged(self.root, self._identity_seen):
            ids.prepare(self, now_ms)
        self._lane = None  # One process at a time uses lane 0: back to it soon after others have gone.
        self._from_ms = max(self._resolved_ms, self._day * _DAY_MS)
        self._until_ms = min(self._resolved_ms + POLICY_CHECK_MS, (self._day + 1) * _DAY_MS)

    def _ordinal(self, found: redact.Accepted) -> int:
        """Return the generation's ordinal: the caller's, the one its own UUID stands for, or the run's current one."""
        given = found.generation
        if given is None:
            event = found.event
            if event == _STARTS_GENERATION:
                if self._generation < redact.GENERATION_MAX:
                    self._generation += 1
                return self._generation
            return self._generation if event in _FOLLOWS_GENERATION else 0
        return carojournal.runs.ordinal_of(self, found.event, given)

    def _write(self, payloads: "Sequence[bytes]", now_ms: int) -> "tuple[bytes, int]":
        """Append to a free lane.  A lane whose directory was replaced is opened anew, twice at most."""
        tries = 3
        while True:
            try:
                if self._lane is not None:
                    identity = self._lane.append(payloads, now_ms, self._consent_ms, sync=self._sync)
                    if identity is not None:
                        return identity
                return self._take_lane(payloads, now_ms)
            except (carojournal.errors.LaneLost, FileNotFoundError):
                tries -= 1
                if not tries:
                    raise
                self._drop_lanes()
                ids.prepare(self, now_ms)
                carojournal.root.make_root(self.root)

    def _take_lane(self, payloads: "Sequence[bytes]", now_ms: int) -> "tuple[bytes, int]":
        """Append to the first lane that is free, and keep to it until `_refresh`: nobody else's records to catch up on.

        Raises JournalBusy if there is none.
        """
        for number in range(lanes.LANES_MAX):
            if number == len(self._lanes):
                self._lanes.append(lanes.Lane(self.root, number, self._policy.cap_bytes, self._random))
            lane = self._lanes[number]
            identity = lane.append(payloads, now_ms, self._consent_ms, sync=self._sync)
            if identity is not None:
                self._lane = lane
                return identity
        raise carojournal.errors.JournalBusy("every lane is locked")

    def _drop_lanes(self) -> None:
        before, self._lanes, self._lane = self._lanes, [], None
        for lane in before:
            lane.close()

    def _begin_locks(self) -> None:
        """Take no part in locks of a parent: at first, and in a child of `fork`.

        A thread may come back to its own lock, in a signal handler or a finalizer: it must not wait for itself, and is
        turned away as long as what it interrupted is `_within`, or counting.
        """
        self._lock = _thread.RLock()
        self._tally = _thread.RLock()
        self._within = self._counting = False
        self._pid = _getpid()  # Last: from here on another thread takes the rest for this process's own.

    def _after_fork(self) -> None:
        """In a child, once: a lock descriptor inherited from the parent would share the parent's locks.

        What the parent has yet to count is the parent's to count.
        """
        with carojournal._loading:  # noqa: SLF001 - several threads may come here, and no fork leaves it taken
            if self._pid == os.getpid():
                return
            self._drop_lanes()
            self._pending, self._uncounted = {}, []
            self._begin_locks()

    def close(self) -> None:
        """Write counts that are still pending and close all files.  Idempotent; never raises."""
        if self._closed:
            return
        self._closed = True
        self._on = False
        self._after_fork()
        if self._pending or self._uncounted:
            self._write_counts()
        with self._lock:
            if not self._within:  # Whoever is interrupted still writes; descriptors go with the process then.
                self._drop_lanes()
