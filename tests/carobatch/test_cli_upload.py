"""`carobatch upload` and `carojournal sent`: what they send, say and answer."""

import base64
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from forge import OLD_MODEL, WITH_OLD_MODEL, closed_path, event, segment_bytes, with_model
from forgeries import issue_session
from receivers import Receiver, answers, unpacked
from uploads import YES_MS, carobatch, configure, fill, rows

from carobatch.batch import Request
from carobatch.cli import upload as verb
from carobatch.wire import headers_sent
from carojournal import JournalReader, grammars
from carojournal.cli import main as carojournal
from carojournal.patterns import scan
from carojournal.sent import unpacked as plain

HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def test_upload_sends_what_the_lanes_hold_too(root, home, clock, receiver, capsys):
    wanted = fill(root, clock)
    configure(home, receiver.settings)
    assert carobatch(["upload"]) == 0
    assert capsys.readouterr().out.startswith("sent 5 events in 1 batch")
    assert receiver.events == dict.fromkeys(wanted, 1)
    assert carobatch(["upload"]) == 0
    assert capsys.readouterr().out == "nothing to send\n"
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("wire", ["caro-v1", "caro-array"])
def test_a_dry_run_is_byte_for_byte_what_is_then_sent(root, home, clock, receiver, capsys, wire):
    fill(root, clock, 25)
    configure(home, f'{receiver.settings}\nbatch_max_events = 10\nwire_format = "{wire}"')
    before = {name: os.stat(os.path.join(root, name)).st_mtime_ns for name in os.listdir(root)}
    assert carobatch(["upload", "--dry-run", "--json"]) == 0
    shown = rows(capsys)
    assert {name: os.stat(os.path.join(root, name)).st_mtime_ns for name in os.listdir(root)} == before
    assert receiver.requests == []
    assert carobatch(["upload"]) == 0
    tried = {"X-Caro-Attempt": "<number of the try>", "X-Caro-Sent-At": "<time of the try>"}
    sent = [(request.path, {**request.headers, **tried}, request.body) for request in receiver.requests]
    assert sent == [("/v1/events", one["headers"], base64.b64decode(one["body_base64"])) for one in shown]
    assert len(sent) == 3
    capsys.readouterr()
    assert carojournal(["sent", "--json"]) == 0
    [listed] = rows(capsys)
    assert sorted(one["sha256"] for one in listed["batches"]) == sorted(one["sha256"] for one in shown)


def test_a_dry_run_shows_what_failed_before_as_it_will_be_sent_again(root, home, clock, receiver, capsys):
    fill(root, clock)
    configure(home, receiver.settings)
    receiver.script = answers((503, {}, b""))
    assert carobatch(["upload"]) == 75
    fill(root, clock)
    capsys.readouterr()
    assert carobatch(["upload", "--dry-run", "--json"]) == 0
    shown = [base64.b64decode(one["body_base64"]) for one in rows(capsys)]
    assert carobatch(["upload"]) == 0
    assert [request.body for request in receiver.requests[1:]] == shown
    assert len(shown) == 2


def test_a_dry_run_for_people(root, home, clock, receiver, capsys):
    [event] = fill(root, clock, 1)
    configure(home, receiver.settings)
    assert carobatch(["upload", "--dry-run"]) == 0
    told = capsys.readouterr()
    host = receiver.url.split("/")[2]
    assert told.out.startswith(f"POST {receiver.url}\nHost: {host}\nUser-Agent: carojournal/")
    assert "\nContent-Type: application/json\n" in told.out
    assert event in told.out
    assert "1 request, none of them sent" in told.err


def test_without_consent_a_dry_run_previews_and_says_that_nothing_is_sent(root, home, clock, receiver, capsys):
    [event] = fill(root, clock, 1, consent_ms=0)
    configure(home, receiver.settings, 0)
    assert carobatch(["upload", "--dry-run"]) == 0
    told = capsys.readouterr()
    assert event in told.out
    assert "nothing is sent, the mode is local" in told.err
    assert carobatch(["upload"]) == 77
    assert carobatch(["run"]) == 0
    assert receiver.requests == []


def test_upload_says_why_not_and_exits_75(root, home, clock, receiver, capsys):
    fill(root, clock)
    configure(home, receiver.settings)
    receiver.script = lambda _: (503, {"Retry-After": "3600"}, b"")
    assert carobatch(["upload"]) == 75
    assert "not everything was sent: status 503" in capsys.readouterr().err
    # The receiver's word holds for `upload` as well; a wait that we drew does not.
    assert carobatch(["upload"]) == 75
    asked = r"the receiver asked to wait until 20[-0-9]{8} [0-9:]{8} UTC"
    assert re.fullmatch(f"carobatch: not everything was sent: {asked}\n", capsys.readouterr().err)
    assert len(receiver.requests) == 1


