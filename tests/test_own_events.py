"""Events of the journal's own pass where events are stored, and nowhere where a host hands them over."""

import json

import cbor2
import pytest

from carojournal import Journal, drops, events, own_events, patterns, redact
from carojournal.cli import main as carojournal
from carojournal.errors import EventRefused
from carojournal.own_events import HEALTH, bucket
from carojournal.payload_pattern import payload_end
from carojournal.stored import check_payload, check_stored

TIME_MS = 1_790_000_000_000
OWN = {"event": HEALTH, "timestamp": TIME_MS, "session_id": bytes(16), "run_id": bytes(range(16))}
FULL = {**OWN, **dict.fromkeys(own_events.OWN_EVENTS[HEALTH][1], "up_to_99")}
LEAST = {**OWN, "total": "up_to_9"}


@pytest.mark.parametrize(
    ("count", "word"),
    [(1, "up_to_9"), (9, "up_to_9"), (10, "up_to_99"), (99, "up_to_99"), (100, "up_to_999"), (999, "up_to_999")]
    + [(1_000, "up_to_9999"), (9_999, "up_to_9999"), (10_000, "overflow"), (10**9, "overflow")],
)
def test_a_count_becomes_its_power_of_ten(count, word):
    assert bucket(count) == word


def test_the_words_are_all_that_a_field_holds_and_trip_no_pattern():
    kinds = {spec[0] for _, fields in own_events.OWN_EVENTS.values() for spec in fields.values()}
    assert kinds == set(own_events.OWN_TYPES) == {"quantity"}
    assert {bucket(10**digits) for digits in range(9)} == set(own_events.OWN_TYPES["quantity"][1])
    assert not [word for word in own_events.OWN_TYPES["quantity"][1] if patterns.scan(word)]


def test_nothing_of_a_hosts_is_shadowed():
    assert not set(own_events.OWN_EVENTS) & set(events.EVENTS)
    assert not set(own_events.OWN_TYPES) & set(events.TYPES)


@pytest.mark.parametrize("value", [FULL, LEAST])
def test_what_is_stored_is_known_and_at_a_glance(value):
    payload = cbor2.dumps(value, canonical=True)
    assert payload_end(payload) == len(payload)
    assert check_payload(payload) is None
    late = cbor2.dumps({**value, "timestamp": 4_000_000_000_000}, canonical=True)
    assert payload_end(late) == -1  # Of another century: the other way round comes to the same.
    assert check_payload(late) is None


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"total": None}, "total", "type"),
        ({"total": "7"}, "total", "value"),
        ({"total": 7}, "total", "type"),
        ({"lost_evicted": "jane.doe@example.com"}, "lost_evicted", "value"),
        ({"note": "up_to_9"}, "<unknown>", "unknown_field"),
        ({"os": "linux"}, "<unknown>", "unknown_field"),
        ({"generation": 1}, "<unknown>", "unknown_field"),
        ({"session_id": bytes(15)}, "session_id", "type"),
        ({"timestamp": 5}, "timestamp", "time"),
    ],
)
def test_what_no_carobatch_writes_is_refused(change, field, reason):
    payload = cbor2.dumps({**LEAST, **change}, canonical=True)
    assert payload_end(payload) == -1
    assert check_payload(payload) == check_stored({**LEAST, **change}) == ((HEALTH, field, reason),)
    less = {key: value for key, value in LEAST.items() if key != "total"}
    assert check_stored(less) == ((HEALTH, "total", "missing"),)


HANDED = {"total": "up_to_9"}
UNKNOWN = "refuse <unknown> <unknown> unknown_event"


@pytest.mark.parametrize(
    "hand_over",
    [
        lambda journal: journal.record(HEALTH, **HANDED),
        lambda journal: journal.append(HEALTH, **HANDED),
        lambda journal: journal.append_many([(HEALTH, HANDED)]),
        lambda journal: journal.append_timed([(TIME_MS, HEALTH, HANDED)]),
    ],
)
def test_no_host_can_record_one(hand_over, root, clock):
    with Journal.open(clock=clock, admin="/nonexistent") as journal:
        try:
            assert not hand_over(journal)
        except EventRefused as error:
            assert error.reasons == (("<unknown>", "<unknown>", "unknown_event"),)
    assert drops.read_counts(root)[0][UNKNOWN] == 1


def test_nor_a_program_on_the_command_line(root, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("carojournal.policy.admin_file", lambda *_: "/nonexistent")
    assert carojournal(["append", "--channel", "beta", "--event", HEALTH, "total=up_to_9"]) == 69
    assert drops.read_counts(root)[0][UNKNOWN] == 1
    old = tmp_path / "old.json"
    old.write_text(json.dumps([{"type": HEALTH, "timestamp": "2026-01-01T00:00:00Z", "total": "up_to_9"}]))
    carojournal(["migrate", str(old)])
    assert carojournal(["inspect", "-o", "json"]) == 0
    assert HEALTH not in capsys.readouterr().out


def test_the_recorders_check_knows_none_of_them():
    assert redact.event_name(HEALTH) is None
    assert redact.check(HEALTH, HANDED).refusals == (("<unknown>", "<unknown>", "unknown_event"),)
