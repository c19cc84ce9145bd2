"""`verify` names every damage and every record that is missing without a reason, and nothing else."""

import fcntl
import os
import random

import forge
import pytest
from forge import NOON_US
from forged_trees import put, put_identity, put_lane, put_packed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_scan import edited, edits

from carobatch.ledger import Ledger
from carojournal import Journal, recovery
from carojournal.recovery import (
    CLEAN,
    DAMAGED,
    GAP_REASONS,
    GAPS,
    REASONS,
    TORN,
    explained_segments,
    verify,
    verify_paths,
)

A, B, C = (bytes([number]) * 16 for number in (0xA1, 0xB2, 0xC3))
NOON_MS = NOON_US // 1000
SOURCE = {"bytes": 99_999, "sha256": bytes(32), "sealed": True, "damaged": False}
PAYLOADS = [forge.event(1), forge.event(2, generation=3), forge.event(99_000)]


@pytest.fixture
def tree(tree):
    """An empty journal: its folders and an identity file."""
    put_identity(tree, b"carojournal 1")
    return tree


def reasons(report):
    return [item.reason for item in report.damage]


def put_pair(tree, *, sealed=False):
    """A closed segment and the one that follows it in its lane, which says how long it was."""
    path = put(tree, A, PAYLOADS, sealed=sealed)
    size = path.stat().st_size
    put(tree, B, [forge.event(5)], created_us=NOON_US + 1, previous=[A, len(PAYLOADS) + sealed, size])
    return path


def test_missing_journal_is_clean_and_not_made(tmp_path):
    report = verify(str(tmp_path / "none"))
    assert (report.exit_code, report.files) == (CLEAN, 0)
    assert os.listdir(tmp_path) == []


def test_journal_that_was_just_written_is_clean(journal, root, clock, generated):
    for number in range(200):
        journal.append("command_generated", **{**generated, "inference_time_ms": number})
        if number % 50 == 49:
            clock.advance(7 * 3_600_000)
    with journal:
        report = verify(root)
    assert (report.exit_code, report.files, report.events) == (CLEAN, 4, 200)
    assert report.records == 204


@pytest.mark.parametrize("sealed", [False, True])
def test_chain_of_segments_is_clean(tree, sealed):
    put_pair(tree, sealed=sealed)
    assert verify(str(tree)).exit_code == CLEAN


# Every truncation, every flipped bit.


@pytest.mark.parametrize("sealed", [False, True])
def test_every_truncation_of_a_closed_segment_is_found(tree, sealed):
    path = put_pair(tree, sealed=sealed)
    data = path.read_bytes()
    ends = [end for _, end in forge.places(data)]
    for size in range(len(data)):
        path.write_bytes(data[:size])
        report = verify(str(tree))
        assert report.exit_code == (GAPS if size in ends else DAMAGED)
        assert report.torn == []
        kept = sum(end <= size for end in ends[: len(PAYLOADS) + 1])
        assert report.events == max(0, kept - 1) + 1


def test_every_truncation_of_a_dead_lane_is_torn_unless_whole_records_are_left(tree):
    path = put_lane(tree, A, PAYLOADS)
    data = path.read_bytes()
    whole = {0, *(end for _, end in forge.places(data))}
    for size in range(len(data)):
        path.write_bytes(data[:size])
        assert verify(str(tree)).exit_code == (CLEAN if size in whole else TORN)


@pytest.mark.parametrize("sealed", [False, True])
def test_every_flipped_bit_is_damage(tree, sealed):
    """One bit of each byte here; test_scan flips all eight."""
    path = put_pair(tree, sealed=sealed)
    data = path.read_bytes()
    bits = random.Random(5)
    ends = [end for _, end in forge.places(data)]
    for at in range(len(data)):
        broken = bytearray(data)
        broken[at] ^= 1 << bits.randrange(8)
        path.write_bytes(broken)
        report = verify(str(tree))
        assert report.exit_code == DAMAGED
        assert any(item.offset <= at < item.offset + item.size for item in report.damage)
        assert (report.torn, report.gaps) == ([], [])
        hit = -1 if at < 12 else sum(end <= at for end in ends)
        assert report.events == 4 - (1 <= hit <= len(PAYLOADS))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=edits, state=st.sampled_from(["closed", "open", "torn"]))
def test_random_damage_never_raises_and_only_known_reasons_are_given(tree, changes, state):
    segment = bytes(range(16))
    data = edited(forge.segment_bytes(segment, PAYLOADS, sealed=state == "closed"), changes)
    for folder in ("lanes", "segments"):
        for entry in os.scandir(tree / folder):
            os.unlink(entry.path)
    if state == "open":
        put_lane(tree, segment, []).write_bytes(data)
    else:
        forge.closed_path(tree, segment, mark="~" if state == "torn" else "").write_bytes(data)
    report = verify(str(tree))
    assert {item.reason for item in (*report.damage, *report.torn)} <= set(REASONS)
    assert {gap.reason for gap in report.gaps} <= set(GAP_REASONS)
    assert report.events <= len(PAYLOADS)


