"""Machine instructions instead of seconds: what a test may hold against a limit, because no other process moves it."""

import os
import subprocess
import sys

import carojournal


def instructions(folder, words, environ=None, cwd=None, input=None):  # noqa: A002
    """Return how many instructions an interpreter with *words* runs, as callgrind counts them; it must exit with 0."""
    out = os.path.join(folder, "callgrind")
    valgrind = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}"]
    package = os.path.dirname(os.path.dirname(carojournal.__file__))
    fixed = {"PATH": os.environ["PATH"], "PYTHONPATH": package, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    fixed["LANG"] = "C.UTF-8"
    subprocess.run(
        [*valgrind, sys.executable, *words],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**fixed, **(environ or {})},
        cwd=cwd,
        input=input,
    )
    with open(out, encoding="utf-8") as file:
        return int([line for line in file if line.startswith(("summary:", "totals:"))][-1].split()[1])
