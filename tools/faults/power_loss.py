"""Cut the power after every call that an operation makes, and look at what may be found afterwards.

    python tools/faults/power_loss.py [--every N] [NAME ...]

An operation runs once while its calls are recorded (`power_disk`); then, for every N-th call, every disk that a power
cut could leave there is made, under an ordered and a harsh model of file systems, and looked at:

    append    with durability "each": every event that was acknowledged is there; with "os": what is there is right
    compact   every event is there, whenever the sources go
    upload    an intent is whole when its first byte goes out; an event is there or a receipt accounts for it
    export    the bundle that was announced is whole, and the ledger knows it
    import    where a receipt is, every event that it confirms is held
    ack       an event is there or an acknowledgement accounts for it
    choose    the configuration says what it said before, or what the user chose; once `off` returned, the latter
    clear     once it returned, nothing comes back

and whatever was found: nothing raises, no value is wrong, `verify` comes to a verdict, and the next append works.
"""

import argparse
import os
import sys

__all__ = ["main"]

_TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main() -> int:
    """Run with the arguments of the command line."""
    assert __doc__
    from faults.power_scenes import NAMES, check

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--every", type=int, default=1, help="cut after every N-th call only (default 1)")
    given = parser.parse_args()
    failed = 0
    for name in given.names or NAMES:
        looked, problems = check(name, given.every)
        print(f"{name:10} {looked:7,} disks, {sum(problems.values()):,} on which something does not hold")
        for problem, number in list(problems.items())[:20]:
            print(f"    {number:6,} {problem}")
        failed += bool(problems)
    return min(failed, 1)


if __name__ == "__main__":
    sys.path[:0] = [_TOOLS, os.path.dirname(_TOOLS)]
    sys.exit(main())
