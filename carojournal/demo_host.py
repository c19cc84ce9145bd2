"""A small host in the manner of caro, for `carojournal demo`: it really generates, runs, blocks and times out.

What the user says is compared with a table of sentences (the "static" backend: no model); the command of the closest
one is run without a shell, in an empty folder, with a short limit.  Only programs of HARMLESS ever run; what DANGEROUS
recognises is blocked first.  What was said, the command and its output stay here: the journal gets times and
categories.
"""

import os
import platform
import subprocess
import time
from dataclasses import dataclass
from difflib import SequenceMatcher

from carojournal import __version__
from carojournal.events import ALIASES, TYPES
from carojournal.journal import Journal

__all__ = ["REQUESTS", "Host", "Step", "machine"]

RUN_TIMEOUT_S = 0.4  # Short, so that the demo can show a real timeout.
CONFIDENCE_MIN = 0.6  # Below it no sentence of the table is close enough to what was said.

_Command = tuple[str, ...]

SENTENCES: dict[str, _Command] = {
    "list the files in this folder": ("ls", "-l"),
    "show which system this is": ("uname", "-sr"),
    "how much space is left on this disk": ("df", "-h", "."),
    "what time is it in utc": ("date", "-u"),
    "who am i": ("id", "-u"),
    "do nothing and succeed": ("true",),
    "show me the notes file": ("cat", "notes.txt"),
    "wait for half a minute": ("sleep", "30"),
    "delete everything on this disk": ("rm", "-rf", "/"),
    "format the first disk": ("mkfs.ext4", "/dev/sda1"),
    "stop the ssh service": ("systemctl", "stop", "ssh"),
}
HARMLESS = frozenset(("ls", "uname", "df", "date", "id", "true", "cat", "sleep"))
# program -> (category, risk) of what may be lost when it runs
DANGEROUS = {
    "rm": ("filesystem_destruction", "critical"),
    "mkfs.ext4": ("disk_operation", "critical"),
    "systemctl": ("service_control", "high"),
}

# What the user of the demo says: other words than the table's, one request for each thing that can happen.
REQUESTS = (
    "list all files in this folder",
    "show me which system this is",
    "how much space is left on the disk?",
    "just do nothing and succeed",
    "show me my notes file",
    "delete everything on this disk!",
    "wait for half a minute",
    "translate this poem to French",
)

assert all(command[0] in HARMLESS or command[0] in DANGEROUS for command in SENTENCES.values())
assert HARMLESS.isdisjoint(DANGEROUS)


@dataclass(frozen=True, slots=True)
class Step:
    """What happened to one request: all that the demo shows, of which the journal gets times and categories only."""

    said: str
    command: _Command
    generated_ms: int
    outcome: str  # success, error, timeout, blocked, no command
    executed_ms: int | None = None


def machine() -> dict[str, object]:
    """Return what session_start says about this machine; words that the schema does not know become "unknown"."""

    def known(kind: str, word: str) -> str:
        word = ALIASES[kind].get(word, word)
        words = TYPES[kind][1]
        return word if isinstance(words, tuple) and word in words else "unknown"

    return {
        "caro_version": __version__,
        "os": known("os", platform.system().lower()),
        "arch": known("arch", platform.machine().lower()),
        "shell": known("shell", os.path.basename(os.environ.get("SHELL", ""))),
    }


def _elapsed_ms(since_s: float) -> int:
    return round((time.perf_counter() - since_s) * 1000)


class Host:
    """One session.  *folder* is where commands run."""

    def __init__(self, journal: Journal, folder: str) -> None:
        self.journal = journal
        self.append_ns: list[int] = []
        self._folder = folder
        self._since_s = time.perf_counter()
        self._counts = {"commands_generated": 0, "commands_executed": 0, "errors_encountered": 0, "safety_blocks": 0}

    def _record(self, event_type: str, /, **fields: object) -> None:
        began_ns = time.perf_counter_ns()
        self.journal.record(event_type, **fields)
        self.append_ns.append(time.perf_counter_ns() - began_ns)

    def start(self) -> dict[str, object]:
        """Begin the session; return what was recorded about the machine."""
        found = machine()
        self._record(
            "session_start",
            **found,
            primary="static",
            fallback_enabled=False,
            backend_available=["static"],
            safety_level="strict",
            output_format="plain",
        )
        return found

    def serve(self, said: str) -> Step:
        """Turn one request into a command, and run it if that is safe."""
        ordinal = self.journal.new_generation()
        command, generated_ms = self._generate(said, ordinal)
        if not command:
            self._error("backend_parse", "generation")
            return Step(said, (), generated_ms, "no command")
        if command[0] in DANGEROUS:
            category, risk = DANGEROUS[command[0]]
            self._counts["safety_blocks"] += 1
            self._record(
                "safety_triggered",
                generation=ordinal,
                risk_level=risk,
                pattern_category=category,
                action_taken="blocked",
                user_override=False,
                safety_level_config="strict",
            )
            return Step(said, command, generated_ms, "blocked")
        outcome, executed_ms = self._execute(command, ordinal)
        return Step(said, command, generated_ms, outcome, executed_ms)

    def _generate(self, said: str, ordinal: int) -> tuple[_Command, int]:
        began_s = time.perf_counter()
        scores = {sentence: SequenceMatcher(None, said.lower(), sentence).ratio() for sentence in SENTENCES}
        closest = max(scores, key=lambda sentence: scores[sentence])
        command = SENTENCES[closest] if scores[closest] >= CONFIDENCE_MIN else ()
        generated_ms = _elapsed_ms(began_s)
        self._counts["commands_generated"] += bool(command)
        dangerous = bool(command) and command[0] in DANGEROUS
        self._record(
            "command_generated",
            generation=ordinal,
            backend_used="static",
            inference_time_ms=generated_ms,
            success=bool(command),
            safety_result={
                "risk_level": DANGEROUS[command[0]][1] if dangerous else "safe",
                "patterns_matched": int(dangerous),
            },
            input_token_count=len(said.split()),
            output_token_count=len(command),
            confidence_score=scores[closest],
            retry_count=0,
        )
        return command, generated_ms

    def _execute(self, command: _Command, ordinal: int) -> tuple[str, int]:
        assert command[0] in HARMLESS
        began_s = time.perf_counter()
        try:
            done = subprocess.run(
                command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=RUN_TIMEOUT_S,
                check=False,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            )
            outcome = "success" if done.returncode == 0 else "error"
        except subprocess.TimeoutExpired:  # `run` has killed and reaped it.
            outcome = "timeout"
        except OSError:
            outcome = "error"
        executed_ms = _elapsed_ms(began_s)
        self._counts["commands_executed"] += 1
        self._record(
            "command_executed",
            generation=ordinal,
            execution_mode="auto_confirm",
            modified_before_execution=False,
            exit_code_category=outcome,
            execution_time_ms=executed_ms,
        )
        if outcome != "success":
            self._error("execution_error", "execution")
        return outcome, executed_ms

    def _error(self, category: str, component: str) -> None:
        self._counts["errors_encountered"] += 1
        self._record("error_occurred", error_category=category, component=component, recoverable=True)

    def end(self) -> None:
        """End the session."""
        self._record(
            "session_end", session_duration_ms=_elapsed_ms(self._since_s), exit_reason="user_complete", **self._counts
        )
