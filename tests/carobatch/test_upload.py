"""What is agreed on arrives once, whatever the receiver says; what is accounted for goes, and nothing else."""

import errno
import glob
import json
import os

import pytest
from receivers import Receiver, answers
from uploads import DAY_MS, YES_MS, consented, ids, job, names, record, upload

from carobatch import deliveries
from carobatch.compact import compact
from carobatch.http import Reply
from carobatch.store import PackedStore
from carobatch.upload import Upload
from carojournal import deletion, eviction, held, policy, sent, spool
from carojournal.recovery import verify


def pack(root, clock):
    return compact(root, PackedStore(root, 10_000_000, 3), clock.now_ms + 100 * DAY_MS, 0)


@pytest.fixture
def receiver():
    with Receiver() as made:
        yield made


@pytest.mark.parametrize("packed", [False, True])
def test_every_event_arrives_once_and_then_goes(root, clock, receiver, packed):
    wanted = record(root, clock, 25)
    clock.advance(DAY_MS)
    wanted = record(root, clock, 5)
    if packed:
        pack(root, clock)
    found = upload(root, receiver.url, clock, events_max=10)
    assert (found.kind, found.batches, found.events, found.requests) == ("done", 4, 30, 4)
    assert receiver.events == dict.fromkeys(wanted, 1)
    assert ids(root) == []
    assert names(root, "outbox") == []
    assert len(sent.sent_batches(root)) == 4
    assert verify(root).exit_code == 0
    assert upload(root, receiver.url, clock).requests == 0


def test_no_batch_mixes_days_or_exceeds_its_bound(root, clock, receiver):
    record(root, clock, 25)
    clock.advance(DAY_MS)
    record(root, clock, 5)
    upload(root, receiver.url, clock, events_max=10)
    days = [{event["timestamp"][:10] for event in request.events()} for request in receiver.requests]
    assert [len(one) for one in days] == [1, 1, 1, 1]
    assert [len(request.events()) for request in receiver.requests] == [10, 10, 5, 5]
    assert {one for many in days for one in many} <= deletion.sent_days(deletion.read_identity(root))
    assert deletion.read_identity(root).journal.hex() not in str([request.json() for request in receiver.requests])


@pytest.mark.parametrize("consent_ms", [0, YES_MS - 1, YES_MS + 1])
def test_only_what_was_recorded_under_the_yes_that_holds_is_sent(root, clock, receiver, consent_ms):
    """Also what was recorded under an earlier yes stays, and what a clock that jumps makes look later."""
    before = record(root, clock, 3, consent_ms)
    clock.advance(-3_600_000)
    both = record(root, clock, 2)
    upload(root, receiver.url, clock)
    assert set(receiver.events) == set(both) - set(before)
    assert len(receiver.events) == 2
    assert set(ids(root)) == set(before)


def test_without_consent_nothing_is_looked_at(root, clock, receiver):
    record(root, clock, 3)
    assert upload(root, receiver.url, clock, allowed=lambda: 0).kind == "denied"
    assert receiver.requests == []
    assert names(root, "outbox") == []


def test_consent_is_asked_for_before_every_request(root, clock, receiver):
    wanted = record(root, clock, 30)
    left = [YES_MS] * 4
    found = upload(root, receiver.url, clock, events_max=10, allowed=lambda: left.pop() if left else 0)
    assert found.kind == "denied"
    assert len(receiver.requests) == 1
    assert len(receiver.events) == 10
    assert len(ids(root)) == 30  # One segment: it is not delivered whole.
    assert upload(root, receiver.url, clock, events_max=10).events == 20
    assert receiver.events == dict.fromkeys(wanted, 1)


def test_an_intent_of_a_yes_that_was_taken_back_is_not_sent(root, clock, receiver):
    record(root, clock, 3)
    receiver.script = answers((503, {}, b""))
    upload(root, receiver.url, clock)
    assert len(names(root, "outbox")) == 1
    found = upload(root, receiver.url, clock, allowed=lambda: YES_MS + 5)
    assert (found.requests, names(root, "outbox")) == (0, [])
    assert len(ids(root)) == 3


def test_a_segment_goes_only_when_all_of_it_is_accounted_for(root, clock, receiver):
    record(root, clock, 30)
    receiver.script = answers((200, {}, b""), (200, {}, b""), (503, {}, b""))
    upload(root, receiver.url, clock, events_max=10)
    assert len(ids(root)) == 30
    upload(root, receiver.url, clock, events_max=10)
    assert ids(root) == []
    assert set(receiver.events.values()) == {1}


