"""Intents: what is about to be sent, durable before its first byte; formats in `carojournal.sent`.

    write      outbox/<batch>.cbor, synced
    settle     receipt durable -> the intent moves to sent/ in one rename
    discard    the intent goes; its events are pending again

While an intent stands in outbox/, a host that makes room spares the segments that it names (`eviction.in_flight`).
"""

import contextlib
import os
from typing import TYPE_CHECKING

from carobatch.batch import Batch, Request
from carobatch.receipt import union
from carojournal import sent
from carojournal.durable import sync_directory, write_file
from carojournal.errors import JournalIOError
from carojournal.record import derive_event_id
from carojournal.root import is_folder

if TYPE_CHECKING:
    from carobatch.sinks import Sink
    from carobatch.verdicts import Verdict

__all__ = ["Intent", "Outbox", "standing_intents"]

Runs = list[list[int]]


class Intent:
    """One batch that is decided on: the request, and which events it carries."""

    __slots__ = ("_events", "path", "value")

    def __init__(self, path: str, value: dict[str, object], events: dict[str, tuple[bytes, int]] | None = None) -> None:
        self.path = path
        self.value = value
        self._events = events

    @property
    def batch(self) -> bytes:
        """The batch id, 32 bytes."""
        return self.value["batch"]  # type: ignore[return-value]

    @property
    def request(self) -> Request:
        """The request, byte for byte as it was first decided on."""
        headers: list[list[str]] = self.value["headers"]  # type: ignore[assignment]
        pairs = tuple((name, text) for name, text in headers)
        return Request(str(self.value["url"]), pairs, self.value["body"])  # type: ignore[arg-type]

    @property
    def sessions(self) -> frozenset[bytes]:
        """The session ids of the events."""
        listed: list[bytes] = self.value["sessions"]  # type: ignore[assignment]
        return frozenset(listed)

    def events(self) -> dict[str, tuple[bytes, int]]:
        """Return event id -> (segment, seq)."""
        if self._events is None:
            rows: list[tuple[bytes, Runs, bytes]] = self.value["identities"]  # type: ignore[assignment]
            self._events = {
                derive_event_id(segment, seq): (segment, seq)
                for segment, runs, _ in rows
                for first, last in runs
                for seq in range(first, last + 1)
            }
        return self._events

    def divided(self, refused: frozenset[str], again: frozenset[str]) -> tuple[dict[bytes, Runs], dict[bytes, Runs]]:
        """Return segment -> runs of the events that are in neither set, and of those in *refused*."""
        if not refused and not again:
            rows: list[tuple[bytes, Runs, bytes]] = self.value["identities"]  # type: ignore[assignment]
            return {segment: runs for segment, runs, _ in rows}, {}
        found: tuple[dict[bytes, Runs], dict[bytes, Runs]] = {}, {}
        for event, (segment, seq) in self.events().items():
            if event not in again:
                found[event in refused].setdefault(segment, []).append([seq, seq])
        return tuple({segment: union(runs, []) for segment, runs in part.items()} for part in found)  # type: ignore[return-value]


def _receipt_path(root: str, batch: bytes) -> str:
    return os.path.join(root, sent.RECEIPTS, f"{sent.RECEIPT_PREFIX}{batch.hex()}.cbor")


def standing_intents(root: str) -> list[Intent]:
    """Return the intents that have no receipt yet, changing nothing."""
    folder = os.path.join(root, sent.OUTBOX)
    found = []
    for name in sorted(os.listdir(folder)) if is_folder(folder) else ():
        value = sent.read_map(os.path.join(folder, name), "intent")
        if value is not None and not os.path.exists(_receipt_path(root, value["batch"])):  # type: ignore[arg-type]
            found.append(Intent(os.path.join(folder, name), value))
    return found


