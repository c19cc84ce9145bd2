"""The journal's append path on a real disk, read back with cbor2 alone."""

import errno
import os
import stat
import time
import uuid

import pytest
import segments_by_hand as by_hand

from carojournal import Journal, drops, frame, identity, lanes, stored
from carojournal import journal as module
from carojournal.errors import (
    ClockUnusable,
    EventRefused,
    JournalClosed,
    JournalIOError,
    JournalOff,
    UsageError,
)

START = {"caro_version": "1.1.0", "os": "linux"}
DAY = 86_400_000


def counts(root):
    return {key: count for key, count in drops.read_counts(root)[0].items() if count}


def test_nothing_is_created_before_the_first_event(journal, root):
    assert not os.path.exists(os.path.dirname(root))


def test_a_recorded_event_is_in_the_segment(journal, root, generated, clock):
    identity = journal.append("command_generated", **generated)
    ((segment, seq, value),) = by_hand.events(root)
    assert (segment, seq) == identity
    assert value["timestamp"] == clock.now_ms
    assert value["run_id"].hex() == journal.run_id
    assert value["generation"] == 1


def test_directories_and_files_are_the_owners_alone(journal, root):
    journal.record("session_start", **START)
    for folder, folders, files in os.walk(root):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        for name in files:
            assert stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) == 0o600
        assert folders is not None


def test_the_header_names_segment_lane_schema_and_writer(journal, root, clock):
    journal.record("session_start", **START)
    (header,) = by_hand.controls(root, "header")
    assert header["version"] == 1
    assert header["lane"] == 0
    assert header["created"] == clock.now_ms * 1000
    assert header["consent"] == 0
    assert header["previous"] is None
    assert len(header["schema"]) == 32
    assert header["writer"].startswith("carojournal/")


def test_append_returns_the_identity_and_append_many_one_write(journal, root):
    first = journal.append("session_start", **START)
    many = journal.append_many([("session_start", START), ("session_end", {"session_duration_ms": 1})])
    assert many == (first[0], first[1] + 1)
    assert [seq for _, seq, _ in by_hand.events(root)] == [1, 2, 3]


def test_append_raises_what_record_counts(journal, root):
    with pytest.raises(EventRefused) as caught:
        journal.append("session_start", caro_version="/etc/passwd", os="linux")
    assert caught.value.reasons == (("session_start", "caro_version", "value"),)
    assert not journal.record("session_start", caro_version="/etc/passwd", os="linux")
    assert journal.stats["refused"] == 2
    assert counts(root) == {"refuse session_start caro_version value": 2}


def test_a_batch_with_a_refused_event_is_refused_whole(journal, root):
    with pytest.raises(EventRefused):
        journal.append_many([("session_start", START), ("nothing", {})])
    assert journal.stats["recorded"] == 0


def test_off_looks_at_nothing_and_creates_nothing(home, root, monkeypatch):
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    with Journal.open() as off:
        assert off.mode == "off"
        assert not off.record("session_start", **START)
        with pytest.raises(JournalOff, match="DO_NOT_TRACK"):
            off.append("session_start", **START)
    assert os.listdir(home) == []


def test_the_host_can_only_narrow(home, clock):
    assert Journal.open(mode="on", admin="/nonexistent").mode == "local"
    assert Journal.open(mode="off", admin="/nonexistent").mode == "off"
    assert Journal.open(channel="ga", mode="on", admin="/nonexistent").mode == "off"


@pytest.mark.parametrize("words", [{"mode": "maybe"}, {"level": "x"}, {"channel": "x"}, {"durability": "x"}])
def test_open_names_the_allowed_words(home, words):
    with pytest.raises(UsageError, match="is one of"):
        Journal.open(**words)


def test_the_level_leaves_events_out_without_counting_a_loss(root, home, clock, generated):
    with Journal.open(clock=clock, level="minimal", admin="/nonexistent") as minimal:
        assert not minimal.record("command_generated", **generated)
        assert minimal.append("command_generated", **generated) is None
        assert minimal.record("session_start", **START)
        assert minimal.stats["filtered"] == 2
    assert len(by_hand.events(root)) == 1


