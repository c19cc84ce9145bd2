"""Where schedule entries live: reading, installing and removing them, through the systems' own programs."""

import contextlib
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from carobatch import schedule
from carojournal import policy
from carojournal.durable import write_file
from carojournal.errors import JournalUnavailable, OutputError
from carojournal.root import make_folders, open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Cron", "Launchd", "Plan", "Systemd", "open_scheduler"]

_TIMEOUT_S = 30
_FILE_BYTES_MAX = 1_000_000  # Of ours has some thousand; what is longer is not.


def _call(words: list[str], given: bytes | None = None, *, checked: bool = True) -> tuple[int, bytes]:
    """Run a program; return its exit code and what it printed, on stderr if the code is not 0.

    Raises JournalUnavailable if it cannot be run, and with *checked* for any other code than 0.
    """
    environ = {**os.environ, "LC_ALL": "C"}  # What is said is looked at.
    try:
        done = subprocess.run(words, input=given, capture_output=True, timeout=_TIMEOUT_S, check=False, env=environ)
    except FileNotFoundError:
        raise JournalUnavailable(f"there is no {words[0]} on this machine") from None
    except subprocess.TimeoutExpired:
        raise JournalUnavailable(f"{words[0]} does not answer") from None
    if checked and done.returncode:
        raise JournalUnavailable(f"{words[0]} exits {done.returncode}")
    return done.returncode, done.stderr if done.returncode else done.stdout


class Plan:
    """What an entry says: the command, the minute of the hour, the folders that the command writes to, its variables.

    The variables are those that decide where the journal and the stored choice lie (`policy`): a run that looks
    elsewhere does not see an `off`.  *named*: the command names the journal, which need not be the user's own.
    """

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
        self.home = policy.home(environ)
        self.config_home = os.path.dirname(os.path.dirname(policy.config_files(environ)[0]))
        self.environ = {
            "HOME": self.home,
            "XDG_CONFIG_HOME": self.config_home,
            "CAROJOURNAL_DIR": policy.journal_root(environ),
        }


class Cron:
    """The user's crontab."""

    def __init__(self, plan: Plan, call: "Callable[..., tuple[int, bytes]]" = _call) -> None:
        self._plan = plan
        self._call = call

    def _read(self) -> bytes:
        code, data = self._call(["crontab", "-l"], checked=False)
        if code == 0:
            return data
        if b"no crontab" not in data.lower():  # What could not be read must not be taken for empty, and replaced.
            raise JournalUnavailable(f"crontab -l exits {code}: your crontab cannot be read, and was left alone")
        return b""

    def _line(self) -> str:
        return schedule.cron_line(self._plan.command, self._plan.minute, self._plan.environ)

    def text(self) -> str:
        """Return the entry."""
        return schedule.crontab_with(b"", self._line()).decode()

    def installed(self) -> bool:
        """Tell whether our entry is there."""
        data = self._read()
        return schedule.crontab_without(data) != data

    def install(self) -> None:
        """Put our entry in, or renew it."""
        before = self._read()
        after = schedule.crontab_with(before, self._line())
        if after != before:
            self._call(["crontab", "-"], after)

    def remove(self) -> None:
        """Take our entry out; a crontab that held nothing else goes with it."""
        before = self._read()
        after = schedule.crontab_without(before)
        if after != before:
            self._call(["crontab", "-"] if after else ["crontab", "-r"], after or None)


