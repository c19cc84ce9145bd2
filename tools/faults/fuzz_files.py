"""Fuzzing targets: the journal's small files.  Identity, counters, snapshot, requests, index."""

import os
import re
from functools import cache
from random import Random
from zlib import crc32

from carojournal import deletion, drops, snapshot, verify_files
from carojournal.frame import good_words
from carojournal.index import INDEX, open_index
from carojournal.policy import MODES, Policy, segment_limit
from carojournal.query import Query
from carojournal.reader import JournalReader
from faults import fuzz_samples as samples
from faults.fuzz_target import Target, WrongValue, attempt, scratch

__all__ = ["TARGETS", "copied_root", "put", "sample", "sample_names"]

_SIGNATURES = "1790000000000000000:120:77 -"
_LINE = re.compile(rb"^(.*) [0-9a-f]{8}$", re.MULTILINE)
_LINES = (b"session", b"rotate", b"cleared", b"sent", b"journal", b"secret", b"2026-09-21", b"00" * 16, b"zz" * 16)


def sample(name: str) -> bytes:
    """Return a file of the sample journal."""
    with open(os.path.join(samples.journal(), name), "rb") as file:
        return file.read()


@cache
def sample_names(folder: str) -> list[str]:
    """Return the paths of the sample's files in one folder."""
    return [name for name in samples.names(samples.journal()) if name.startswith(f"{folder}/")]


@cache
def copied_root(name: str) -> str:
    """Return the root of a copy of the sample for the target *name*."""
    return samples.copy(scratch(name))


def put(root: str, name: str, data: bytes) -> None:
    """Write a file below *root*."""
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


def _run_identity(data: bytes) -> str:
    root = copied_root("identity")
    put(root, "journal", data)
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
    if not any(re.fullmatch(rb"[0-9a-f]{32}", words) for words in good_words(data, b"journal ")):
        return "no pseudonym"
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
    root = copied_root("drops")
    put(root, drops.DROPS, data)
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
    root = copied_root("deletion")
    put(root, deletion.REQUESTS, data)
    found, refused = attempt(lambda: deletion.requests(root))
    attempt(lambda: deletion.pending(root))
    for request in found or ():
        if any(len(session) != 16 for _, session in request.sessions) or request.created_ms < 0:
            raise WrongValue("a request for what is no session id")
    return refused or f"{len(found or ())} requests"


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
    return totals.counts, totals.others, totals.by_consent, totals.oldest_ms, totals.newest_ms, places


@cache
def _truth() -> object:
    root, data = _indexed()
    put(root, INDEX, data)
    return _answers(root)


def _run_index(data: bytes) -> str:
    """Ask a damaged index: it answers as a healthy one, because it is made anew, or there is none."""
    truth, (root, _) = _truth(), _indexed()
    for name in (f"{INDEX}-journal", f"{INDEX}-wal"):
        if os.path.exists(os.path.join(root, name)):
            os.unlink(os.path.join(root, name))
    put(root, INDEX, data)
    found = _answers(root)
    if found is not None and found != truth:
        raise WrongValue("an index that answers otherwise than the files")
    with open(os.path.join(root, INDEX), "rb") as file:
        return "none" if found is None else "used" if file.read() == data else "made anew"


TARGETS = [
    Target("identity", lambda: [sample("journal")], _run_identity, _fix_lines, "lines", _LINES, runs=60),
    Target("drops", lambda: [sample("drops")], _run_drops, _fix_drops, "lines", (b"drop busy", b" " * 40), runs=100),
    Target("snapshot", _snapshots, _run_snapshot, _fix_snapshot, "lines", (b"mode off", b"level", b"cap_bytes")),
    Target("requests", lambda: [sample("deletion-requests")], _run_requests, _fix_lines, "lines", _LINES),
    Target("index", lambda: [_indexed()[1]], _run_index, runs=25),
]