def test_wait_goes_by_what_the_settings_say_by_then(root, home, clock, monkeypatch):
    """The user names another receiver while it waits, and means it."""
    fill(root, clock)
    with Receiver() as old, Receiver() as new:
        old.script = answers((503, {}, b""))
        configure(home, f'endpoint = "{old.url}"')
        monkeypatch.setattr(verb, "_sleep", lambda *_: configure(home, f'endpoint = "{new.url}"'))
        assert carobatch(["upload", "--wait"]) == 0
        assert (len(old.requests), len(old.events), len(new.events)) == (1, 0, 5)


def test_wait_tries_until_it_is_through(root, home, clock, receiver, capsys, monkeypatch):
    fill(root, clock)
    configure(home, receiver.settings)
    slept = []
    monkeypatch.setattr("carobatch.cli.upload.time.sleep", slept.append)
    receiver.script = answers((503, {"Retry-After": "7"}, b""), (500, {}, b""), (429, {}, b""))
    assert carobatch(["upload", "--wait"]) == 0
    assert len(slept) == 3
    assert slept[0] == 7
    line = r"carobatch: waiting until 20[-0-9]{8} [0-9:]{8} UTC for the next try: (.*)"
    told = [re.fullmatch(line, text)[1] for text in capsys.readouterr().err.splitlines()]
    assert told == ["status 503", "status 500", "status 429"]
    assert all(0 <= seconds <= 8 for seconds in slept)


def test_json_and_max_batches(root, home, clock, receiver, capsys):
    fill(root, clock, 5)
    configure(home, f"{receiver.settings}\nbatch_max_events = 2")
    assert carobatch(["upload", "--json", "--max-batches", "2"]) == 0
    [found] = rows(capsys)
    assert (found["kind"], found["batches"], found["events"]) == ("more", 2, 4)
    assert found["counts"] == {"session_end": 4}
    sent = len(receiver.requests)
    for few in ("0", "-1"):
        assert carobatch(["upload", "--max-batches", few]) == 64
        assert "--max-batches is at least 1" in capsys.readouterr().err
        assert carobatch(["upload", "--dry-run", "--max-batches", few]) == 64
    assert len(receiver.requests) == sent == 2


def keep(root, payloads):
    """Keep a closed segment with *payloads*, recorded under the yes that holds."""
    segment = bytes(range(16))
    closed_path(Path(root), segment).write_bytes(segment_bytes(segment, payloads, consent=YES_MS, sealed=True))
    issue_session(root)


