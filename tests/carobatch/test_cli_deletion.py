"""Requests that no call can deliver: kept, shown, explained, and closed by the user's word alone."""

import json
import os
import time

import pytest
from receivers import Receiver
from uploads import carobatch, configure, consented, fill, names, record, upload

from carobatch.deliveries import fold
from carobatch.sinks import SINKS, deletion_by_hand, open_sink
from carojournal import deletion
from carojournal.cli import main as carojournal

KEY = "phc_key"


@pytest.fixture(autouse=True)
def no_admin(monkeypatch):
    monkeypatch.setattr("carojournal.policy.admin_file", lambda *_: "/nonexistent")


@pytest.fixture
def asked(root, home, clock):
    """A journal whose events went out, and a request to delete them; returns the request."""
    clock.now_ms = time.time_ns() // 1_000_000
    record(root, clock, 3)
    with Receiver() as receiver:
        upload(root, receiver.url, clock)
    identity = deletion.read_identity(root)
    return deletion.queue(root, deletion.sessions_sent(root, identity), clock.now_ms)


def wire(home, name, url="https://127.0.0.1:9/x"):
    configure(home, f'wire_format = "{name}"\nendpoint = "{url}"\nposthog_key = "{KEY}"')


@pytest.mark.parametrize("name", SINKS)
def test_a_sink_asks_by_a_call_or_says_what_to_do_by_hand(asked, name):
    sink = open_sink(name, "https://example.com/x", KEY)
    request = sink.deletion(asked)
    assert (request is None) == (name in deletion.BY_HAND) == bool(sink.by_hand) == bool(deletion_by_hand(name))
    if request is None:
        # The documents of the sink say the same as the program.
        module = __import__(type(sink).__module__, fromlist=["x"])
        field = {"posthog": "distinct_id", "otlp": "session.id"}[name]
        assert field in sink.by_hand
        assert field in module.__doc__.partition("Deletion:")[2]
        assert "carobatch deletion confirm" in module.__doc__
    else:
        assert json.loads(request.body)["sessions"] == [session.hex() for _, session in asked.sessions]


