"""One trial after another: an operation in a fresh copy of its place, a fault at its n-th call, and the questions.

trial      copy the place; act with the fault; ask; append; act again without a fault; ask again
campaign   the trials for n = 1, 2, 3 ... until the operation runs to its end without meeting the fault
"""

import gc
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from carobatch.cli import main as carobatch
from carojournal import config
from carojournal.cli.exits import BUG, EXIT_CODES
from carojournal.errors import JournalOff
from faults import accounts, tracer
from faults.judges import FOREVER, KILL, KINDS, At
from faults.operations import OPERATIONS, Operation, Told
from faults.place import Place, scratch, standing
from faults.receiver import Receiver
from faults.templates import Templates

__all__ = ["Laboratory", "Trial"]

_CODES = {code for _, code in EXIT_CODES} | {0}
_NEXT_S = 7_200  # The next run comes within two hours.
_FIRST, _AGAIN, _LATER = 1_000, 2_000, 3_000  # Numbers of events; above 99,999 the schema rounds durations.


@dataclass(slots=True)
class Trial:
    """What a fault at call number `nth` did: `call` is that call ("": it ended before), `wrong` what failed."""

    operation: str
    kind: str
    nth: int
    call: str = ""
    code: int = 0
    calls: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"--operation {self.operation} --kind {self.kind} --nth {self.nth} ({self.call})"


