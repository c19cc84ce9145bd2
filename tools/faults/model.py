"""Check the whole journal against an in-memory model, step by step in an order that hypothesis chooses.

    python tools/faults/model.py [--examples N] [--steps N] [--seed S] [--shrink]

What may happen is in `model_machine`: several writers append in lanes that are free or busy; segments rotate, are
sealed, packed, evicted, exported in slices, imported, acknowledged, reclaimed and uploaded to a receiver that answers
anything; the user turns telemetry on, local or off and clears; writers die in the middle of an append, any operation
at any call that changes a file; bytes go bad; the clock steps forward and back.  After every step `model_look` asks:

    conservation   acknowledged = present + delivered + confirmed + cleared + losses, by identity; every value is right
    bound          all files together stay below the cap and one segment
    verdict        `verify` says exactly what was done to the files
    consent        nothing leaves that no yes covers, a batch never mixes days, an id never has two contents
    import         what was imported is what was exported, each event once

What is found is printed as the steps that lead there; --shrink first looks for fewer.
"""

import argparse
import os
import sys
import time
from collections import Counter

__all__ = ["main", "run"]

_TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def run(examples: int, steps: int, seed: int, seen: "Counter[str]", *, shrink: bool = False) -> None:
    """Run the model, counting in *seen* what there was.  Raises AssertionError where something does not hold."""
    import hypothesis
    from hypothesis import HealthCheck, Phase
    from hypothesis.stateful import run_state_machine_as_test

    from faults.model_machine import JournalMachine

    class Machine(JournalMachine):
        """The same, counted."""

        def counted(self, numbers: Counter[str]) -> None:
            seen.update(numbers)

    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    run_state_machine_as_test(
        hypothesis.seed(seed)(Machine),
        settings=hypothesis.settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=phases,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def main() -> int:
    """Run with the arguments of the command line."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=100, help="journals (default 100)")
    parser.add_argument("--steps", type=int, default=50, help="steps of each (default 50)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shrink", action="store_true", help="look for a shorter way to what was found")
    given = parser.parse_args()
    start = time.monotonic()
    seen: Counter[str] = Counter()
    try:
        run(given.examples, given.steps, given.seed, seen, shrink=given.shrink)
        print("nothing that does not hold")
    finally:
        for name, number in sorted(seen.items()):
            print(f"{number:12,} {name}")
        print(f"{time.monotonic() - start:12,.0f} seconds")
    return 0


if __name__ == "__main__":
    sys.path[:0] = [_TOOLS, os.path.dirname(_TOOLS)]
    sys.exit(main())
