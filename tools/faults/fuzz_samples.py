"""A journal with one of every file, the same bytes each time: what fuzzing and damage begin with."""

import os
import shutil
import tempfile
from functools import cache
from random import Random
from typing import TYPE_CHECKING

from carobatch.batch import Batch, batch_of
from carobatch.compact import compact
from carobatch.export import plan_export
from carobatch.ledger import Ledger
from carobatch.outbox import Outbox
from carobatch.sinks import open_sink
from carobatch.store import PackedStore
from carobatch.timing import Tries, save_tries
from carobatch.verdicts import Verdict
from carojournal import Journal, deletion, drops, sent
from carojournal.codec import dumps
from carojournal.reader import JournalReader
from faults.fuzz_target import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CAP_BYTES", "EVENTS", "NOON_MS", "URL", "batch", "bundle", "copy", "fill", "journal", "names", "open_at"]

NOON_MS = 1_790_000_000_000 // 86_400_000 * 86_400_000 + 43_200_000
CAP_BYTES = 10_000_000
URL = "https://telemetry.example/v1/events"
_DAY_MS = 86_400_000
EVENTS: "list[tuple[str, dict[str, object]]]" = [
    ("session_start", {"caro_version": "1.1.0", "platform": {"os": "linux", "arch": "x86_64", "shell": "bash"}}),
    ("session_end", {"session_duration_ms": 61_000, "commands_generated": 3}),
    (
        "command_generated",
        {
            "backend_used": "ollama",
            "inference_time_ms": 843,
            "safety_result": {"risk_level": "safe", "patterns_matched": 0},
            "model_name": "llama3:8b",
            "success": True,
            "input_token_count": 120,
            "confidence_score": 0.91,
            "retry_count": 0,
        },
    ),
]


def open_at(root: str, now_ms: int, draw: Random) -> Journal:
    """Return a recorder whose clock stands and whose ids are drawn from *draw*."""
    return Journal.open(
        root,
        clock=lambda: now_ms * 1_000_000,
        random=draw.randbytes,
        environ={"HOME": "/nonexistent"},
        admin="/nonexistent",
        level="detailed",
    )


def fill(root: str, now_ms: int, draw: Random, rounds: int = 2) -> None:
    """Append some events to lane 0."""
    with open_at(root, now_ms, draw) as opened:
        for _ in range(rounds):
            for event, fields in EVENTS:
                opened.append(event, **fields)


def _close(root: str) -> None:
    with open(os.path.join(root, "lanes", "0.lock"), "rb") as file:
        segment, created = (word.decode() for word in file.read().split()[:2])
    os.rename(os.path.join(root, "lanes", "0.seg"), os.path.join(root, "segments", f"{created}-{segment}.seg"))


def batch(root: str) -> Batch:
    """Return a batch of the oldest segment's events."""
    records = list(JournalReader(root).records(events_only=True))
    return batch_of([record for record in records if record.segment == records[0].segment], NOON_MS // _DAY_MS)


@cache
def journal() -> str:
    """Return the root of the sample; do not change it, `copy` it."""
    root = os.path.join(scratch("sample"), "journal")
    draw = Random(7)
    for day in (0, 1):
        for hour in (0, 1):
            fill(root, NOON_MS + day * _DAY_MS + hour * 3_600_000, draw)
            _close(root)
    store = PackedStore(root, CAP_BYTES)
    compact(root, store, NOON_MS + 10 * _DAY_MS)
    fill(root, NOON_MS + 2 * _DAY_MS, draw)
    _close(root)
    fill(root, NOON_MS + 2 * _DAY_MS + 3_600_000, draw)
    drops.add_counts(root, {"drop busy": 3, "refuse session_end <unknown> unknown_field": 2})
    deletion.note(root, "sent 2026-09-21")
    deletion.queue(root, [("2026-09-21", bytes(range(16)))], NOON_MS, draw.randbytes)
    _batches(root, draw)
    _ledger(root, store, draw)
    os.makedirs(os.path.join(root, "quarantine"), 0o700)
    with open(os.path.join(root, "quarantine", f"{1:016d}-{bytes(16).hex()}.cbor"), "wb") as file:
        file.write(dumps({"record": "quarantine", "segment": bytes(16), "refused": [], "damaged": []}))
    return root


def _batches(root: str, draw: Random) -> None:
    sink = open_sink("caro-v1", URL)
    found = batch(root)
    outbox = Outbox(root, CAP_BYTES)
    first, second = found.halves()
    intent = outbox.write(first, sink.render(first), sink, NOON_MS, NOON_MS)
    runs = {segment: list(inner) for segment, inner, _ in first.identities}
    outbox.settle(intent, Verdict("accepted"), 200, NOON_MS, runs, {})  # type: ignore[arg-type]
    outbox.write(second, sink.render(second), sink, NOON_MS, NOON_MS)
    save_tries(root, Tries(since_ms=NOON_MS, failures=1, reason="status 503", batch=draw.randbytes(32).hex()))
    row = [draw.randbytes(32), NOON_MS, "caro-v1", URL, bytes(32), 200, 5, 0, {"session_end": 5}]
    uploads = {"record": "uploads", "version": 1, "segments": [draw.randbytes(16)], "ranges": [], "batches": [row]}
    with open(os.path.join(root, "receipts", "uploads.cbor"), "wb") as file:
        file.write(sent.encode_map({**uploads, "earlier": 0}))


def _ledger(root: str, store: PackedStore, draw: Random) -> None:
    ledger = Ledger(root, draw.randbytes)
    export = plan_export(store, ledger, draw.randbytes(16))
    assert export is not None
    ledger.write_bundle(export.entry)
    ledger.write_acks(dict(list(export.entry["segments"].items())[:1]))  # type: ignore[attr-defined]


@cache
def bundle() -> bytes:
    """Return the sample's bundle, as one tar.zst."""
    with tempfile.TemporaryDirectory() as folder:
        root = copy(folder)
        for name in os.listdir(os.path.join(root, "receipts")):
            os.unlink(os.path.join(root, "receipts", name))
        draw = Random(8)
        export = plan_export(PackedStore(root, CAP_BYTES), Ledger(root, draw.randbytes), draw.randbytes(16))
        assert export is not None
        return b"".join(export.chunks())


def copy(folder: str, name: str = "journal") -> str:
    """Return the root of a copy of the sample below *folder*."""
    return shutil.copytree(journal(), os.path.join(folder, name), symlinks=True)


def names(root: str) -> "Iterator[str]":
    """Yield the paths, below *root*, of all files of a journal."""
    for place, _, files in sorted(os.walk(root)):
        for name in sorted(files):
            yield os.path.relpath(os.path.join(place, name), root)
