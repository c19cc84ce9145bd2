"""Where schedule entries live: reading, installing and removing them, through the systems' own programs."""

import os
import subprocess
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from carobatch import schedule
from carojournal.durable import write_file
from carojournal.errors import JournalUnavailable, OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Cron", "Launchd", "Plan", "Systemd", "open_scheduler"]

_TIMEOUT_S = 30


def _call(words: list[str], given: str | None = None, *, checked: bool = True) -> tuple[int, str]:
    """Run a program; return its exit code and what it printed, on stderr if the code is not 0.

    Raises JournalUnavailable if it cannot be run, and with *checked* for any other code than 0.
    """
    environ = {**os.environ, "LC_ALL": "C"}  # What is said is looked at.
    try:
        done = subprocess.run(
            words, input=given, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, env=environ
        )
    except FileNotFoundError:
        raise JournalUnavailable(f"there is no {words[0]} on this machine") from None
    except subprocess.TimeoutExpired:
        raise JournalUnavailable(f"{words[0]} does not answer") from None
    if checked and done.returncode:
        raise JournalUnavailable(f"{words[0]} exits {done.returncode}")
    return done.returncode, done.stderr if done.returncode else done.stdout


class Plan:
    """What an entry says: the command, the minute of the hour, the folders that the command writes to."""

    def __init__(self, root: str, minute: int, environ: "Mapping[str, str]", *, named: bool) -> None:
        self.command = [sys.executable, "-m", "carobatch.cli", "run"]
        # `pip install` puts the program beside the interpreter; it needs no PATH, which cron hardly has.
        beside = os.path.join(os.path.dirname(sys.executable), "carobatch")
        if os.access(beside, os.X_OK):
            self.command = [beside, "run"]
        if named:
            self.command += ["--dir", root]
        self.minute = minute
        self.writable = [root]
        self.home = environ.get("HOME") or os.path.expanduser("~")
        given = environ.get("XDG_CONFIG_HOME", "")
        self.config_home = given if given.startswith("/") else os.path.join(self.home, ".config")


class Cron:
    """The user's crontab."""

    def __init__(self, plan: Plan, call: "Callable[..., tuple[int, str]]" = _call) -> None:
        self._plan = plan
        self._call = call

    def _read(self) -> str:
        code, text = self._call(["crontab", "-l"], checked=False)
        if code == 0:
            return text
        if "no crontab" not in text.lower():  # What could not be read must not be taken for empty, and replaced.
            raise JournalUnavailable(f"crontab -l exits {code}: your crontab cannot be read, and was left alone")
        return ""

    def text(self) -> str:
        """Return the entry."""
        return schedule.crontab_with("", schedule.cron_line(self._plan.command, self._plan.minute))

    def installed(self) -> bool:
        """Tell whether our entry is there."""
        text = self._read()
        return schedule.crontab_without(text) != text

    def install(self) -> None:
        """Put our entry in, or renew it."""
        before = self._read()
        after = schedule.crontab_with(before, schedule.cron_line(self._plan.command, self._plan.minute))
        if after != before:
            self._call(["crontab", "-"], after)

    def remove(self) -> None:
        """Take our entry out; a crontab that held nothing else goes with it."""
        before = self._read()
        after = schedule.crontab_without(before)
        if after != before:
            self._call(["crontab", "-"] if after else ["crontab", "-r"], after or None)


class _Files(ABC):
    """Entries that are files of ours."""

    def __init__(self, plan: Plan, call: "Callable[..., tuple[int, str]]" = _call) -> None:
        self._plan = plan
        self._call = call

    @abstractmethod
    def files(self) -> dict[str, bytes]:
        """Return path -> content."""

    def text(self) -> str:
        """Return the entry, each file under its path."""
        return "\n".join(f"# {path}\n{data.decode()}" for path, data in self.files().items())

    def installed(self) -> bool:
        """Tell whether our files are there."""
        return all(os.path.exists(path) for path in self.files())

    def _write(self) -> None:
        for path, data in self.files().items():
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_file(path, data, overwrite=True, error=OutputError)

    def _unlink(self) -> None:
        for path in self.files():
            if os.path.lexists(path):
                os.unlink(path)


class Launchd(_Files):
    """A launch agent of the user (macOS)."""

    def files(self) -> dict[str, bytes]:
        """Return path -> content."""
        path = os.path.join(self._plan.home, "Library", "LaunchAgents", f"{schedule.LABEL}.plist")
        return {path: schedule.launchd_plist(self._plan.command, self._plan.minute)}

    def install(self) -> None:
        """Write the agent and load it."""
        [path] = self.files()
        domain = f"gui/{os.getuid()}"
        if os.path.exists(path):
            self._call(["launchctl", "bootout", f"{domain}/{schedule.LABEL}"], checked=False)
        self._write()
        self._call(["launchctl", "bootstrap", domain, path])

    def remove(self) -> None:
        """Unload the agent and remove its file."""
        if self.installed():
            self._call(["launchctl", "bootout", f"gui/{os.getuid()}/{schedule.LABEL}"], checked=False)
            self._unlink()


class Systemd(_Files):
    """A user service and its timer."""

    def files(self) -> dict[str, bytes]:
        """Return path -> content."""
        folder = os.path.join(self._plan.config_home, "systemd", "user")
        plan = self._plan
        return {
            os.path.join(folder, f"{schedule.UNIT}.service"): schedule.systemd_service(
                plan.command, plan.writable
            ).encode(),
            os.path.join(folder, f"{schedule.UNIT}.timer"): schedule.systemd_timer().encode(),
        }

    def install(self) -> None:
        """Write both units and start the timer."""
        self._write()
        self._call(["systemctl", "--user", "daemon-reload"])
        self._call(["systemctl", "--user", "enable", "--now", f"{schedule.UNIT}.timer"])

    def remove(self) -> None:
        """Stop the timer and remove both units."""
        if any(map(os.path.lexists, self.files())):
            self._call(["systemctl", "--user", "disable", "--now", f"{schedule.UNIT}.timer"], checked=False)
            self._unlink()
            self._call(["systemctl", "--user", "daemon-reload"], checked=False)


def open_scheduler(system: str, plan: Plan, call: "Callable[..., tuple[int, str]]" = _call) -> Cron | Launchd | Systemd:
    """Return the scheduler called *system* (one of `schedule.SYSTEMS`); *call* runs a program (tests)."""
    if system == "cron":
        return Cron(plan, call)
    return Launchd(plan, call) if system == "launchd" else Systemd(plan, call)
