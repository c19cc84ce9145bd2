"""The model as a state machine of hypothesis: its rules are what may happen, in any order; after each, `look`.

No rule has a precondition: real processes die at real calls, so the state does not follow from what was drawn alone,
and hypothesis gives up where the same choices lead to other rules.  A rule that makes no sense now does nothing.
"""
# ruff: noqa: D102 - a rule's name says what happens

import os
import tempfile
from collections import Counter

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from faults.model_batch import Batches
from faults.model_look import look, tally
from faults.model_receiver import ANSWERS

__all__ = ["JournalMachine"]

_DAY_MS = 86_400_000
_WRITERS = 3
_CLEARED_MIN = 600  # Events; a journal that is cleared all the time has nothing to lose.
_PLACE = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
_WHICH = st.integers(0, 30)
_SPAN = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
_SCRIPTS = st.lists(st.sampled_from(sorted(ANSWERS)), max_size=5)
_KILLED = ("append", "compact", "export", "import", "acknowledge", "upload", "clear")


class JournalMachine(RuleBasedStateMachine):
    """Everything that may happen to a journal."""

    @initialize(seed=st.integers(0, 2**32), choice=st.sampled_from(["", "on", "on", "on", "local"]))
    def begin(self, seed: int, choice: str) -> None:
        self.steps: Counter[str] = Counter(journals=1)
        self.world = Batches(tempfile.mkdtemp(prefix="model-", dir=_PLACE), seed, _WRITERS)
        if choice:
            self.world.choose(choice)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.counted(tally(self.world) + self.steps)
            self.world.close()

    def counted(self, numbers: Counter[str]) -> None:
        """Take note of what there was in this run."""

    @rule(writer=st.integers(0, _WRITERS - 1), events=st.integers(1, 30), busy=st.sampled_from([0, 0, 0, 1, 2, 5]))
    def append(self, writer: int, events: int, busy: int) -> None:
        self.world.append(writer, events, busy)

    @rule(writer=st.integers(0, _WRITERS - 1), times=st.integers(5, 25))
    def append_much(self, writer: int, times: int) -> None:
        for _ in range(times):
            self.world.append(writer, 30, 0)
            self.world.tick(50)

    @rule(ms=st.sampled_from([1, 999, 60_000, 3_600_000, 7 * 3_600_000, _DAY_MS, 400 * _DAY_MS]))
    def wait(self, ms: int) -> None:
        self.world.tick(ms)

    @rule(ms=st.sampled_from([1, 999, 3_600_000, _DAY_MS, 400 * _DAY_MS]))
    def set_clock_back(self, ms: int) -> None:
        self.world.tick(-ms)

    @rule(
        writer=st.integers(0, _WRITERS - 1),
        tail=st.sampled_from(["none", "torn", "untold", "zeros"]),
        size=st.integers(1, 120),
    )
    def writer_dies(self, writer: int, tail: str, size: int) -> None:
        self.world.die(writer, tail, size)

    @rule(choice=st.sampled_from(["on", "on", "on", "on", "local", "off"]))
    def user_chooses(self, choice: str) -> None:
        self.world.choose(choice)

    @rule(remove_root=st.booleans())
    def user_clears(self, remove_root: bool) -> None:
        if self.world.count <= _CLEARED_MIN:
            return
        self.world.clear(remove_root=remove_root and self.world.mode == "off")

    @rule(idle_ms=st.sampled_from([0, 60_000]))
    def compact(self, idle_ms: int) -> None:
        self.world.compact(idle_ms)

    @rule(since=_SPAN, until=_SPAN)
    def export(self, since: float, until: float) -> None:
        self.world.export(min(since, until), max(since, until))

    @rule(which=_WHICH)
    def import_(self, which: int) -> None:
        if self.world.bundles:
            self.world.import_(which)

    @rule(which=_WHICH, reclaiming=st.booleans())
    def acknowledge(self, which: int, reclaiming: bool) -> None:
        if any(bundle.receipt for bundle in self.world.bundles):
            self.world.acknowledge(which, reclaiming=reclaiming)

    @rule(since=_SPAN, until=_SPAN, reclaiming=st.booleans())
    def carry_over(self, since: float, until: float, reclaiming: bool) -> None:
        """All three at once, because by chance they seldom follow one another."""
        self.world.export(min(since, until), max(since, until))
        self.world.import_(-1)
        self.world.acknowledge(-1, reclaiming=reclaiming)

    @rule(script=_SCRIPTS)
    def upload(self, script: list[str]) -> None:
        self.world.upload(script)

    @rule(what=st.sampled_from(_KILLED), nth=st.integers(1, 40), which=_WHICH, script=_SCRIPTS)
    def kill(self, what: str, nth: int, which: int, script: list[str]) -> None:
        self.world.killed(what, nth, which, script)

    @rule(
        which=_WHICH,
        kind=st.sampled_from(["flip", "zero", "cut", "zeros", "again"]),
        at=st.floats(0, 1),
        size=st.integers(1, 300),
    )
    def damage(self, which: int, kind: str, at: float, size: int) -> None:
        self.world.strike(which, kind, at, size)

    @rule(which=_WHICH, kind=st.sampled_from(["flip", "zero", "cut"]), at=st.floats(0, 1), size=st.integers(1, 64))
    def rot(self, which: int, kind: str, at: float, size: int) -> None:
        """By chance damage seldom meets a packed file in a place that parity puts right."""
        self.world.rot(which, kind, at, size)

    @invariant()
    def holds(self) -> None:
        self.world.settle()
        self.steps["steps"] += 1
        problems = look(self.world)
        for problem in problems:
            note(problem)
        assert not problems, problems
