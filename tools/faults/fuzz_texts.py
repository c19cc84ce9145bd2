"""Fuzzing targets: what users and hosts hand over as text.  Configuration, lines of JSON, cursors, old files."""

import gzip
import json
import os
import sqlite3
import tomllib
from contextlib import closing
from functools import cache
from random import Random
from zlib import crc32

from carojournal import config, redact
from carojournal.config_edit import edit
from carojournal.config_files import load
from carojournal.cursor import parse_cursor
from carojournal.events import DETAILED
from carojournal.migrate import migrate
from carojournal.ndjson import LINE_BYTES_MAX, NOT_JSON, read_batches, read_event
from carojournal.policy import MODES, Policy
from carojournal.reader import JournalReader
from carojournal.snapshot import says
from faults import fuzz_samples as samples
from faults.fuzz_mutate import CANARY
from faults.fuzz_segments import check_event
from faults.fuzz_target import Target, WrongValue, attempt, scratch

__all__ = ["TARGETS"]

_CONFIG = b"""\
# caro's own
[backend]
name = "ollama"
[telemetry]
enabled = true
level = "detailed" # all of it
air_gapped = false
batch_interval_hours = 24
offline_spool_max_mb = 10
endpoint = "https://telemetry.example/v1/events"
wire_format = "caro-v1"
[telemetry.consent]
answer = "yes"
version = 1
at = 2026-09-21T12:00:00Z
"""
_ADMIN = b"enabled = true\nlevel = 'minimal'\n[telemetry]\nair_gapped = true\n"
_WORDS = tuple(
    b"enabled|level|air_gapped|endpoint|[telemetry]|[telemetry.consent]|answer|version|at|true|false|'''|[[|{|}|=|.|\"\"\""
    b"|posthog_key|proxy|ca_file|wire_format|nan|1979-05-27T07:32:00Z|0x10|\\u0000".split(b"|")
)
_LINES = [
    json.dumps({"event": event, **fields}).encode() + end
    for event, fields in samples.EVENTS
    for end in (b"\n", b"\r\n", b"")
]


def _run_config(data: bytes) -> str:
    folder = scratch("config")
    user, admin = os.path.join(folder, "config.toml"), os.path.join(folder, "admin.toml")
    root = os.path.join(folder, "journal")
    for path in (user, admin):
        with open(path, "wb") as file:
            file.write(data)
    environ = {"HOME": folder, "XDG_CONFIG_HOME": folder}
    words = []
    for paths in ((user, ""), ("", admin), (user, admin)):
        settings = load(*paths)
        found = settings.policy("beta")
        if settings.problems and found.mode != "off":
            raise WrongValue("a file with a problem that is not off")
        if found.mode not in MODES or not 0 <= found.level <= 2 or found.cap_bytes < 0 or found.consent_ms < 0:
            raise WrongValue("a policy out of its bounds")
        for text in (*settings.problems, *settings.notes):
            if CANARY in text.replace(f"{CANARY}: unknown", "") and f"{CANARY}" not in _keys(data):
                raise WrongValue("a message that quotes a value")
        words.append(f"{found.mode} {found.level} {len(settings.problems)}")
    config.explain(root, "beta", environ, admin=admin)
    if says(data, b"enabled", b"false") and b"'''" not in data and b'"""' not in data:
        try:
            table = tomllib.loads(data.decode()).get("telemetry", {})
        except (ValueError, RecursionError):
            table = {}
        if isinstance(table, dict) and table.get("enabled") is True:
            raise WrongValue("the quick look says off where the file says on")
    edited, refused = attempt(lambda: edit(user, {"enabled": False, "level": "minimal"}))
    if edited is not None:
        with open(user, "rb") as file:
            changed = file.read().decode()
        section = tomllib.loads(changed).get("telemetry")
        if not isinstance(section, dict) or section.get("enabled") is not False or section.get("level") != "minimal":
            raise WrongValue("an edit that does not say what it was to say")
    return " ".join([*words, refused or "edited"])


