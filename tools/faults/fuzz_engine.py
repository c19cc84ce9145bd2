"""The loop: mutate, fix up, run, keep what is new.  Coverage comes from the interpreter or atheris (libFuzzer).

With the own engine a run is reproducible by target, seed and number: the same inputs in the same order, because what
counts as new does not depend on time.  Bounds: DEADLINE_S of processor time an input, MEMORY_BYTES of address space
above what the worker has when it starts.
"""

import os
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from types import FrameType
from typing import Any
from zlib import crc32

from faults.fuzz_mutate import INPUT_BYTES_MAX, mutated
from faults.fuzz_target import Target

__all__ = ["DEADLINE_S", "MEMORY_BYTES", "Campaign", "bound_memory", "fuzz", "fuzz_by_atheris", "run_one"]

DEADLINE_S = 5.0  # Of processor time, so that a busy machine changes nothing; a healthy input takes a millisecond.
MEMORY_BYTES = 1 << 30  # Above the worker's own: the largest budget of the code is 256 MiB, of a packed file's content.
TRACED = 4  # Every fourth input is traced: tracing costs more than running.
CORPUS_MAX = 2_000
_PROJECT = (f"{os.sep}carojournal{os.sep}", f"{os.sep}carobatch{os.sep}")


class Overtime(BaseException):
    """An input took longer than DEADLINE_S; no code of ours may swallow that."""


@dataclass(slots=True)
class Campaign:
    """What a run over one target has found: counts, and `findings` (signature -> input and traceback)."""

    runs: int = 0
    kept: int = 0
    lines: set[tuple[str, int]] = field(default_factory=set)
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    slowest_s: float = 0.0
    slowest: bytes = b""


def bound_memory() -> None:
    """Bound this process's address space from now on."""
    with open("/proc/self/statm", encoding="ascii") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY_BYTES, now + MEMORY_BYTES))


def _overtime(*_: object) -> None:
    raise Overtime


def _signature(error: BaseException) -> str:
    """Return what tells findings apart: the class, and the innermost function of the project."""
    place = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name = frame.f_code.co_filename
        if any(part in name for part in _PROJECT) or type(error).__name__ == "WrongValue":
            place = f"{os.path.basename(name)}:{frame.f_code.co_name}"
    text = f" {error}" if type(error).__name__ == "WrongValue" else ""
    return f"{type(error).__name__} in {place}{text}"


def run_one(target: Target, data: bytes, campaign: Campaign) -> str:
    """Run one input, note what came of it, and return its outcome."""
    campaign.runs += 1
    before = time.process_time()
    signal.setitimer(signal.ITIMER_VIRTUAL, DEADLINE_S)
    try:
        outcome = target.run(data)
    except (Exception, Overtime) as error:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        outcome = _signature(error)
        if outcome not in campaign.findings:
            campaign.findings[outcome] = data, traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    took = time.process_time() - before
    if took > campaign.slowest_s:
        campaign.slowest_s, campaign.slowest = took, data
    campaign.outcomes[outcome] += 1
    return outcome


class _Tracer:
    """Collects the lines of the project that an input reaches."""

    def __init__(self, lines: set[tuple[str, int]]) -> None:
        self.lines = lines

    def __call__(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        name = frame.f_code.co_filename
        return self._line if any(part in name for part in _PROJECT) else None

    def _line(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        self.lines.add((frame.f_code.co_filename, frame.f_lineno))
        return self._line


def fuzz(target: Target, seed: int, *, runs: int = 0, seconds: float = 0.0, note: "Any" = None) -> Campaign:
    """Fuzz *target* for that many runs or seconds; *note* is told every input before it runs."""
    campaign = Campaign()
    signal.signal(signal.SIGVTALRM, _overtime)
    random = Random(f"{target.name} {seed}")
    corpus = list(target.seeds())
    tracer = _Tracer(campaign.lines)
    until = time.monotonic() + seconds
    number = 0
    while (number < runs) if runs else (time.monotonic() < until):
        if number < len(corpus) and campaign.kept == 0:
            data = corpus[number]
        else:
            # Half of the time what was found last: new ground is near new ground.
            base = corpus[-1 - min(int(random.expovariate(0.2)), len(corpus) - 1)] if random.random() < 0.5 else None
            data = mutated(random, base or random.choice(corpus), random.choice(corpus), target.shape, target.tokens)
            if random.random() < 0.8:
                data = target.fix(random, data)
        if note is not None:
            note(data)
        known, lines = len(campaign.outcomes), len(campaign.lines)
        traced = number % TRACED == 0
        number += 1
        if traced:
            sys.settrace(tracer)
        try:
            run_one(target, data, campaign)
        finally:
            sys.settrace(None)
        if len(campaign.outcomes) > known or len(campaign.lines) > lines:
            campaign.kept += 1
            corpus.append(data)
            if len(corpus) > CORPUS_MAX:
                corpus.pop(random.randrange(len(corpus)))
    return campaign


def fuzz_by_atheris(
    target: Target, seed: int, folder: str, *, runs: int = 0, seconds: int = 0, note: "Any" = None
) -> None:
    """Fuzz *target* under libFuzzer, with our mutations beside its own, and never return; findings do not stop it.

    The modules under test were imported inside `atheris.instrument_imports`.  *note* is told inputs and, at the end,
    the campaign.  *folder* is the corpus, which the seeds are written to.
    """
    import atheris  # type: ignore[import-not-found]

    campaign = Campaign()
    signal.signal(signal.SIGVTALRM, _overtime)
    for data in target.seeds():
        with open(os.path.join(folder, f"{crc32(data):08x}"), "wb") as file:
            file.write(data)

    def one(data: bytes) -> None:
        if note is not None:
            note(data)
        run_one(target, data, campaign)
        if note is not None and campaign.runs % 256 == 0:
            note(campaign)

    def mutate(data: bytes, most: int, draw: int) -> bytes:
        random = Random(draw)
        if random.random() < 0.2:
            return bytes(atheris.Mutate(data, most))
        found = mutated(random, bytes(data), bytes(data), target.shape, target.tokens)
        return (target.fix(random, found) if random.random() < 0.8 else found)[:most]

    words = [sys.argv[0], f"-seed={seed + 1}", f"-max_len={INPUT_BYTES_MAX}", "-timeout=600", "-rss_limit_mb=0"]
    words += ["-verbosity=0", "-print_final_stats=0", "-detect_leaks=0"]
    words += [f"-runs={runs}"] if runs else [f"-max_total_time={seconds}"]
    atheris.Setup([*words, folder], one, custom_mutator=mutate)
    atheris.Fuzz()
