"""Fuzzing targets: the journal's small files.  Identity, counters, snapshot, requests, outbox, receipts, index."""

import json
import os
import re
import shutil
from functools import cache
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
from carojournal import deletion, drops, sent, snapshot, verify_files
from carojournal.frame import good_words
from carojournal.index import INDEX, open_index
from carojournal.policy import MODES, Policy, segment_limit
from carojournal.query import Query
from carojournal.reader import JournalReader
from faults import fuzz_samples as samples
from faults.fuzz_target import Target, WrongValue, attempt, scratch

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TARGETS"]

_SIGNATURES = "1790000000000000000:120:77 -"
_LINE = re.compile(rb"^(.*) [0-9a-f]{8}$", re.MULTILINE)
_LINES = (b"session", b"rotate", b"cleared", b"sent", b"journal", b"secret", b"2026-09-21", b"00" * 16, b"zz" * 16)


def _read(name: str) -> bytes:
    with open(os.path.join(samples.journal(), name), "rb") as file:
        return file.read()


@cache
def _names(folder: str) -> list[str]:
    return [name for name in samples.names(samples.journal()) if name.startswith(f"{folder}/")]


@cache
def _root(name: str) -> str:
    return samples.copy(scratch(name))


def _put(root: str, name: str, data: bytes) -> None:
    with open(os.path.join(root, name), "wb") as file:
        file.write(data)


def _fix_lines(random: Random, data: bytes) -> bytes:
    """Close every line by its checksum again."""
    lines = data.split(b"\n")
    for at, line in enumerate(lines):
        text = line.rpartition(b" ")[0]
        if text and random.random() < 0.9:
            lines[at] = text + b" %08x" % crc32(text)
    return b"\n".join(lines)


def _is_well_formed(data: bytes) -> bool:
    """Tell whether the pseudonym is there, and every line whose checksum holds has an id where one must stand."""
    ids = [words.rpartition(b" ")[2] for key in (b"journal ", b"session ") for words in good_words(data, key)]
    whole = all(re.fullmatch(rb"[0-9a-f]{32}", found) for found in ids)
    return whole and bool(good_words(data, b"journal "))


def _run_identity(data: bytes) -> str:
    root = _root("identity")
    _put(root, "journal", data)
    identity, refused = attempt(lambda: deletion.read_identity(root))
    verify_files.verify_files(root, {})
    verify_files.cleared_ms(root)
    if identity is None:
        return refused
    if len(identity.journal) != 16 or len(identity.secret) != 16 or len(identity.session("2026-09-21")) != 16:
        raise WrongValue("an id that has not 16 bytes")
    for day, session in identity.history():
        if len(session) != 16 or len(day) != 10:
            raise WrongValue("a session id that has not 16 bytes, or no day")
    deletion.sessions_sent(root, identity)
    if not _is_well_formed(data):
        return "malformed"
    with samples.open_at(root, samples.NOON_MS + 3 * 86_400_000, Random(1)) as opened:
        if not opened.append("session_end", session_duration_ms=1, commands_generated=0):
            raise WrongValue("an append that was refused")
    again = deletion.read_identity(root)
    if again is None or again.journal != identity.journal:
        raise WrongValue("another pseudonym after an append")
    return f"{len(identity.history())} sessions, {len(deletion.sent_days(identity))} days"


def _fix_drops(_: Random, data: bytes) -> bytes:
    out = bytearray(data)
    for at in range(0, len(data) - 127, 128):
        out[at + 118 : at + 128] = b"%08x \n" % crc32(out[at : at + 118])
    return bytes(out)


def _run_drops(data: bytes) -> str:
    root = _root("drops")
    _put(root, drops.DROPS, data)
    counts, damaged = drops.read_counts(root)
    verify_files.verify_files(root, {})
    if any(count < 0 for count in counts.values()):
        raise WrongValue("a negative count")
    if len(data) < 200_000 and not drops.add_counts(root, {"drop busy": 2, "drop new": 1}):
        raise WrongValue("counting failed")
    after, _ = drops.read_counts(root)
    if len(data) < 200_000 and after.get("drop busy", 0) < min(counts.get("drop busy", 0) + 2, 10**20 - 1):
        raise WrongValue("a count that was lost")
    return f"{min(len(counts), 20)} keys, {'damaged' if damaged else 'whole'}"


def _snapshots() -> list[bytes]:
    return [
        snapshot.encode_snapshot(Policy(mode, source="config", channel=channel, consent_ms=5), _SIGNATURES)
        for mode in MODES[1:]
        for channel in ("beta", "ga")
    ]


def _fix_snapshot(_: Random, data: bytes) -> bytes:
    text = data.rpartition(b"crc ")[0]
    return text + b"crc %08x\n" % crc32(text)


def _run_snapshot(data: bytes) -> str:
    """Do what `snapshot.from_files` does: ValueError and KeyError mean that the files are read again."""
    try:
        found = snapshot.parse_snapshot(data, _SIGNATURES, "beta")
    except (ValueError, KeyError):
        return "not read"
    if found is None:
        return "none"
    if snapshot.encode_snapshot(found, _SIGNATURES) != data:
        raise WrongValue("a snapshot that is accepted and encodes otherwise")
    segment_limit(found.cap_bytes, 0)
    return found.mode


def _run_requests(data: bytes) -> str:
    root = _root("deletion")
    _put(root, deletion.REQUESTS, data)
    found, refused = attempt(lambda: deletion.requests(root))
    attempt(lambda: deletion.pending(root))
    for request in found or ():
        if any(len(session) != 16 for _, session in request.sessions) or request.created_ms < 0:
            raise WrongValue("a request for what is no session id")
    return refused or f"{len(found or ())} requests"


