"""The bound: everything counts, the oldest goes first, every loss is a record before the file is gone."""

import errno
import os

import pytest
import segments_by_hand as by_hand
from carobatch_journals import bounded
from small_journals import CAP, fill, used

from carojournal import cbor, held, lanes, policy, rotation, spool
from carojournal.errors import JournalIOError, SpoolFull
from carojournal.reader import JournalReader


def losses(root):
    """Return the losses that count, by hand: named segments that are gone, with what they carried."""
    present = {segment for path in by_hand.segment_paths(root) for segment, _, _ in by_hand.records(path)}
    events = 0
    seen = set()
    for loss in by_hand.controls(root, "loss"):
        if loss["segment"] in present or loss["segment"] in seen:
            continue
        seen.add(loss["segment"])
        events += loss["events"] + sum(row["events"] for row in loss["carried"])
    return events


def test_the_spool_never_exceeds_cap_and_conserves_every_event(narrow, root, clock, generated):
    acked = 0
    for _ in range(40):
        fill(narrow, clock, 250, generated)
        acked += 250
        assert used(root) <= CAP + policy.segment_limit(CAP, 0)
        assert acked == len(by_hand.events(root)) + losses(root)
    assert losses(root) > 5_000


def test_a_write_larger_than_a_segment_is_given_its_room_too(narrow, root, clock, generated):
    events = [("command_generated", generated)] * 500
    for _ in range(40):
        clock.advance(1)
        narrow.append_many(events)
        assert used(root) <= CAP + policy.segment_limit(CAP, 0)
    assert len(by_hand.events(root)) + losses(root) == 20_000
    with pytest.raises(SpoolFull):
        narrow.append_many(events * 20)


def test_the_oldest_segment_goes_first(narrow, root, clock, generated):
    fill(narrow, clock, 4_000, generated)
    seen = [value["timestamp"] for _, _, value in by_hand.events(root)]
    assert max(seen) == clock.now_ms
    assert len(seen) == max(seen) - min(seen) + 1


def test_a_loss_record_names_segment_range_count_and_bytes(narrow, root, clock, generated):
    fill(narrow, clock, 1_000, generated)
    paths = sorted(os.listdir(f"{root}/segments"))
    oldest = f"{root}/segments/{paths[0]}"
    records = [(segment, seq) for segment, seq, value in by_hand.records(oldest) if "event" in value]
    expected = {
        "record": "loss",
        "reason": "evicted",
        "segment": records[0][0],
        "first_seq": records[0][1],
        "last_seq": records[-1][1],
        "events": len(records),
        "bytes": os.stat(oldest).st_size,
        "carried": [],
    }
    while os.path.exists(oldest):
        fill(narrow, clock, 10, generated)
    assert by_hand.controls(root, "loss")[0] == expected


def test_everything_below_the_root_counts_but_the_identity(journal, root):
    journal.record("session_start", caro_version="1.1.0", os="linux")
    os.makedirs(f"{root}/outbox/deeper")
    for name, length in (("outbox/deeper/a", 10), ("index.sqlite3", 20), ("quarantine.bin", 30), ("policy", 40)):
        with open(f"{root}/{name}", "wb") as file:
            file.write(bytes(length))
    files = {os.path.join(folder, name): spent for folder, name, spent in spool.usage(root)}
    walked = {
        os.path.relpath(os.path.join(folder, name), root): os.stat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(root)
        for name in names
    }
    del walked["journal"]
    assert files == walked


@pytest.mark.parametrize("form", [bytes.fromhex, str.encode], ids=["raw", "text"])
def test_what_a_batch_names_is_not_evicted(narrow, root, clock, generated, form):
    fill(narrow, clock, 100, generated)
    oldest = min(os.listdir(f"{root}/segments"))
    os.mkdir(f"{root}/outbox")
    with open(f"{root}/outbox/batch", "wb") as file:
        file.write(b"plan " + form(oldest[17:49]))
    fill(narrow, clock, 6_000, generated)
    assert os.path.exists(f"{root}/segments/{oldest}")
    assert losses(root) > 0


def test_no_room_at_all_is_a_counted_drop(narrow, root, clock, generated):
    fill(narrow, clock, 10, generated)
    os.mkdir(f"{root}/quarantine")
    with open(f"{root}/quarantine/x", "wb") as file:
        file.truncate(CAP)
    kept = sum(narrow.record("command_generated", **generated) for _ in range(400))
    assert 0 < kept < 400
    assert narrow.stats["reasons"] == {"drop spool_full": 400 - kept}
    with pytest.raises(SpoolFull):
        narrow.append("command_generated", **generated)
    os.truncate(f"{root}/quarantine/x", 0)
    assert narrow.record("command_generated", **generated)