@pytest.mark.parametrize("name", sorted(deletion.BY_HAND))
def test_it_is_kept_shown_explained_and_confirmed(asked, root, home, name, capsys):
    wire(home, name)
    assert carojournal(["status"]) == 0
    said = capsys.readouterr().out
    assert "1 request not confirmed yet" in said
    assert "'carobatch deletion list' says what to do" in said
    assert carobatch(["deletion", "list"]) == 0
    told = capsys.readouterr()
    [(day, session)] = asked.sessions
    assert told.out.rstrip("\n").split("\t")[::3] == [asked.request, session.hex()]
    assert day in told.out
    assert deletion_by_hand(name) in told.err
    assert "also sent to caro-v1 http://127.0.0.1" in told.err
    assert carobatch(["deletion", "confirm", asked.request[:8]]) == 0
    assert deletion.pending(root) == []
    assert carobatch(["deletion", "list", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out.splitlines()[-1])["requests"]
    assert (found["confirmed_by"], found["sessions"]) == ("user", [{"day": day, "session_id": session.hex()}])
    assert carojournal(["audit"]) in (0, 65)
    assert deletion.requested_sessions(root) == {session}, "what was deleted must not be sent again"
    assert carobatch(["deletion", "confirm", asked.request]) == 0
    assert "already" in capsys.readouterr().out


def test_what_the_receiver_confirmed_is_told_apart(asked, root, clock, capsys):
    with Receiver() as receiver:
        upload(root, receiver.url, clock)
    assert carobatch(["deletion", "list"]) == 0
    told = capsys.readouterr()
    assert "confirmed by the receiver" in told.out
    assert told.err == ""


@pytest.mark.parametrize(
    ("words", "code"),
    [(["confirm"], 64), (["confirm", "zz"], 69), (["list", "0"], 64), (["confirm", ""], 64), (["remove"], 64)],
)
def test_what_makes_no_sense_is_said(asked, root, words, code):
    assert carobatch(["deletion", *words]) == code
    assert deletion.pending(root) == [asked]


def test_two_that_begin_alike_are_not_guessed_between(asked, root, clock):
    other = asked.request[:4] + "0" * 28
    deletion.queue(root, [("2026-01-01", bytes(16))], clock.now_ms, lambda _: bytes.fromhex(other))
    assert carobatch(["deletion", "confirm", asked.request[:4]]) == 69
    assert len(deletion.pending(root)) == 2


def test_without_a_journal_there_is_nothing_to_list(home, capsys):
    assert carobatch(["deletion", "list"]) == 0
    assert capsys.readouterr().out == "No requests to delete.\n"


@pytest.mark.parametrize("name", ["otlp", "caro-v1"])
def test_a_request_that_waits_for_the_user_does_not_make_every_hour_an_upload(asked, root, home, clock, name):
    """One that can be delivered does: what the user wants gone does not wait for tomorrow."""
    from carobatch import timing

    with Receiver() as receiver:
        wire(home, name, receiver.url)
        now_ms = time.time_ns() // 1_000_000
        timing.save_tries(root, timing.Tries(since_ms=now_ms, last_success_ms=now_ms))
        with consented(root, clock) as journal:
            journal.append("session_end", session_duration_ms=1)
        assert carobatch(["run"]) == 0
        assert len(receiver.requests) == (0 if name in deletion.BY_HAND else 1)
    assert len(deletion.pending(root)) == (name in deletion.BY_HAND)


@pytest.mark.parametrize(("name", "said"), [("posthog", "carobatch deletion confirm"), ("caro-v1", "delivers it")])
def test_delete_remote_says_what_comes_next(root, home, clock, name, said, capsys):
    record(root, clock, 1)
    wire(home, name)
    assert carojournal(["delete-remote", "--all", "--yes"]) == 0
    assert said in capsys.readouterr().out


def sent_to(home, url):
    """Send what is kept to *url*."""
    wire(home, "caro-v1", url)
    assert carobatch(["upload"]) == 0


def test_who_had_something_is_asked_and_nobody_else(root, home, clock, capsys):
    """The endpoint was changed: the new receiver never had these sessions and does not learn their ids."""
    fill(root, clock)
    with Receiver() as before, Receiver() as now:
        sent_to(home, before.url)
        wire(home, "caro-v1", now.url)
        assert carojournal(["delete-remote", "--yes"]) == 0
        assert f"caro-v1 {before.url} is not configured" in capsys.readouterr().out
        assert carobatch(["upload"]) == carobatch(["run"]) == 0
        assert now.requests == []
        [asked] = deletion.pending(root)
        assert carojournal(["status"]) == 0
        assert "'carobatch deletion list' says what to do" in capsys.readouterr().out
        assert carobatch(["deletion", "list"]) == 0
        told = capsys.readouterr()
        assert told.out.rstrip("\n").split("\t")[4] == f"caro-v1 {before.url}"
        assert f"caro-v1 {before.url} is not configured any more" in told.err
        assert "delivers what is waiting" not in told.err
        # Configured again, it is asked by a call; the user's word would do as well.
        wire(home, "caro-v1", before.url)
        assert carobatch(["run"]) == 0
        [_, request] = before.requests
        assert request.path == "/v1/deletions"
        assert request.json()["sessions"] == [session.hex() for _, session in asked.sessions]
    assert deletion.pending(root) == []


def test_two_receivers_are_asked_each_for_its_own(root, home, clock, capsys):
    fill(root, clock)
    with Receiver() as before, Receiver() as now:
        sent_to(home, before.url)
        assert carojournal(["delete-remote", "--yes"]) == 0
        fill(root, clock)
        sent_to(home, now.url)
        assert carojournal(["delete-remote", "--yes"]) == 0
        first, second = deletion.pending(root)
        assert {*first.sessions}.isdisjoint(second.sessions)
        assert carobatch(["upload"]) == 0
        assert [one.path for one in now.requests] == ["/v1/events", "/v1/deletions"]
        assert now.requests[1].json()["sessions"] == [session.hex() for _, session in second.sessions]
        assert [one.path for one in before.requests] == ["/v1/events"]
    assert deletion.pending(root) == [first]
    assert carobatch(["deletion", "confirm", first.request[:8]]) == 0
    assert deletion.pending(root) == []


def test_a_clear_takes_nothing_from_what_a_request_knows_of_its_receiver(root, home, clock, capsys):
    fill(root, clock)
    with Receiver() as before, Receiver() as now:
        sent_to(home, before.url)
        assert carojournal(["delete-remote", "--yes"]) == 0
        assert carojournal(["clear", "--force"]) == 0
        wire(home, "caro-v1", now.url)
        assert carobatch(["upload"]) == 0
        assert carobatch(["upload", "--dry-run"]) == 0
        assert now.requests == []
    assert [one.receiver.url for one in deletion.pending(root)] == [before.url]


def test_an_upload_that_found_nothing_to_send_has_sent_nothing(root, home, clock, capsys):
    """The event was recorded before the user agreed."""
    fill(root, clock, consent_ms=0)
    with Receiver() as receiver:
        sent_to(home, receiver.url)
        assert receiver.requests == []
        assert os.listdir(f"{root}/sent") == ["state.json"]
        capsys.readouterr()
        assert carojournal(["delete-remote", "--yes"]) == 0
        assert "Nothing was sent" in capsys.readouterr().out
        assert carobatch(["run"]) == 0
        assert receiver.requests == []
    assert carojournal(["clear", "--force"]) == 0
    assert "sent earlier" not in capsys.readouterr().err


@pytest.mark.parametrize("folded", [False, True])
def test_of_what_an_older_version_sent_receipts_tell_the_receiver(root, home, clock, folded):
    """It noted the day alone; without receipts it is whoever is configured."""
    fill(root, clock)
    with Receiver() as before:
        sent_to(home, before.url)
    path = f"{root}/journal"
    with open(path, "rb") as file:
        lines = file.read().split(b"\n")
    [noted] = [one for one in lines if one.startswith(b"sent ")]
    with open(path, "wb") as file:
        file.write(b"\n".join(one for one in lines if one != noted) + b"\n")
    identity = deletion.read_identity(root)
    [one] = identity.history()
    deletion.note(root, f"sent {one[0]}")
    if folded:
        fold(root, (), 0)
    identity = deletion.read_identity(root)
    assert deletion.to_ask(root, identity) == {("caro-v1", before.url): (one,)}
    for name in names(root, "receipts"):
        os.unlink(f"{root}/receipts/{name}")
    assert deletion.to_ask(root, identity) == {None: (one,)}
