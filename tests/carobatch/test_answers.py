"""What each answer of a receiver means: done, later, not before a day, too large, poison, or in part."""

import json
import os

import cbor2
import pytest
from receivers import Receiver, answers
from uploads import DAY_MS, ids, names, record, upload

from carobatch import timing
from carobatch.upload import SUSPECTS_MAX
from carojournal.recovery import verify


@pytest.fixture
def receiver():
    with Receiver() as made:
        yield made


LATER = {"status": 0, "kind": "later"}
TABLE = [
    (200, b"", "done", 3),
    (204, b"", "done", 3),
    (200, b"{}", "done", 3),
    (200, b'{"status": "stored"}', "done", 3),
    *((status, b"", "later", 0) for status in (408, 425, 429, 500, 502, 503, 504, 507, 599)),
    *((status, b"", "hold", 0) for status in (401, 402, 403, 404, 405, 409, 410, 411, 415, 418, 431, 451)),
    *((status, b"", "failure", 0) for status in (300, 301, 302, 303, 304, 307, 308)),
    (200, b"<html>Please log in to the hotel's network</html>", "hold", 0),
    (200, b"[]", "hold", 0),
    (200, b'"ok"', "hold", 0),
    (200, b'{"rejected": "all"}', "hold", 0),
    (200, b'{"rejected": ["00000000-0000-8000-8000-000000000000"]}', "hold", 0),
    (200, b'{"retry": [1]}', "hold", 0),
    (200, b"\xff\xfe", "hold", 0),
    (200, b"[" * 100_000, "hold", 0),
]


