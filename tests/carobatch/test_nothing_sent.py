"""Where nothing may be sent, no socket is opened; what was recorded before the yes stays."""

import errno
import json
import os
import subprocess
import sys

import pytest
from uploads import YES_MS, carobatch, configure, due, fill, ids

from carojournal import deletion, snapshot

HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def test_a_deletion_request_waits_while_the_user_is_off_and_goes_out_first_afterwards(root, home, clock, receiver):
    """Off opens no socket for any reason, and takes back nothing that the user asked for."""
    fill(root, clock)
    configure(home, receiver.settings)
    carobatch(["upload"])
    deletion.queue(root, [("2026-01-01", bytes(16))], 1)
    path = os.path.join(home, ".config", "caro", "config.toml")
    with open(path, "w") as file:
        file.write(f"[telemetry]\nenabled = false\n{receiver.settings}\n")
    assert carobatch(["run"]) == 0
    assert len(receiver.requests) == 1
    assert len(deletion.pending(root)) == 1
    configure(home, receiver.settings)
    assert carobatch(["upload"]) == 0
    assert receiver.requests[1].path == "/v1/deletions"
    assert deletion.pending(root) == []


SILENT = {
    "off": ("enabled = false", {}, ""),
    "local": ("air_gapped = true", {}, ""),
    "no consent": (None, {}, ""),
    "variable": ("", {"CARO_TELEMETRY": "0"}, ""),
    "do not track": ("", {"DO_NOT_TRACK": "1"}, ""),
    "air-gapped variable": ("", {"CARO_TELEMETRY_AIR_GAPPED": "1"}, ""),
    "broken": ("level = 7", {}, ""),
    "admin lock": ("", {}, "enabled = false"),
    "admin keeps it local": ("", {}, "air_gapped = true"),
    "admin cannot be read": ("", {}, "level = 7"),
}
VERBS = (["run"], ["upload"], ["upload", "--wait"], ["upload", "--dry-run"], ["deletion", "list"], ["run"])
# Everything under one strace, as a user would call it, but for the administrator's file, which a test has no other way
# to put in place.
CALLER = """
import json, sys
from carojournal import policy
policy.admin_file = lambda *_: sys.argv[1]
from carobatch.cli import main
print(json.dumps([main(words) for words in json.loads(sys.argv[2])]))
"""


def calls_under_strace(tmp_path, words, environ, admin=""):
    """Run carobatch with each of *words* under strace; return (exit codes, what touched a socket)."""
    path, trace = tmp_path / "admin.toml", tmp_path / "trace"
    if admin:
        path.write_text(admin)
    command = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=%network", "-o", str(trace)]
    done = subprocess.run(
        [*command, sys.executable, "-c", CALLER, str(path), json.dumps(words)],
        env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE}/tools", **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), trace.read_text()


@pytest.mark.parametrize("case", SILENT)
def test_where_nothing_may_be_sent_no_socket_is_opened(root, home, clock, receiver, tmp_path, case):
    text, environ, admin = SILENT[case]
    fill(root, clock)
    configure(home, receiver.settings)
    due(root)
    if case != "no consent":
        deletion.queue(root, [("2026-01-01", bytes(16))], 1)
    configure(home, f"{receiver.settings}\n{text or ''}", 0 if text is None else YES_MS)
    if case == "off":
        path = os.path.join(home, ".config", "caro", "config.toml")
        with open(path) as file:
            found = file.read().replace("enabled = true\n", "")
        with open(path, "w") as file:
            file.write(found)
    codes, sockets = calls_under_strace(tmp_path, VERBS, environ, admin)
    denied, quiet = (78, 78) if case in ("broken", "admin cannot be read") else (77, 0)
    assert codes == [quiet, denied, denied, quiet, 0, quiet]
    assert sockets == ""
    assert receiver.requests == []
    assert len(deletion.pending(root)) == (case != "no consent")


def test_a_look_opens_no_socket_where_sending_is_allowed(root, home, clock, receiver, tmp_path):
    """And whatever does send is seen by the same tracer."""
    fill(root, clock)
    configure(home, receiver.settings)
    deletion.queue(root, [("2026-01-01", bytes(16))], 1)
    looks = [["upload", "--dry-run"], ["upload", "--dry-run", "--json"], ["deletion", "list"]]
    looks.append(["deletion", "confirm", "x"])
    codes, sockets = calls_under_strace(tmp_path, looks, {})
    assert (codes, sockets) == ([0, 0, 0, 69], "")
    codes, sockets = calls_under_strace(tmp_path, [["upload"]], {})
    assert codes == [0]
    assert "AF_INET" in sockets
    assert len(receiver.requests) == 2


@pytest.mark.parametrize("text", ["air_gapped = true", "enabled = false"])
def test_the_administrators_word_stands_above_the_users_yes(root, home, clock, receiver, tmp_path, monkeypatch, text):
    fill(root, clock)
    configure(home, receiver.settings)
    due(root)
    deletion.queue(root, [("2026-01-01", bytes(16))], 1)
    admin = tmp_path / "admin.toml"
    admin.write_text(text)
    monkeypatch.setattr("carojournal.policy.admin_file", lambda *_: str(admin))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a socket was connected"))
    assert carobatch(["run"]) == 0
    assert carobatch(["upload"]) == 77
    assert receiver.requests == []
    assert len(deletion.pending(root)) == 1


@pytest.mark.parametrize("nth", range(2, 7))
def test_a_configuration_that_cannot_be_read_for_a_moment_ends_in_no_success(
    root, home, clock, receiver, monkeypatch, capsys, nth
):
    events = fill(root, clock, 3)
    configure(home, receiver.settings)
    real, looks = snapshot.read, []

    def read(path, limit):
        looks.append(path)
        if path.endswith("config.toml") and sum(one.endswith("config.toml") for one in looks) == nth:
            raise OSError(errno.EIO, "Input/output error")
        return real(path, limit)

    monkeypatch.setattr(snapshot, "read", read)
    code = carobatch(["upload"])
    assert (code, len(receiver.events)) in [(0, 3), (75, 0)]
    assert code == 0 or "could not be read" in capsys.readouterr().err
    assert carobatch(["upload"]) == 0
    assert receiver.events == dict.fromkeys(events, 1)


def test_the_endpoint_never_comes_from_the_environment(root, home, clock, receiver, monkeypatch):
    fill(root, clock)
    configure(home, receiver.settings)
    for name in ("CARO_TELEMETRY_ENDPOINT", "CARO_ENDPOINT", "CAROJOURNAL_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/v1/events")
    assert carobatch(["upload"]) == 0
    assert len(receiver.events) == 5


def test_what_was_recorded_before_the_yes_stays_also_when_the_mode_changes_back_and_forth(
    root, home, clock, receiver, capsys
):
    configure(home, f"{receiver.settings}", 0)
    kept = set(fill(root, clock, 2, consent_ms=0))
    under_first = set(fill(root, clock, 2, consent_ms=YES_MS)) - kept
    again = set(fill(root, clock, 2, consent_ms=0)) - kept - under_first
    second = YES_MS + 86_400_000
    under_second = set(fill(root, clock, 2, consent_ms=second)) - kept - under_first - again
    configure(home, receiver.settings, second)
    assert carobatch(["upload"]) == 0
    assert set(receiver.events) == under_second
    assert set(ids(root)) == kept | under_first | again