def _keys(data: bytes) -> str:
    """Return what stands left of an equals sign or in brackets: the names of keys may be noted, values never."""
    text = data.decode("utf-8", "replace")
    return "\n".join(line.partition("=")[0] for line in text.splitlines())


def _run_lines(data: bytes) -> str:
    """Whole, and in pieces: the same lines, each an event or one of our own reasons."""
    whole = [pair for batch in read_batches(_reader(data, 65_536)) for pair in batch]
    pieces = [pair for batch in read_batches(_reader(data, 7)) for pair in batch]
    if whole != pieces or [number for number, _ in whole] != list(range(1, len(whole) + 1)):
        raise WrongValue("lines that depend on how they arrive")
    if [line for _, line in whole if line is not None and len(line) > LINE_BYTES_MAX]:
        raise WrongValue("a line that is too long")
    outcomes = set()
    for _, line in whole:
        found = read_event(line) if line is not None else "too long"
        if isinstance(found, str):
            if CANARY in found:
                raise WrongValue("a refusal that quotes the line")
            if line is not None and found == NOT_JSON and _is_json(line):
                raise WrongValue("JSON that is called none")
            outcomes.add(found)
            continue
        outcomes.add(_checked(*found))
    return ",".join(sorted(outcomes))


def _reader(data: bytes, size: int) -> "object":
    at = 0

    def read(_: int) -> bytes:
        nonlocal at
        part = data[at : at + size]
        at += len(part)
        return part

    return read


