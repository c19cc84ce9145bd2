"""What the batch tool does in the model: compact, export, import, acknowledge, upload; each also killed half-way."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from carobatch.ack import acknowledge, reclaim
from carobatch.bundle import SUFFIX
from carobatch.compact import compact
from carobatch.export import plan_export
from carobatch.importer import Imported, import_bundle
from carobatch.ledger import Ledger
from carobatch.media import write_media
from carobatch.outbox import standing_intents
from carobatch.seal import seal_idle_lanes
from carobatch.sinks import open_sink
from carobatch.store import PackedStore
from carobatch.upload import Job, Outcome, Upload
from carojournal.errors import DamagedData, JournalUnavailable
from carojournal.identity import open_identity
from carojournal.reader import JournalReader
from carojournal.record import derive_event_id
from faults import conservation
from faults.dying import Lines
from faults.model_accidents import Accidents
from faults.model_receiver import Receiver
from faults.model_world import CAP_BYTES, Event, Identity

__all__ = ["Batches", "Bundle"]

_KILLED_EVENTS = 12
_DAY_MS = 86_400_000
_URL = "https://receiver.invalid/v1/events"
_UNLUCKY = 11  # One event in eleven is of a kind that this receiver refuses.


@dataclass(slots=True)
class Bundle:
    """A bundle that was handed out: where it lies, what it holds, its receipt, and the journal's life that it is of."""

    path: str
    events: set[Identity]
    life: int
    receipt: str = ""
    root: str = ""


@dataclass(slots=True)
class Held:
    """What an imported journal must hold, and may hold besides because an import was killed."""

    must: set[Identity] = field(default_factory=set)
    may: set[Identity] = field(default_factory=set)