def test_a_crash_between_loss_record_and_unlink_is_made_good(narrow, root, clock, generated, monkeypatch):
    fill(narrow, clock, 2_500, generated)
    before = losses(root)

    def crash(victims):
        raise OSError(5, "the process died here")

    monkeypatch.setattr(spool, "remove", crash)
    acked = 2_500
    while not narrow.stats["dropped"]:
        clock.advance(1)
        acked += narrow.record("command_generated", **generated)
    monkeypatch.undo()
    # The loss record is there, the file too: nothing is lost yet, and nothing is counted as lost.
    present = len(by_hand.events(root))
    assert present + losses(root) == acked
    assert losses(root) == before
    monkeypatch.setattr(policy, "resolve", lambda *_, **__: narrow.policy)
    fill(narrow, clock, 500, generated)
    assert len(by_hand.events(root)) + losses(root) == acked + 500


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_cannot_be_removed_costs_neither_the_bound_nor_an_event(
    narrow, root, clock, generated, monkeypatch, packed
):
    """Others go in its place; its loss is told as long as it stands, and counts once when it is gone."""
    fill(narrow, clock, 600, generated)
    folder = "segments"
    if packed:
        from carobatch.compact import compact
        from carobatch.store import PackedStore

        compact(root, PackedStore(root, CAP), clock.now_ms, 10**12)
        folder = "packed"
    stuck = f"{root}/{folder}/{min(os.listdir(f'{root}/{folder}'))}"
    unlink, tried = os.unlink, []

    def refused(path, **options):
        if path == stuck:
            tried.append(path)
            raise PermissionError(errno.EPERM, "Operation not permitted", path)
        unlink(path, **options)

    monkeypatch.setattr(spool.os, "unlink", refused)
    for _ in range(4):
        fill(narrow, clock, 2_500, generated)
        assert used(root) <= CAP + policy.segment_limit(CAP, 0)
        assert conserved(root) == narrow.stats["recorded"]
    assert len(tried) > 20
    assert os.path.exists(stuck)
    monkeypatch.setattr(spool.os, "unlink", unlink)
    for _ in range(4):
        fill(narrow, clock, 2_500, generated)
        assert conserved(root) == narrow.stats["recorded"]
    assert not os.path.exists(stuck)
    assert narrow.stats["dropped"] == 0


def conserved(root):
    """Return the events that are there, and those that losses name."""
    reader = JournalReader(root)
    there = sum(1 for _ in reader.records(events_only=True))
    return there + sum(loss["events"] + sum(row["events"] for row in loss["carried"]) for loss in reader.losses())


def test_a_loss_that_a_crash_told_twice_is_summed_once(narrow, root, clock, generated, monkeypatch):
    """Both records are evicted, one after the other, and only sums are left of them."""
    fill(narrow, clock, 2_500, generated)
    remove, crashes = spool.remove, []

    def crash(victims):
        if len(crashes) % 2:
            crashes.append(False)
            return remove(victims)
        crashes.append(True)
        raise OSError(errno.EIO, "the process died here")

    monkeypatch.setattr(spool, "remove", crash)
    for _ in range(2_000):
        clock.advance(1)
        narrow.record("command_generated", **generated)
    assert sum(crashes) > 10
    monkeypatch.setattr(spool, "remove", remove)
    for _ in range(4):
        fill(narrow, clock, 2_000, generated)
        assert conserved(root) == narrow.stats["recorded"]


def test_a_damaged_segment_is_evicted_with_what_its_numbers_say(narrow, root, clock, generated):
    fill(narrow, clock, 200, generated)
    oldest = f"{root}/segments/{min(os.listdir(f'{root}/segments'))}"
    events = sum("event" in value for _, _, value in by_hand.records(oldest))
    with open(oldest, "r+b") as file:
        file.seek(1_000)
        file.write(bytes(50))
    os.rename(oldest, f"{oldest}~")
    ((_, first, last, count, carried),) = held.describe(f"{oldest}~")
    assert (first, last, count, carried) == (1, events, events, {})


def test_many_lanes_stay_below_the_cap(narrow, root, clock, generated):
    fill(narrow, clock, 2_800, generated)
    for number in range(1, 20):
        lane = lanes.Lane(root, number, CAP, os.urandom)
        payload = cbor.encode_map({"event": "x" * 400})
        while lane._size < lane.limit - 500:
            lane.append([payload], clock.now_ms, 0, sync=False)
        lane.close()
        assert used(root) <= CAP + policy.segment_limit(CAP, 0)


def test_idle_lanes_are_closed_when_a_segment_is_started(narrow, root, clock, generated):
    fill(narrow, clock, 1, generated)
    lane = lanes.Lane(root, 5, CAP, os.urandom)
    lane.append([cbor.encode_map({"event": "x"})], clock.now_ms, 0, sync=False)
    lane.close()
    os.utime(f"{root}/lanes/5.seg", ns=(0, (clock.now_ms - rotation.LANE_IDLE_MS_MAX - 1) * 1_000_000))
    fill(narrow, clock, 100, generated)
    assert not os.path.exists(f"{root}/lanes/5.seg")


