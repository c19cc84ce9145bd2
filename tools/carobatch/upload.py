"""Upload: what is pending goes out batch by batch, and what a receipt accounts for is removed.

    consent holds now? -> intent durable -> receiver noted -> request -> verdict -> receipt durable -> copy kept

Killed anywhere, the next run finds either the intent, and sends the same bytes again, or the receipt, and only tidies
up.  The receiver sees a batch at least once and an event under one id always.  While a batch is written, sent and
answered, the next one is read, checked and rendered.

An event that a receiver refuses by itself (400, 413, 422) is only at fault if the receiver takes others, in this run
or within the day before; until then it waits, and a receiver that refuses everything is held instead of emptying the
journal into quarantine.
"""

import contextlib
import os
import random as random_
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carobatch import deliveries, plan, timing, verdicts
from carobatch.ahead import ahead
from carobatch.batch import batch_of, session_of
from carobatch.noting import NotingReader
from carobatch.outbox import Outbox
from carobatch.resume import keep_refused, look_again
from carobatch.sinks import deletion_request, receiver_of
from carobatch.spared import still_there
from carobatch.sweep import sweep
from carojournal import deletion, sent, spool
from carojournal.codec import dumps
from carojournal.durable import write_file
from carojournal.errors import JournalIOError
from carojournal.identity import day_of
from carojournal.reader import JournalReader
from carojournal.unfinished import Tellers, finish_evictions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from carobatch.batch import Batch, Request
    from carobatch.http import Client
    from carobatch.outbox import Intent
    from carobatch.sinks import Sink
    from carobatch.verdicts import Verdict
    from carojournal.recheck import Refusals
    from carojournal.record import Record

__all__ = ["Job", "Outcome", "Upload"]

SUSPECTS_MAX = 8  # Events refused one by one before anything was accepted: then it is not the events.
SENT_SHARE = 20  # Copies of what was sent take at most a twentieth of the cap.
_FOLD_EVERY = 64
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Job:
    """What an upload needs.

    `allowed()` returns the time of the yes (UTC ms) if sending is allowed now, else 0; `may_ask()` tells whether
    requests to delete may be delivered.  `clock()` is UTC ms, `random()` 0 <= x < 1;
    `batches_max` 0 means all.
    """

    root: str
    sink: "Sink"
    client: "Client"
    allowed: "Callable[[], int]"
    may_ask: "Callable[[], bool]"
    clock: "Callable[[], int]"
    events_max: int
    cap_bytes: int
    interval_ms: int
    batches_max: int = 0
    random: "Callable[[], float]" = random_.random


@dataclass(slots=True)
class Outcome:
    """What a run did; `kind` is done, more (batches_max), later, hold, failure or denied, `reason` says why.

    `withheld` counts the events that the allowlist refuses today, `refused` the (event, field, reason) of them.
    """

    kind: str = "done"
    reason: str = ""
    batches: int = 0
    events: int = 0
    quarantined: int = 0
    withheld: int = 0
    rejected: int = 0
    requests: int = 0
    deletions: int = 0
    reclaimed_files: int = 0
    reclaimed_bytes: int = 0
    retry_after_ms: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str, str]] = field(default_factory=Counter)


class _Stop(Exception):
    """Nothing more is sent in this run; the outcome says why."""


