"""Kill at random: eight writers, and a batch tool beside them, while the bound evicts.

A writer is a fork of a warmed parent, so a kill costs a fork.  It acknowledges an event by appending its identity
(segment uuid, seq: 24 bytes) to a file of its own; between the segment and that file it may die, so that of each
killed writer at most one record is known to nobody.  The batch tool does one thing after another, chosen by the seed,
and is killed like a writer, but seldom:

    send     compact, upload to a receiver on the loopback that now and then answers 503, run
    carry    compact, then export, import into an archive, ack --reclaim

When the last writer is dead everything is done once more, unharmed.  Then each acknowledged event must be present,
delivered, confirmed or recorded as lost, and nothing else may be.  What a loss record said of a segment is collected
while the record itself is still there: later it may live on in a sum that names no segment.
"""

import os
import random
import shutil
import signal
import struct
import time
from dataclasses import dataclass, field

from carojournal import recovery
from carojournal.errors import JournalBusy
from faults import accounts, conservation
from faults.batch_tool import ACTS, child, kill
from faults.conservation import Ranges
from faults.losses import LossLog
from faults.place import Place, scratch, standing
from faults.receiver import Receiver

__all__ = ["KINDS", "Swarm", "Tally"]

KINDS = tuple(ACTS)
WRITERS = 8
_CAP_MB = 1
_FILLED = 7_500  # Events that the journal holds when the writers begin: it is full soon after.
_ACK = struct.Struct(">16sQ")
_PAUSE_S = 0.01  # On average between two volleys: a writer lives long enough for a segment or two, and may not.
_BATCH_SHARE = 0.01  # The batch tool dies in the middle of its work, but not always before any is done.
_CODES = (0, 65, 75, 69)  # Done; torn tails found; later; `run` says that the receiver failed five times.


@dataclass(slots=True)
class Tally:
    """What a swarm did; `problems` is empty where everything adds up."""

    kind: str
    seed: int
    kills: int = 0
    batch_kills: int = 0
    batches: int = 0
    seconds: float = 0.0
    balance: str = ""
    delivered: int = 0
    confirmed: int = 0
    evicted: int = 0
    problems: list[str] = field(default_factory=list)


