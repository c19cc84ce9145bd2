"""Instructions instead of seconds, which no other process moves, and interrupts at a line of our choice."""

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


def _give_up():
    raise KeyboardInterrupt


def interrupted(function, nth, path, handler=_give_up):
    """Call *function*; call *handler* before the *nth* line that it runs of the file *path*, or of those below it.

    The usual one raises KeyboardInterrupt.  Returns whether it runs so many lines.  Signals come between other
    instructions than lines do: a `with` may stay locked.
    """
    left = nth

    def line(frame, event, _argument):
        nonlocal left
        if event == "line":
            left -= 1
            if left == 0:
                handler()
        return line

    before = sys.gettrace()
    sys.settrace(lambda frame, _event, _argument: line if frame.f_code.co_filename.startswith(path) else None)
    try:
        function()
    except KeyboardInterrupt:
        assert left == 0, "somebody else's"
    finally:
        sys.settrace(before)
    return left <= 0
