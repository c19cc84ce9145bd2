"""Processes that record and tell their parent what was acknowledged."""

import contextlib
import json
import os
import selectors
import signal
from collections.abc import Callable, Iterator
from unittest import mock

from carojournal import Journal
from faults.dying import Lines

__all__ = ["CAP_BYTES", "Crew", "open_journal", "record", "stopped_writer"]

CAP_BYTES = 10_000_000


def open_journal(root: str, **options: object) -> Journal:
    """Return a journal at *root* that no configuration of this machine touches."""
    return Journal.open(root, environ={}, admin="/nonexistent", level="detailed", **options)  # type: ignore[arg-type]


def record(root: str, events: int, tell: Lines, journal: Journal | None = None, *, raising: bool = True) -> None:
    """Record *events* events and tell each identity; with *raising* an event that is not kept is an error."""
    journal = journal or open_journal(root)
    for number in range(events):
        if raising:
            identity = journal.append("session_end", session_duration_ms=number)
            assert identity is not None
            tell([identity[0].hex(), identity[1]])
        else:
            journal.record("session_end", session_duration_ms=number)
    if journal.stats["dropped"] and raising:
        tell({"problem": f"dropped {journal.stats['reasons']}"})
    if "drop bug" in journal.stats["reasons"]:  # type: ignore[operator]
        tell({"problem": "an error of our own"})


class Crew:
    """Children at work; `made` are the identities that they were told, `problems` what they complained of."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._made: list[tuple[bytes, int]] = []
        self._children: list[int] = []
        self._pipes = selectors.DefaultSelector()
        self._parts: dict[int, bytes] = {}

    @staticmethod
    def alone(root: str, events: int) -> list[tuple[bytes, int]]:
        """Record *events* events in this process; return their identities."""
        with open_journal(root) as journal:
            made = [journal.append("session_end", session_duration_ms=number) for number in range(events)]
        return [identity for identity in made if identity is not None]

    def start(self, work: Callable[[Lines], None]) -> int:
        """Do *work* in a child; return its process id."""
        theirs, ours = os.pipe()
        child = os.fork()
        if child:
            os.close(ours)
            self._children.append(child)
            self._pipes.register(theirs, selectors.EVENT_READ)
            return child
        try:
            os.close(theirs)
            work(lambda line: _all(ours, json.dumps(line).encode() + b"\n"))
        except BaseException as error:
            _all(ours, json.dumps({"problem": f"{type(error).__name__}: {error}"}).encode() + b"\n")
        finally:
            os._exit(0)

    def is_busy(self) -> bool:
        """Hear what the children tell; return whether any is still at work."""
        for key, _ in self._pipes.select(0):
            self._hear(key.fd)
        return bool(self._pipes.get_map())

    def wait(self) -> None:
        """Wait until all children are done."""
        while self._pipes.get_map():
            for key, _ in self._pipes.select():
                self._hear(key.fd)
        for child in self._children:
            os.waitpid(child, 0)
        self._children = []

    def made(self) -> list[tuple[bytes, int]]:
        """Wait, and return what was acknowledged."""
        self.wait()
        return self._made

    def _hear(self, pipe: int) -> None:
        data = os.read(pipe, 65_536)
        if not data:
            self._pipes.unregister(pipe)
            os.close(pipe)
            return
        *lines, rest = (self._parts.get(pipe, b"") + data).split(b"\n")
        self._parts[pipe] = rest
        for line in lines:
            row = json.loads(line)
            if isinstance(row, dict):
                self.problems.append(row["problem"])
            else:
                self._made.append((bytes.fromhex(row[0]), row[1]))


def _all(pipe: int, data: bytes) -> None:
    while data:
        data = data[os.write(pipe, data) :]


@contextlib.contextmanager
def stopped_writer(root: str) -> Iterator[tuple[Crew, Callable[[], None]]]:
    """Yield a crew of one that is stopped in the middle of an append, holding lane 0, and a function that wakes it."""
    crew = Crew()

    def work(tell: Lines) -> None:
        journal = open_journal(root)
        write = os.write
        stops = iter([True])

        def stopping(descriptor: int, data: bytes) -> int:
            if data[:1] == b"\x84" and next(stops, False):
                half = write(descriptor, data[:40])
                os.kill(os.getpid(), signal.SIGSTOP)
                return half
            return write(descriptor, data)

        with mock.patch.object(os, "write", stopping):
            record(root, 2, tell, journal)

    child = crew.start(work)
    os.waitpid(child, os.WUNTRACED)
    yield crew, lambda: os.kill(child, signal.SIGCONT)
