"""Fuzzing targets: what carobatch notes of batches and bundles.  Intents, receipts, the ledger, tries."""

import json
import os
import shutil
from random import Random
from typing import TYPE_CHECKING
from zlib import crc32

from carobatch import deliveries, timing
from carobatch.ack import reclaim
from carobatch.ledger import Ledger
from carobatch.manifest import canonical_json
from carobatch.outbox import Outbox, standing_intents
from carobatch.store import PackedStore
from carobatch.survey import list_bundles, survey
from carojournal import sent, verify_files
from faults import fuzz_samples as samples
from faults.fuzz_files import copied_root, put, sample, sample_names
from faults.fuzz_target import Target, WrongValue, attempt

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["TARGETS"]


def _run_outbox(data: bytes) -> str:
    """Read an intent: where it stands, and as the copy in sent/."""
    root = copied_root("outbox")
    for folder in ("outbox", "sent"):
        for name in os.listdir(os.path.join(root, folder)):
            os.unlink(os.path.join(root, folder, name))
    name = f"{bytes(32).hex()}.cbor"
    put(root, f"outbox/{name}", data)
    put(root, f"sent/{samples.NOON_MS:016d}-{name}", data)
    standing, refused = attempt(lambda: standing_intents(root))
    _, refused_run = attempt(lambda: Outbox(root, 1).intents())
    for intent in standing or ():
        request = intent.request
        if any(len(session) != 16 for session in intent.sessions) or request.sha256 != intent.value["sha256"].hex():  # type: ignore[attr-defined]
            raise WrongValue("an intent whose hash is not that of its request")
        intent.events()
    for one in sent.sent_batches(root):
        attempt(lambda one=one: sent.copy_of(one))  # type: ignore[misc]
    copy = sent.read_map(os.path.join(root, "sent", f"{samples.NOON_MS:016d}-{name}"), "intent")
    if copy is not None:
        sent.request_bytes(copy)
    return f"{len(standing or ())} intents {refused} {refused_run}"


def _fix_outbox(random: Random, data: bytes) -> bytes:
    import cbor2

    from carobatch.batch import Request

    try:
        value = cbor2.loads(data)
        if random.random() < 0.7:
            value["sha256"] = bytes.fromhex(
                Request(value["url"], tuple((a, b) for a, b in value["headers"]), value["body"]).sha256
            )
        value.pop("crc", None)
        return sent.encode_map(value) if random.random() < 0.9 else cbor2.dumps(value, canonical=True)
    except (cbor2.CBORError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return data


def _fix_map(_: Random, data: bytes) -> bytes:
    import cbor2

    try:
        value = cbor2.loads(data)
        value.pop("crc", None)
        return sent.encode_map(value)
    except (cbor2.CBORError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return data


def _fix_json(data: bytes, crc: "Callable[[dict[str, object]], int]") -> bytes:
    try:
        value = json.loads(data)
        value.pop("crc", None)
        return json.dumps({**value, "crc": crc(value)}).encode()
    except (ValueError, TypeError, AttributeError, RecursionError):
        return data


def _fix_ledger(_: Random, data: bytes) -> bytes:
    return _fix_json(data, lambda value: crc32(canonical_json(value)))


def _fix_state(_: Random, data: bytes) -> bytes:
    return _fix_json(data, lambda value: crc32(json.dumps(value, sort_keys=True).encode()))


def _run_upload(data: bytes) -> str:
    """Read a receipt of an upload, and the file that older ones are folded into."""
    root = copied_root("upload")
    for name in os.listdir(os.path.join(root, "receipts")):
        os.unlink(os.path.join(root, "receipts", name))
    put(root, f"receipts/upload-{bytes(32).hex()}.cbor", data)
    put(root, "receipts/uploads.cbor", data)
    found, refused = attempt(lambda: sent.sent_batches(root))
    _, refused_sum = attempt(lambda: deliveries.accounted(root))
    verify_files.verify_files(root, {})
    verify_files.explained_segments(root)
    attempt(lambda: deliveries.fold(root, frozenset(), 0))
    for one in found or ():
        f"{one.at_ms:d} {one.events:d} {one.refused:d} {one.status:d} {one.sink} {one.url}"
    return f"{len(found or ())} batches {refused} {refused_sum}"


def _run_state(data: bytes) -> str:
    root = copied_root("state")
    put(root, "sent/state.json", data)
    tries = timing.load_tries(root)
    timing.is_due(tries, samples.NOON_MS, timing.HOUR_MS, 5)
    timing.failed(tries, samples.NOON_MS, "status 503", 0, timing.HOUR_MS, lambda: 0.5)
    timing.save_tries(root, tries)
    return f"{bool(tries.reason)} {bool(tries.batch)}"


def _run_ledger(data: bytes) -> str:
    """Our own notes of what was handed out: an entry of a bundle, and the confirmed runs."""
    root = copied_root("ledger")
    put(root, "receipts/bundle-000001.json", data)
    put(root, "receipts/acks.json", data)
    ledger, store = Ledger(root, Random(1).randbytes), PackedStore(root, samples.CAP_BYTES)
    done = [
        attempt(call)[1]
        for call in (
            ledger.bundles,
            lambda: ledger.place("f" * 64),
            ledger.acks,
            lambda: survey(store),
            lambda: list_bundles(root),
        )
    ]
    before = len(sample_names("packed"))
    _, refused = attempt(lambda: reclaim(store, ledger))
    if len(os.listdir(os.path.join(root, "packed"))) < before:
        for name in sample_names("packed"):
            shutil.copy(os.path.join(samples.journal(), name), os.path.join(root, name))
        done.append("reclaimed")
    return " ".join([*done, refused])


def _receipts(part: str) -> list[bytes]:
    return [sample(name) for name in sample_names("receipts") if part in name]


TARGETS = [
    Target("outbox", lambda: [sample(n) for n in sample_names("outbox")], _run_outbox, _fix_outbox, "cbor", runs=100),
    Target("uploads", lambda: _receipts("upload"), _run_upload, _fix_map, "cbor"),
    Target("state", lambda: [sample("sent/state.json")], _run_state, _fix_state, "json"),
    Target(
        "ledger",
        lambda: _receipts("json"),
        _run_ledger,
        _fix_ledger,
        "json",
    ),
]
