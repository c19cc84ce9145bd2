"""A healthy journal audits clean after every verb, in every mode and in every wire format."""

import contextlib
import glob
import json
import os
import sqlite3

import pytest
from receivers import Receiver

from carobatch import cli as carobatch_cli
from carojournal import cli as carojournal_cli
from carojournal.audit import audit_paths

EVENTS = (
    *("--event", "session_start", "caro_version=1.1.0", "os=linux", "arch=x86_64", "shell=bash"),
    *("--event", "command_generated", "backend_used=ollama", "inference_time_ms=1234567", "generation=1"),
    *("--event", "session_end", "session_duration_ms=12345678"),
)
APPEND = ("carojournal", "append", "--channel", "beta", *EVENTS)
REFUSED = ("carojournal", "append", "--channel", "beta", "--event", "session_start", "caro_version=jane")
MODES = {
    "off": ("off",),
    "local": ("local",),
    "air-gapped": ("config", "set", "air_gapped", "true"),
    "on": ("on", "--yes"),
}
# Every verb of both programs; a word with a star stands for the files that it matches.
STEPS = (
    REFUSED,
    ("carojournal", "inspect"),
    ("carojournal", "status", "--explain"),
    ("carojournal", "verify"),
    ("carojournal", "reindex"),
    ("carojournal", "schema"),
    ("carojournal", "docs"),
    ("carojournal", "consent"),
    ("carobatch", "status"),
    ("carobatch", "list"),
    ("carobatch", "schedule", "print", "cron"),
    ("carobatch", "upload", "--dry-run"),
    ("carobatch", "run"),
    APPEND,
    ("carobatch", "upload"),
    ("carojournal", "sent"),
    APPEND,
    ("carojournal", "salvage", "--out", "{place}/salvaged"),
    ("carobatch", "compact"),
    ("carobatch", "export", "-o", "{place}/out", "--sign", "{place}/key"),
    ("carobatch", "verify", "{place}/out/*.tar.zst"),
    ("carobatch", "import", "--into", "{place}/taken", "--sign", "{place}/key", "{place}/out/*.tar.zst"),
    ("carobatch", "ack", "--reclaim", "{place}/taken/*/received/*.json"),
    ("carojournal", "migrate", "{place}/old.db"),
    ("carojournal", "delete-remote", "--all", "--yes"),
    ("carobatch", "deletion", "list"),
    ("carobatch", "run"),
    APPEND,
    ("carojournal", "export", "-o", "{place}/export.json"),
    ("carojournal", "audit", "{place}/export.json"),
    ("carojournal", "config", "list"),
    ("carojournal", "clear", "--force"),
)
WIRES = {
    "caro-v1": "/v1/events",
    "caro-array": "/api/events",
    "otlp": "/v1/logs",
    "posthog": "/i/v1/analytics/events",
    "posthog v0": "/batch/",
}


def accepts(request):
    """Answer as the receiver of whatever wire format does."""
    if request.path == WIRES["posthog"]:
        return 200, {}, json.dumps({"results": {one["uuid"]: "ok" for one in request.json()["batch"]}}).encode()
    return 200, {}, b'{"status": 1}' if request.path == WIRES["posthog v0"] else b""


def refuses(status):
    return lambda _: (status, {}, b"")


def run(words, place):
    made = [word.format(place=place) for word in words]
    programs = {"carojournal": carojournal_cli, "carobatch": carobatch_cli}
    found = [name for word in made[1:] for name in (sorted(glob.glob(word)) if "*" in word else [word])]
    with contextlib.suppress(SystemExit):
        programs[made[0]].main(found)


def findings(*paths):
    report = audit_paths([str(path) for path in paths])
    return [(found.member, found.position, found.rule) for found in report.findings] + report.unread


def shown(root):
    """The members of an audit whose names are not repeated."""
    from carojournal.audit_sources import members

    return [one.member for one in members(root) if "<" in one.member]


@pytest.fixture
def place(tmp_path):
    """A folder with a key and an old queue."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    (tmp_path / "key").write_bytes(key)
    (tmp_path / "out").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "old.db")) as old, old:
        old.execute("CREATE TABLE events(id TEXT, session_id TEXT, timestamp TEXT, event_type TEXT, data TEXT)")
        data = json.dumps({"version": "1.1.0", "platform": "linux"})
        old.execute("INSERT INTO events VALUES ('1', 's', '2026-01-02T00:00:00Z', 'session_start', ?)", (data,))
    return tmp_path


@pytest.fixture
def receiver(home):
    with Receiver(accepts) as made:
        yield made


def configure(receiver, wire):
    key = ("posthog_key", "phc_AbCd0123456789xyzABCDEFGHIJ")
    for name, value in (
        ("endpoint", f"http://127.0.0.1:{receiver.port}{WIRES[wire]}"), ("wire_format", wire.split()[0]), key
    ):  # fmt: skip
        assert carojournal_cli.main(["config", "set", name, value]) == 0


def test_every_verb_is_among_the_steps():
    for program, verbs in (("carojournal", carojournal_cli.VERBS), ("carobatch", carobatch_cli.VERBS)):
        driven = {words[1] for words in STEPS if words[0] == program}
        assert set(verbs) - driven <= {"on", "off", "local", "demo"}, program  # The last has a journal of its own.


@pytest.mark.parametrize("mode", MODES)
def test_a_journal_is_clean_after_every_verb_in_every_mode(root, place, receiver, mode):
    """With what an earlier yes has left: packed and closed segments, copies of what was sent, receipts."""
    configure(receiver, "caro-v1")
    for words in (("carojournal", "on", "--yes"), APPEND, ("carobatch", "upload"), APPEND, ("carobatch", "compact")):
        run(words, place)
    run(("carojournal", *MODES[mode]), place)
    assert os.listdir(os.path.join(root, "sent")) != []
    for words in (APPEND, *STEPS):
        run(words, place)
        assert findings(root) == [], words
        assert shown(root) == [], words
    assert (place / "taken").is_dir() == (mode != "off")
    assert findings(place / "out") == []
    assert findings(*filter(os.path.isdir, [place / "taken"])) == []


@pytest.mark.parametrize("wire", WIRES)
def test_a_journal_is_clean_whatever_a_receiver_answers(root, place, receiver, wire):
    """Under way, held, refused one by one, withheld, sent; requests to delete among them."""
    configure(receiver, wire)
    run(("carojournal", "on", "--yes"), place)
    folders = set()
    for script, words in (
        (refuses(503), ("carobatch", "upload")),
        (refuses(302), ("carobatch", "upload")),
        (refuses(401), ("carobatch", "upload")),
        (lambda _: (200, {}, b"<html>"), ("carobatch", "upload")),
        (accepts, ("carobatch", "upload", "--max-batches", "1")),
        (refuses(422), ("carobatch", "upload")),
        (accepts, ("carobatch", "upload")),
        (refuses(503), ("carobatch", "upload")),
        (refuses(503), ("carojournal", "delete-remote", "--all", "--yes")),
        (refuses(503), ("carobatch", "run")),
        (accepts, ("carobatch", "upload")),
        (accepts, ("carobatch", "deletion", "list")),
    ):
        run(APPEND, place)
        receiver.script = script
        run(words, place)
        assert findings(root) == [], words
        assert shown(root) == [], words
        folders |= {name for name in os.listdir(root) if os.path.isdir(os.path.join(root, name))}
        folders |= {"in outbox"} if os.listdir(os.path.join(root, "outbox")) else set()
    assert folders >= {"outbox", "sent", "receipts", "quarantine", "in outbox"}
