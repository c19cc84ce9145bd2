"""What was delivered and then had to make room is not told as lost: acknowledged = delivered + present + lost."""

import os

import pytest
from carobatch_journals import close_lanes
from receivers import Receiver, answers
from uploads import YES_MS, consented, ids, record, upload

from carobatch import deliveries
from carobatch.compact import compact
from carobatch.ledger import Ledger
from carobatch.store import PackedStore
from carojournal import JournalReader, sent, spool
from carojournal.cli import main as carojournal
from carojournal.delivered import Delivered
from carojournal.record import derive_event_id
from carojournal.recovery import verify
from carojournal.rotation import closed_name, encode_header, encode_start
from carojournal.status import losses_by_reason

EVENTS = 20


@pytest.fixture
def receiver():
    with Receiver() as made:
        yield made


@pytest.fixture
def kept(monkeypatch):
    """Nothing is reclaimed: as if every run were killed between receipt and tidying."""
    monkeypatch.setattr(deliveries, "reclaim", lambda *_, **__: (0, 0))


def evict(root, bytes_less=1):
    """Let a host make room as if the bound were so much below what is used; return the paths that went."""
    used = sum(size for _, _, size in spool.usage(root))
    room = spool.lock_room(root)
    try:
        cap = used - bytes_less
        limit = spool.segment_limit
        spool.segment_limit = lambda *_: 0
        try:
            victims = spool.make_room(root, cap, 0)
        finally:
            spool.segment_limit = limit
        # A host writes the records into the segment that it starts.
        segment = os.urandom(16)
        data = encode_start(
            segment, encode_header(segment, 9, 0, 0, None), [one for victim in victims for one in victim.payloads]
        )
        with open(os.path.join(root, "segments", closed_name(9, segment)), "wb") as file:
            file.write(data)
        spool.remove(victims)
    finally:
        spool.unlock_room(room)
    return [victim.path for victim in victims]


def sums(root):
    return {reason: events for reason, (_, events, _) in losses_by_reason(JournalReader(root)).items()}


@pytest.mark.parametrize("packed", [False, True])
def test_what_was_delivered_whole_goes_first_and_under_that_name(root, clock, receiver, kept, packed):
    record(root, clock, EVENTS, consent_ms=0)  # Older, and never to be sent.
    wanted = set(record(root, clock, EVENTS)) - set(ids(root)[:EVENTS])
    upload(root, receiver.url, clock)
    assert set(receiver.events) == wanted
    if packed:
        compact(root, PackedStore(root, 10_000_000, 3), clock.now_ms, 0)
    assert len(evict(root)) == 1
    assert sums(root) == {"delivered": EVENTS}
    assert len(ids(root)) == EVENTS
    assert not wanted & set(ids(root))
    assert verify(root).exit_code == 0


@pytest.mark.parametrize("packed", [False, True])
def test_of_what_was_delivered_in_part_only_the_rest_is_lost(root, clock, receiver, kept, packed):
    record(root, clock, EVENTS)
    receiver.script = answers((200, {}, b""), (503, {}, b""))
    upload(root, receiver.url, clock, events_max=7)
    for name in os.listdir(os.path.join(root, "outbox")):
        os.unlink(os.path.join(root, "outbox", name))  # As `off` and on again would.
    if packed:
        compact(root, PackedStore(root, 10_000_000, 3), clock.now_ms, 0)
    delivered = len(receiver.events)
    assert delivered == 7
    assert len(evict(root)) == 1
    assert sums(root) == {"delivered": delivered, "evicted": EVENTS - delivered}
    assert verify(root).exit_code == 0


def test_sums_of_both_travel_on(root, clock, receiver, kept):
    record(root, clock, EVENTS)
    upload(root, receiver.url, clock)
    evict(root)
    assert sums(root) == {"delivered": EVENTS}
    evict(root, 200)  # The segment with the loss record goes as well; it held no event itself.
    assert sums(root) == {"delivered": EVENTS, "evicted": 0}


def test_what_an_importer_confirmed_is_delivered_too(root, clock):
    record(root, clock, EVENTS)
    [segment] = {one.segment for one in JournalReader(root).records(events_only=True)}
    Ledger(root).write_acks({bytes(16).hex(): [[1, 5]], segment.hex(): [[1, 4], [9, EVENTS]]})
    evict(root)
    assert sums(root) == {"delivered": 4 + EVENTS - 8, "evicted": 4}


@pytest.mark.parametrize(
    ("runs", "first", "last", "expected"),
    [
        ([], 1, 9, 0),
        ([[1, 9]], 1, 9, 9),
        ([[3, 4], [8, 20]], 1, 9, 4),
        ([[1, 5], [4, 7]], 1, 9, 7),
        ([[10, 20]], 1, 9, 0),
    ],
)
def test_runs_are_counted_once_and_within_bounds(tmp_path, runs, first, last, expected):
    segment = bytes(range(16))
    (tmp_path / "receipts").mkdir()
    value = {"record": "upload", "version": 1, "ranges": [[segment, runs]], "refused": []}
    for name in ("a", "b"):
        (tmp_path / "receipts" / f"upload-{name}.cbor").write_bytes(sent.encode_map(value))
    Ledger(str(tmp_path)).write_acks({segment.hex(): runs})
    assert Delivered(str(tmp_path)).count(segment, first, last) == expected


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xa1", bytes(range(16)) * 9, b'{"00":[[1,'])
def test_a_receipt_that_cannot_be_read_accounts_for_nothing(tmp_path, data):
    (tmp_path / "receipts").mkdir()
    for name in ("upload-1.cbor", "acks.json"):
        (tmp_path / "receipts" / name).write_bytes(data)
    assert Delivered(str(tmp_path)).count(bytes(range(16)), 1, 9) == 0


def test_a_host_that_evicts_while_a_batch_is_planned_wins_and_nothing_is_counted_twice(root, clock, receiver):
    record(root, clock, EVENTS)
    everything = record(root, clock, EVENTS)
    first, *_ = sorted(os.listdir(os.path.join(root, "segments")))
    lost = {derive_event_id(bytes.fromhex(first[17:49]), seq) for seq in range(1, EVENTS + 1)}

    def allowed(calls=[0]):  # noqa: B006 - counts
        calls[0] += 1
        if calls[0] == 3:  # Rendered, and about to be decided on.
            assert evict(root)[0].endswith(first)
        return YES_MS

    found = upload(root, receiver.url, clock, allowed=allowed)
    assert (found.kind, found.events) == ("done", EVENTS)
    assert receiver.events == dict.fromkeys(set(everything) - lost, 1)
    assert sums(root) == {"evicted": EVENTS}


def test_status_does_not_call_it_lost(root, clock, receiver, kept, monkeypatch, capsys):
    monkeypatch.setattr("carojournal.policy.admin_file", lambda *_: "/nonexistent")
    record(root, clock, EVENTS)
    upload(root, receiver.url, clock)
    evict(root)
    with consented(root, clock) as journal:
        journal.append("session_end", session_duration_ms=1)
    close_lanes(root)
    assert carojournal(["status"]) == 0
    said = capsys.readouterr().out
    assert "lost" in said
    assert next(line for line in said.splitlines() if line.startswith("lost")).split() == ["lost", "none"]
    assert f"and {EVENTS} that had been delivered made room" in said
    assert sent.sent_batches(root)