def test_what_an_earlier_release_recorded_and_this_one_refuses_is_counted_named_and_not_shown(
    root, home, clock, receiver, capsys
):
    fill(root, clock, 2)
    keep(root, [event(1), WITH_OLD_MODEL, event(2), WITH_OLD_MODEL])
    configure(home, receiver.settings)
    line = "carobatch: 2 events withheld, not allowed any more: command_generated.model_name: value (2)\n"
    assert carobatch(["upload", "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert line in shown.err
    assert carobatch(["upload"]) == 0
    told = capsys.readouterr()
    assert told.err == line
    assert told.out.startswith("sent 4 events")
    assert carobatch(["upload", "--json"]) == 0
    again = capsys.readouterr()
    assert again.err == line
    found = json.loads(again.out)
    refused = {"event": "command_generated", "field": "model_name", "reason": "value", "count": 2}
    assert (found["withheld"], found["refused"], found["events"]) == (2, [refused], 0)
    assert len(list(JournalReader(root).records(events_only=True))) == 4  # The segment stays, with all that it holds.
    sent = b"".join(unpacked(one.headers, one.body) for one in receiver.requests)
    assert OLD_MODEL not in shown.out + shown.err + told.out + told.err + again.out + again.err
    assert OLD_MODEL.encode() not in sent


def test_what_is_refused_is_in_quarantine_and_counted_once_it_is_packed(root, home, clock, receiver, capsys):
    fill(root, clock, 2)
    keep(root, [event(1), WITH_OLD_MODEL])
    configure(home, receiver.settings)
    assert carobatch(["compact"]) == 65
    assert "1 event refused" in capsys.readouterr().err
    assert carobatch(["upload"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("sent 3 events")
    assert told.err == ""
    [kept] = (Path(root) / "quarantine").iterdir()
    assert b"model_name" in kept.read_bytes()
    assert carojournal(["status"]) == 0
    assert "refused\t1 command_generated model_name value" in capsys.readouterr().out


def test_a_name_that_only_the_tripwire_knows_is_withheld_aloud(root, home, clock, receiver, capsys):
    name = "samantha-mistral:7b"
    assert grammars.is_model(name)
    assert scan(name)
    fill(root, clock, 1)
    keep(root, [event(1), with_model(name)])
    configure(home, receiver.settings)
    assert carobatch(["upload"]) == 0
    assert "1 event withheld" in capsys.readouterr().err
    assert carojournal(["export", "-o", "-"]) == 65
    assert "1 event left out: command_generated.model_name: value" in capsys.readouterr().err


def test_a_lower_level_takes_nothing_back_of_what_is_pending(root, home, clock, receiver, capsys):
    """As `docs/collected.md` says: a level decides what is recorded from then on."""
    fill(root, clock, 1)
    keep(root, [with_model("llama3:8b")])
    configure(home, receiver.settings)
    assert carojournal(["config", "set", "level", "minimal"]) == 0
    assert carobatch(["upload"]) == 0
    assert b"llama3:8b" in b"".join(unpacked(one.headers, one.body) for one in receiver.requests)
    assert "It takes nothing back" in (Path(HERE) / "carojournal" / "docs" / "collected.md").read_text()


def test_what_the_configuration_lacks_is_78(root, home, clock, receiver, capsys):
    fill(root, clock)
    for text in ('wire_format = "otlp"', 'wire_format = "posthog"', 'ca_file = "/nonexistent/ca.pem"', "level = 7"):
        configure(home, text)
        assert carobatch(["upload"]) == 78
        assert "\n" not in capsys.readouterr().err.rstrip("\n")


def test_sent_lists_and_prints_and_checks(root, home, clock, receiver, capsys):
    [event] = fill(root, clock, 1)
    configure(home, receiver.settings)
    assert carojournal(["sent"]) == 0
    assert capsys.readouterr().out == "Nothing was sent.\n"
    for words in (["--raw"], [""], ["", "--raw"]):
        assert carojournal(["sent", *words]) == 64
        assert "name the batch by the first digits of its id" in capsys.readouterr().err
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


def _head(stream):
    """Return the lines of a request before the empty one; nothing at the end of the connection."""
    lines = []
    while (text := stream.readline()) not in (b"", b"\r\n"):
        lines.append(text)
    return b"".join(lines)


class Socket:
    """A server that keeps what comes in, byte for byte, and answers each request with 200."""

    def __init__(self):
        self.received = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                while head := _head(stream):
                    size = int(re.search(rb"\r\nContent-Length: (\d+)\r\n", head)[1])
                    self.received.append((head, stream.read(size)))
                    results = dict.fromkeys(re.findall(r'"uuid":"([^"]+)"', plain(self.received[-1][1]).decode()), "ok")
                    body = json.dumps({"results": results, "status": 1}).encode() if results else b""
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    def close(self):
        self.server.close()


@pytest.fixture
def raw():
    made = Socket()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("wire", "path"),
    [
        ("caro-v1", "/v1/events"),
        ("caro-array", "/api/events"),
        ("otlp", "/v1/logs"),
        ("posthog", "/i/v1/analytics/events"),
        ("posthog", "/batch/"),
    ],
)
def test_a_dry_run_shows_every_byte_that_a_socket_receives(root, home, clock, raw, capsys, wire, path):
    """But for the number and the time of the try, which are named where they will stand."""
    fill(root, clock, 3)
    url = f"http://127.0.0.1:{raw.port}{path}"
    configure(home, f'endpoint = "{url}"\nwire_format = "{wire}"\nposthog_key = "phc_abc123"\nbatch_max_events = 2')
    assert carojournal(["delete-remote", "--all", "--yes"]) == 0
    fill(root, clock, 3)  # Under another session id, which nobody has asked to delete.
    capsys.readouterr()
    assert carobatch(["upload", "--dry-run", "--json"]) == 0
    shown = rows(capsys)
    assert carobatch(["upload", "--dry-run"]) == 0
    texts = capsys.readouterr().out
    assert carobatch(["upload"]) == 0
    assert len(raw.received) == len(shown) >= 2
    for (head, body), one in zip(raw.received, shown, strict=True):
        assert body == base64.b64decode(one["body_base64"])
        lines = [f"{name}: {text}" for name, text in one["headers"].items()]
        request = urlsplit(one["url"])
        wanted = "".join(f"{line}\r\n" for line in [f"POST {request.path} HTTP/1.1", *lines])
        number, time = "<number of the try>", "<time of the try>"
        pattern = re.escape(wanted).replace(re.escape(number), "1").replace(re.escape(time), r"20[-0-9T:.]{21}Z")
        assert re.fullmatch(pattern, head.decode())
        assert "\n".join([f"POST {one['url']}", *lines, "", plain(body).decode()]) in texts


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Host.example/x", "host.example"),
        ("https://host.example:443/x", "host.example"),
        ("https://host.example:8443/x", "host.example:8443"),
        ("http://127.0.0.1:80/", "127.0.0.1"),
        ("http://[::1]:8080/", "[::1]:8080"),
    ],
)
def test_the_host_is_that_of_the_url_without_the_schemes_port(url, host):
    assert headers_sent(Request(url, (), b""))[0] == ("Host", host)