def test_losses_that_a_delivered_segment_recorded_are_kept(root, clock, receiver):
    from carojournal import JournalReader
    from carojournal.closed import NO_LANE
    from carojournal.frame import LABEL, NO_SEGMENT, encode_record
    from carojournal.rotation import closed_name, encode_header

    record(root, clock, 1)
    upload(root, receiver.url, clock)
    lost = held.encode_loss("evicted", bytes(16), 1, 9, 9, 900, {"evicted": [2, 30, 4000]})
    event = next(iter(JournalReader(root).records(events_only=True)), None)
    assert event is None
    record(root, clock, 1)
    event = next(iter(JournalReader(root).records(events_only=True))).payload
    segment, created_us = b"s" * 16, clock.now_ms * 1000
    data = LABEL + encode_record(NO_SEGMENT, 0, encode_header(segment, created_us, NO_LANE, YES_MS, None))
    data += encode_record(segment, 1, lost) + encode_record(segment, 2, event)
    with open(os.path.join(root, "segments", closed_name(created_us, segment)), "wb") as file:
        file.write(data)
    before = JournalReader(root).losses()
    assert [loss["events"] for loss in before] == [9]
    upload(root, receiver.url, clock)
    assert ids(root) == []
    assert JournalReader(root).losses() == before
    assert verify(root).exit_code == 0


def test_sessions_whose_deletion_was_asked_for_are_not_sent(root, clock, receiver):
    record(root, clock, 5)
    clock.advance(DAY_MS)
    everything = record(root, clock, 5)
    receiver.script = answers((200, {}, b""), (503, {}, b""))
    upload(root, receiver.url, clock, events_max=5)
    assert len(receiver.events) == 5
    identity = deletion.read_identity(root)
    asked = deletion.queue(root, deletion.sessions_sent(root, identity), clock.now_ms)
    assert len(asked.sessions) == 2  # The second day was marked before its first byte went out.
    found = upload(root, receiver.url, clock, events_max=5)
    assert (found.deletions, found.events, found.requests) == (1, 0, 1)
    assert receiver.requests[-1].path == "/v1/deletions"
    body = receiver.requests[-1].json()
    assert body == {"request": asked.request, "sessions": [session.hex() for _, session in asked.sessions]}
    assert deletion.pending(root) == []
    assert set(ids(root)) == set(everything) - set(receiver.events)


def test_a_deletion_is_kept_until_it_is_confirmed_and_nothing_passes_it(root, clock, receiver):
    record(root, clock, 5)
    deletion.queue(root, [("2026-01-01", bytes(16))], clock.now_ms)
    receiver.script = answers((500, {}, b""))
    found = upload(root, receiver.url, clock)
    assert (found.kind, found.requests, len(deletion.pending(root))) == ("later", 1, 1)
    found = upload(root, receiver.url, clock)
    assert (found.kind, found.deletions, found.events) == ("done", 1, 5)


def test_where_the_machine_is_kept_off_the_network_a_deletion_waits(root, clock, receiver):
    record(root, clock, 1)
    deletion.queue(root, [("2026-01-01", bytes(16))], clock.now_ms)
    found = upload(root, receiver.url, clock, allowed=lambda: 0, may_ask=lambda: False)
    assert (found.requests, len(deletion.pending(root))) == (0, 1)
    found = upload(root, receiver.url, clock, allowed=lambda: 0, may_ask=lambda: True)
    assert (found.requests, found.kind, deletion.pending(root)) == (1, "denied", [])


def test_batches_max(root, clock, receiver):
    record(root, clock, 30)
    found = upload(root, receiver.url, clock, events_max=10, batches_max=2)
    assert (found.kind, found.batches, found.events) == ("more", 2, 20)


def test_the_copy_of_what_was_sent_can_be_checked(root, clock, receiver):
    import hashlib

    record(root, clock, 3)
    upload(root, receiver.url, clock)
    [batch] = sent.sent_batches(root)
    data, digest = sent.copy_of(batch)
    assert digest == batch.sha256 == hashlib.sha256(data).hexdigest()
    assert data.endswith(receiver.requests[0].body)
    assert data.startswith(receiver.url.encode() + b"\n")
    assert (batch.events, batch.counts, batch.status) == (3, {"session_end": 3}, 200)


def test_copies_and_receipts_stay_bounded(root, clock, receiver, monkeypatch):
    monkeypatch.setattr("carobatch.upload._FOLD_EVERY", 4)
    monkeypatch.setattr("carobatch.deliveries.RECEIPTS_MAX", 8)
    monkeypatch.setattr("carobatch.deliveries.fold.__defaults__", (8,))
    monkeypatch.setattr(sent, "BATCHES_MAX", 12)
    record(root, clock, 40)
    upload(root, receiver.url, clock, events_max=2, cap_bytes=200_000)
    assert len(list(sent.receipts(root))) <= 8
    assert sum(os.path.getsize(os.path.join(root, "sent", name)) for name in names(root, "sent")) <= 11_000
    kept = sent.sent_batches(root)
    assert sum(one.events for one in kept) + sent.uploads(root)["earlier"] == 40
    assert verify(root).exit_code == 0
    assert upload(root, receiver.url, clock).requests == 0


