"""What is missing is told by `carobatch run`, once, and never twice, wherever it is killed."""

import json
import os

import pytest
from carobatch_journals import fill, squeezed
from receivers import Receiver
from uploads import DAY_MS, YES_MS, carobatch, configure, consented, upload

from carobatch import discards
from carobatch.batch import batch_of
from carobatch.compact import compact
from carobatch.preview import request_text
from carobatch.seal import seal_idle_lanes
from carobatch.sinks import open_sink
from carobatch.store import PackedStore
from carojournal import Journal, JournalReader, drops, policy, spool
from carojournal.cli import main as carojournal
from carojournal.own_events import HEALTH
from carojournal.recovery import verify
from carojournal.status import losses_by_reason

FOUND = policy.Policy("on", source="config", consent_ms=YES_MS)


def told(root):
    """The events that tell of discards, oldest first, without what the recorder adds."""
    envelope = ("event", "timestamp", "session_id", "run_id")
    records = JournalReader(root).records(events_only=True)
    found = sorted((one.value for one in records if one.value["event"] == HEALTH), key=lambda one: one["timestamp"])
    return [{key: part for key, part in one.items() if key not in envelope} for one in found]


@pytest.fixture
def begun(root, clock):
    """A journal with an event, in which nothing was discarded."""
    with consented(root, clock) as journal:
        journal.append("session_end", session_duration_ms=1)
    return root


def tell(root, clock, found=FOUND):
    return discards.tell(root, found, clock.now_ms)


def test_what_was_discarded_is_told_in_powers_of_ten(begun, clock):
    drops.add_counts(begun, {"drop disk_full": 7, "drop spool_full": 5, "drop bug": 1, "drop queue_full": 100})
    drops.add_counts(begun, {"refuse session_start os value": 3, "refuse <unknown> <unknown> unknown_event": 20_000})
    assert tell(begun, clock)
    dropped = {"dropped_full": "up_to_99", "dropped_bug": "up_to_9", "dropped_busy": "up_to_999"}
    assert told(begun) == [{"total": "overflow", "refused_unknown": "overflow", "refused_value": "up_to_9", **dropped}]
    assert verify(begun).exit_code == 0


def test_every_reason_has_its_field():
    from carojournal.refusal import REASONS

    assert set(discards._DROPPED) | {"bug", "too_large"} == set(drops.DROP_REASONS)
    assert set(discards._REFUSED) <= set(REASONS)
    fields = {*discards._DROPPED.values(), *discards._REFUSED.values(), *discards._LOST.values()}
    assert fields | {"dropped_bug", "refused_value"} == set(discards._fields())


def test_nothing_is_told_if_nothing_was_discarded_and_once_a_day_at_most(begun, clock):
    assert not tell(begun, clock)
    drops.add_counts(begun, {"drop io": 1})
    assert not tell(begun, clock), "the day has been looked at"
    clock.advance(DAY_MS)
    assert tell(begun, clock)
    assert not tell(begun, clock)
    clock.advance(DAY_MS)
    assert not tell(begun, clock), "nothing new"
    drops.add_counts(begun, {"drop io": 30})
    clock.advance(DAY_MS)
    assert tell(begun, clock)
    assert told(begun) == [
        {"total": "up_to_9", "dropped_io": "up_to_9"},
        {"total": "up_to_99", "dropped_io": "up_to_99"},
    ]


class Killed(BaseException):
    pass