class Swarm:
    """One run: *kills* writers are killed one after another."""

    def __init__(self, seed: int, kills: int, kind: str) -> None:
        self._random = random.Random(seed)
        self._kills = kills
        self._folder = scratch()
        self._acts = ACTS[kind]
        self.tally = Tally(kind, seed)
        self._acks = os.path.join(self._folder, "acks")
        self._log = os.path.join(self._folder, "output")
        self._writers: list[int] = []
        self._dying: list[int] = []
        self._losses = LossLog()
        self._named: Ranges = {}
        self._batch = 0
        self._act = ""
        os.mkdir(self._acks)
        self.receiver = Receiver(os.path.join(self._folder, "received"), lambda number: number % 7 == 3)
        self.place = Place(os.path.join(self._folder, "place"))
        for name in ("home", "out", "back", "imported", "stick"):
            os.makedirs(self.place.folder(name), 0o700)
        text = f'endpoint = "{self.receiver.url}"\nbatch_max_events = 200\noffline_spool_max_mb = {_CAP_MB}\n'
        self.place.configure(text)

    def run(self) -> Tally:
        """Do it; whatever happens, no process of it is left."""
        start = time.monotonic()
        try:
            self._warm()
            self._kill_all()
            self._settle()
            self._judge()
        finally:
            for pid in [*self._writers, *self._dying, self._batch]:
                if pid:
                    kill(pid)
            self.receiver.close()
            shutil.rmtree(self._folder, ignore_errors=True)
        self.tally.seconds = time.monotonic() - start
        return self.tally

    def _warm(self) -> None:
        """Load what the children need, on a journal of its own, then fill the journal."""
        self.place.fill(5, time.time_ns() // 1_000_000)
        with standing(self.place, self._log):
            for act in self._acts:
                act(self.place)
        self.place.fill(_FILLED, time.time_ns() // 1_000_000 - _FILLED * 1000)

    def _kill_all(self) -> None:
        self._writers = [self._start_writer() for _ in range(WRITERS)]
        while self.tally.kills < self._kills:
            if not self._batch:
                self._batch = self._start_batch()
            time.sleep(self._random.expovariate(1 / _PAUSE_S))
            for at in self._random.sample(range(WRITERS), self._random.randint(1, WRITERS // 2)):
                self._kill_writer(at)
                self._writers[at] = self._start_writer()
            self._reap()
            self._mind_batch()
            self._collect()

    def _kill_writer(self, at: int) -> None:
        """Kill a writer; it dies when the system finds the time."""
        os.kill(self._writers[at], signal.SIGKILL)
        self._dying.append(self._writers[at])
        self.tally.kills += 1

    def _reap(self, *, wait: bool = False) -> None:
        """Take note of the dead."""
        left = []
        for pid in self._dying:
            found, status = os.waitpid(pid, 0 if wait else os.WNOHANG)
            if not found:
                left.append(pid)
            elif os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
                self.tally.problems.append(f"a writer ended by itself with {os.waitstatus_to_exitcode(status)}")
        self._dying = left

    def _collect(self) -> None:
        """Take down what loss records say of segments, as long as they stand there."""
        for root in (self.place.root, *accounts.archives(self.place)):
            for loss in self._losses.new(root):
                segment = bytes(loss["segment"])  # type: ignore[call-overload]
                if loss["events"]:
                    self._named[segment] = [[int(loss["first_seq"]), int(loss["last_seq"])]]  # type: ignore[call-overload]

    def _mind_batch(self) -> None:
        """Kill the batch tool now and then; see whether it has ended by itself."""
        if self._random.random() < _BATCH_SHARE:
            code = kill(self._batch)
            self.tally.batch_kills += code == -signal.SIGKILL
        else:
            pid, status = os.waitpid(self._batch, os.WNOHANG)
            if not pid:
                return
            code = os.waitstatus_to_exitcode(status)
        self.tally.batches += 1
        self._batch = 0
        if code not in (*_CODES, -signal.SIGKILL):
            with open(self._log, encoding="utf-8", errors="replace") as file:
                self.tally.problems.append(f"{self._act} ended with {code}: {file.read()[-3000:]}")

    def _start_writer(self) -> int:
        life = self.tally.kills + len(self._writers)
        pid = os.fork()
        if pid:
            return pid
        with child():
            os.nice(10)  # Whoever kills must come to run.
            acks = os.open(os.path.join(self._acks, str(life)), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            number = 0
            with self.place.journal(time.time_ns) as journal:
                while True:
                    number = number % 99_999 + 1
                    try:
                        identity = journal.append("session_end", session_duration_ms=number)
                    except JournalBusy:
                        continue  # Somebody who makes room in the full spool does not come to run: not acknowledged.
                    except Exception as error:
                        os.write(2, f"{type(error).__name__}: {error}\n".encode())
                        os._exit(1)
                    if identity is not None:
                        os.write(acks, _ACK.pack(*identity))
        raise AssertionError

    def _start_batch(self) -> int:
        act = self._random.choice(self._acts)
        self._act = act.__name__
        open(self._log, "wb").close()
        pid = os.fork()
        if pid:
            return pid
        with child(), standing(self.place, self._log):
            os._exit(act(self.place))
        raise AssertionError

    def _settle(self) -> None:
        """Stop, then do everything once more without a kill."""
        for at in range(WRITERS):
            self._kill_writer(at)
        self._writers = []
        self._reap(wait=True)
        if self._batch:
            kill(self._batch)
            self._batch = 0
        with standing(self.place, self._log):
            for act in (*self._acts, self._acts[0]):
                code = act(self.place)
                self._collect()
                if code not in _CODES:
                    self.tally.problems.append(f"{act.__name__} ended with {code} in the end")

    def _acknowledged(self) -> Ranges:
        known: list[tuple[bytes, int]] = list(self.place.acknowledged.values())
        for name in os.listdir(self._acks):
            with open(os.path.join(self._acks, name), "rb") as file:
                data = file.read()
            known += _ACK.iter_unpack(data[: len(data) // _ACK.size * _ACK.size])  # type: ignore[arg-type]
        if len(set(known)) != len(known):
            self.tally.problems.append("one identity was acknowledged twice")
        self.place.acknowledged = dict(enumerate(known))
        return conservation.ranges(known)

    def _judge(self) -> None:
        tally, place = self.tally, self.place
        known = self._acknowledged()
        sent, confirmed = accounts.delivered(place, self.receiver.events()), accounts.confirmed(place)
        outcomes = {"delivered": sent, "confirmed": confirmed}
        balance = conservation.check(
            place.root, known, outcomes=outcomes, extra=tally.kills, archives=accounts.archives(place)
        )
        tally.balance, tally.problems = str(balance), tally.problems + balance.problems
        present = conservation.survey(place.root).present
        unexplained = conservation.without(known, conservation.joined(present, sent, confirmed, self._named))
        if unexplained:
            tally.problems.append(f"{conservation.count(unexplained):,} events are gone, and no loss record named them")
        tally.delivered, tally.confirmed = conservation.count(sent), conservation.count(confirmed)
        tally.evicted = sum(balance.lost.values())
        report = recovery.verify(place.root)
        tally.problems += [f"damage: {one}" for one in report.damage] + [f"gap: {one}" for one in report.gaps]
        tally.problems += [f"left behind: {name}" for name in self._leftovers()]
        with place.journal(time.time_ns) as journal:
            if not journal.record("session_end", session_duration_ms=1):
                tally.problems.append("no append afterwards")

    def _leftovers(self) -> list[str]:
        accounts.age(self.place, 7_200)
        with standing(self.place, self._log):
            for act in self._acts:
                act(self.place)
        return accounts.leftovers(self.place)
