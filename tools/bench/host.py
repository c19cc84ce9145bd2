"""What is measured: an installed carojournal, the interpreter that runs it, and a bare environment for its processes.

A checkout may have to be compiled at every start (`PYTHONDONTWRITEBYTECODE`), and an editable install is found through
an import hook: start-up is only true of a package that pip has installed and compiled in an environment of its own.
"""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from time import perf_counter_ns

import carojournal

__all__ = ["FULL", "QUICK", "Host", "Scale", "find_host"]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured.  Rounds are pairs; a warm one is a block of `appends`, cut off after `block_s` seconds."""

    cold_rounds: int
    warm_rounds: int
    appends: int
    block_s: float
    process_rounds: int
    processes: int
    process_appends: int
    scan_rounds: int
    spool_bytes: int
    counted_appends: int
    upload_events: int = 100_000
    upload_rounds: int = 3
    peer_rounds: int = 15
    peer_process_rounds: int = 3
    peer_processes: tuple[int, ...] = (1, 2, 4, 8, 16)
    kills: int = 20
    kill_appends: int = 400
    batch_events: int = 100_000


FULL = Scale(150, 60, 1_000, 0.25, 7, 16, 2_000, 25, 10_000_000, 500)
QUICK = Scale(
    11,
    11,
    1_000,
    0.05,
    2,
    16,
    2_000,
    5,
    10_000_000,
    500,
    peer_rounds=5,
    peer_processes=(1, 8),
    kills=5,
    kill_appends=200,
    batch_events=20_000,
)


@dataclass(frozen=True, slots=True)
class Host:
    """An interpreter, the words that start `carojournal` in it, the environment of children, a folder to write in."""

    python: str
    program: tuple[str, ...]
    environ: dict[str, str]
    scratch: str
    installed: bool

    def at(self, root: str) -> "Host":
        """Return the same host with its journal at *root*."""
        return replace(self, environ={**self.environ, "CAROJOURNAL_DIR": root})

    def run_ms(self, *command: str) -> float:
        """Run *command* to its end, output thrown away, and return how many milliseconds that took.

        Raises CalledProcessError if it fails: a program that did not do its work must not look fast.
        """
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        ]
        started = perf_counter_ns()
        child = os.posix_spawn(command[0], command, self.environ, file_actions=actions)
        _, status = os.waitpid(child, 0)
        taken = perf_counter_ns() - started
        if status:
            raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), command)
        return taken / 1e6


def find_host(scratch: str) -> Host:
    """Return the running interpreter as the host; *scratch* is an empty folder, which becomes its home.

    Where carojournal is imported from a checkout, children are told where it is, and the result says so.
    """
    place = os.path.dirname(os.path.dirname(os.path.abspath(carojournal.__file__)))
    installed = os.path.basename(place) in ("site-packages", "dist-packages")
    home = os.path.join(scratch, "home")
    os.makedirs(home, 0o700, exist_ok=True)
    environ = {"HOME": home, "PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
    environ["PYTHONSAFEPATH"] = "1"  # `python -c` would import a checkout that happens to be the current directory.
    if not installed:
        environ["PYTHONPATH"] = os.pathsep.join((place, os.path.join(place, "tools")))
    script = os.path.join(os.path.dirname(sys.executable), "carojournal")
    program = (script,) if installed and os.path.exists(script) else (sys.executable, "-m", "carojournal.cli")
    return Host(sys.executable, program, environ, scratch, installed)