class Batches(Accidents):
    """A world with a batch tool, a receiver and an importer."""

    def __init__(self, place: str, seed: int, writers: int = 3) -> None:
        super().__init__(place, seed, writers)
        self.receiver = Receiver(_is_unlucky)
        self.bundles: list[Bundle] = []
        self.imported: dict[str, Held] = {}
        self.exports = 0
        self.life = 0
        self.into = os.path.join(place, "imported")

    def _store(self) -> PackedStore:
        return PackedStore(self.root, CAP_BYTES, 3)

    def compact(self, idle_ms: int) -> None:
        """Seal what rests, pack and merge."""
        if os.path.isdir(self.root):
            compact(self.root, self._store(), self.now_ms, idle_ms)

    def present(self) -> set[Identity]:
        """Return the events that can be read."""
        return expanded(conservation.survey(self.root).present)

    def export(self, since: float, until: float) -> None:
        """Write a bundle of the events between two places in the span of time that the journal covers."""
        if not os.path.isdir(self.root):
            return
        present = self.present()
        times = sorted(self.known.events[one].time_ms for one in present)
        window: tuple[int | None, int | None] = (None, None)
        if times and (since > 0 or until < 1):
            window = (times[int(since * (len(times) - 1))], times[int(until * (len(times) - 1))])
        self.exports += 1
        path, carried, is_told = self._export(self.exports, window)
        wanted = {one for one in self.present() if _is_within(self.known.events[one].time_ms, window)}
        if path:
            # A packed file whose inventory is damaged is read all the same, but goes into no bundle; that is said.
            assert carried <= wanted, "a bundle holds more than was asked for"
            assert wanted - carried <= self.known.damaged, "a bundle lacks what nothing had damaged"
            assert is_told or carried == wanted, "a bundle lacks events, and nothing was said"
            self.bundles.append(Bundle(path, carried, self.life))
        elif not self.known.damaged:
            assert not wanted, "there are events and nothing to export"

    def _export(self, number: int, window: tuple[int | None, int | None]) -> tuple[str, set[Identity], bool]:
        """Return the bundle's path ("": none), the events that it says it holds, whether damage was reported."""
        store, ledger = self._store(), Ledger(self.root, self.random.randbytes)
        compact(self.root, store, self.now_ms + 1_000 * _DAY_MS, 0)
        journal = open_identity(self.root, self.now_ms, self.random.randbytes).journal
        bad: frozenset[str] = frozenset()
        while (plan := plan_export(store, ledger, journal, window, None, bad)) is not None:
            folder = os.path.join(self.place, f"export-{number}")
            os.makedirs(folder, exist_ok=True)
            entry = plan.entry
            try:
                paths, _ = write_media(
                    plan.chunks(),
                    os.path.join(folder, plan.name + SUFFIX),
                    before_commit=lambda entry=entry: ledger.write_bundle(entry),  # type: ignore[misc]
                )
            except DamagedData as error:
                if error.path in bad:
                    raise
                bad |= {error.path}  # As the verb does: the bundle goes without it.
                continue
            held = {bytes.fromhex(segment): runs for segment, runs in entry["segments"].items()}  # type: ignore[attr-defined]
            return paths[0], expanded(held), bool(bad or plan.problems)
        return "", set(), bool(bad)

    def import_(self, which: int) -> None:
        """Import one of the bundles, again or for the first time."""
        if self.bundles:
            bundle = self.bundles[which % len(self.bundles)]
            self._imported(bundle, import_bundle(bundle.path, self.into))

    def _imported(self, bundle: Bundle, done: Imported) -> None:
        assert done.verdict.is_valid, (done.verdict.errors, done.verdict.refusals[:3])
        assert not done.conflicts, done.conflicts
        assert done.events == len(bundle.events), (done.events, len(bundle.events))
        bundle.receipt, bundle.root = done.receipt, done.root
        self.imported.setdefault(done.root, Held()).must |= bundle.events

    def acknowledge(self, which: int, *, reclaiming: bool) -> None:
        """Carry a receipt back."""
        with_receipt = [bundle for bundle in self.bundles if bundle.receipt]
        if not with_receipt or not os.path.isdir(self.root):
            return
        bundle = with_receipt[which % len(with_receipt)]
        before = self.present()
        try:
            found = self._acknowledge(bundle, reclaiming=reclaiming)
        except JournalUnavailable:
            assert bundle.life != self.life, "a receipt for a bundle of ours is refused"
            return
        assert bundle.life == self.life, "a receipt for what was cleared is taken"
        assert found == len(bundle.events)
        self.known.confirmed |= bundle.events
        assert before - self.present() <= self.known.confirmed, "removed without having been confirmed"
        self._forget_told()

    def _forget_told(self) -> None:
        """Count as confirmed what is gone by now: losses that stood in a file that was removed are the importer's."""
        gone = conservation.without(self.acknowledged(), conservation.survey(self.root).present)
        self.known.confirmed |= expanded(gone)

    def _acknowledge(self, bundle: Bundle, *, reclaiming: bool) -> int:
        ledger = Ledger(self.root)
        journal = open_identity(self.root, self.now_ms, self.random.randbytes).journal
        found = acknowledge(ledger, journal, bundle.receipt)
        if reclaiming:
            reclaim(self._store(), ledger)
        return found.events

    def upload(self, script: list[str]) -> Outcome | None:
        """Send what is pending to a receiver that answers as *script* says."""
        if not os.path.isdir(self.root):
            return None
        self.receiver.script = [*script]
        done = self._upload(self.receiver)
        assert done.kind != "denied" or self.mode != "on", "not sent although the user said yes"
        self.known.out_of_order |= bool(standing_intents(self.root))
        return done

    def _upload(self, receiver: Receiver) -> Outcome:
        if self.sending_allowed():
            seal_idle_lanes(self.root, self.now_ms, 0)
        job = Job(
            root=self.root,
            sink=open_sink("caro-v1", _URL),
            client=receiver,  # type: ignore[arg-type]
            allowed=self.sending_allowed,
            may_ask=lambda: False,
            clock=lambda: self.now_ms,
            events_max=16,
            cap_bytes=CAP_BYTES,
            interval_ms=_DAY_MS,
            random=self.random.random,
        )
        return Upload(job).run()

    def killed(self, what: str, nth: int, which: int, script: list[str]) -> None:
        """Do something in a process that dies at its *nth* call that changes a file."""
        if not os.path.isdir(self.root):
            return
        if what == "compact":
            self.kill(nth, lambda _: self.compact(0), _deaf)
        elif what == "append":
            first = self.count + 1
            self.count += 4 * _KILLED_EVENTS
            self.kill(nth, lambda tell: self._append_and_tell(first, tell), self._hear_append)
            self._find_untold(first)
        elif what == "export":
            self.exports += 1
            number = self.exports
            self.kill(nth, lambda _: self._export(number, (None, None)), _deaf)
        elif what == "upload":
            self.kill(nth, lambda tell: self._upload_and_tell(script, tell), self.receiver.hear)
        elif what == "clear":
            self.kill(nth, lambda _: self.clear(remove_root=False), _deaf)
            self.clear(remove_root=False)
        elif self.bundles:
            self._killed_carrying(what, nth, self.bundles[which % len(self.bundles)])

    def _killed_carrying(self, what: str, nth: int, bundle: Bundle) -> None:
        if what == "import":
            self.kill(nth, lambda _: import_bundle(bundle.path, self.into), _deaf)
            for name in os.listdir(self.into) if os.path.isdir(self.into) else ():
                self.imported.setdefault(os.path.join(self.into, name), Held()).may |= bundle.events
        elif bundle.receipt and bundle.life == self.life:
            self.known.confirmed |= bundle.events
            self.kill(nth, lambda _: self._acknowledge(bundle, reclaiming=True), _deaf)
            self._forget_told()

    def _append_and_tell(self, first: int, tell: Lines) -> None:
        self.count = first - 1
        journal = self._open()
        for _ in range(4):
            self._append(
                journal,
                _KILLED_EVENTS,
                lambda identity, events, event, _: tell(
                    [identity[0].hex(), identity[1], events, event.number, event.time_ms, event.consent_ms]
                ),
            )

    def _hear_append(self, row: list[Any]) -> None:
        segment, seq, events, number, time_ms, consent_ms = row
        self.learn((bytes.fromhex(segment), seq), events, Event(number, time_ms, consent_ms), True)

    def _find_untold(self, first: int) -> None:
        """Learn of events that a dead process wrote and could not tell of any more: they may be there."""
        consent_ms = self.consent_ms if self.mode == "on" else 0
        for record in JournalReader(self.root).records(events_only=True):
            number = record.value["session_duration_ms"]
            if (record.segment, record.seq) not in self.known.events:
                assert isinstance(number, int)
                assert number >= first, "an event that nobody recorded"
                self.learn((record.segment, record.seq), 1, Event(number, self.now_ms, consent_ms), False)

    def _upload_and_tell(self, script: list[str], tell: Lines) -> None:
        receiver = Receiver(_is_unlucky, tell)
        receiver.script = [*script]
        self._upload(receiver)

    def clear(self, *, remove_root: bool) -> None:
        """Let the user delete everything that is kept; bundles of before are of another life."""
        super().clear(remove_root=remove_root)
        self.life += 1

    def delivered(self) -> set[Identity]:
        """Return the events that the receiver took or refused for good, by what it knows of them."""
        ids = {derive_event_id(*one): one for one in self.known.events}
        return {ids[one] for one in {*self.receiver.taken, *self.receiver.refused}}


def _deaf(_: list[Any]) -> None:
    """Hear nothing."""


def _is_unlucky(event: Mapping[str, object]) -> bool:
    return int(str(event["session_duration_ms"])) % _UNLUCKY == 0


def _is_within(time_ms: int, window: tuple[int | None, int | None]) -> bool:
    return (window[0] is None or time_ms >= window[0]) and (window[1] is None or time_ms < window[1])


def expanded(found: conservation.Ranges) -> set[Identity]:
    """Return ranges as a set of identities."""
    return {(segment, seq) for segment, runs in found.items() for first, last in runs for seq in range(first, last + 1)}
