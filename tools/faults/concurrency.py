"""Many processes, threads and tools at one journal, stopped, copied and with clocks that jump: it adds up all the same.

    python tools/faults/concurrency.py [--scale N] [NAME ...]

    writers    32 processes append at once while a reader reads
    threads    16 threads share a handle, and the process forks while they append; the children append too
    exec       a process becomes another program, which appends; no lock outlives the first
    tools      several carobatch at once: one works, the others exit 75
    follow     a reader follows while segments rotate and are packed: every event once
    removed    the directory goes while everybody is at work
    clock      forward, back, daylight saving, leap seconds, 2038, 2100 and 9999
    stopped    a process is stopped in the middle of an append: others go on, the batch tool says busy, nothing is lost
    links      the journal's files are hard links of another journal's
    copied     two copies of one journal grow apart: importing both raises the alarm

--scale multiplies how many events each records (default 1: seconds; 100: minutes).
"""

import argparse
import os
import sys

__all__ = ["main"]

_TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main() -> int:
    """Run with the arguments of the command line."""
    assert __doc__
    from faults.concurrency_scenes import NAMES, check

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--scale", type=int, default=1)
    given = parser.parse_args()
    failed = 0
    for name in given.names or NAMES:
        text, problems = check(name, given.scale)
        print(f"{name:8} {text}")
        for problem in problems[:10]:
            print(f"    {problem}")
        failed += bool(problems)
    return min(failed, 1)


if __name__ == "__main__":
    sys.path[:0] = [_TOOLS, os.path.dirname(_TOOLS)]
    sys.exit(main())
