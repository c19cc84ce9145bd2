"""Where a fault happens: a home directory with a configuration, a journal, and what lies around it.

    <place>/home/.config/caro/config.toml      a yes, the receiver's endpoint, and a section that is not ours
    <place>/home/.local/share/caro/telemetry/journal
    <place>/out  back  imported                bundles, receipts that were carried back, an importer's archive

A place is made once for an operation and copied for every run.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from carojournal import Journal

__all__ = ["OTHER_SECTION", "YES_MS", "Place", "environment", "scratch", "standing"]

YES_MS = 1_700_000_000_000  # The user said yes in November 2023, before anything here is recorded.
OTHER_SECTION = '[shell]\nprompt = "keep me"  # and me\n'
_DAY_MS = 86_400_000
_KEPT = ("PATH", "PYTHON", "LANG", "LC_", "TMPDIR")


def environment(home: str) -> dict[str, str]:
    """Return an environment that leads to the journal of *home* and says nothing else of telemetry."""
    return {name: value for name, value in os.environ.items() if name.startswith(_KEPT)} | {"HOME": home}


def scratch() -> str:
    """Return a new directory on the fastest disk there is: thousands of copies are made and synced."""
    return tempfile.mkdtemp(prefix="faults-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)


@contextmanager
def standing(place: "Place", log: str) -> Iterator[None]:
    """Be, inside the block, a process of this place's user: environment, directory, output to the file *log*."""
    environ, folder = dict(os.environ), os.getcwd()
    saved = [os.dup(descriptor) for descriptor in (1, 2)]
    taken = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        for descriptor in (1, 2):
            os.dup2(taken, descriptor)
        os.environ.clear()
        os.environ.update(environment(place.home))
        os.chdir(place.path)
        yield
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environ)
        for descriptor, kept in zip((1, 2), saved, strict=True):
            os.dup2(kept, descriptor)
            os.close(kept)
        os.close(taken)


@dataclass(slots=True)
class Place:
    """A place, and which events (segment uuid, seq) were acknowledged in it: number -> identity.

    `removed` are the segments that receipts must go on to name, because they were delivered and removed.
    """

    path: str
    acknowledged: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    removed: frozenset[bytes] = frozenset()

    @property
    def home(self) -> str:
        """The home directory."""
        return os.path.join(self.path, "home")

    @property
    def config(self) -> str:
        """The user's configuration."""
        return os.path.join(self.home, ".config", "caro", "config.toml")

    @property
    def root(self) -> str:
        """The journal."""
        return os.path.join(self.home, ".local", "share", "caro", "telemetry", "journal")

    def folder(self, name: str) -> str:
        """Return one of the folders beside the home."""
        return os.path.join(self.path, name)

    def copy(self, path: str) -> "Place":
        """Return a copy of this place at *path*."""
        shutil.copytree(self.path, path, symlinks=True)
        return Place(path, dict(self.acknowledged), self.removed)

    def configure(self, text: str = "", *, yes: bool = True) -> None:
        """Write the configuration: *text* goes into [telemetry]; *yes* is the recorded answer."""
        os.makedirs(os.path.dirname(self.config), 0o700, exist_ok=True)
        at = datetime.fromtimestamp(YES_MS / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        answer = f'consent = {{answer = "yes", version = 1, at = "{at}"}}\n' if yes else ""
        enabled = "enabled = true\n" if yes else ""
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(f"{OTHER_SECTION}\n[telemetry]\n{enabled}{answer}{text}\n")

    def journal(self, clock: Callable[[], int], durability: str = "os") -> Journal:
        """Open the journal as a host of this user does; *clock* is UTC nanoseconds."""
        environ = {"HOME": self.home}
        return Journal.open(clock=clock, durability=durability, environ=environ, admin="/nonexistent", level="detailed")

    def fill(self, events: int, now_ms: int, *, days_ago: int = 0) -> None:
        """Record *events* events of some days ago, a second apart."""
        at_ns = [(now_ms - days_ago * _DAY_MS) * 1_000_000]
        with self.journal(lambda: at_ns[0]) as journal:
            for _ in range(events):
                number = len(self.acknowledged) + 1
                identity = journal.append("session_end", session_duration_ms=number, commands_generated=number % 7)
                if identity is None:
                    raise RuntimeError("an event of the template was left out")
                self.acknowledged[number] = identity
                at_ns[0] += 1_000_000_000
