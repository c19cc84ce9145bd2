"""The programs: what they send, say and answer; where nothing may be sent, no socket is opened."""

import base64
import errno
import hashlib
import json
import os
import subprocess
import sys
import time

import pytest
from receivers import Authority, Receiver, answers
from uploads import DAY_MS, YES_MS, carobatch, configure, consented, ids

from carobatch import timing
from carojournal import deletion, snapshot
from carojournal.cli import main as carojournal

HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.fixture
def receiver(tmp_path):
    authority = Authority(tmp_path)
    with Receiver(certificate=authority.server()) as made:
        made.settings = f'endpoint = "{made.url}"\nca_file = "{authority.ca_file}"'
        yield made


def fill(root, home, clock, events=5, consent_ms=YES_MS):
    clock.now_ms = time.time_ns() // 1_000_000
    with consented(root, clock, consent_ms) as journal:
        for number in range(events):
            journal.append("session_end", session_duration_ms=number)
    return ids(root)


def rows(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_upload_sends_what_the_lanes_hold_too(root, home, clock, receiver, capsys):
    wanted = fill(root, home, clock)
    configure(home, receiver.settings)
    assert carobatch(["upload"]) == 0
    assert capsys.readouterr().out.startswith("sent 5 events in 1 batch")
    assert receiver.events == dict.fromkeys(wanted, 1)
    assert carobatch(["upload"]) == 0
    assert capsys.readouterr().out == "nothing to send\n"
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("wire", ["caro-v1", "caro-array"])
def test_a_dry_run_is_byte_for_byte_what_is_then_sent(root, home, clock, receiver, capsys, wire):
    fill(root, home, clock, 25)
    configure(home, f'{receiver.settings}\nbatch_max_events = 10\nwire_format = "{wire}"')
    before = {name: os.stat(os.path.join(root, name)).st_mtime_ns for name in os.listdir(root)}
    assert carobatch(["upload", "--dry-run", "--json"]) == 0
    shown = rows(capsys)
    assert {name: os.stat(os.path.join(root, name)).st_mtime_ns for name in os.listdir(root)} == before
    assert receiver.requests == []
    assert carobatch(["upload"]) == 0
    fresh = {"X-Caro-Attempt", "X-Caro-Sent-At", "Host", "User-Agent", "Accept-Encoding", "Content-Length"}
    sent = [
        (request.path, {name: text for name, text in request.headers.items() if name not in fresh}, request.body)
        for request in receiver.requests
    ]
    assert sent == [("/v1/events", one["headers"], base64.b64decode(one["body_base64"])) for one in shown]
    assert len(sent) == 3
    capsys.readouterr()
    assert carojournal(["sent", "--json"]) == 0
    [listed] = rows(capsys)
    assert sorted(one["sha256"] for one in listed["batches"]) == sorted(one["sha256"] for one in shown)


def test_a_dry_run_shows_what_failed_before_as_it_will_be_sent_again(root, home, clock, receiver, capsys):
    fill(root, home, clock)
    configure(home, receiver.settings)
    receiver.script = answers((503, {}, b""))
    assert carobatch(["upload"]) == 75
    fill(root, home, clock)
    capsys.readouterr()
    assert carobatch(["upload", "--dry-run", "--json"]) == 0
    shown = [base64.b64decode(one["body_base64"]) for one in rows(capsys)]
    assert carobatch(["upload"]) == 0
    assert [request.body for request in receiver.requests[1:]] == shown
    assert len(shown) == 2


def test_a_dry_run_for_people(root, home, clock, receiver, capsys):
    [event] = fill(root, home, clock, 1)
    configure(home, receiver.settings)
    assert carobatch(["upload", "--dry-run"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith(f"POST {receiver.url}\nContent-Type: application/json\n")
    assert event in told.out
    assert "1 request, none of them sent" in told.err


def test_without_consent_a_dry_run_previews_and_says_that_nothing_is_sent(root, home, clock, receiver, capsys):
    [event] = fill(root, home, clock, 1, consent_ms=0)
    configure(home, receiver.settings, 0)
    assert carobatch(["upload", "--dry-run"]) == 0
    told = capsys.readouterr()
    assert event in told.out
    assert "nothing is sent, the mode is local" in told.err
    assert carobatch(["upload"]) == 77
    assert carobatch(["run"]) == 0
    assert receiver.requests == []


def test_upload_says_why_not_and_exits_75(root, home, clock, receiver, capsys):
    fill(root, home, clock)
    configure(home, receiver.settings)
    receiver.script = lambda _: (503, {"Retry-After": "3600"}, b"")
    assert carobatch(["upload"]) == 75
    assert "not everything was sent: status 503" in capsys.readouterr().err
    # The receiver's word holds for `upload` as well; a wait that we drew does not.
    assert carobatch(["upload"]) == 75
    assert "the receiver asked to wait 36" in capsys.readouterr().err
    assert len(receiver.requests) == 1


def test_wait_tries_until_it_is_through(root, home, clock, receiver, capsys, monkeypatch):
    fill(root, home, clock)
    configure(home, receiver.settings)
    slept = []
    monkeypatch.setattr("carobatch.cli.upload.time.sleep", slept.append)
    receiver.script = answers((503, {"Retry-After": "7"}, b""), (500, {}, b""), (429, {}, b""))
    assert carobatch(["upload", "--wait"]) == 0
    assert len(slept) == 3
    assert slept[0] == 7
    assert all(0 <= seconds <= 8 for seconds in slept)


def test_json_and_max_batches(root, home, clock, receiver, capsys):
    fill(root, home, clock, 5)
    configure(home, f"{receiver.settings}\nbatch_max_events = 2")
    assert carobatch(["upload", "--json", "--max-batches", "2"]) == 0
    [found] = rows(capsys)
    assert (found["kind"], found["batches"], found["events"]) == ("more", 2, 4)
    assert found["counts"] == {"session_end": 4}
    assert carobatch(["upload", "--max-batches", "-1"]) == 64


def test_what_the_configuration_lacks_is_78(root, home, clock, receiver, capsys):
    fill(root, home, clock)
    for text in ('wire_format = "otlp"', 'wire_format = "posthog"', 'ca_file = "/nonexistent/ca.pem"', "level = 7"):
        configure(home, text)
        assert carobatch(["upload"]) == 78
        assert "\n" not in capsys.readouterr().err.rstrip("\n")


def test_sent_lists_and_prints_and_checks(root, home, clock, receiver, capsys):
    [event] = fill(root, home, clock, 1)
    configure(home, receiver.settings)
    assert carojournal(["sent"]) == 0
    assert capsys.readouterr().out == "Nothing was sent.\n"
    carobatch(["upload"])
    capsys.readouterr()
    assert carojournal(["sent"]) == 0
    batch, _, events, of_which, to, digest = capsys.readouterr().out.rstrip("\n").split("\t")
    assert (events, of_which, to) == ("1", "1 session_end", f"caro-v1 {receiver.url}")
    assert carojournal(["sent", batch]) == 0
    assert event in capsys.readouterr().out
    environ = {**os.environ, "PYTHONPATH": HERE}
    command = [sys.executable, "-m", "carojournal", "sent", batch, "--raw"]
    raw = subprocess.run(command, env=environ, capture_output=True, check=True).stdout
    assert hashlib.sha256(raw).hexdigest() == digest
    assert raw.endswith(receiver.requests[0].body)
    [name] = [name for name in os.listdir(os.path.join(root, "sent")) if name.endswith(".cbor")]
    path = os.path.join(root, "sent", name)
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(data.replace(b"X-Caro-Version", b"X-Caro-Versiom"))
    assert carojournal(["sent", batch]) == 65
    os.unlink(path)
    assert carojournal(["sent", batch]) == 69
    assert carojournal(["sent", "ffff" * 16]) == 69


# --- run


def due(root, failures=0, **values):
    """Make the next run due, or not."""
    tries = timing.load_tries(root)
    tries.since_ms = time.time_ns() // 1_000_000 - 3 * DAY_MS
    tries.failures = failures
    for name, value in values.items():
        setattr(tries, name, value)
    timing.save_tries(root, tries)


def test_run_is_silent_until_it_is_due_and_says_one_line_then(root, home, clock, receiver, capsys):
    wanted = fill(root, home, clock)
    configure(home, receiver.settings)
    assert carobatch(["run"]) == 0
    told = capsys.readouterr()
    assert (told.out, told.err, receiver.requests) == ("", "", [])
    due(root)
    assert carobatch(["run"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("sent 5 events in 1 batch")
    assert (told.out.count("\n"), told.err) == (1, "")
    assert receiver.events == dict.fromkeys(wanted, 1)
    assert carobatch(["run"]) == 0
    told = capsys.readouterr()
    assert (told.out, told.err, len(receiver.requests)) == ("", "", 1)


def test_run_is_quiet_about_failures_until_the_fifth(root, home, clock, receiver, capsys):
    fill(root, home, clock)
    configure(home, receiver.settings)
    receiver.script = lambda _: (500, {}, b"")
    due(root)
    for number in range(1, 6):
        tries = timing.load_tries(root)
        tries.not_before_ms = 0
        timing.save_tries(root, tries)
        code = carobatch(["run"])
        told = capsys.readouterr()
        assert told.out == ""
        assert (code, told.err) == (
            (75, "") if number < 5 else (69, "carobatch: 5 uploads failed in a row: status 500\n")
        )


def test_run_does_not_try_before_its_time(root, home, clock, receiver, capsys):
    fill(root, home, clock)
    configure(home, receiver.settings)
    due(root, failures=1, not_before_ms=time.time_ns() // 1_000_000 + 60_000)
    assert carobatch(["run"]) == 0
    assert receiver.requests == []


def test_run_warns_when_the_journal_is_nearly_full(root, home, clock, receiver, capsys):
    fill(root, home, clock)
    configure(home, f"{receiver.settings}\noffline_spool_max_mb = 1")
    os.makedirs(os.path.join(root, "quarantine"), exist_ok=True)
    with open(os.path.join(root, "quarantine", "x"), "wb") as file:
        file.write(bytes(900_000))
    assert carobatch(["run"]) == 69
    assert "% full" in capsys.readouterr().err


def test_two_at_once_one_gives_way_quietly(root, home, clock, receiver, capsys):
    from carojournal import locks

    fill(root, home, clock)
    configure(home, receiver.settings)
    with locks.batch_lock(root):
        assert carobatch(["run"]) == 75
        assert capsys.readouterr().err == ""
        assert carobatch(["upload"]) == 75


def test_run_packs_what_is_old_enough(root, home, clock, receiver, capsys):
    wanted = fill(root, home, clock, consent_ms=0)
    configure(home, "", 0)
    old = time.time() - 7_200
    os.utime(os.path.join(root, "lanes", "0.seg"), (old, old))
    assert carobatch(["run"]) == 0
    assert [name[-12:] for name in os.listdir(os.path.join(root, "packed"))] == [".cborseq.zst"]
    assert ids(root) == wanted
    assert capsys.readouterr().out == ""


def test_a_deletion_request_waits_while_the_user_is_off_and_goes_out_first_afterwards(root, home, clock, receiver):
    """Off opens no socket for any reason, and takes back nothing that the user asked for."""
    fill(root, home, clock)
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
    fill(root, home, clock)
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
    denied = 78 if case in ("broken", "admin cannot be read") else 77
    assert codes == [0, denied, denied, 78 if denied == 78 else 0, 0, 0]
    assert sockets == ""
    assert receiver.requests == []
    assert len(deletion.pending(root)) == (case != "no consent")


def test_a_look_opens_no_socket_where_sending_is_allowed(root, home, clock, receiver, tmp_path):
    """And whatever does send is seen by the same tracer."""
    fill(root, home, clock)
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
    fill(root, home, clock)
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
    events = fill(root, home, clock, 3)
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
    fill(root, home, clock)
    configure(home, receiver.settings)
    for name in ("CARO_TELEMETRY_ENDPOINT", "CARO_ENDPOINT", "CAROJOURNAL_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/v1/events")
    assert carobatch(["upload"]) == 0
    assert len(receiver.events) == 5


def test_what_was_recorded_before_the_yes_stays_also_when_the_mode_changes_back_and_forth(
    root, home, clock, receiver, capsys
):
    configure(home, f"{receiver.settings}", 0)
    kept = set(fill(root, home, clock, 2, consent_ms=0))
    under_first = set(fill(root, home, clock, 2, consent_ms=YES_MS)) - kept
    again = set(fill(root, home, clock, 2, consent_ms=0)) - kept - under_first
    second = YES_MS + 86_400_000
    under_second = set(fill(root, home, clock, 2, consent_ms=second)) - kept - under_first - again
    configure(home, receiver.settings, second)
    assert carobatch(["upload"]) == 0
    assert set(receiver.events) == under_second
    assert set(ids(root)) == kept | under_first | again


def test_run_says_what_the_configuration_lacks(root, home, clock, receiver, capsys):
    fill(root, home, clock)
    configure(home, 'wire_format = "otlp"')
    due(root)
    assert carobatch(["run"]) == 78
    assert capsys.readouterr().err == "carobatch: endpoint: wire_format otlp has none of its own\n"


def test_run_takes_its_folder_and_refuses_other_words(root, home, clock, receiver, tmp_path):
    assert carobatch(["run", "--dir", str(tmp_path / "missing")]) == 0
    assert carobatch(["run", "--frequently"]) == 64
    assert carobatch(["run", "--dir"]) == 64