def test_after_close_record_answers_false_and_append_raises(journal):
    journal.record("session_start", **START)
    journal.close()
    journal.close()
    assert not journal.record("session_start", **START)
    with pytest.raises(JournalClosed):
        journal.append("session_start", **START)
    with pytest.raises(JournalClosed):
        journal.issue_run()


@pytest.mark.parametrize("run", [uuid.UUID(int=7), 7, bytearray(16), ["ab" * 16]])
def test_a_run_of_another_type_is_refused_at_once(root, run):
    with pytest.raises(UsageError, match="run is 16 bytes or 32 hexadecimal digits"):
        Journal.open(root, run=run)


def test_off_reaches_a_host_whose_clock_is_set_back(journal, root, monkeypatch, clock):
    """It looks again when a second has passed, whatever the clock says: that may stand again where it looked last."""
    steady_ns = 0
    monkeypatch.setattr(journal, "_steady", lambda: steady_ns)
    assert journal.record("session_start", **START)
    monkeypatch.setenv("CARO_TELEMETRY_ENABLED", "0")
    steady_ns = clock() + module.POLICY_CHECK_MS * 1_000_000
    assert not journal.record("session_start", **START)
    with pytest.raises(JournalOff):
        journal.append("session_start", **START)
    assert len(by_hand.events(root)) == 1


def test_a_host_with_the_systems_clock_goes_by_one_that_nobody_sets(root):
    with Journal.open(root) as opened:
        assert opened._steady is time.monotonic_ns


def test_off_reaches_a_running_host_within_a_second(journal, root, monkeypatch, clock):
    assert journal.record("session_start", **START)
    monkeypatch.setenv("CARO_TELEMETRY_ENABLED", "0")
    clock.advance(module.POLICY_CHECK_MS)
    assert not journal.record("session_start", **START)
    assert journal.mode == "off"
    assert len(by_hand.events(root)) == 1
    assert journal.stats["dropped"] == 0


# Generations and runs


def test_generations_count_from_one_and_follow(journal, root, generated):
    journal.record("command_generated", **generated)
    journal.record("command_executed", execution_mode="confirmed")
    journal.record("command_generated", **generated)
    journal.record("safety_triggered", risk_level="high", action_taken="blocked")
    journal.record("session_end", session_duration_ms=1)
    assert [value.get("generation") for _, _, value in by_hand.events(root)] == [1, 1, 2, 2, None]


def test_a_callers_uuid_is_mapped_and_never_stored(journal, root, generated):
    mine, other = uuid.uuid4(), uuid.uuid4()
    journal.record("command_generated", generation_id=mine, **generated)
    journal.record("command_generated", generation_id=str(other), **generated)
    journal.record("command_executed", execution_mode="confirmed", generation_id=str(mine))
    assert [value["generation"] for _, _, value in by_hand.events(root)] == [1, 2, 1]
    with open(f"{root}/lanes/0.seg", "rb") as file:
        data = file.read()
    for secret in (mine, other):
        assert secret.bytes not in data
        assert secret.hex.encode() not in data
        assert str(secret).encode() not in data


@pytest.mark.parametrize("given", ["sk-live-51HxQ", "/home/x", 0, 10_000, 1.5, b"x" * 16, ["a"], {"a": 1}])
def test_a_generation_that_is_neither_ordinal_nor_uuid_is_left_out(journal, root, generated, given):
    assert journal.record("command_generated", generation_id=given, **generated)
    ((_, _, value),) = by_hand.events(root)
    assert "generation" not in value
    assert sum(counts(root).values()) == 1


def test_new_generation_hands_out_ordinals(journal, root, generated):
    ordinal = journal.new_generation()
    journal.record("command_generated", generation=ordinal, **generated)
    assert by_hand.events(root)[0][2]["generation"] == ordinal == 1


