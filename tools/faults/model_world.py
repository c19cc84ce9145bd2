"""The model: a journal, everything that happens to it, and in memory what must be true of it afterwards.

A `World` holds one journal with three writers, a receiver, an importer, a clock and a user, all in this process and all
driven by numbers, so that hypothesis can repeat and shrink what it finds.  Every method is one thing that happens;
`look` says what does not hold.  Segments are a sixtieth of their usual size, so that a few hundred events fill the
spool, and syncing is switched off: power loss is another harness's matter.
"""

import contextlib
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from unittest import mock

from carojournal import Journal, policy
from carojournal.choices import choose, is_chosen
from carojournal.config import load_for
from carojournal.errors import JournalOff, SpoolFull
from carojournal.lanes import Lane
from faults import conservation
from faults.conservation import Ranges

__all__ = ["CAP_BYTES", "Event", "Identity", "World"]

CAP_BYTES = 64_000
SEGMENT_BYTES = 4_096
START_MS = 1_790_000_000_000 // 86_400_000 * 86_400_000 + 43_200_000
_POLICY_MS = 1_000  # After that long a writer has noticed what the user chose.
Identity = tuple[bytes, int]


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it was recorded: its number, which is its value, its time and the yes that held (UTC ms, 0: none)."""

    number: int
    time_ms: int
    consent_ms: int


@dataclass(slots=True)
class Known:
    """What must be true: every event by identity, which of them somebody was told of, and what became of them."""

    events: dict[Identity, Event] = field(default_factory=dict)
    acknowledged: set[Identity] = field(default_factory=set)
    cleared: set[Identity] = field(default_factory=set)
    confirmed: set[Identity] = field(default_factory=set)
    damaged: set[Identity] = field(default_factory=set)
    struck: set[bytes] = field(default_factory=set)
    flipped: set[tuple[str, int, int]] = field(default_factory=set)
    cut: set[bytes] = field(default_factory=set)
    struck_files: dict[str, tuple[bytes, bool]] = field(default_factory=dict)
    slack: int = 0
    out_of_order: bool = False  # Something newer was, or may be, evicted before something older.
    blurred: bool = False  # Damage took what said where others went.


class World:
    """A journal below the directory *place*; the same *seed* gives the same identities."""

    def __init__(self, place: str, seed: int, writers: int = 3) -> None:
        self.place, self.root = place, os.path.join(place, "journal")
        self.environ = {"HOME": os.path.join(place, "home"), "CAROJOURNAL_DIR": self.root}
        self.now_ms, self.steady_ns = START_MS, 0
        self.random = random.Random(seed)
        self.known = Known()
        self.mode, self.consent_ms = "local", 0
        self.count = 0
        self._yeses: set[int] = set()
        self._dated: dict[str, tuple[tuple[int, int], int]] = {}
        self._patches = contextlib.ExitStack()
        resolve = policy.resolve

        def bounded(*arguments: object, **keywords: object) -> policy.Policy:
            found = resolve(*arguments, **keywords)  # type: ignore[arg-type]
            found.cap_bytes = CAP_BYTES
            return found

        for where, name, what in (
            (policy, "resolve", bounded),
            (policy, "SEGMENT_BYTES_MIN", SEGMENT_BYTES),
            (os, "fsync", lambda _: None),
            (os, "fdatasync", lambda _: None),
        ):
            self._patches.enter_context(mock.patch.object(where, name, what))
        self.writers = [self._open() for _ in range(writers)]

    def close(self) -> None:
        """Remove everything."""
        for journal in self.writers:
            journal.close()
        self._patches.close()
        shutil.rmtree(self.place)

    def _open(self) -> Journal:
        journal = Journal.open(
            self.root,
            level="detailed",
            environ=self.environ,
            admin="/nonexistent",
            clock=lambda: self.now_ms * 1_000_000,
            random=self.random.randbytes,
        )
        journal._steady = lambda: self.steady_ns  # noqa: SLF001 - the clock that nobody sets back
        journal._stale_ns = 0  # noqa: SLF001
        return journal

    def tick(self, ms: int) -> None:
        """Let the clock step forward or back; it stays within years that are ours."""
        self.known.out_of_order |= ms < 0
        self.now_ms = min(max(self.now_ms + ms, 1 << 40), 4_000_000_000_000)
        self.steady_ns += abs(ms) * 1_000_000

    def settle(self) -> None:
        """Give what the lanes hold the model's time: the system's clock is none of ours."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(os.path.join(self.root, "lanes")):
                path = os.path.join(self.root, "lanes", name)
                if name.endswith(".seg"):
                    status = os.lstat(path)
                    state = (status.st_ino, status.st_size)
                    if self._dated.get(path, (state, 0))[0] != state or path not in self._dated:
                        self._dated[path] = (state, self.now_ms)
                    os.utime(path, ns=(self._dated[path][1] * 1_000_000,) * 2)

    # What hosts do.

    def append(self, writer: int, events: int, busy: int) -> None:
        """Let a writer record *events* events at once while others hold the first *busy* lanes."""
        with self._held(busy):
            self._append(self.writers[writer], events, self.learn)

    def _append(self, journal: Journal, events: int, learn: Callable[[Identity, int, Event, bool], None]) -> None:
        first = self.count + 1
        self.count += events
        rows: list[tuple[str, dict[str, object]]] = [
            ("session_end", {"session_duration_ms": first + place}) for place in range(events)
        ]
        try:
            identity = journal.append_many(rows)
        except JournalOff:
            assert self.mode == "off", "telemetry is on and nothing is recorded"
            return
        except SpoolFull:
            assert os.listdir(os.path.join(self.root, "outbox")), "the spool is full though nothing is in flight"
            return
        assert self.mode != "off", "recorded under off"
        assert identity is not None
        learn(identity, events, Event(first, self.now_ms, self.consent_ms if self.mode == "on" else 0), True)

    def learn(self, first: Identity, events: int, event: Event, told: bool) -> None:
        """Note *events* events from identity *first* on; *event* is the first, *told* if they were acknowledged."""
        segment, seq = first
        for place in range(events):
            identity = (segment, seq + place)
            assert identity not in self.known.events or identity in self.known.damaged | self.known.cleared, (
                "used twice"
            )
            self.known.damaged.discard(identity)
            self.known.events[identity] = Event(event.number + place, event.time_ms, event.consent_ms)
            if told:
                self.known.acknowledged.add(identity)

    @contextlib.contextmanager
    def _held(self, busy: int) -> Iterator[None]:
        lanes = []
        try:
            if os.path.isdir(os.path.join(self.root, "lanes")):
                lanes = [Lane(self.root, number, CAP_BYTES, os.urandom) for number in range(busy)]
                assert all(lane.acquire() for lane in lanes)
            yield
        finally:
            for lane in lanes:
                lane.close()

    def restart(self, writer: int) -> None:
        """Let a writer die between two appends; another takes its place."""
        self.writers[writer]._drop_lanes()  # noqa: SLF001 - what the death of a process does
        self.writers[writer] = self._open()

    # What the user does.

    def choose(self, choice: str) -> None:
        """Let the user choose on, local or off, and everybody notice."""
        settings = load_for(self.environ, "/nonexistent")
        if not is_chosen(choice, settings):
            while choice == "on" and self.now_ms in self._yeses:
                self.tick(1)  # Two answers in one millisecond take a clock that was set back exactly.
            self._yeses.add(self.now_ms)
            choose(choice, settings, self.now_ms * 1_000_000)
            if self.mode == "off":
                # A host that knows of an off looks at nothing any more, until it is started again.
                for writer in range(len(self.writers)):
                    self.restart(writer)
            self.consent_ms = self.now_ms if choice == "on" else 0
        self.mode = choice
        self._notice()

    def _notice(self) -> None:
        """Let so much time pass that every writer looks at the policy again, however the clock was set."""
        self.tick(_POLICY_MS)
        while any(0 <= self.now_ms - journal._resolved_ms < _POLICY_MS for journal in self.writers):  # noqa: SLF001
            self.tick(_POLICY_MS)

    def clear(self, *, remove_root: bool) -> None:
        """Let the user delete everything that is kept."""
        from carojournal.clear import clear

        found = clear(
            self.root, self.now_ms, remove_root=remove_root, random=self.random.randbytes, sleep=lambda _: None
        )
        assert not remove_root or not os.path.lexists(self.root), found
        self.known.cleared |= set(self.known.events)
        self.known.blurred = False
        self._notice()

    def sending_allowed(self) -> int:
        """Return the time of the yes if events may be sent now, else 0, as the configuration says."""
        found = policy.resolve(self.root, channel="beta", environ=self.environ, admin="/nonexistent")
        return found.consent_ms if found.mode == "on" else 0

    def acknowledged(self) -> Ranges:
        """Return the events that a writer was told of."""
        return conservation.ranges(self.known.acknowledged)
