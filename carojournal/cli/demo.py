"""`carojournal demo`: the whole of it in a few seconds, on a journal of its own.

Everything that is shown is done: the host really runs, what must not get in is really tried, and the verbs that follow
are the ones that a user would call.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

from carojournal import cli
from carojournal.cli.exits import BUG, INTERRUPTED, RETRY
from carojournal.cli.output import bytes_text, count_text, is_terminal, paint, table, uses_color
from carojournal.config import CHANNEL
from carojournal.demo_attempts import make_attempts, search, try_attempt
from carojournal.demo_host import REQUESTS, Host, Step
from carojournal.errors import JournalOff, UsageError
from carojournal.journal import Journal
from carojournal.root import make_folders

__all__ = ["OPTIONS", "demo"]

OPTIONS = {
    "dir": {"flags": ("--dir",), "metavar": "DIR", "help": "work below DIR, which must be new or empty, and leave it"},
    "keep": {"flags": ("--keep",), "action": "store_true", "help": "leave the temporary folder for you to look at"},
}
TOOL_TIMEOUT_S = 30  # Far more than any of the stock tools needs; a demo must not hang.
_STYLES = {
    "refused": "green",
    "kept without it": "green",
    "success": "green",
    "error": "yellow",
    "timeout": "yellow",
    "blocked": "red",
    "no command": "yellow",
}


def demo(*, dir: str | None = None, keep: bool = False) -> int:  # noqa: A002 - the option's name
    """Run a small host in the manner of caro on a fresh journal: what is kept, what not, and how to check it.

    A few harmless commands are really run (ls, uname, df ...) and one is killed after its limit; a dangerous one is
    recognised and not run.  Your own journal is not touched, and nothing of the demo is ever sent.
    """
    mode, source = _mode()
    if mode == "off":
        raise JournalOff(f"telemetry is off ({source}), so there is nothing to show: nothing was kept, nothing created")
    with _ended_by_signals():
        folder = _folder(dir)
        keep = keep or dir is not None
        try:
            with _environment(CAROJOURNAL_DIR=f"{folder}/journal"):
                code = _Show(folder).run()
            if keep:
                print(f"\nEverything is in {folder}: set CAROJOURNAL_DIR={folder}/journal for the commands above.")
        finally:
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)
    return code


class _Signalled(BaseException):
    """A signal that ends the demo."""


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as an error would, so that it cleans up, and the process then.

    What is ignored (nohup) stays so; SIGINT is Python's KeyboardInterrupt already.  Where Python passes over what is
    raised, as in a finalizer, the block goes on, and the process ends after it.
    """
    caught = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is signal.SIG_DFL]
    came: list[int] = []
    report = sys.unraisablehook

    def end(number: int, _frame: object) -> None:
        for one in caught:
            signal.signal(one, signal.SIG_IGN)  # A second one must not interrupt the cleaning up.
        came.append(number)
        raise _Signalled

    def passed_over(what: "sys.UnraisableHookArgs") -> None:
        if not isinstance(what.exc_value, _Signalled):
            report(what)

    sys.unraisablehook = passed_over
    for one in caught:
        signal.signal(one, end)
    try:
        yield
    finally:
        sys.unraisablehook = report
        for one in caught:
            signal.signal(one, signal.SIG_DFL)
        for number in came:
            os.kill(os.getpid(), number)  # Who waits for us sees what we died of.


def _mode() -> tuple[str, str]:
    with Journal.open(os.devnull, channel=CHANNEL) as journal:  # A root that is never made: only the policy is asked.
        return journal.mode, journal.policy.source