def test_an_issued_run_id_is_taken_up_and_any_other_refused(journal, root, clock):
    run = journal.issue_run()
    with Journal.open(run=run, clock=clock, admin="/nonexistent") as second:
        assert second.record("session_start", **START)
    assert by_hand.events(root)[0][2]["run_id"].hex() == run
    for foreign in ("ab" * 16, "", "not hexadecimal", uuid.uuid4().hex, b"x"):
        with Journal.open(run=foreign, clock=clock, admin="/nonexistent") as third:
            assert not third.record("session_start", **START)
    assert len(by_hand.events(root)) == 1
    assert counts(root) == {"refuse session_start run_id foreign_id": 5}


def test_a_uuid_cannot_span_processes(journal, root, clock, generated):
    run = journal.issue_run()
    with Journal.open(run=run, clock=clock, admin="/nonexistent") as second:
        second.record("command_generated", generation_id=str(uuid.uuid4()), **generated)
        second.record("command_generated", generation=7, **generated)
    assert [value.get("generation") for _, _, value in by_hand.events(root)] == [None, 7]


# Time


def test_midnight_begins_a_new_session_and_a_new_segment(journal, root, clock):
    journal.record("session_start", **START)
    clock.advance(12 * 3_600_000)
    journal.record("session_end", session_duration_ms=1)
    first, second = by_hand.events(root)
    assert first[2]["session_id"] != second[2]["session_id"]
    assert first[2]["run_id"] != second[2]["run_id"]
    assert first[0] != second[0]
    previous = by_hand.controls(root, "header")[1]["previous"]
    assert previous[0] == first[0]
    assert previous[1] == 1
    (closed,) = os.listdir(f"{root}/segments")
    assert previous[2] == os.stat(f"{root}/segments/{closed}").st_size


@pytest.mark.parametrize("now_ms", [0, 946_684_800_000, stored.TIME_MS_MIN - 1, stored.TIME_MS_MAX, 2**53])
def test_a_clock_that_cannot_be_right_is_a_counted_drop(journal, root, clock, now_ms):
    right, clock.now_ms = clock.now_ms, now_ms
    assert not journal.record("session_start", **START)
    with pytest.raises(ClockUnusable):
        journal.append("session_start", **START)
    clock.now_ms = right
    assert journal.record("session_start", **START)
    assert counts(root) == {"drop clock": 2}
    assert (module.TIME_MS_MIN, module.TIME_MS_MAX) == (stored.TIME_MS_MIN, stored.TIME_MS_MAX)


def test_a_segment_of_a_later_version_is_closed_and_not_written(journal, root, clock):
    """After a downgrade: the framing is the same, the header says 2."""
    journal.record("session_start", **START)
    with open(f"{root}/lanes/0.seg", "rb") as file:
        data = file.read()
    found = frame.decode_record(frame.NO_SEGMENT, data, 12)
    header = data[found[1] : found[2]].replace(b"gversion\x01", b"gversion\x02")
    with open(f"{root}/lanes/0.seg", "r+b") as file:
        file.seek(12)
        file.write(frame.encode_record(frame.NO_SEGMENT, 0, header))
    with Journal.open(clock=clock, admin="/nonexistent") as fresh:
        segment, seq = fresh.append("session_start", **START)
    (closed,) = os.listdir(f"{root}/segments")
    assert segment.hex() not in closed
    assert seq == 1


