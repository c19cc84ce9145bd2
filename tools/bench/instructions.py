"""Count the machine instructions of an append, warm and first, under valgrind: what noise does not touch.

    python tools/bench/instructions.py            print the counts, and the references beside them
    python tools/bench/instructions.py --check    exit 1 if either grew by more than 10 %
    python tools/bench/instructions.py --update   make them the reference

Two runs under callgrind differ only in how many events they append; their difference, divided by that number, has
neither start-up nor imports in it.  The first append of a process is the other figure: import, open and one event into
a journal that is there, less an interpreter that does nothing.  Hash seed, clock and random bytes are fixed, and no run
crosses into a new segment.  The kernel's own work is not counted.

The references stand in instructions.json, by CPython's minor version and machine: another interpreter runs another
number of instructions for the same code.  Where there is none, --check reports and exits 0.  The entry's `build` says
which build it was taken with: after a new compiler or a new micro version, look at the change and --update.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = [
    "GUARD",
    "REFERENCES",
    "Count",
    "compare_count",
    "count_instructions",
    "interpreter",
    "main",
    "read_reference",
    "write_reference",
]

GUARD = 0.10  # Growth that is refused.
REFERENCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "instructions.json")
APPENDS = 500  # With the warm-up fewer than a segment takes (about 900).
_WARM_UP = 200  # Every specialised bytecode and every cached value is there after a few.
_REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_CODE = """
import sys
from carojournal import Journal
ticks, numbers = iter(range(1_790_000_000_000_000_000, 1 << 63, 1_000_000)), iter(range(1 << 20))
journal = Journal.open(
    sys.argv[1],
    environ={"HOME": sys.argv[1] + "-home"},
    admin="/nonexistent",
    clock=ticks.__next__,
    random=lambda size: next(numbers).to_bytes(size, "big"),
)
record = journal.record
for number in range(int(sys.argv[2])):
    assert record(
        "command_generated", backend_used="ollama", inference_time_ms=843 + number % 7,
        safety_result={"risk_level": "safe", "patterns_matched": 0}, model_name="llama3:8b", success=True,
        input_token_count=120, output_token_count=33, confidence_score=0.91, retry_count=0,
    )
"""


@dataclass(frozen=True, slots=True)
class Count:
    """Instructions of one warm append and of a process's first, and what ran them."""

    instructions: int
    build: str
    appends: int
    first: int


def interpreter() -> str:
    """Return the key of this interpreter in the references, such as "cpython-311 x86_64"."""
    return f"{sys.implementation.cache_tag} {platform.machine()}"


def _run(python: str, environ: Mapping[str, str], folder: str, *words: str) -> int:
    """Return the instructions of a whole run of *python* with *words*.  Raises CalledProcessError, OSError."""
    out = os.path.join(folder, "callgrind")
    valgrind = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}"]
    subprocess.run([*valgrind, python, "-B", *words], check=True, env=environ, stdout=subprocess.DEVNULL)
    with open(out, encoding="utf-8") as file:
        totals = [line for line in file if line.startswith(("summary:", "totals:"))]
    return int(totals[-1].split()[1])


def count_instructions(python: str = sys.executable, appends: int = APPENDS, path: str = _REPOSITORY) -> Count:
    """Return the counts for carojournal as *python* imports it with *path* on its search path.

    Raises OSError if there is no valgrind, CalledProcessError if the measured program fails.
    """
    environ = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "PYTHONPATH": path}
    environ["PYTHONSAFEPATH"] = "1"  # Not a checkout that happens to be the current directory.
    with tempfile.TemporaryDirectory(prefix="instructions-") as folder:
        there = os.path.join(folder, "journal-there")
        # Not counted: compiles what is not compiled yet, or one of the runs below would do it for the other.
        subprocess.run([python, "-c", _CODE, there, "1"], check=True, env=environ)
        base = _run(python, environ, folder, "-c", _CODE, f"{folder}/journal-a", str(_WARM_UP))
        more = _run(python, environ, folder, "-c", _CODE, f"{folder}/journal-b", str(_WARM_UP + appends))
        first = _run(python, environ, folder, "-c", _CODE, there, "1") - _run(python, environ, folder, "-c", "pass")
    return Count(round((more - base) / appends), sys.version, appends, first)


def read_reference(path: str = REFERENCES) -> Count | None:
    """Return the committed count for this interpreter, None if there is none.  Raises OSError, ValueError."""
    entry = _entries(path).get(interpreter())
    return Count(**entry) if entry else None


def compare_count(found: Count, reference: Count | None) -> tuple[bool, str]:
    """Return whether *found* is within the guard, or has nothing to be held against, and one line that says so."""
    words = f"{found.instructions:,} instructions an append, {found.first:,} a process's first"
    if reference is None:
        return True, f"{words}; no reference for {interpreter()}"
    pairs = ((found.instructions, reference.instructions), (found.first, reference.first))
    more, first = (f"{before:,} ({count / before - 1:+.1%})" for count, before in pairs)
    text = f"{words}; references {more} and {first}"
    if found.build != reference.build:
        text += f"; they are of another build: {reference.build}"
    return all(count <= before * (1 + GUARD) for count, before in pairs), text


def _entries(path: str) -> dict[str, dict[str, Any]]:
    try:
        with open(path, encoding="utf-8") as file:
            entries: dict[str, dict[str, Any]] = json.load(file)
    except FileNotFoundError:
        return {}
    return entries


def write_reference(found: Count, path: str = REFERENCES) -> None:
    """Make *found* the reference of this interpreter; those of others stay.  Raises OSError, ValueError."""
    entries = {**_entries(path), interpreter(): asdict(found)}
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(entries, indent=2, sort_keys=True) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Count, print, and return the exit code."""
    parser = argparse.ArgumentParser(description="Count the machine instructions of an append.")
    parser.add_argument("--check", action="store_true", help="exit 1 if a count grew by more than 10 %%")
    parser.add_argument("--update", action="store_true", help="make these counts the reference")
    given = parser.parse_args(argv)
    found = count_instructions()
    reference = read_reference()
    good, text = compare_count(found, reference)
    print(text)
    if given.update:
        write_reference(found)
    return int(given.check and not good)


if __name__ == "__main__":
    sys.exit(main())