@pytest.mark.parametrize(("ahead_ms", "stays"), [(1, True), (rotation.LANE_IDLE_MS_MAX + 1, False)])
def test_a_lane_that_somebody_appends_to_at_this_moment_is_none_of_the_future(
    narrow, root, clock, generated, ahead_ms, stays
):
    """Its last append may be later than the beginning of the one that starts a segment."""
    fill(narrow, clock, 1, generated)
    lane = lanes.Lane(root, 5, CAP, os.urandom)
    lane.append([cbor.encode_map({"event": "x"})], clock.now_ms, 0, sync=False)
    lane.close()
    os.utime(f"{root}/lanes/5.seg", ns=(0, (clock.now_ms + 1 + ahead_ms) * 1_000_000))
    assert not os.path.exists(f"{root}/lanes/0.seg"), "or the next append starts no segment"
    fill(narrow, clock, 1, generated)
    assert os.path.exists(f"{root}/lanes/5.seg") == stays


@pytest.mark.parametrize("cap", [400_000, 1_000_000, 10_000_000, 10**9])
def test_all_lanes_together_fit_any_cap(cap):
    assert sum(policy.segment_limit(cap, lane) for lane in range(lanes.LANES_MAX)) <= cap


def test_a_loss_is_told_once_however_many_copies_go(narrow, root, clock, generated):
    """A killed `compact` leaves a segment in two files."""
    from carobatch.compact import compact
    from carobatch.store import PackedStore

    fill(narrow, clock, 400, generated)
    folder = f"{root}/segments"
    copies = {}
    for name in os.listdir(folder):
        with open(f"{folder}/{name}", "rb") as file:
            copies[name] = file.read()
    compact(root, PackedStore(root, CAP), clock.now_ms, 10**12)
    assert os.listdir(folder) == []
    for name, data in copies.items():
        with open(f"{folder}/{name}", "wb") as file:
            file.write(data)
    [packed] = os.listdir(f"{root}/packed")
    room = sum(spent for *_, spent in spool.usage(root)) - os.stat(f"{root}/lanes/0.seg").st_size
    victims = spool.make_room(root, room + policy.segment_limit(room, 0) - 1, 0)
    assert {os.path.basename(victim.path) for victim in victims} == {packed, *copies}
    assert sorted(len(victim.payloads) for victim in victims) == [*[0] * len(copies), len(copies)]


def test_what_a_file_that_stays_would_have_told_is_told_of_a_copy(narrow, root, clock, generated, monkeypatch):
    """The packed file cannot be read to its end and stays; the segment that lies beside it goes, with a record."""
    from carobatch.compact import compact
    from carobatch.store import PackedStore
    from carojournal import predecessors

    fill(narrow, clock, 4_000, generated)
    name = min(os.listdir(f"{root}/segments"))
    with open(f"{root}/segments/{name}", "rb") as file:
        data = file.read()
    compact(root, PackedStore(root, CAP), clock.now_ms, 10**12)
    with open(f"{root}/segments/{name}", "wb") as file:
        file.write(data)

    def exhausted(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(predecessors, "take_asked_for", exhausted)
    room = used(root) - os.stat(f"{root}/lanes/0.seg").st_size
    victims = spool.make_room(root, room + policy.segment_limit(room, 0) - 1, 0)
    assert [(os.path.basename(victim.path), len(victim.payloads)) for victim in victims] == [(name, 1)]


def test_an_unreadable_root_is_an_error_not_an_exception_of_record(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        spool.make_room(str(tmp_path / "none"), CAP, 0)
    assert issubclass(SpoolFull, JournalIOError)


def test_an_outbox_that_cannot_be_read_for_a_moment_evicts_nothing(narrow, root, clock, generated, monkeypatch):
    """What is under way would go as lost, and arrive all the same: the events that need the room are drops, counted."""
    fill(narrow, clock, 6_000, generated)
    assert losses(root) > 0
    os.mkdir(f"{root}/outbox")
    present = set(os.listdir(f"{root}/segments"))
    listdir = os.listdir

    def exhausted(path):
        if str(path).endswith("outbox"):
            raise OSError(errno.EMFILE, "Too many open files", path)
        return listdir(path)

    monkeypatch.setattr(spool.os, "listdir", exhausted)
    for _ in range(300):
        clock.advance(1)
        narrow.record("command_generated", **generated)
    assert narrow.stats["reasons"].keys() == {"drop descriptors"}
    assert present <= set(listdir(f"{root}/segments"))
    monkeypatch.undo()
    monkeypatch.setattr(policy, "resolve", bounded(CAP))
    fill(narrow, clock, 300, generated)