def _run_outbox(data: bytes) -> str:
    """Read an intent: where it stands, and as the copy in sent/."""
    root = _root("outbox")
    for folder in ("outbox", "sent"):
        for name in os.listdir(os.path.join(root, folder)):
            os.unlink(os.path.join(root, folder, name))
    name = f"{bytes(32).hex()}.cbor"
    _put(root, f"outbox/{name}", data)
    _put(root, f"sent/{samples.NOON_MS:016d}-{name}", data)
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
    root = _root("upload")
    for name in os.listdir(os.path.join(root, "receipts")):
        os.unlink(os.path.join(root, "receipts", name))
    _put(root, f"receipts/upload-{bytes(32).hex()}.cbor", data)
    _put(root, "receipts/uploads.cbor", data)
    found, refused = attempt(lambda: sent.sent_batches(root))
    _, refused_sum = attempt(lambda: deliveries.accounted(root))
    verify_files.verify_files(root, {})
    verify_files.explained_segments(root)
    attempt(lambda: deliveries.fold(root, frozenset(), 0))
    for one in found or ():
        f"{one.at_ms:d} {one.events:d} {one.refused:d} {one.status:d} {one.sink} {one.url}"
    return f"{len(found or ())} batches {refused} {refused_sum}"


def _run_state(data: bytes) -> str:
    root = _root("state")
    _put(root, "sent/state.json", data)
    tries = timing.load_tries(root)
    timing.is_due(tries, samples.NOON_MS, timing.HOUR_MS, 5)
    timing.failed(tries, samples.NOON_MS, "status 503", 0, timing.HOUR_MS, lambda: 0.5)
    timing.save_tries(root, tries)
    return f"{bool(tries.reason)} {bool(tries.batch)}"


def _run_ledger(data: bytes) -> str:
    """Our own notes of what was handed out: an entry of a bundle, and the confirmed runs."""
    root = _root("ledger")
    _put(root, "receipts/bundle-000001.json", data)
    _put(root, "receipts/acks.json", data)
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
    before = len(_names("packed"))
    _, refused = attempt(lambda: reclaim(store, ledger))
    if len(os.listdir(os.path.join(root, "packed"))) < before:
        for name in _names("packed"):
            shutil.copy(os.path.join(samples.journal(), name), os.path.join(root, name))
        done.append("reclaimed")
    return " ".join([*done, refused])


@cache
def _indexed() -> tuple[str, bytes]:
    """Return a journal with segments large enough for rows, and the bytes of its index."""
    root = os.path.join(scratch("index"), "journal")
    draw = Random(9)
    for hour in range(2):
        samples.fill(root, samples.NOON_MS + hour * 3_600_000, draw, rounds=60)
        with open(os.path.join(root, "lanes", "0.lock"), "rb") as file:
            segment, created = (word.decode() for word in file.read().split()[:2])
        if hour == 0:
            os.rename(f"{root}/lanes/0.seg", f"{root}/segments/{created}-{segment}.seg")
    if open_index(root, JournalReader(root).segments(), always=True) is None:
        raise WrongValue("no index of a healthy journal")
    with open(os.path.join(root, INDEX), "rb") as file:
        return root, file.read()


def _answers(root: str) -> object:
    infos = JournalReader(root).segments()
    index = open_index(root, infos, always=True)
    if index is None:
        return None
    totals = index.totals()
    found = index.candidates(Query(events=frozenset({"session_end"})))
    places = sorted((one.infos[0].segment, one.offset, one.size or 0, one.first_seq) for one in found)
    return totals.counts, totals.others, totals.sendable, totals.oldest_ms, totals.newest_ms, places


@cache
def _truth() -> object:
    root, data = _indexed()
    _put(root, INDEX, data)
    return _answers(root)


def _run_index(data: bytes) -> str:
    """Ask a damaged index: it answers as a healthy one, because it is made anew, or there is none."""
    truth, (root, _) = _truth(), _indexed()
    for name in (f"{INDEX}-journal", f"{INDEX}-wal"):
        if os.path.exists(os.path.join(root, name)):
            os.unlink(os.path.join(root, name))
    _put(root, INDEX, data)
    found = _answers(root)
    if found is not None and found != truth:
        raise WrongValue("an index that answers otherwise than the files")
    with open(os.path.join(root, INDEX), "rb") as file:
        return "none" if found is None else "used" if file.read() == data else "made anew"


TARGETS = [
    Target("identity", lambda: [_read("journal")], _run_identity, _fix_lines, "lines", _LINES, runs=60),
    Target("drops", lambda: [_read("drops")], _run_drops, _fix_drops, "lines", (b"drop busy", b" " * 40), runs=100),
    Target("snapshot", _snapshots, _run_snapshot, _fix_snapshot, "lines", (b"mode off", b"level", b"cap_bytes")),
    Target("requests", lambda: [_read("deletion-requests")], _run_requests, _fix_lines, "lines", _LINES),
    Target("outbox", lambda: [_read(n) for n in _names("outbox")], _run_outbox, _fix_outbox, "cbor", runs=100),
    Target("uploads", lambda: [_read(n) for n in _names("receipts") if "upload" in n], _run_upload, _fix_map, "cbor"),
    Target("state", lambda: [_read("sent/state.json")], _run_state, _fix_state, "json"),
    Target(
        "ledger", lambda: [_read(n) for n in _names("receipts") if n.endswith("json")], _run_ledger, _fix_ledger, "json"
    ),
    Target("index", lambda: [_indexed()[1]], _run_index, runs=25),
]
