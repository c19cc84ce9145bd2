"""Run verbs and calls one after another, each in a child of its own, with marks between them that strace shows.

    python off_runner.py < PLAN > RESULTS

PLAN is a JSON list of cases: `call` ("carojournal", "carobatch" or a name of off_calls.CALLS), `words`, `environ`,
`admin` (the administrator's file; never the machine's), `cli_channel`, `stdin` (path), `folder` (to work in) and `api`
(keywords for off_calls).  RESULTS is the list of exit codes; a call's code is 0 unless it raised.  What children print
goes to standard error.  Modules are imported once, here: an import belongs to no case.
"""

import atexit
import contextlib
import importlib
import json
import os
import pkgutil
import sys
import time
import traceback

import off_calls
from off_calls import mark

import carobatch.cli
import carojournal.cli
from carojournal import policy

PROGRAMS = {"carojournal": carojournal.cli, "carobatch": carobatch.cli}
LAZY = ("cbor2", "dateutil.parser", "filelock", "pyrage", "sqlite3", "zstandard")


def wake_up(_seconds):
    """`inspect --follow` has seen all there is: Ctrl-C."""
    raise KeyboardInterrupt


def run(case, terminal):
    """Run one case and return its exit code."""
    os.environ.update(case["environ"])
    policy.admin_file = lambda *_: case["admin"]
    for name, module in list(sys.modules.items()):
        if name.startswith(("carojournal", "carobatch")) and hasattr(module, "CHANNEL"):
            module.CHANNEL = case["cli_channel"]
    os.chdir(case["folder"])
    call = off_calls.CALLS.get(case["call"])
    if call is not None:
        call(case["api"], terminal)
        return 0
    time.sleep = wake_up
    return PROGRAMS[case["call"]].main(case["words"])


def child(number, case, terminal):
    """Run one case with descriptors as a shell would give them; does not return."""
    code = 99
    try:
        os.dup2(os.open(case["stdin"], os.O_RDONLY), 0)
        os.dup2(2, 1)
        mark(f"{number}/begin")
        code = run(case, terminal)
        atexit._run_exitfuncs()
    except BaseException:  # noqa: BLE001 - the code tells, and standard error why
        traceback.print_exc()
    finally:
        with contextlib.suppress(ValueError):
            sys.stdout.flush()
        mark(f"{number}/end")
        os._exit(code)


def main():
    plan = json.load(sys.stdin)
    for package in (carojournal, carobatch):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            # Importing requests opens a socket, to see whether there is IPv6: under off nobody may get that far.
            if not found.name.endswith(("__main__", "carobatch.http")):
                importlib.import_module(found.name)
    for name in LAZY:
        importlib.import_module(name)
    terminal = os.openpty()[1]
    codes = []
    for number, case in enumerate(plan):
        pid = os.fork()
        if pid == 0:
            child(number, case, terminal)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    json.dump(codes, sys.stdout)


if __name__ == "__main__":
    main()