WRITES = 3  # The intent, the segment, the mark.


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("write", range(WRITES))
@pytest.mark.parametrize("between", ["nothing", "compact", "upload", "more"])
def test_killed_anywhere_it_is_told_once(begun, clock, monkeypatch, write, after, between):
    from carojournal import durable

    real, left = durable.write_file, [write]

    def killed(*args, **keywords):
        if left[0] == 0 and not after:
            raise Killed
        real(*args, **keywords)
        if left[0] == 0:
            raise Killed
        left[0] -= 1

    drops.add_counts(begun, {"drop io": 30})
    with monkeypatch.context() as patch:
        patch.setattr(durable, "write_file", killed)
        with pytest.raises(Killed):
            tell(begun, clock)
    with Receiver() as receiver:
        if between == "compact":
            compact(begun, PackedStore(begun, 10_000_000, 3), clock.now_ms, 0)
        elif between == "upload":
            upload(begun, receiver.url, clock)
        elif between == "more":
            drops.add_counts(begun, {"drop io": 100})
            clock.advance(DAY_MS)
        assert discards.is_due(begun, clock.now_ms) or (write, after) == (WRITES - 1, True)
        for _ in range(3):
            tell(begun, clock)
            clock.advance(DAY_MS)
        seal_idle_lanes(begun, clock.now_ms, 0)
        upload(begun, receiver.url, clock)
        arrived = [body["dropped_io"] for body in receiver.bodies.values() if body["event"] == HEALTH]
        assert set(receiver.events.values()) == {1}
    # 130 in one event where the kill came before anything was decided, else 30 and 100.
    assert sorted(arrived) in (["up_to_99"], ["up_to_99", "up_to_999"], ["up_to_999"])
    assert len(arrived) == 1 or between == "more"
    assert (arrived == ["up_to_999"]) <= (between == "more" and (write, after) == (0, False))


def test_losses_are_told_with_what_they_carried_and_the_bound_holds(root, clock):
    cap = 90_000
    with squeezed(root, clock, cap) as journal:
        fill(journal, clock, 3_000, 1)
    lost = sum(one[1] for one in losses_by_reason(JournalReader(root)).values())
    assert lost == 3_000 - len(list(JournalReader(root).records(events_only=True))) > 1_000
    assert tell(root, clock, policy.Policy("local", source="config", cap_bytes=cap))
    assert told(root) == [{"total": "up_to_9999", "lost_evicted": "up_to_9999"}]
    assert sum(size for _, _, size in spool.usage(root)) <= cap
    assert verify(root).exit_code == 0


def test_it_makes_room_for_itself_and_records_what_that_cost(root, clock):
    """As where the user has lowered the bound since."""
    with squeezed(root, clock, 90_000) as journal:
        made = len(fill(journal, clock, 3_000, 1))
    before = sum(one[1] for one in losses_by_reason(JournalReader(root)).values())
    assert tell(root, clock, policy.Policy("local", source="config", cap_bytes=60_000))
    assert len(told(root)) == 1
    lost = sum(one[1] for one in losses_by_reason(JournalReader(root)).values())
    assert lost > before
    assert made + 1 == lost + len(list(JournalReader(root).records(events_only=True)))
    assert sum(size for _, _, size in spool.usage(root)) <= 60_000
    assert verify(root).exit_code == 0


def test_a_sum_that_shrinks_is_the_new_mark(begun, clock, monkeypatch):
    sums = dict.fromkeys(discards._fields(), 0)
    for total, expected in ((50, 1), (20, 1), (25, 2)):
        monkeypatch.setattr(discards, "_totals", lambda _, total=total: {**sums, "lost_evicted": total})
        tell(begun, clock)
        clock.advance(DAY_MS)
        assert len(told(begun)) == expected
    assert told(begun)[1] == {"total": "up_to_9", "lost_evicted": "up_to_9"}


SPOILT = [lambda _: b"", lambda data: data[:-3], lambda data: data.replace(b"io 1", b"io 2")]


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_damaged_mark_tells_nothing_twice(begun, clock, spoil):
    drops.add_counts(begun, {"drop io": 1})
    assert tell(begun, clock)
    path = os.path.join(begun, discards.FILE)
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(spoil(data))
    clock.advance(DAY_MS)
    assert not tell(begun, clock)
    drops.add_counts(begun, {"drop io": 10})
    clock.advance(DAY_MS)
    assert tell(begun, clock)
    assert [one["dropped_io"] for one in told(begun)] == ["up_to_9", "up_to_99"]