@pytest.mark.parametrize("jump", [-DAY, -10 * DAY, 400 * DAY, 20 * 365 * DAY])
def test_the_clock_may_jump(journal, root, clock, jump):
    for ms in (0, jump, -jump, 1):
        clock.advance(ms)
        assert journal.record("session_start", **START)
    events = by_hand.events(root)
    assert len(events) == 4
    days = {}
    for segment, _, value in events:
        days.setdefault(segment, set()).add(value["timestamp"] // DAY)
    assert all(len(seen) == 1 for seen in days.values())


def test_an_old_segment_is_closed(journal, root, clock):
    journal.record("session_start", **START)
    clock.advance(lanes.SEGMENT_AGE_MS_MAX - 1)
    journal.record("session_start", **START)
    assert os.listdir(f"{root}/segments") == []
    clock.advance(1)
    journal.record("session_start", **START)
    assert len(os.listdir(f"{root}/segments")) == 1


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_root_that_others_may_write_to_is_refused(journal, root, mode):
    os.makedirs(root)
    os.chmod(root, mode)
    assert not journal.record("session_start", **START)
    assert os.listdir(root) == []
    assert journal.stats["reasons"] == {"drop unsafe_root": 1}


def test_a_root_that_is_a_link_is_refused(journal, root, tmp_path):
    os.makedirs(os.path.dirname(root))
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    os.symlink(tmp_path / "elsewhere", root)
    assert not journal.record("session_start", **START)
    assert os.listdir(tmp_path / "elsewhere") == []


def test_a_root_of_somebody_else_is_refused(journal, root, monkeypatch):
    journal.record("session_start", **START)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with Journal.open(admin="/nonexistent") as other:
        assert not other.record("session_start", **START)
        assert other.stats["reasons"] == {"drop unsafe_root": 1}


def test_a_root_that_is_a_file_is_no_exception(journal, root):
    os.makedirs(os.path.dirname(root))
    with open(root, "w") as file:
        file.write("x")
    assert not journal.record("session_start", **START)


def test_links_in_place_of_files_are_not_followed(journal, root, tmp_path):
    journal.record("session_start", **START)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    os.unlink(f"{root}/lanes/0.seg")
    os.symlink(victim, f"{root}/lanes/0.seg")
    assert journal.record("session_start", **START)
    assert victim.read_bytes() == b"precious"


def test_durability_each_syncs_every_append(home, clock, monkeypatch):
    synced = []
    monkeypatch.setattr(lanes, "_sync", synced.append)
    with Journal.open(clock=clock, durability="each", admin="/nonexistent") as careful:
        for _ in range(3):
            careful.record("session_start", **START)
    assert len(synced) == 3


def test_a_new_identity_reaches_a_running_host_within_a_second(journal, root, clock):
    journal.record("session_start", **START)
    opened = identity.open_identity(root, clock.now_ms, os.urandom)
    opened.append(f"rotate {clock.now_ms}")
    clock.advance(module.POLICY_CHECK_MS)
    journal.record("session_start", **START)
    first, second = (value["session_id"] for _, _, value in by_hand.events(root))
    assert first != second


def test_after_clear_a_running_host_is_another_run(journal, root, clock, generated):
    journal.record("command_generated", **generated)
    os.unlink(f"{root}/journal")
    clock.advance(module.POLICY_CHECK_MS)
    journal.record("command_generated", **generated)
    first, second = (value for _, _, value in by_hand.events(root))
    assert first["run_id"] != second["run_id"]
    assert second["generation"] == 1


def test_after_clear_ordinals_of_before_do_not_go_on(journal, root, clock, generated):
    """A host asks for an ordinal before it records, so the one that meets the new identity is of the old run."""
    for _ in range(137):
        journal.new_generation()
    journal.record("command_generated", generation=138, **generated)
    os.unlink(f"{root}/journal")
    before = len(by_hand.events(root))
    clock.advance(module.POLICY_CHECK_MS)
    for _ in range(2):
        ordinal = journal.new_generation()
        journal.record("command_generated", generation=ordinal, **generated)
        journal.record("command_executed", execution_mode="confirmed", generation=ordinal)
    journal.record("command_generated", generation=500, **generated)  # A host that counts by itself.
    found = [value["generation"] for _, _, value in by_hand.events(root)][before:]
    assert found == [1, 1, 2, 2, 3]


def test_io_errors_of_append_carry_step_path_and_number(journal, root, monkeypatch):
    journal.record("session_start", **START)

    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(JournalIOError) as caught:
        journal.append("session_start", **START)
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