# Payloads and seals.


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (forge.event(1)[:1] + forge.event(1)[1:] + b"\x00", "payload"),
        (b"\xa2\x61b\x01\x61a\x01", "payload"),
        (forge.canonical({"record": "surprise"}), "payload"),
        (forge.canonical({"record": "header"}), "payload"),
        (forge.event(1, surprise=1), "refused"),
        (forge.event(100_001), "refused"),
        (forge.event(1, event="session.end"), "refused"),
        (forge.event(1, time_ms=1), "refused"),
    ],
    ids=["trailing", "unsorted", "kind", "header", "field", "rounding", "alias", "time"],
)
def test_payload_that_the_recorder_would_not_write_is_damage(tree, payload, reason):
    path = put(tree, A, [forge.event(1), payload])
    report = verify(str(tree))
    start, end = forge.places(path.read_bytes())[2]
    assert [(item.offset, item.size, item.reason) for item in report.damage] == [(start, end - start, reason)]


def test_events_under_a_schema_we_do_not_know_are_not_judged_by_ours(tree):
    put(tree, A, [forge.event(1, surprise=1)], schema=bytes(32))
    assert reasons(verify(str(tree))) == ["schema"]


@pytest.mark.parametrize("key", ["count", "bytes", "sha256"])
def test_seal_that_does_not_hold_is_damage(tree, key):
    data = forge.segment_bytes(A, PAYLOADS)
    value = forge.cbor2.loads(forge.seal(data, 4))
    value[key] = bytes(32) if key == "sha256" else value[key] + 1
    forge.closed_path(tree, A).write_bytes(data + forge.record(A, 4, forge.canonical(value)))
    assert reasons(verify(str(tree))) == ["seal"]


def test_records_after_the_seal_are_damage(tree):
    data = forge.segment_bytes(A, PAYLOADS, sealed=True)
    forge.closed_path(tree, A).write_bytes(data + forge.record(A, 5, forge.event(7)))
    report = verify(str(tree))
    assert [(item.offset, item.reason) for item in report.damage] == [(len(data), "after_seal")]


def test_file_under_the_name_of_another_segment_is_damage(tree):
    put(tree, A, PAYLOADS).rename(forge.closed_path(tree, B))
    assert reasons(verify(str(tree))) == ["name"]


def test_missing_record_inside_a_segment_is_a_gap(tree):
    path = put(tree, A, PAYLOADS)
    data = path.read_bytes()
    start, end = forge.places(data)[2]
    path.write_bytes(data[:start] + data[end:])
    report = verify(str(tree))
    assert report.exit_code == GAPS
    assert [(gap.offset, gap.first_seq, gap.last_seq, gap.reason) for gap in report.gaps] == [(start, 2, 2, "sequence")]


# What is missing, and what accounts for it.


def test_missing_predecessor_is_a_gap(tree):
    put_pair(tree).unlink()
    report = verify(str(tree))
    assert report.exit_code == GAPS
    assert [(gap.segment, gap.last_seq, gap.reason) for gap in report.gaps] == [(A, 3, "previous")]


def test_loss_record_accounts_for_a_missing_predecessor(tree):
    put_pair(tree).unlink()
    put_lane(tree, C, [forge.loss(A)], created_us=NOON_US + 2)
    assert verify(str(tree)).exit_code == CLEAN


def test_receipt_accounts_for_a_missing_predecessor(tree):
    put_pair(tree).unlink()
    (tree / "receipts").mkdir()
    (tree / "receipts" / "x.cbor").write_bytes(forge.canonical({"segments": [A], "status": "accepted"}))
    assert verify(str(tree)).exit_code == CLEAN
    assert explained_segments(str(tree)) == {A}


def test_what_an_importer_has_confirmed_is_accounted_for(tree):
    put_pair(tree).unlink()
    assert verify(str(tree)).exit_code == GAPS
    Ledger(str(tree)).write_acks({A.hex(): [[1, 3]]})
    assert verify(str(tree)).exit_code == CLEAN
    (tree / "receipts" / "acks.json").write_text('["what is this"]')
    report = verify(str(tree))
    assert ([damage.reason for damage in report.damage], len(report.gaps)) == (["receipt"], 1)


def test_what_a_killed_clearing_has_left_misses_nothing(tree):
    put_pair(tree).unlink()
    put_identity(tree, b"carojournal 1", b"cleared %d" % (NOON_MS + 1_000))
    assert verify(str(tree)).exit_code == CLEAN


def test_clearing_accounts_for_what_came_before_it_in_the_lane(tree):
    put_pair(tree).unlink()
    put_identity(tree, b"carojournal 1", b"cleared %d" % (NOON_MS))
    assert verify(str(tree)).exit_code == CLEAN


def test_clearing_does_not_account_for_what_was_lost_after_it(tree):
    put_pair(tree).unlink()
    put(tree, C, [], created_us=NOON_US - 5_000)
    put_identity(tree, b"carojournal 1", b"cleared %d" % (NOON_MS - 60_000))
    assert verify(str(tree)).exit_code == GAPS