class _Files(ABC):
    """Entries that are files of ours; what somebody else has put in their places is left alone."""

    def __init__(self, plan: Plan, call: "Callable[..., tuple[int, bytes]]" = _call) -> None:
        self._plan = plan
        self._call = call

    @abstractmethod
    def files(self) -> dict[str, bytes]:
        """Return path -> content."""

    @abstractmethod
    def _is_ours(self, data: bytes) -> bool:
        """Tell whether a file that holds *data* was written here, by this release or another."""

    @abstractmethod
    def _start(self) -> None:
        """Make the system know the files, which are there, and call the command."""

    @abstractmethod
    def _stop(self) -> None:
        """Make the system forget the files, which are still there.  What it answers changes nothing."""

    @abstractmethod
    def _forget(self) -> None:
        """Tell the system that the files have gone.  What it answers changes nothing."""

    def text(self) -> str:
        """Return the entry, each file under its path."""
        return "\n".join(f"# {path}\n{data.decode()}" for path, data in self.files().items())

    def installed(self) -> bool:
        """Tell whether our files are there."""
        return all(self._held(path) for path in self.files())

    def install(self) -> None:
        """Write the files and start what they say, or leave everything as it was."""
        before = self._ours()
        if any(before.values()):
            self._stop()
        try:
            self._put(self.files())
            self._start()
        except BaseException:
            with contextlib.suppress(JournalUnavailable):  # The first trouble is the one to tell.
                self._stop()
            self._put(before)
            with contextlib.suppress(JournalUnavailable):
                if all(before.values()):
                    self._start()
                else:
                    self._forget()
            raise

    def remove(self) -> None:
        """Stop what the files say and remove them."""
        before = self._ours()
        if any(before.values()):
            self._stop()
            self._put(dict.fromkeys(before, b""))
            self._forget()

    def _held(self, path: str) -> bytes | None:
        """Return what our file at *path* holds: nothing if there is none, None if what is there is not ours."""
        try:
            with open(open_file(path), "rb") as file:
                data = file.read(_FILE_BYTES_MAX)
        except (FileNotFoundError, NotADirectoryError):
            return b""
        except OSError:
            return None  # A link, too: such as systemd makes where a unit is masked.
        return data if self._is_ours(data) else None

    def _ours(self) -> dict[str, bytes]:
        """Return path -> what our file there holds.  Raises JournalUnavailable if one of them is somebody else's."""
        found = {}
        for path in self.files():
            data = self._held(path)
            if data is None:
                raise JournalUnavailable(f"{path}: not written by 'carobatch schedule', and left alone")
            found[path] = data
        return found

    def _put(self, files: dict[str, bytes]) -> None:
        """Make the files hold what is given; one that is to hold nothing goes."""
        for path, data in files.items():
            if data:
                make_folders(os.path.dirname(path))
                write_file(path, data, overwrite=True, error=OutputError)
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)


class Launchd(_Files):
    """A launch agent of the user (macOS)."""

    def files(self) -> dict[str, bytes]:
        """Return path -> content."""
        plan = self._plan
        path = os.path.join(plan.home, "Library", "LaunchAgents", f"{schedule.LABEL}.plist")
        return {path: schedule.launchd_plist(plan.command, plan.minute, plan.environ)}

    def _is_ours(self, data: bytes) -> bool:
        return schedule.is_launchd_plist(data)

    def _start(self) -> None:
        [path] = self.files()
        self._call(["launchctl", "bootstrap", f"gui/{os.getuid()}", path])

    def _stop(self) -> None:
        self._call(["launchctl", "bootout", f"gui/{os.getuid()}/{schedule.LABEL}"], checked=False)

    def _forget(self) -> None:
        """Do nothing: an agent that was stopped is forgotten."""


class Systemd(_Files):
    """A user service and its timer."""

    def files(self) -> dict[str, bytes]:
        """Return path -> content."""
        folder = os.path.join(self._plan.config_home, "systemd", "user")
        plan = self._plan
        return {
            os.path.join(folder, f"{schedule.UNIT}.service"): schedule.systemd_service(
                plan.command, plan.writable, plan.environ
            ).encode(),
            os.path.join(folder, f"{schedule.UNIT}.timer"): schedule.systemd_timer().encode(),
        }

    def _is_ours(self, data: bytes) -> bool:
        return schedule.is_systemd_unit(data)

    def _start(self) -> None:
        self._call(["systemctl", "--user", "daemon-reload"])
        self._call(["systemctl", "--user", "enable", "--now", f"{schedule.UNIT}.timer"])

    def _stop(self) -> None:
        self._call(["systemctl", "--user", "disable", "--now", f"{schedule.UNIT}.timer"], checked=False)

    def _forget(self) -> None:
        self._call(["systemctl", "--user", "daemon-reload"], checked=False)


def open_scheduler(
    system: str, plan: Plan, call: "Callable[..., tuple[int, bytes]]" = _call
) -> Cron | Launchd | Systemd:
    """Return the scheduler called *system* (one of `schedule.SYSTEMS`); *call* runs a program (tests)."""
    if system == "cron":
        return Cron(plan, call)
    return Launchd(plan, call) if system == "launchd" else Systemd(plan, call)