class Upload:
    """One run; the caller holds batch.lock."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.outcome = Outcome()
        self._outbox = Outbox(job.root, job.cap_bytes // SENT_SHARE)
        self._tellers = Tellers(job.root)
        self._done: deliveries.Accounted = {}
        self._reader = NotingReader(job.root)
        self._tries = timing.load_tries(job.root)
        self._consent_ms = 0
        self._limit = job.events_max
        self._look_at = 0
        self._suspects: list[tuple[Batch, int]] = []
        self._sessions: frozenset[bytes] = frozenset()
        self._named: set[tuple[bytes, int]] = set()  # Of an intent's events, which are met again, those withheld.

    def run(self) -> Outcome:
        """Send what is pending, as far as it goes, and reclaim.  Raises JournalIOError, OSError, ConfigError."""
        job, outcome = self.job, self.outcome
        self._done = deliveries.accounted(job.root)
        self._consent_ms = job.allowed()
        try:
            self._ask_deletions()
            self._check_consent()
            intents = self._untold(self._outbox.intents())
            finish_evictions(job.root)
            self._sessions = deletion.sendable_sessions(job.root)
            for intent in intents:
                self._resume(intent)
            with contextlib.closing(ahead(self._rendered())) as prepared:
                for batch, request in prepared:
                    self._deliver(batch, request)
                    if outcome.batches and (outcome.batches % _FOLD_EVERY == 0 or self._is_tight()):
                        self._tidy()
            self._judge_suspects()
            if self._is_something_unreadable():
                self._stop(verdicts.LATER, "a file of the journal cannot be read now")
        except _Stop:
            if self._suspects and self._takes_others():
                self._quarantine_suspects()
        self._tidy(whole=True)
        self._note()
        return outcome

    def _pending(self, withhold: "plan.Withhold" = lambda _identity, _refusals: None) -> "Iterator[Record]":
        return plan.pending(self._reader, self._consent_ms, self._done, self._sessions, withhold=withhold)

    def _rendered(self) -> "Iterator[tuple[Batch, Request]]":
        """Yield what is pending, ready to be sent.  Runs beside the sending of the batch before, and sends nothing."""
        for batch in plan.batches(self._pending(self._withhold), self.job.events_max):
            yield batch, self.job.sink.render(batch)

    def _withhold(self, identity: tuple[bytes, int], bad: "Refusals") -> None:
        """Count an event that the allowlist refuses today."""
        if identity not in self._named:
            self.outcome.withheld += 1
            self.outcome.refused.update(set(bad))

    def _stop(self, kind: str, reason: str, retry_after_ms: int = 0) -> None:
        self.outcome.kind, self.outcome.reason, self.outcome.retry_after_ms = kind, reason, retry_after_ms
        raise _Stop

    def _check_consent(self) -> None:
        if not self._consent_ms or self.job.allowed() != self._consent_ms:
            self._stop("denied", "the user's choice forbids it")

    def _ask_deletions(self) -> None:
        """Send the requests to delete first: what the user wants gone must not wait behind anything."""
        for asked in deletion.pending(self.job.root):
            request = deletion_request(self.job.sink, asked)
            if request is None:
                continue
            if not self.job.may_ask():
                return
            self.outcome.requests += 1
            answer = self.job.client.post(request.url, dict(request.headers), request.body)
            verdict = self.job.sink.judge(answer, frozenset(), self.job.clock())
            if verdict.kind == verdicts.ACCEPTED:
                deletion.acknowledge(self.job.root, asked.request, self.job.clock())
                self.outcome.deletions += 1
            else:
                self._stop(verdicts.LATER, f"deletion request: {verdict.reason}", verdict.retry_after_ms)

    def _untold(self, intents: "list[Intent]") -> "list[Intent]":
        """Return those of *intents* of which no host has told an event as lost; the others go, and were never sent.

        Whoever wrote such a one was killed before it looked whether its events were still there, which it does before
        it sends: an intent that was there at that look is spared by every host.
        """
        if intents:  # Whoever made room without seeing them has told what it took by then, or died.
            spool.unlock_room(spool.lock_room(self.job.root, spool.PATIENT_S))
        kept = []
        for intent in intents:
            rows: list[tuple[bytes, object, object]] = intent.value["identities"]  # type: ignore[assignment]
            if self._tellers.told(segment for segment, _, _ in rows):
                self._outbox.discard(intent)
            else:
                kept.append(intent)
        return kept

    def _resume(self, intent: "Intent") -> None:
        """Send an intent of an earlier run again, unless it must not be sent any more."""
        sink = self.job.sink
        same = (intent.value["target"], intent.value["consent"]) == (sink.target, self._consent_ms)
        if not same or not intent.sessions <= self._sessions:
            self._outbox.discard(intent)
            return
        looked = look_again(JournalReader(self.job.root), intent, sink)
        if looked.refused:
            keep_refused(self.job.root, intent.batch, looked.refused)
            for segment, seq, bad in looked.refused:
                self._withhold((segment, seq), bad)
                self._named.add((segment, seq))
        if not looked.stands or not self._may_go(intent):
            self._outbox.discard(intent)
            return
        verdict, status = self._send(intent)
        if verdict.kind in (verdicts.SPLIT, verdicts.ISOLATE):
            self._outbox.discard(intent)  # It is planned anew, and taken apart then.
        else:
            self._settle(intent, verdict, status)

    def _deliver(self, batch: "Batch", request: "Request") -> None:
        """Send *batch* as *request*, in parts if the receiver wants it smaller or refuses something in it."""
        waiting = [batch]
        while waiting:
            one = waiting.pop()
            if len(one.records) > self._limit:
                waiting += reversed(one.halves())
                continue
            if self.job.batches_max and self.outcome.batches >= self.job.batches_max:
                self._stop("more", "as many batches as were asked for")
            left = self._still_wanted(one.records)
            if len(left) < len(one.records):
                waiting += [batch_of(left, one.day)] if left else []
                continue
            made = request if one is batch else self.job.sink.render(one)
            self._check_consent()
            intent = self._outbox.write(one, made, self.job.sink, self._consent_ms, self.job.clock())
            left = still_there(self.job.root, one.records, self._tellers)
            if len(left) < len(one.records) or not self._may_go(intent):
                self._outbox.discard(intent)
                waiting += [batch_of(left, one.day)] if left else []
                continue
            verdict, status = self._send(intent)
            if verdict.kind not in (verdicts.SPLIT, verdicts.ISOLATE):
                self._settle(intent, verdict, status)
                continue
            self._outbox.discard(intent)
            if len(one.records) > 1:
                if verdict.kind == verdicts.SPLIT:
                    self._limit = len(one.records) // 2
                waiting += reversed(one.halves())
                continue
            self._suspects.append((one, status))
            if len(self._suspects) >= SUSPECTS_MAX and not self._takes_others():
                self._judge_suspects()

    def _still_wanted(self, records: "Sequence[Record]") -> "Sequence[Record]":
        """Return those of *records* whose deletion the user has not asked for since this run began."""
        asked = deletion.requested_sessions(self.job.root)
        return [record for record in records if session_of(record) not in asked] if asked else records

    def _may_go(self, intent: "Intent") -> bool:
        """Mark the sessions of *intent* as sent to this receiver, and tell whether nobody asks for their deletion now.

        In this order: `delete-remote` makes its requests first and then looks for marks, so that one of both sees what
        the other did.
        """
        self._check_consent()
        day = day_of(int(intent.value["day"]) * _DAY_MS)  # type: ignore[call-overload]
        deletion.mark_sent(self.job.root, day, intent.sessions, receiver_of(self.job.sink))
        return deletion.requested_sessions(self.job.root).isdisjoint(intent.sessions)

    def _send(self, intent: "Intent") -> "tuple[Verdict, int]":
        job, tries = self.job, self._tries
        request, name = intent.request, intent.batch.hex()
        tries.attempts = tries.attempts + 1 if tries.batch == name else 1
        tries.batch = name
        headers = {**dict(request.headers), **job.sink.attempt_headers(tries.attempts, job.clock())}
        self.outcome.requests += 1
        answer = job.client.post(request.url, headers, request.body)
        verdict = job.sink.judge(answer, frozenset(intent.events()), job.clock())
        return verdict, getattr(answer, "status", 0)

    def _settle(self, intent: "Intent", verdict: "Verdict", status: int) -> None:
        """Keep what an accepted batch's verdict says; stop the run on any other."""
        if verdict.kind != verdicts.ACCEPTED:
            self._stop(verdict.kind, verdict.reason, verdict.retry_after_ms)
        events = intent.events()
        if verdict.again and len(verdict.again) == len(events):
            self._stop(verdicts.LATER, "the receiver wants every event again", verdict.retry_after_ms)
        accepted, refused = intent.divided(verdict.refused, verdict.again)
        if refused:
            self._quarantine(intent.batch, status, refused)
        self._outbox.settle(intent, verdict, status, self.job.clock(), accepted, refused)
        deliveries.add(self._done, accepted.items())
        deliveries.add(self._done, refused.items())
        outcome = self.outcome
        outcome.batches += 1
        outcome.events += len(events) - len(verdict.again) - len(verdict.refused)
        outcome.quarantined += len(verdict.refused)
        outcome.rejected += verdict.rejected
        counts: dict[str, int] = intent.value["counts"]  # type: ignore[assignment]
        outcome.counts.update(counts)
        if verdict.again:
            self._stop(verdicts.LATER, "the receiver wants some events again", verdict.retry_after_ms)

    def _quarantine(self, batch: bytes, status: int, refused: dict[bytes, list[list[int]]]) -> None:
        """Keep what the receiver refused for good: the events are good by our rules, so they are kept as they are."""
        wanted = {
            segment: {seq for first, last in runs for seq in range(first, last + 1)}
            for segment, runs in refused.items()
        }
        rows: list[dict[str, object]] = []
        missing = sum(map(len, wanted.values()))
        for record in self._pending():
            if record.seq in wanted.get(record.segment, ()):
                rows.append({"segment": record.segment, "seq": record.seq, "event": record.payload})
                missing -= 1
                if not missing:
                    break
        folder = os.path.join(self.job.root, "quarantine")
        os.makedirs(folder, 0o700, exist_ok=True)
        data = dumps({"record": "refused", "version": 1, "batch": batch, "status": status, "events": rows})
        write_file(os.path.join(folder, f"refused-{batch.hex()}.cbor"), data, overwrite=True, error=JournalIOError)

    def _takes_others(self) -> bool:
        """Tell whether the receiver has accepted events, in this run or within the day before."""
        now_ms = self.job.clock()  # What a clock that was wrong has dated later than that says nothing.
        return self.outcome.batches > 0 or any(
            one.events and 0 <= now_ms - one.at_ms <= verdicts.HOLD_MS and one.url == self.job.sink.url
            for one in sent.sent_batches(self.job.root)
        )

    def _judge_suspects(self) -> None:
        """Quarantine events that were refused one by one, if the receiver has taken others."""
        if not self._suspects:
            return
        if not self._takes_others():
            self._stop(verdicts.HOLD, f"status {self._suspects[0][1]} to everything")
        self._quarantine_suspects()

    def _quarantine_suspects(self) -> None:
        suspects, self._suspects = self._suspects, []
        for batch, status in suspects:
            request = self.job.sink.render(batch)
            intent = self._outbox.write(batch, request, self.job.sink, self._consent_ms, self.job.clock())
            if len(still_there(self.job.root, batch.records, self._tellers)) < len(batch.records):
                self._outbox.discard(intent)  # Evicted meanwhile, and recorded as lost.
                continue
            self._settle(intent, verdicts.Verdict(verdicts.ACCEPTED, refused=frozenset(intent.events())), status)

    def _is_something_unreadable(self) -> bool:
        return any(found.reason == "unreadable" for found in self._reader.damage)

    def _is_tight(self) -> bool:
        """Tell whether the spool is full, so that copies and receipts must not add up before what was sent goes."""
        if self._outbox.written < self._look_at:
            return False
        room = self.job.cap_bytes - sum(size for _, _, size in spool.usage(self.job.root))
        # A look takes time with every file: not before half of the room that is left now is written.
        self._look_at = self._outbox.written + max(room, 0) // 2
        return room < 0

    def _tidy(self, *, whole: bool = False) -> None:
        """Reclaim what is accounted for, fold receipts, bound the copies; *whole*: look at files not read, too."""
        self._outbox.sync()
        if whole:
            sweep(self.job.root)  # What a killed run has left.
        if self._done:
            files, size = deliveries.reclaim(self._reader, self._done, whole=whole)
            self.outcome.reclaimed_files += files
            self.outcome.reclaimed_bytes += size
            if not self._is_something_unreadable():  # Folding forgets what was delivered of what is not listed.
                deliveries.fold(self.job.root, self._reader.present)
        if os.path.isdir(os.path.join(self.job.root, "sent")):
            self._outbox.prune()

    def _note(self) -> None:
        """Keep when to try again."""
        outcome, tries, now_ms = self.outcome, self._tries, self.job.clock()
        if outcome.kind == "denied":
            return
        if outcome.kind in ("done", "more"):
            timing.succeeded(tries, now_ms)
        else:
            asked, hold = outcome.retry_after_ms, verdicts.HOLD_MS if outcome.kind == verdicts.HOLD else 0
            whose = receiver_of(self.job.sink)
            timing.failed(tries, now_ms, outcome.reason, asked, self.job.interval_ms, self.job.random, hold, whose)
        timing.save_tries(self.job.root, tries)