def test_receipts_of_half_delivered_segments_survive_folding(root, clock, receiver, monkeypatch):
    monkeypatch.setattr("carobatch.deliveries.fold.__defaults__", (2,))
    record(root, clock, 20)
    receiver.script = answers(*[(200, {}, b"")] * 6, (503, {}, b""))
    upload(root, receiver.url, clock, events_max=2)
    assert len(ids(root)) == 20
    upload(root, receiver.url, clock, events_max=2)
    assert set(receiver.events.values()) == {1}
    assert len(receiver.events) == 20
    assert ids(root) == []


def test_what_cannot_be_read_for_a_moment_is_not_sent_twice(root, clock, receiver, monkeypatch):
    """Receipts are folded while the file of a half delivered segment is not listed."""
    record(root, clock, 30)
    upload(root, receiver.url, clock, events_max=10, batches_max=1)
    [half] = glob.glob(os.path.join(root, "segments", "*"))
    for _ in range(deliveries.RECEIPTS_MAX):
        clock.advance(DAY_MS)
        record(root, clock, 1)
    real = os.open

    def broken(path, *words, **options):
        if path == half:
            raise OSError(errno.EIO, "Input/output error", path)
        return real(path, *words, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", broken)
        found = upload(root, receiver.url, clock)
    assert (found.kind, found.batches) == ("later", deliveries.RECEIPTS_MAX)
    assert upload(root, receiver.url, clock).kind == "done"
    assert len(receiver.events) == 30 + deliveries.RECEIPTS_MAX
    assert set(receiver.events.values()) == {1}


def test_a_damaged_outbox_costs_a_second_sending_and_no_event(root, clock, receiver):
    wanted = record(root, clock, 3)
    receiver.script = answers((503, {}, b""))
    upload(root, receiver.url, clock)
    [name] = names(root, "outbox")
    with open(os.path.join(root, "outbox", name), "wb") as file:
        file.write(b"\xff")
    assert upload(root, receiver.url, clock).kind == "done"
    assert receiver.events == dict.fromkeys(wanted, 1)


def test_an_intent_spares_its_segments_from_eviction(root, clock, receiver):
    record(root, clock, 3)
    receiver.script = answers((503, {}, b""))
    upload(root, receiver.url, clock)
    with consented(root, clock) as journal:
        journal.append("session_end", session_duration_ms=1)
    [first] = names(root, "segments")
    assert bytes.fromhex(first[17:49]) in eviction.in_flight(root)


def test_open_lanes_are_not_read(root, clock, receiver):
    with consented(root, clock) as journal:
        journal.append("session_end", session_duration_ms=1)
        assert upload(root, receiver.url, clock).requests == 0


def test_a_failed_run_is_a_value_and_can_be_run_again(root, clock):
    record(root, clock, 3)
    run = Upload(job(root, "http://127.0.0.1:9/v1/events", clock))
    assert (run.run().kind, run.outcome.reason) == ("later", "no answer (connect)")


def test_posthog_takes_zstd_and_the_copy_of_it_can_be_read(root, clock, receiver):
    """As its receiver reads it: what the zstd program makes of the body is the batch, with a verdict on every event."""
    wanted = record(root, clock, 20)

    def verdicts(request):
        assert request.headers["Content-Encoding"] == "zstd"
        return 200, {}, json.dumps({"results": {one["uuid"]: "ok" for one in request.json()["batch"]}}).encode()

    receiver.script = verdicts
    receiver.accept = lambda *_: None
    found = upload(root, receiver.url, clock, wire="posthog", key="phc_key", events_max=15)
    assert (found.kind, found.events, found.batches) == ("done", 20, 2)
    assert [one["uuid"] for request in receiver.requests for one in request.json()["batch"]] == wanted
    assert ids(root) == []
    copies = {sent.copy_of(batch)[0].partition(b"\n\n")[2] for batch in sent.sent_batches(root)}
    assert copies == {request.body for request in receiver.requests}
    for request in receiver.requests:
        assert json.loads(sent.unpacked(request.body)) == request.json()


def test_a_full_spool_stays_below_its_bound_while_it_is_sent(root, clock, monkeypatch):
    """Copies and receipts count too: what was sent must go before they add up."""
    used = []
    monkeypatch.setattr(policy, "SEGMENT_BYTES_MAX", policy.SEGMENT_BYTES_MIN)
    record(root, clock, 1_300)
    full = sum(size for _, _, size in spool.usage(root))

    class Watching:
        """A client that looks at the spool whenever something is sent."""

        def post(self, *_):
            used.append(sum(size for _, _, size in spool.usage(root)))
            return Reply(200)

        def close(self):
            pass

    found = upload(root, "https://receiver.invalid/v1/events", clock, client=Watching(), cap_bytes=full, events_max=50)
    assert (found.kind, found.batches) == ("done", 26)
    assert max(used) <= full + policy.SEGMENT_BYTES_MIN
