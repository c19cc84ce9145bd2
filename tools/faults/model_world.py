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
from typing import Any
from unittest import mock

from carojournal import Journal, policy
from carojournal.choices import choose, is_chosen
from carojournal.config import load_for
from carojournal.errors import JournalOff, SpoolFull
from carojournal.frame import encode_record
from carojournal.lanes import Lane
from faults import conservation, model_files
from faults.conservation import Ranges
from faults.dying import Dying, Lines

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
        self.now_ms = START_MS
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
        return Journal.open(
            self.root,
            level="detailed",
            environ=self.environ,
            admin="/nonexistent",
            clock=lambda: self.now_ms * 1_000_000,
            random=self.random.randbytes,
        )

    def tick(self, ms: int) -> None:
        """Let the clock step forward or back; it stays within years that are ours."""
        self.known.out_of_order |= ms < 0
        self.now_ms = min(max(self.now_ms + ms, 1 << 40), 4_000_000_000_000)

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

    def die(self, writer: int, tail: str, size: int) -> None:
        """Let a writer die, perhaps in the middle of an append to lane 0; another takes its place."""
        self.writers[writer]._drop_lanes()  # noqa: SLF001 - what the death of a process does
        self.writers[writer] = self._open()
        path = os.path.join(self.root, "lanes", "0.seg")
        if tail == "none" or not os.path.exists(path) or os.path.getsize(path) == 0:
            return
        with open(path, "rb") as file:
            data = file.read()
        segment = model_files.uuid_of(path, data)
        whole = model_files.is_whole(data, segment)
        if tail == "zeros" or not whole:
            model_files.strike(path, "zeros", 0, size)
            return
        last = model_files.records_in(data, segment)[-1]
        if b"frecord" in last.payload and last.seq > 0 and b"dseal" in last.payload:
            return
        at = last.payload.find(b"session_duration_ms")
        record = encode_record(segment, last.seq + 1, last.payload)
        with open(path, "ab") as file:
            file.write(record[: max(1, min(size, len(record) - 1))] if tail == "torn" or at < 0 else record)
        old = self.known.events.get((segment, last.seq))
        if tail == "untold" and at >= 0 and old is not None:
            self.learn((segment, last.seq + 1), 1, old, False)

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
                    self.die(writer, "none", 0)
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

        found = clear(self.root, self.now_ms, remove_root=remove_root, random=self.random.randbytes)
        assert not remove_root or not os.path.lexists(self.root), found
        self.known.cleared |= set(self.known.events)
        self.known.blurred = False
        self._notice()

    def sending_allowed(self) -> int:
        """Return the time of the yes if events may be sent now, else 0, as the configuration says."""
        found = policy.resolve(self.root, channel="beta", environ=self.environ, admin="/nonexistent")
        return found.consent_ms if found.mode == "on" else 0

    # What accidents do.

    def kill(self, nth: int, operation: Callable[[Lines], object], hear: Callable[[list[Any]], None]) -> None:
        """Do *operation* in a process that dies at the *nth* call that changes a file; *hear* every line it told."""
        seed = self.random.getrandbits(64)  # Two processes never draw the same identities.

        def reseeded(tell: Lines) -> None:
            self.random = random.Random(seed)
            operation(tell)

        for line in Dying(nth).run(reseeded):
            hear(line)

    def strike(self, which: int, kind: str, at: float, size: int) -> None:
        """Damage one of the journal's files."""
        paths = sorted(self._breakable())
        if not paths:
            return
        path = paths[which % len(paths)]
        with open(path, "rb") as file:
            data = file.read()
        if not data:
            return
        if path.endswith((".zst", "drops", "policy", ".lock")):
            self._strike_whole(path, data, kind, int(at * len(data)), size)
            return
        segment = model_files.uuid_of(path, data)
        before = model_files.records_in(data, segment)
        start, end = model_files.strike(path, kind, int(at * len(data)), size)
        if kind != "zeros" or not (path.endswith("~") or os.path.basename(os.path.dirname(path)) == "lanes"):
            self.known.struck.add(segment)
        self.known.slack += 2
        with open(path, "rb") as file:
            after = model_files.uuid_of(path, file.read())
        for record in before:
            hit = (record.start < end and start < record.end) or after != segment
            if hit and b"frecord" in record.payload and record.seq > 0 and b"dloss" in record.payload:
                self._blur()
            elif hit and (segment, record.seq) in self.known.events:
                self.known.damaged.add((segment, record.seq))
        if kind in ("cut", "again"):
            self.known.cut.add(segment)  # What is left, or repeated, may look like the beginning of a record.
        self.known.blurred |= kind == "cut"

    def _breakable(self) -> Iterator[str]:
        yield from model_files.segment_files(self.root)
        for folder, names in (("packed", None), ("lanes", None), ("", ("drops", "policy"))):
            place = os.path.join(self.root, folder) if folder else self.root
            if os.path.isdir(place):
                for name in os.listdir(place):
                    if name in names if names else name.endswith((".zst", ".lock")):
                        yield os.path.join(place, name)

    def _strike_whole(self, path: str, data: bytes, kind: str, at: int, size: int) -> None:
        """Damage a file that is good or bad as a whole."""
        if path.endswith(".zst"):
            for segment in {segment for segment, _ in self.known.events}:
                if segment in data:  # The inventory names the segments of a packed file in plain bytes.
                    self.known.damaged |= {one for one in self.known.events if one[0] == segment}
            self._blur()
        if path.endswith(".lock") and kind in ("zeros", "again"):
            kind = "flip"  # A lock file is written in place and never grows.
        model_files.strike(path, kind, at, size)
        with open(path, "rb") as file:
            self.known.struck_files[path] = (file.read(), kind == "flip")

    def _blur(self) -> None:
        """Forgive everything that is gone by now: what said where it went is damaged."""
        present = conservation.survey(self.root).present
        gone = conservation.without(self.acknowledged(), present)
        self.known.damaged |= {
            (segment, seq) for segment, runs in gone.items() for first, last in runs for seq in range(first, last + 1)
        }
        self.known.blurred = True

    def acknowledged(self) -> Ranges:
        """Return the events that a writer was told of."""
        return conservation.ranges(self.known.acknowledged)
