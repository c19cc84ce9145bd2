"""What our own programs write is no finding in an audit, whatever was done with a journal; its mere look-alikes are."""

import json
import sqlite3

import pytest

from carobatch.cli import main as carobatch
from carobatch.readme import readme_text
from carojournal import codec, deletion
from carojournal.audit import audit_paths
from carojournal.audit_own import is_own_text
from carojournal.cli import main as carojournal
from carojournal.receivers import Receiver

EVENT = "--event=command_generated"
FIELDS = ("backend_used=ollama", "inference_time_ms=843", "generation=1")
SECRET = "jane.doe@example.com"


def queue(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE events(id TEXT, session_id TEXT, timestamp TEXT, event_type TEXT, data TEXT)")
        data = json.dumps({"version": "1.1.0", "platform": "linux"})
        rows = [(f"{number}", "s", f"2026-01-0{number}T00:00:00Z", "session_start", data) for number in (1, 2, 3)]
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows)
    connection.close()
    return path


def was_sent(root):
    """Note that something of the journal went to a receiver, which its request to delete names, too."""
    day, session = deletion.read_identity(root).history()[0]
    deletion.mark_sent(root, day, {session}, Receiver("caro-v1", "https://[2001:db8::1]:8443/caro~v1/events;a=%20&b"))
    return 0


def findings(*paths):
    return [(finding.member, finding.position, finding.rule) for finding in audit_paths(map(str, paths)).findings]


def test_a_journal_is_clean_after_each_thing_that_can_be_done_with_it(root, tmp_path, monkeypatch, capsys):
    """Consent, packing, bundles, receipts, acknowledgement, migration, deletion requests, export and clearing."""
    monkeypatch.setenv("CAROJOURNAL_DIR", str(root))
    out, taken = tmp_path / "out", tmp_path / "imported"
    out.mkdir()
    old = queue(tmp_path / "telemetry.db")
    steps = (
        (carojournal, ["append", "--channel", "beta", EVENT, *FIELDS]),
        (carojournal, ["on", "--yes"]),
        (carojournal, ["append", "--channel", "beta", EVENT, *FIELDS]),
        (carojournal, ["reindex"]),
        (carobatch, ["export", "-o", str(out)]),
        (carojournal, ["append", "--channel", "beta", EVENT, *FIELDS]),
        (carobatch, ["compact"]),
        (carobatch, ["import", "--into", str(taken), "*"]),
        (carobatch, ["ack", "*"]),
        (carojournal, ["migrate", str(old)]),
        (lambda _: was_sent(root), [""]),
        (carojournal, ["delete-remote", "--all", "--yes"]),
        (carojournal, ["export", "-o", str(tmp_path / "events.json"), "--clear"]),
        (carojournal, ["clear", "--force"]),
    )
    for program, words in steps:
        if words[-1] == "*":
            words[-1:] = map(str, out.glob("*.tar.zst") if words[0] == "import" else taken.rglob("receipt-*.json"))
        assert program(words) == 0, (words[0], capsys.readouterr())
        assert findings(root) == [], words[0]
        assert audit_paths([root]).unread == []
    assert findings(out, taken, tmp_path / "events.json") == []


@pytest.mark.parametrize("signed", [False, True])
def test_the_readme_of_a_bundle_is_known_word_for_word(signed):
    text = readme_text("carojournal-798f9799-403b-000001", signed=signed)
    assert is_own_text(text)
    assert not is_own_text(f"{text}{SECRET}\n")
    assert not is_own_text(text.replace("carojournal-798f9799-403b-000001", "jane", 1))


@pytest.mark.parametrize(
    "line",
    [
        "source jane",
        "sent 2026-01-01 jane.doe",
        "request jane 1795298837123 1 5e024f7f",
        "External-Identifier: jane.doe@example.com",
        "Internal-Sender-Description: Jane's laptop",
        "taken 8c3f2e1a5b6d4c7e9f80a1b2c3d4e5f6 1 hunter2hunter2hu 5e024f7f",
    ],
)
def test_a_line_that_only_begins_like_ours_is_judged(tmp_path, line):
    (tmp_path / "journal").write_text(f"{line}\n")
    assert findings(tmp_path) != []


@pytest.mark.parametrize(
    "value",
    [
        {"record": SECRET},
        {"reason": "jane"},
        {"field": "jane.doe"},
        {"generation_id": SECRET},
        {"format": "carojournal-jane"},
        {"accepted": {"jane.doe": [[1, 2]]}},
        {"accepted": {"8c3f2e1a5b6d4c7e9f80a1b2c3d4e5f6": [SECRET]}},
        {"accepted": {"8c3f2e1a5b6d4c7e9f80a1b2c3d4e5f6": [[1, SECRET]]}},
        {"first": "+49 151 23456789"},
    ],
)
def test_a_value_under_a_key_of_ours_is_judged_unless_it_has_the_exact_form(tmp_path, value):
    (tmp_path / "receipt-8c3f2e1a-000001-8c3f2e1a.json").write_text(json.dumps(value))
    assert findings(tmp_path) != []
    (tmp_path / "receipt-8c3f2e1a-000001-8c3f2e1a.json").write_bytes(codec.dumps(value) + b"\xf6")
    assert findings(tmp_path) != []