class Outbox:
    """The folders outbox/, sent/ and receipts/ of the journal at *root*; the caller holds batch.lock.

    At most *sent_bytes_max* bytes of copies stay in sent/.  Errors: JournalIOError, OSError.
    """

    def __init__(self, root: str, sent_bytes_max: int) -> None:
        self.root = root
        self._sent_bytes_max = sent_bytes_max
        self._moved = False
        self.written = 0  # Bytes of intents and receipts, by this object.

    def _path(self, *parts: str) -> str:
        return os.path.join(self.root, *parts)

    def _keep(self, path: str, value: dict[str, object]) -> None:
        data = sent.encode_map(value)
        write_file(path, data, overwrite=True, error=JournalIOError)
        self.written += len(data)

    def write(self, batch: Batch, request: Request, sink: "Sink", consent_ms: int, now_ms: int) -> Intent:
        """Make the intent durable and return it."""
        value: dict[str, object] = {
            "record": "intent",
            "version": 1,
            "batch": batch.id,
            "sink": sink.name,
            "target": sink.target,
            "url": request.url,
            "headers": [list(pair) for pair in request.headers],
            "body": request.body,
            "sha256": bytes.fromhex(request.sha256),
            "day": batch.day,
            "consent": consent_ms,
            "created": now_ms,
            "identities": batch.identities,
            "sessions": batch.sessions(),
            "counts": batch.counts(),
        }
        path = self._path(sent.OUTBOX, f"{batch.id.hex()}.cbor")
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        self._keep(path, value)
        return Intent(path, value, batch.events)

    def intents(self) -> list[Intent]:
        """Return the intents that a run left behind, settling those that have a receipt; damaged ones go."""
        found = []
        folder = self._path(sent.OUTBOX)
        for name in sorted(os.listdir(folder)) if is_folder(folder) else ():
            path = os.path.join(folder, name)
            value = sent.read_map(path, "intent")
            if value is None:
                # A temporary, or an intent that a crash of the file system damaged: its events are pending.
                os.unlink(path)
                continue
            receipt = sent.read_map(_receipt_path(self.root, value["batch"]), "upload")  # type: ignore[arg-type]
            if receipt is None:
                found.append(Intent(path, value))
            else:
                self._move(Intent(path, value), int(receipt["at"]))  # type: ignore[call-overload]
        return found

    def settle(
        self,
        intent: Intent,
        verdict: "Verdict",
        status: int,
        now_ms: int,
        accepted: dict[bytes, Runs],
        refused: dict[bytes, Runs],
    ) -> None:
        """Write the receipt, durably, then move the intent to sent/."""
        keys = ("batch", "sink", "url", "sha256", "day", "counts")
        receipt = {
            "record": "upload",
            "version": 1,
            **{key: intent.value[key] for key in keys},
            "at": now_ms,
            "status": status,
            "rejected": verdict.rejected,
            "ranges": [[segment, runs] for segment, runs in sorted(accepted.items())],
            "refused": [[segment, runs] for segment, runs in sorted(refused.items())],
        }
        path = _receipt_path(self.root, intent.batch)
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        self._keep(path, receipt)
        self._move(intent, now_ms)

    def _move(self, intent: Intent, at_ms: int) -> None:
        folder = self._path(sent.SENT)
        os.makedirs(folder, 0o700, exist_ok=True)
        os.rename(intent.path, os.path.join(folder, f"{at_ms:016d}-{intent.batch.hex()}.cbor"))
        self._moved = True

    def sync(self) -> None:
        """Make the moves to sent/ durable.

        Not each by itself: an intent that a power cut brings back is found to have a receipt, and moves again.
        """
        if self._moved:
            sync_directory(self._path(sent.SENT))
            sync_directory(self._path(sent.OUTBOX))
            self._moved = False

    def discard(self, intent: Intent) -> None:
        """Remove an intent: its events are pending again."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(intent.path)
        sync_directory(os.path.dirname(intent.path))

    def prune(self) -> None:
        """Remove the oldest copies of what was sent, as far as they take more than they may."""
        folder = self._path(sent.SENT)
        names = sorted((name for name in os.listdir(folder) if name.endswith(".cbor")), reverse=True)
        total = 0
        for name in names:
            path = os.path.join(folder, name)
            total += os.lstat(path).st_size
            if total > self._sent_bytes_max:
                os.unlink(path)