def test_packed_predecessor_is_there(tree):
    put_pair(tree).unlink()
    put_packed(tree, A, [1, 2, 3], source=SOURCE)
    report = verify(str(tree))
    assert (report.gaps, report.damage) == ([], [])
    assert report.events == 4


@pytest.mark.parametrize("changed", [{"version": 2}, {"schema": bytes(32)}])
def test_a_segment_that_a_later_program_left_on_a_lane_is_not_missing(tree, clock, changed):
    """It is closed, the next one names it, and it stands where it was put."""
    put_lane(tree, A, PAYLOADS, **changed)
    clock.advance(3_600_000)
    with Journal.open(str(tree), clock=clock, admin="/nonexistent") as journal:
        journal.append("session_start", caro_version="1.1.0", os="linux")
    report = verify(str(tree))
    assert report.gaps == []
    assert reasons(report) == list(changed)
    os.unlink(forge.closed_path(tree, A))
    assert [gap.reason for gap in verify(str(tree)).gaps] == ["previous"]


def test_packed_segment_that_lacks_its_end_is_a_gap(tree):
    put_pair(tree).unlink()
    put_packed(tree, A, [1, 2], source=SOURCE)
    assert [(gap.first_seq, gap.last_seq, gap.reason) for gap in verify(str(tree)).gaps] == [(3, 3, "shorter")]


def test_hole_in_a_packed_segment_is_a_gap_unless_its_header_tells_of_it(tree):
    put_packed(tree, A, [1, 4])
    assert [(gap.first_seq, gap.last_seq) for gap in verify(str(tree)).gaps] == [(2, 3)]
    put_packed(tree, A, [1, 4], gaps=[{"first_seq": 2, "last_seq": 3, "bytes": 90, "reason": "damaged"}])
    assert verify(str(tree)).gaps == []


def test_damage_wins_over_gaps_and_gaps_over_torn_tails(tree):
    torn = put_lane(tree, C, PAYLOADS, created_us=NOON_US + 9)
    torn.write_bytes(torn.read_bytes()[:-3])
    assert verify(str(tree)).exit_code == TORN
    put_pair(tree).unlink()
    assert verify(str(tree)).exit_code == GAPS
    (tree / "segments" / "stranger").write_bytes(b"?")
    assert verify(str(tree)).exit_code == DAMAGED


def test_torn_tail_that_is_being_written_is_no_finding(tree):
    path = put_lane(tree, A, PAYLOADS)
    path.write_bytes(path.read_bytes()[:-3])
    with open(path.with_suffix(".lock")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert verify(str(tree)).exit_code == CLEAN
    assert verify(str(tree)).exit_code == TORN


# Single files.


def test_files_alone_are_checked_without_their_neighbours(tree, tmp_path):
    path = put_pair(tree)
    copy = tmp_path / "copy of a segment"
    copy.write_bytes(path.read_bytes())
    assert verify_paths([str(forge.closed_path(tree, B, NOON_US + 1)), str(copy)]).exit_code == CLEAN
    copy.write_bytes(path.read_bytes()[:-1])
    assert verify_paths([str(copy)]).exit_code == DAMAGED
    assert verify_paths([str(put_packed(tree, C, [1, 2]))]).events == 2


def test_segment_that_could_not_be_started_leaves_no_gap(journal, root, clock, monkeypatch):
    """A full disk: the lane's lock file must not go on naming a segment that never came to be."""
    journal.append("error_occurred", error_category="config_error")
    clock.advance(7 * 3_600_000)
    opened = os.open

    def full(path, flags, *rest):
        if str(path).endswith("0.seg") and flags & os.O_CREAT:
            raise OSError(28, "No space left on device", path)
        return opened(path, flags, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", full)
        assert not journal.record("error_occurred", error_category="config_error")
    assert verify(root).exit_code == CLEAN
    with Journal.open(clock=clock, admin="/nonexistent") as other:
        assert other.record("error_occurred", error_category="config_error")
    report = verify(root)
    assert (report.exit_code, report.events) == (CLEAN, 2)


@pytest.mark.parametrize("really", [False, True])
def test_what_seems_wrong_while_others_write_is_looked_at_again(journal, root, clock, generated, monkeypatch, really):
    """Segments are closed and evicted between one look and the next; what is wrong stays so, wherever the file went."""
    for _ in range(20):
        clock.advance(1)
        assert journal.record("command_generated", **generated)
    lane = os.path.join(root, "lanes", "0.seg")
    if really:
        with open(lane, "r+b") as file:
            file.seek(1_000)
            file.write(b"\0")
    once, looks = recovery._verify_once, []

    def meanwhile(path):
        report = once(path)
        looks.append(report.exit_code)
        if len(looks) == 1:
            report.gaps.append(recovery.Gap(lane, 0, A, None, None, "previous"))
            clock.advance(86_400_000)
            assert journal.record("command_generated", **generated)
        return report

    monkeypatch.setattr(recovery, "_verify_once", meanwhile)
    report = verify(root)
    assert len(looks) == 2
    assert not report.gaps
    assert report.exit_code == (DAMAGED if really else CLEAN)
    assert [os.path.basename(os.path.dirname(item.path)) for item in report.damage] == ["segments"] * really
