"""Try hard to break what the journal promises, and say what came of it.

    python tools/faults/run.py [--long] [--json] [--seed N] [--only kills,errors,limits,swarm]
                               [--operation NAME] [--kind KIND [--nth N]] [--random-kills N]

kills     kill -9 at every system call of every operation that changes anything: open, append, rotate, evict, seal,
          compact, export, import, ack, upload, reindex, config set, consent, clear; with --long at every call
errors    instead of each call in turn ENOSPC, EIO, EDQUOT, EFBIG, EMFILE, EROFS, EACCES, EINTR, or half a write, each
          where it can happen, and a connection's ECONNREFUSED, ECONNRESET, ETIMEDOUT; with
          --long every call that the operation makes to its files and sockets and also, from each on, all that follow
limits    a small tmpfs until it is large enough (where mounting is allowed), RLIMIT_FSIZE, RLIMIT_NOFILE, each
          directory in turn read-only for a user who is not root
swarm     kill -9 at random over eight writers with a batch tool beside them; 10,000 kills with --long

After each fault: later appends work, `verify` finds torn tails at most, every acknowledged event is accounted for by
its identity and none is there twice; a host was never raised at; a verb ended with an exit code of the table, which was
true; no sync was tried again on a descriptor on which it had failed; the next run does what this one did not and leaves
nothing half-made behind.  Prints a line for every operation and how to repeat what failed; exits 1 if anything did.

Without --long the calls are a sample drawn by the seed, in about a minute.  Linux on x86-64 only.
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faults.campaign import Laboratory

_TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_REPOSITORY = os.path.dirname(_TOOLS)

__all__ = ["PARTS", "Row", "main", "rows"]

PARTS = ("kills", "errors", "limits", "swarm")
_RANDOM_KILLS, _RANDOM_KILLS_SHORT = 10_000, 150
_SAMPLE = {"kills": 6, "errors": 40, "limits": 5}  # Every so many-th call without --long.
_FAILURES_SHOWN = 5


@dataclass(slots=True)
class Row:
    """What came of one part and one operation: how many faults, how many of them were met, what failed."""

    part: str
    name: str
    trials: int = 0
    met: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    note: str = ""

    def __str__(self) -> str:
        parts = [f"{self.part:7} {self.name:26} {self.trials:6,} trials {self.met:6,} met {self.seconds:7.1f} s"]
        parts += [f"{len(self.failures)} FAILED"] if self.failures else []
        return "  ".join([*parts, self.note]).rstrip()


def rows(given: argparse.Namespace) -> "Iterator[Row]":
    """Yield what came of each part and operation that was asked for."""
    from faults.campaign import Laboratory
    from faults.operations import OPERATIONS

    chosen = given.only.split(",")
    if set(chosen) - {"swarm"}:
        laboratory = Laboratory()
        try:
            names = [given.operation] if given.operation else list(OPERATIONS)
            for part in PARTS[:3]:
                if part in chosen:
                    yield from _part(given, laboratory, part, names)
        finally:
            laboratory.close()
    if "swarm" in chosen:
        yield from _swarms(given)


def _part(given: argparse.Namespace, laboratory: "Laboratory", part: str, names: list[str]) -> "Iterator[Row]":
    from faults import real
    from faults.judges import FOREVER, KILL, KINDS, NETWORK, NUMBERS

    if part == "limits":
        kinds: tuple[str, ...] = real.KINDS
        refused = real.can_mount(laboratory.folder)
        if refused:
            kinds = kinds[1:]
            yield Row(part, "disk", note=f"NOT TRIED: {refused}")
    elif part == "kills":
        kinds = (KILL,)
    else:
        lasting = [f"{name}{FOREVER}" for name in (*NUMBERS, *NETWORK) if name != "EINTR"]
        kinds = (*KINDS[1:], *(lasting if given.long else ()))
    if given.kind:
        kinds = tuple(kind for kind in (given.kind,) if kind in kinds or kind.rstrip(FOREVER) in kinds)
    for kind in kinds:
        for name in names:
            yield _campaign(given, laboratory, part, kind, name)


def _campaign(given: argparse.Namespace, laboratory: "Laboratory", part: str, kind: str, name: str) -> Row:
    from faults import real
    from faults.judges import KILL, SHORT

    row = Row(part, f"{name} {kind}")
    start = time.monotonic()
    looks = kind not in (KILL, SHORT) or (given.long and kind == KILL)
    step = 1 if given.long or kind == SHORT else _SAMPLE[part]
    first = 1 + random.Random(f"{given.seed} {name} {kind}").randrange(step)
    if part == "limits":
        found = real.trials(laboratory, kind, name, 1 if given.long else _SAMPLE[part])
    elif given.nth:
        found = iter([laboratory.trial(name, kind, given.nth, looks=looks)])
    else:
        found = laboratory.trials(name, kind, looks=looks, step=step, first=first)
    for trial in found:
        row.trials += 1
        row.met += bool(trial.call)
        if trial.wrong:
            row.failures.append(f"--only {part} {trial}: {'; '.join(trial.wrong)}")
    row.seconds = time.monotonic() - start
    return row


def _swarms(given: argparse.Namespace) -> "Iterator[Row]":
    from faults.swarm import KINDS, Swarm

    total = given.random_kills or (_RANDOM_KILLS if given.long else _RANDOM_KILLS_SHORT)
    for kind in KINDS:
        done = Swarm(given.seed, -(-total // len(KINDS)), kind).run()
        said = [f"--only swarm --seed {given.seed} --random-kills {total}: {kind}: {text}" for text in done.problems]
        note = f"seed {given.seed}; {done.batches} batch runs, {done.batch_kills} of them killed; {done.balance}"
        yield Row("swarm", kind, done.kills, done.kills, done.seconds, said, note)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for; return 1 if anything failed."""
    summary, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--long", action="store_true", help="every call, every kind of error, 10,000 random kills")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--seed", type=int, default=1, help="draws the sample and the random kills")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, separated by commas: {', '.join(PARTS)}")
    parser.add_argument("--operation", default="", help="one operation")
    parser.add_argument("--kind", default="", help="one kind of fault: KILL, SHORT, an error's name (+: from then on)")
    parser.add_argument("--nth", type=int, default=0, help="one call, counted from 1")
    parser.add_argument("--random-kills", type=int, default=0, metavar="N", help="how many kills a swarm takes")
    given = parser.parse_args(argv)
    if unknown := set(given.only.split(",")) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    for place in (_REPOSITORY, _TOOLS):
        if place not in sys.path:
            sys.path.insert(0, place)  # This very tree, also where a copy is installed.
    failed = 0
    for row in rows(given):
        print(json.dumps(asdict(row)) if given.json else row, flush=True)
        if row.failures and not given.json:
            print("\n".join(f"  {text}" for text in row.failures[:_FAILURES_SHOWN]), flush=True)
        failed += len(row.failures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