class Laboratory:
    """Templates, a receiver and a scratch directory; `close` removes all of it."""

    def __init__(self, folder: str = "") -> None:
        self.folder = folder or scratch()
        # Every configuration here is a fresh copy, and a fresh one's resolution is not kept: take it for an old one, so
        # that the calls which keep it are there, in every run.
        self._racy = config.RACY_NS, config.RACY_WHOLE_SECONDS_NS
        config.RACY_NS = config.RACY_WHOLE_SECONDS_NS = 0
        self.log = os.path.join(self.folder, "output")
        self.receiver = Receiver(os.path.join(self.folder, "received"))
        self._templates = Templates(time.time_ns() // 1_000_000, self.receiver.url, self.log)
        self._places: dict[str, Place] = {}

    def close(self) -> None:
        """Stop the receiver, remove the directory and take configurations for what they are again."""
        config.RACY_NS, config.RACY_WHOLE_SECONDS_NS = self._racy
        self.receiver.close()
        shutil.rmtree(self.folder)

    def template(self, operation: Operation) -> Place:
        """Return the place that *operation* starts from; made, and the operation warmed up, at the first call."""
        if operation.name not in self._places:
            place = operation.prepare(self._templates, os.path.join(self.folder, operation.name))
            found = accounts.problems(place, ())
            if found:
                raise RuntimeError(f"the template of {operation.name} is wrong: {found}")
            self._places[operation.name] = place
            warm = place.copy(os.path.join(self.folder, "warm"))
            told = os.open(os.devnull, os.O_WRONLY)
            with standing(warm, self.log):
                operation.act(warm, Told(told, _FIRST))
            os.close(told)
            shutil.rmtree(warm.path)
            gc.freeze()  # What is loaded stays: a child that collects would copy every page of it.
        return self._places[operation.name]

    def trials(self, name: str, kind: str, *, looks: bool, step: int = 1, first: int = 1) -> Iterator[Trial]:
        """Yield the trials of an operation, every *step*-th call from *first* on, to the first that meets no fault."""
        nth = first
        while True:
            done = self.trial(name, kind, nth, looks=looks)
            yield done
            if not done.call:
                return
            nth += step

    def trial(self, name: str, kind: str, nth: int, *, looks: bool) -> Trial:
        """Do one trial."""
        operation = OPERATIONS[name]
        place = self._fresh(operation)
        done = Trial(name, kind, nth)
        since = self.receiver.size()
        judge = At(place.path, kind, nth, looks=looks)
        run, answers = self._act(operation, place, _FIRST, judge)
        done.call, done.code, done.calls = judge.call, run.code, judge.count
        done.wrong.extend(self._ended(operation, place, done, run, answers))
        extra = 1 if kind == KILL else 0
        if operation.hosts and kind.endswith(FOREVER):
            # A record whose sync fails is taken back; where that fails too it stays, and nobody was promised that.
            extra = answers.count(b"-")
        done.wrong.extend(self._ask(operation, place, answers, _FIRST, since, extra))
        self._go_on(operation, place, done, since, extra)
        return done

    def under(
        self,
        name: str,
        kind: str,
        limit: int,
        around: Callable[[Place], AbstractContextManager[None]],
        before: Callable[[], None],
    ) -> Trial:
        """Do a trial under a real limit: inside *around*, in a process that has called *before*."""
        operation = OPERATIONS[name]
        place = self._fresh(operation)
        done = Trial(name, kind, limit)
        since = self.receiver.size()
        with around(place):
            run, answers = self._act(operation, place, _FIRST, before=before)
        done.code = run.code
        done.call = "" if run.code in operation.codes and b"-" not in answers else "limit"
        done.wrong.extend(self._ended(operation, place, done, run, answers))
        done.wrong.extend(self._ask(operation, place, answers, _FIRST, since, 0))
        self._go_on(operation, place, done, since, 0)
        return done

    def _fresh(self, operation: Operation) -> Place:
        path = os.path.join(self.folder, "run")
        template = self.template(operation)
        shutil.rmtree(path, ignore_errors=True)
        return template.copy(path)

    def _act(
        self,
        operation: Operation,
        place: Place,
        first: int,
        judge: At | None = None,
        before: Callable[[], None] = lambda: None,
    ) -> tuple[tracer.Run, bytes]:
        """Let the operation run in a child; return how it ended and what its host was answered."""
        theirs, ours = os.pipe()
        open(self.log, "wb").close()

        def body() -> int:
            with standing(place, self.log):
                before()
                return operation.act(place, Told(ours, first))

        run = tracer.run(body, judge, judge.names) if judge else tracer.Run(_plain(body))
        os.close(ours)
        with open(theirs, "rb") as file:
            return run, file.read()

    def _ended(self, operation: Operation, place: Place, done: Trial, run: tracer.Run, answers: bytes) -> list[str]:
        """Return what is wrong with the way in which the operation itself ended."""
        wrong = [f"synced again after a failed sync: {path}" for path in run.resynced]
        wrong += ["hung"] if run.hung else []
        if done.kind == KILL:
            return wrong if not done.call or run.code == -9 else [*wrong, f"ended with {run.code}, not by the kill"]
        with open(self.log, encoding="utf-8", errors="replace") as file:
            said = file.read()
        if "Traceback" in said or run.code not in _CODES - {BUG}:
            wrong.append(f"ended with {run.code}: {said[-1500:]}")
        if operation.hosts:
            if run.code:
                wrong.append(f"a host was raised at: {run.code}")
            # A configuration that cannot be read means off, for the next second at least.
            unread = done.call.endswith("config.toml") or done.kind.endswith(FOREVER)
            if not unread and done.kind in KINDS and answers.count(b"-") > 1:
                wrong.append(f"one fault, but answers {answers.decode()}")
        elif run.code == 0 and not operation.is_done(place):
            wrong.append(f"ended with {run.code} and was not done: {said[-500:]}")
        return wrong

    def _ask(self, operation: Operation, place: Place, answers: bytes, first: int, since: int, extra: int) -> list[str]:
        """Return what is wrong with the place; events that a host was told of are known from now on."""
        wrong = []
        if operation.hosts:
            there = accounts.numbers(place)
            for at, answer in enumerate(answers):
                if answer == ord("+"):
                    if first + at in there:
                        place.acknowledged[first + at] = there[first + at]
                    else:
                        wrong.append(f"event {at} was acknowledged and is not there")
        sent = self.receiver.events(since)
        return wrong + accounts.problems(place, sent, cleared=operation.clears, extra=extra)

    def _go_on(self, operation: Operation, place: Place, done: Trial, since: int, extra: int) -> None:
        """Append, do the operation again and ask again."""
        try:
            with place.journal(time.time_ns) as journal:
                identity = journal.append("session_end", session_duration_ms=_LATER)
            if identity is None:
                done.wrong.extend(["a later append was left out"])
            else:
                place.acknowledged[_LATER] = identity
        except JournalOff:
            pass  # The place is one where telemetry is off.
        except Exception as error:
            done.wrong.extend([f"a later append: {type(error).__name__}: {error}"])
        accounts.age(place, _NEXT_S)
        run, answers = self._act(operation, place, _AGAIN)
        if run.code not in operation.codes or b"-" in answers:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                done.wrong.extend([f"the next run ended with {run.code} {answers.decode()}: {file.read()[-1000:]}"])
        elif not operation.hosts and not operation.is_done(place):
            done.wrong.extend([f"the next run ended with {run.code} and was not done"])
        done.wrong.extend(
            [f"after the next run: {text}" for text in self._ask(operation, place, answers, _AGAIN, since, extra)]
        )
        if operation.hosts and accounts.leftovers(place):
            _plain(lambda: self._sweep(place))
        done.wrong.extend([f"left behind: {name}" for name in accounts.leftovers(place)])

    def _sweep(self, place: Place) -> int:
        """Let carobatch pass by, as it does every hour."""
        with standing(place, self.log):
            return carobatch(["compact", "--idle", "0"])


def _plain(body: Callable[[], int]) -> int:
    """Run *body* in a child and return its exit code."""
    pid = os.fork()
    if not pid:
        code = BUG
        try:
            code = body()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