def _folder(given: str | None) -> str:
    """Return an empty folder.  Raises UsageError, OSError."""
    if given is None:
        return tempfile.mkdtemp(prefix="carojournal-demo-")
    if not given:
        raise UsageError("--dir is empty: leave it out for a new folder")
    folder = os.path.abspath(given)
    try:
        make_folders(folder)
    except (FileExistsError, NotADirectoryError):
        raise UsageError("--dir must be a folder, new or empty, and a file is in its place") from None
    if os.listdir(folder):
        raise UsageError("--dir must be new or empty")
    return folder


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Show:
    """The demo's five parts, below one folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.root = f"{folder}/journal"
        self.terminal = is_terminal()
        self.color = uses_color()
        self.code = 0
        self.strings: list[str] = []  # What must not be found anywhere.

    def run(self) -> int:
        """Show all parts; return the worst exit code of the verbs that were called."""
        print(self._bold("carojournal demo") + ": a small host in the manner of caro, on a journal of its own")
        print(f"journal: {self.root}, mode local: nothing of it is ever sent")
        # No consent, whatever the user's own journal has: such segments never leave the machine by themselves.
        with Journal.open(self.root, mode="local") as journal:
            self._session(journal)
            self._attempts(journal)
        self._heading("3. What is kept: all of it, and nothing else")
        self._verb("inspect", "-n", "all")
        self._heading("4. Is every byte as it was written?")
        self._verb("verify")
        self._heading("5. Carry it to another machine, and check it with tools that do not know us")
        self._bundle()
        self._next()
        return self.code

    def _bold(self, text: str) -> str:
        return paint(text, "bold", color=self.color)

    def _heading(self, text: str) -> None:
        print(f"\n{self._bold(text)}")

    def _rows(self, headings: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: tuple[int, ...] = ()) -> None:
        for line in table(headings, rows, terminal=self.terminal, color=self.color, right=right):
            print(f"  {self._colored(line)}")

    def _colored(self, line: str) -> str:
        """Paint the cell of a table's line that says how it went; cells other than the first follow two blanks."""
        for word, style in _STYLES.items():
            if self.color and f"  {word}" in line:
                return line.replace(f"  {word}", f"  {paint(word, style, color=True)}", 1)
        return line

    def _session(self, journal: Journal) -> None:
        self._heading("1. A session: what is said and run stays on this screen, times and categories are kept")
        work = f"{self.folder}/work"
        os.mkdir(work, 0o700)
        host = Host(journal, work)
        found = host.start()
        print(f"  this machine: {', '.join(f'{key} {value}' for key, value in found.items())}")
        steps = [host.serve(said) for said in REQUESTS]
        host.end()
        headings = ("you say", "command", "found in", "result", "ran for")
        self._rows(headings, [self._row(step) for step in steps], (2, 4))
        typical_us = statistics.median(host.append_ns) / 1000
        recorded = journal.stats["recorded"]
        assert isinstance(recorded, int)
        timing = f"one append took {typical_us:.0f} microseconds (median, each after a pause)"
        print(f"  {count_text(recorded, 'event')} kept; {timing}")

    def _row(self, step: Step) -> tuple[str, ...]:
        ran = "" if step.executed_ms is None else f"{step.executed_ms} ms"
        return step.said, " ".join(step.command) or "-", f"{step.generated_ms} ms", step.outcome, ran or "not run"

    def _attempts(self, journal: Journal) -> None:
        self._heading("2. What must not get in: tried, and searched for")
        attempts = make_attempts()
        rows = [(attempt.what, attempt.where, *try_attempt(journal, attempt)) for attempt in attempts]
        self._rows(("tried", "where", "the event was", "why"), rows)
        self.strings = sorted({text for attempt in attempts for text in attempt.strings})
        control = search(self.root, ["command_generated"])
        self._search(self.root)
        print(f"  (the same search finds 'command_generated' {count_text(control.found, 'time')})")
        if not control.found:
            self.code = BUG

    def _search(self, folder: str) -> None:
        result = search(folder, self.strings)
        looked = f"{count_text(result.files, 'file')}, {bytes_text(result.bytes)}"
        verdict = paint(f"{result.found} found", "red" if result.found else "green", color=self.color)
        print(f"  searched {looked}, for {len(self.strings)} strings as text, hex, base64 and SHA-256: {verdict}")
        if result.found:
            self.code = BUG

    def _verb(self, *words: str) -> int:
        print(paint(f"$ carojournal {' '.join(words)}", "cyan", color=self.color), flush=True)
        return self._note(cli.main([*words]))

    def _note(self, code: int) -> int:
        if code == INTERRUPTED:
            raise SystemExit(code)  # The verb has said so.
        if code:
            print(f"  exit code {code}")
        self.code = max(self.code, code)
        return code

    def _tool(self, *words: str, folder: str | None = None) -> tuple[int, str]:
        """Run another program; return its exit code and output.  It shares our output only through us."""
        try:
            done = subprocess.run(
                words,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=TOOL_TIMEOUT_S,
                check=False,
                text=True,
                errors="replace",
            )
        except subprocess.TimeoutExpired:
            return RETRY, f"  not done after {TOOL_TIMEOUT_S} s\n"
        return done.returncode, done.stdout

    def _bundle(self) -> None:
        out = f"{self.folder}/out"
        os.mkdir(out, 0o700)
        if importlib.util.find_spec("carobatch") is None:
            print("  (carobatch is not installed here: the plain form instead of a bundle)")
            self._verb("export", "-o", f"{out}/events.ndjson", "--format", "ndjson")
            return
        print(paint(f"$ carobatch export -o {out}", "cyan", color=self.color), flush=True)
        # A program of its own: carojournal knows nothing of carobatch.
        code, text = self._tool(sys.executable, "-P", "-m", "carobatch.cli", "export", "-o", out)
        print(text, end="")
        bundles = [name for name in os.listdir(out) if name.endswith(".tar.zst")]
        if self._note(code) == 0 and bundles:
            self._check(out, bundles[0])

    def _check(self, out: str, bundle: str) -> None:
        """Check a bundle as a stranger would: unpack it, and let coreutils compare the sums."""
        commands = (
            ("zstd", "-q", "-t", bundle),
            ("tar", "--zstd", "-xf", bundle),
            ("sha256sum", "--quiet", "-c", "tagmanifest-sha256.txt", "manifest-sha256.txt"),
        )
        folder = out
        for words in commands:
            if shutil.which(words[0]) is None or (words[0] == "tar" and shutil.which("zstd") is None):
                print(f"  ({words[0]} is not installed here)")
                return
            print(paint(f"$ {' '.join(words)}", "cyan", color=self.color), flush=True)
            code, text = self._tool(*words, folder=folder)
            print(text, end="")
            if self._note(code):
                return
            if words[0] == "tar":
                folder = next(entry.path for entry in os.scandir(out) if entry.is_dir())
                print(f"$ cd {os.path.basename(folder)}")
        print(f"  {paint('every checksum holds', 'green', color=self.color)}")
        self._search(folder)

    def _next(self) -> None:
        self._heading("Next")
        rows = [
            ("carojournal status --explain", "what is kept of your own use, and who decided that"),
            ("carojournal schema", "every field that can ever be kept"),
            ("carojournal docs", "what is collected and why, and how to switch it off"),
            ("carojournal off", "keep nothing"),
            ("carojournal demo --keep", "this again, to look around in"),
        ]
        self._rows(("command", "shows"), rows)