def _is_json(line: bytes) -> bool:
    def refuse(_: str) -> object:
        raise ValueError

    try:
        json.loads(line.decode(), parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _checked(name: object, fields: "dict[str, object]") -> str:
    found = redact.check(name if type(name) is str else redact.UNKNOWN, fields, DETAILED)
    if found is None:
        return "filtered"
    for part in (word for row in found.refusals for word in row):
        if CANARY in part or len(part) > 64:
            raise WrongValue("a refusal that quotes a value")
    if isinstance(found, redact.Accepted):
        check_event(found.payload(samples.NOON_MS, bytes(16), bytes(16), 1))
        return "accepted"
    return found.refusals[0][2]


def _run_cursor(data: bytes) -> str:
    text = data.decode("utf-8", "surrogateescape")
    found, refused = attempt(lambda: parse_cursor(text))
    if found is None:
        return refused
    if str(found) != text.strip():
        raise WrongValue("a cursor that is accepted and spelled otherwise")
    if any(len(segment) != 16 or seq < -1 for segment, seq in found.read.items()) or found.watermark_us < 0:
        raise WrongValue("a cursor of what is no segment")
    found.advanced(JournalReader(samples.journal()).segments(), {})
    return f"{len(found.read)} segments"


def _fix_cursor(_: Random, data: bytes) -> bytes:
    text = data.rpartition(b";")[0]
    return text + b";%08x" % crc32(text)


def _cursors() -> list[bytes]:
    texts = [b"1;0;", b"1;1790164800000000;" + b"91bfe39469733a9247d58fa3c5501830:12," + b"00" * 16 + b":-1"]
    return [_fix_cursor(Random(0), text + b";") for text in texts]


_OLD = [
    {
        "id": f"00000000-0000-4000-8000-{number:012d}",
        "session_id": "0123456789abcdef",
        "timestamp": "2026-09-21T12:00:00.000123456+00:00",
        "type": "command_generation",
        "backend": "embedded",
        "duration_ms": 100 + number,
        "success": True,
        "error_category": None,
    }
    for number in range(3)
]
_DOCUMENT = {
    "event": "session_start",
    "timestamp": "2026-09-21T12:00:00.000Z",
    "session_id": "ab" * 16,
    "caro_version": "1.1.0",
    "platform": {"os": "linux", "arch": "x86_64", "shell": "bash"},
}


def _old_json() -> list[bytes]:
    nested = {"id": "n", "session_id": "s", "timestamp": {"secs_since_epoch": 1_790_000_000, "nanos_since_epoch": 5}}
    rows = [{"id": "r", "session_id": "s", "timestamp": _OLD[0]["timestamp"], "event_type": "session_end"}]
    rows[0]["data"] = json.dumps(_OLD[1])
    values: list[object] = [
        _OLD,
        {"events": _OLD, "batch_id": "x", "client_timestamp": "y"},
        _DOCUMENT,
        rows,
        [{**nested, "event_type": {"type": "session_end", "duration_ms": 5, "commands_generated": 2}}],
    ]
    return [json.dumps(value).encode() for value in values] + [b"\n".join(json.dumps(one).encode() for one in _OLD)]


@cache
def _old_queue() -> bytes:
    path = os.path.join(scratch("migrate"), "queue.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA page_size = 512")
        connection.execute(
            "CREATE TABLE events (id TEXT PRIMARY KEY, session_id TEXT, timestamp TEXT, event_type TEXT, data TEXT)"
        )
        for number, event in enumerate(_OLD * 2):
            row = (f"id {number}", event["session_id"], event["timestamp"], event["type"], json.dumps(event))
            connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", row)
        connection.commit()
    with open(path, "rb") as file:
        return file.read()


def _run_migrate(data: bytes) -> str:
    folder = scratch("migrate")
    path, root = os.path.join(folder, "old"), os.path.join(folder, "journal")
    with open(path, "wb") as file:
        file.write(data)
    really = crc32(data) % 8 == 0
    policy = Policy("local", source="test", level=DETAILED)
    done, refused = attempt(
        lambda: migrate(path, root, policy, samples.NOON_MS, dry_run=not really, random=Random(4).randbytes)
    )
    if done is None:
        return refused
    for part in (word for row in (*done.refused, *done.replaced) for word in row):
        if CANARY in part or len(part) > 64:
            raise WrongValue("a refusal that quotes a value")
    if any(CANARY in word for word in done.mapped) or CANARY in str(done.damage or ""):
        raise WrongValue("a report that quotes a value")
    counted = done.taken + done.already + done.filtered + done.left
    if done.read != counted and not done.refused:
        raise WrongValue("rows that are not accounted for")
    if really:
        for record in JournalReader(root).records(events_only=True):
            check_event(record.payload)
        import shutil

        shutil.rmtree(root, ignore_errors=True)
    reasons = sorted({row[2] for row in done.refused})
    return f"{min(done.taken, 9)} taken, {reasons[:3]}, {'damaged' if done.damage else 'whole'}"


def _fix_gzip(random: Random, data: bytes) -> bytes:
    try:
        text = gzip.decompress(data)
    except (OSError, EOFError, ValueError):
        text = data
    except Exception:  # zlib.error, which is neither
        text = data
    from faults.fuzz_mutate import mutated

    text = mutated(random, text, text, "json")
    cut = random.randrange(len(text) + 1)
    if random.random() < 0.3:
        return gzip.compress(text[:cut], mtime=0) + gzip.compress(text[cut:], mtime=0)
    return gzip.compress(text, mtime=0)


TARGETS = [
    Target("config", lambda: [_CONFIG, _ADMIN, b""], _run_config, shape="lines", tokens=_WORDS, runs=60),
    Target(
        "ndjson", lambda: [*_LINES, b"".join(_LINES[::3])], _run_lines, shape="json", tokens=(b"{", b"[", b'"', b"\n")
    ),
    Target("cursor", _cursors, _run_cursor, _fix_cursor, tokens=(b";", b",", b":", b"_", b" ", b"-1", b"+1")),
    Target("migrate-json", _old_json, _run_migrate, shape="json", tokens=(b'"events"', b"NaN", b"1e999", b"[", b"{")),
    Target("migrate-gzip", lambda: [gzip.compress(raw, mtime=0) for raw in _old_json()], _run_migrate, _fix_gzip),
    Target("migrate-sqlite", lambda: [_old_queue()], _run_migrate),
]