@pytest.mark.parametrize(("status", "body", "kind", "events"), TABLE)
def test_every_status_has_its_verdict(root, clock, receiver, status, body, kind, events):
    record(root, clock, 3)
    receiver.script = lambda _: (status, {"Location": "/elsewhere"}, body)
    receiver.accept = lambda *_: None
    found = upload(root, receiver.url, clock)
    assert (found.kind, found.events, found.requests) == (kind, events, 1)
    assert len(ids(root)) == 3 - events
    tries = timing.load_tries(root)
    if kind == "done":
        assert (tries.failures, tries.last_success_ms) == (0, clock.now_ms)
        return
    assert tries.failures == 1
    wait = tries.not_before_ms - clock.now_ms
    assert wait == (DAY_MS if kind == "hold" else DAY_MS // 2)
    assert len(names(root, "outbox")) == 1
    assert "elsewhere" not in tries.reason
    assert "hotel" not in tries.reason


@pytest.mark.parametrize(
    ("headers", "wait_ms"),
    [
        ({"Retry-After": "172800"}, 2 * DAY_MS),
        ({"Retry-After": "10"}, DAY_MS // 2),
        ({"Retry-After": "99999999999"}, 7 * DAY_MS),
        ({"Retry-After": "Wed, 01 Jan 2020 00:00:00 GMT", "Date": "Mon, 30 Dec 2019 00:00:00 GMT"}, 2 * DAY_MS),
        ({"Retry-After": "soon"}, DAY_MS // 2),
        ({"Retry-After": "-5"}, DAY_MS // 2),
    ],
)
def test_retry_after_counts_in_both_forms_and_by_the_servers_clock(root, clock, receiver, headers, wait_ms):
    """The server's clock may be years off ours: its date counts from its own `Date`."""
    from carobatch.verdicts import parse_retry_after

    record(root, clock, 1)
    if "Date" in headers:
        assert parse_retry_after({name.lower(): text for name, text in headers.items()}, clock.now_ms) == wait_ms
        return
    receiver.script = lambda _: (429, headers, b"")
    upload(root, receiver.url, clock)
    assert timing.load_tries(root).not_before_ms - clock.now_ms == wait_ms


def test_a_retry_sends_the_same_bytes(root, clock, receiver):
    record(root, clock, 5)
    receiver.script = answers((503, {}, b""), (500, {}, b""))
    for _ in range(3):
        clock.advance(2 * DAY_MS)
        upload(root, receiver.url, clock)
    first, *others = receiver.requests
    assert len(others) == 2
    for other in others:
        assert (other.path, other.body) == (first.path, first.body)
        fresh = {"X-Caro-Attempt", "X-Caro-Sent-At"}
        assert {name for name in first.headers if first.headers[name] != other.headers[name]} == fresh
    assert [one.headers["X-Caro-Attempt"] for one in receiver.requests] == ["1", "2", "3"]


def test_events_that_come_later_join_no_intent(root, clock, receiver):
    record(root, clock, 5)
    receiver.script = answers((503, {}, b""))
    upload(root, receiver.url, clock)
    wanted = record(root, clock, 5)
    upload(root, receiver.url, clock)
    assert [len(request.events()) for request in receiver.requests] == [5, 5, 5]
    assert receiver.events == dict.fromkeys(wanted, 1)


def test_a_body_that_is_too_large_is_halved_down_to_one_event(root, clock, receiver):
    wanted = record(root, clock, 16)
    receiver.script = lambda request: (413 if len(request.events()) > 1 else 200, {}, b"")
    found = upload(root, receiver.url, clock)
    assert (found.kind, found.events) == ("done", 16)
    assert receiver.events == dict.fromkeys(wanted, 1)
    # What was learned of the first half holds for the second: 16, 8, 4, 2, then one by one.
    assert [len(request.events()) for request in receiver.requests] == [16, 8, 4, 2, *[1] * 16]


@pytest.mark.parametrize("status", [400, 422])
def test_a_poison_event_is_isolated_and_quarantined(root, clock, receiver, status):
    wanted = record(root, clock, 20)
    poison = wanted[13]
    receiver.script = lambda request: (
        (status, {}, b"") if poison in {event["event_id"] for event in request.events()} else (200, {}, b"")
    )
    found = upload(root, receiver.url, clock)
    assert (found.kind, found.events, found.quarantined) == ("done", 19, 1)
    assert set(receiver.events) == set(wanted) - {poison}
    assert set(receiver.events.values()) == {1}
    assert ids(root) == []
    [name] = [name for name in names(root, "quarantine") if name.startswith("refused-")]
    with open(os.path.join(root, "quarantine", name), "rb") as file:
        kept = cbor2.load(file)
    assert [cbor2.loads(row["event"])["session_duration_ms"] for row in kept["events"]] == [13]
    assert (kept["status"], kept["record"]) == (status, "refused")
    assert upload(root, receiver.url, clock).requests == 0
    assert verify(root).exit_code == 0


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_receiver_that_refuses_everything_empties_nothing(root, clock, receiver, status):
    wanted = record(root, clock, 100)
    receiver.script = lambda _: (status, {}, b"")
    found = upload(root, receiver.url, clock)
    assert (found.kind, found.quarantined) == ("hold", 0)
    assert found.requests <= 2 * 7 + 2 * SUSPECTS_MAX
    assert ids(root) == wanted
    assert names(root, "quarantine") == []


def test_a_receipt_that_a_wrong_clock_dated_says_nothing_of_today(root, clock, receiver):
    """For a year it would let a receiver that refuses everything empty the journal into quarantine."""
    now_ms = clock.now_ms
    clock.now_ms += 400 * DAY_MS
    record(root, clock, 1)
    assert upload(root, receiver.url, clock).events == 1
    clock.now_ms = now_ms
    record(root, clock, 6)
    receiver.script = answers(*[(400, {}, b"")] * 50)
    found = upload(root, receiver.url, clock)
    assert (found.kind, found.quarantined) == ("hold", 0)
    assert len(ids(root)) == 6
    assert names(root, "quarantine") == []


def test_accepted_in_part(root, clock, receiver):
    wanted = record(root, clock, 10)
    said = json.dumps({"rejected": wanted[:2], "retry": wanted[4:7]}).encode()
    receiver.script = answers((200, {}, said))
    found = upload(root, receiver.url, clock)
    assert (found.kind, found.events, found.quarantined) == ("later", 5, 2)
    assert len(ids(root)) == 10
    found = upload(root, receiver.url, clock)
    assert (found.kind, found.events) == ("done", 3)
    assert receiver.events == dict.fromkeys(wanted[2:], 1)
    assert [event["event_id"] for event in receiver.requests[-1].events()] == wanted[4:7]
    assert ids(root) == []


def test_all_wanted_again_is_later(root, clock, receiver):
    wanted = record(root, clock, 2)
    receiver.script = answers((200, {}, json.dumps({"retry": wanted}).encode()))
    assert upload(root, receiver.url, clock).kind == "later"
    assert upload(root, receiver.url, clock).events == 2