def test_it_belongs_to_the_days_session_and_to_the_yes_that_holds(begun, clock):
    drops.add_counts(begun, {"drop io": 1})
    tell(begun, clock)
    [record] = [one for one in JournalReader(begun).records(events_only=True) if one.value["event"] == HEALTH]
    [other] = [one for one in JournalReader(begun).records(events_only=True) if one.value["event"] != HEALTH]
    assert record.value["session_id"] == other.value["session_id"]
    assert record.value["run_id"] != other.value["run_id"]
    assert record.source.consent_ms == YES_MS
    drops.add_counts(begun, {"drop io": 1})
    clock.advance(DAY_MS)
    assert tell(begun, clock, policy.Policy("local", source="config", consent_ms=YES_MS))
    assert 0 in {info.consent_ms for info in JournalReader(begun).segments()}


@pytest.mark.parametrize(("wire", "key"), [("caro-v1", ""), ("caro-array", ""), ("posthog", "phc_x"), ("otlp", "")])
def test_every_sink_carries_it(begun, clock, wire, key):
    drops.add_counts(begun, {"drop io": 1})
    tell(begun, clock)
    records = [one for one in JournalReader(begun).records(events_only=True) if one.value["event"] == HEALTH]
    sink = open_sink(wire, "https://example.com/v1/logs", key)
    text = request_text(sink.render(batch_of(records, clock.now_ms // DAY_MS)), [])
    body = json.loads(text.partition("\n\n")[2].rpartition("\n#")[0])
    if wire == "otlp":
        [found] = body["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
        assert (found["eventName"], found["severityText"]) == ("caro.journal_health", "WARN")
        fields = {one["key"]: one["value"].get("stringValue") for one in found["attributes"]}
    else:
        [found] = body if wire == "caro-array" else body["batch" if wire == "posthog" else "events"]
        assert found["event"] == HEALTH
        fields = found["properties"] if wire == "posthog" else found
    assert (fields["total"], fields["dropped_io"]) == ("up_to_9", "up_to_9")


def test_run_tells_and_sends_it_at_once_and_is_quiet_when_there_is_nothing(root, home, clock, capsys):
    import time

    clock.now_ms = time.time_ns() // 1_000_000
    with consented(root, clock) as journal:
        journal.record("session_start", caro_version="not one", os="linux")
        journal.append("session_end", session_duration_ms=1)
    with Receiver() as receiver:
        configure(home, f'endpoint = "{receiver.url}"')
        assert carobatch(["run"]) == 0
        assert carobatch(["upload"]) == 0
        assert sorted(body["event"] for body in receiver.bodies.values()) == [HEALTH, "session_end"]
    capsys.readouterr()
    assert carobatch(["run"]) == 0
    assert capsys.readouterr() == ("", "")
    assert not discards.is_due(root, clock.now_ms)


def test_off_writes_nothing_and_clear_forgets_with_the_counters(root, home, clock, monkeypatch):
    monkeypatch.setattr("carojournal.policy.admin_file", lambda *_: "/nonexistent")
    with Journal.open(clock=clock, admin="/nonexistent") as journal:
        journal.record("session_start", caro_version="not one", os="linux")
        journal.append("session_end", session_duration_ms=1)
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    before = sorted(os.walk(root))
    assert carobatch(["run"]) == 0
    assert sorted(os.walk(root)) == before
    monkeypatch.delenv("DO_NOT_TRACK")
    assert carobatch(["run"]) == 0
    assert len(told(root)) == 1
    assert carojournal(["audit"]) == 0
    assert carojournal(["clear", "--force"]) == 0
    assert not {"discards", "drops"} & set(os.listdir(root))


def test_what_cannot_be_written_keeps_nothing_else_from_being_done(root, home, clock, monkeypatch, capsys):
    with consented(root, clock) as journal:
        journal.record("session_start", caro_version="not one", os="linux")
        journal.append("session_end", session_duration_ms=1)

    def full(*_args, **_keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(discards, "_save", full)
    with Receiver() as receiver:
        configure(home, f'endpoint = "{receiver.url}"')
        assert carobatch(["run"]) == 0
    assert told(root) == []
