"""What readers promise: every readable record once, whatever happens to the files, and a report of the rest."""

import fcntl
import hashlib
import os
import uuid

import forge
import pytest
import segments_by_hand
from forge import NOON_US
from forged_trees import put, put_lane, put_packed

from carojournal import packed
from carojournal.reader import Damage, JournalReader, derive_event_id

A, B, C = (bytes([number]) * 16 for number in (0xA1, 0xB2, 0xC3))
ERROR = {"error_category": "config_error"}


def identities(reader, **keywords):
    return [(record.segment, record.seq) for record in reader.records(**keywords)]


def test_missing_and_empty_journals_have_no_records(tmp_path):
    for root in (tmp_path / "none", tmp_path):
        reader = JournalReader(root)
        assert list(reader.records()) == []
        assert (reader.segments(), reader.losses(), reader.tail(5), reader.damage) == ([], [], [], [])


def test_healthy_journal_reads_as_any_cbor_library_reads_it(journal, root, clock, generated):
    for number in range(300):
        journal.append("command_generated", **{**generated, "inference_time_ms": number})
        if number % 100 == 99:
            clock.advance(7 * 3_600_000)
    reader = JournalReader()
    read = [(record.segment, record.seq, record.value) for record in reader.records(events_only=True)]
    assert read == segments_by_hand.events(root)
    assert len(reader.segments()) == 3
    assert reader.damage == []


def test_record_says_what_and_where_it_is(tree):
    path = put(tree, A, [forge.event(1), forge.event(2)])
    first, second, third = JournalReader(tree).records()
    assert (first.is_event, second.is_event, third.is_event) == (False, True, True)
    assert first.value["record"] == "header"
    assert (third.segment, third.seq, third.path) == (A, 2, str(path))
    assert path.read_bytes()[third.offset :].startswith(b"\x84\x1a")
    assert third.payload == forge.event(2)
    assert third.source.created_us == NOON_US
    assert third != second


def test_event_id_is_a_version_8_uuid_of_the_identity():
    digest = bytearray(hashlib.sha256(A + (7).to_bytes(8, "big")).digest()[:16])
    found = uuid.UUID(derive_event_id(A, 7))
    assert (found.version, found.variant) == (8, uuid.RFC_4122)
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    assert found.bytes == bytes(digest)


def test_time_bounds_are_inclusive_and_exclusive_and_leave_controls_out(tree):
    put(tree, A, [forge.event(number) for number in range(10)])
    base = NOON_US // 1000
    found = JournalReader(tree).records(since_ms=base + 3, until_ms=base + 6)
    assert [record.seq for record in found] == [4, 5, 6]
    assert list(JournalReader(tree).records(since_ms=base + 86_400_000)) == []


def test_segments_are_listed_oldest_first(tree):
    put(tree, B, [], created_us=NOON_US + 5)
    put(tree, A, [], created_us=NOON_US)
    put_lane(tree, C, [], created_us=NOON_US + 9)
    assert [(info.segment, info.state) for info in JournalReader(tree).segments()] == [
        (A, "closed"),
        (B, "closed"),
        (C, "open"),
    ]


def test_seal_is_recognised(tree):
    put(tree, A, [forge.event(1)], sealed=True)
    put(tree, B, [forge.event(1)])
    assert [info.sealed for info in JournalReader(tree).segments()] == [True, False]


# Damage.


def test_damaged_header_costs_only_the_header(tree):
    path = put(tree, A, [forge.event(1), forge.event(2)], consent=NOON_US // 1000)
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    reader = JournalReader(tree)
    assert identities(reader) == [(A, 1), (A, 2)]
    assert [(item.offset, item.reason, item.torn) for item in reader.damage] == [(12, "checksum", False)]
    (info,) = reader.segments()
    assert (info.created_us, info.consent_ms) == (NOON_US, 0)  # Unknown consent is none.


def test_damaged_header_of_an_open_lane_is_replaced_by_its_lock_file(tree):
    path = put_lane(tree, A, [forge.event(1)])
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    assert identities(JournalReader(tree)) == [(A, 1)]


def test_a_damaged_header_still_names_the_segment_where_no_lock_file_does(tree):
    path = put_lane(tree, A, [forge.event(1), forge.event(2)])
    data = path.read_bytes()
    at = data.index(A)
    path.with_suffix(".lock").write_bytes(b"\xff" * 73)
    path.write_bytes(bytes(40) + data[40:])
    assert identities(JournalReader(tree)) == [(A, 1), (A, 2)]
    path.write_bytes(bytes(40) + data[40:at] + B + data[at + 16 :])  # No record verifies under that one.
    assert identities(JournalReader(tree)) == []
    path.write_bytes(bytes(at) + data[at:])
    assert identities(JournalReader(tree)) == []


def test_header_of_another_segment_is_not_believed(tree):
    path = put(tree, A, [forge.event(1), forge.event(2)])
    data = path.read_bytes()
    own = len(forge.LABEL + forge.header(A))
    path.write_bytes(forge.LABEL + forge.header(B) + data[own:])
    assert [pair for pair in identities(JournalReader(tree)) if pair[1]] == [(A, 1), (A, 2)]


def test_damaged_label_costs_nothing_but_is_reported(tree):
    path = put(tree, A, [forge.event(1)])
    path.write_bytes(b"X" + path.read_bytes()[1:])
    reader = JournalReader(tree)
    assert identities(reader) == [(A, 0), (A, 1)]
    assert reader.damage == [Damage(str(path), 0, 12, "label")]


@pytest.mark.parametrize("mark", ["", "~"])
def test_torn_tail_of_a_closed_segment_is_torn_only_if_it_was_closed_for_it(tree, mark):
    path = put(tree, A, [forge.event(1), forge.event(2)], mark=mark)
    path.write_bytes(path.read_bytes()[:-7])
    reader = JournalReader(tree)
    assert identities(reader, events_only=True) == [(A, 1)]
    assert [(item.reason, item.torn) for item in reader.damage] == [("cut", mark == "~")]


def test_torn_tail_of_a_lane_is_in_progress_while_its_lock_is_held(tree):
    path = put_lane(tree, A, [forge.event(1), forge.event(2)])
    path.write_bytes(path.read_bytes()[:-7])
    with open(path.with_suffix(".lock")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        reader = JournalReader(tree)
        assert identities(reader, events_only=True) == [(A, 1)]
        assert reader.damage == []
    assert identities(reader, events_only=True) == [(A, 1)]
    assert [(item.reason, item.torn) for item in reader.damage] == [("cut", True)]


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff",
        b"\x83\x01\x02\x03",
        forge.canonical({"record": "surprise"}),
        forge.canonical({"event": 5}),
        b"\xbf\xff",
        b"\xa2\x65event\x61a\x65event\x61b",
        b"\xa1\x65event\xd8\x40\x41a",
    ],
    ids=["break", "array", "kind", "type", "indefinite", "twice", "tag"],
)
def test_whole_record_with_a_strange_payload_is_reported_and_left_out(tree, payload):
    path = put(tree, A, [forge.event(1), payload, forge.event(2)])
    reader = JournalReader(tree)
    assert identities(reader, events_only=True) == [(A, 1), (A, 3)]
    start, end = forge.places(path.read_bytes())[2]
    assert reader.damage == [Damage(str(path), start, end - start, "payload")]
    assert [record.seq for record in reader.tail(9)] == [1, 3]


def test_strangers_in_the_folders_are_reported_and_never_opened(tree):
    good = put(tree, A, [forge.event(1)])
    (tree / "segments" / "notes.txt").write_bytes(b"hello")
    (tree / "packed" / "x").mkdir()
    (tree / "lanes" / "x.seg").write_bytes(b"")
    forge.closed_path(tree, B).symlink_to(good)
    os.mkfifo(forge.closed_path(tree, C))
    (tree / "packed" / packed.packed_name(NOON_US, B)).write_bytes(b"no zstd")
    future = put(tree, b"\xd4" * 16, [forge.event(1)], version=2)
    empty = forge.closed_path(tree, b"\xe5" * 16)
    empty.write_bytes(b"")
    (tree / "segments" / "half.tmp").write_bytes(b"somebody is writing this")
    reader = JournalReader(tree)
    assert identities(reader, events_only=True) == [(A, 1)]
    reasons = {os.path.relpath(item.path, tree): item.reason for item in reader.damage}
    assert reasons == {
        "segments/notes.txt": "foreign",
        "packed/x": "foreign",
        "lanes/x.seg": "foreign",
        f"segments/{forge.closed_path(tree, B).name}": "link",
        f"segments/{forge.closed_path(tree, C).name}": "foreign",
        f"packed/{packed.packed_name(NOON_US, B)}": "packed",
        f"segments/{future.name}": "version",
        f"segments/{empty.name}": "header",
    }


def test_linked_folder_is_not_followed(tree, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (tree / "segments").rmdir()
    (other / "segments").mkdir()
    put(other, A, [forge.event(1)])
    (tree / "segments").symlink_to(other / "segments")
    reader = JournalReader(tree)
    assert identities(reader) == []
    assert [item.reason for item in reader.damage] == ["link"]


# Files that move.


def test_segment_that_is_closed_after_it_was_listed_is_still_read_whole(journal, root, clock):
    journal.append("error_occurred", **ERROR)
    reader = JournalReader(root)
    (info,) = reader.segments()
    journal.append("error_occurred", **ERROR)
    clock.advance(7 * 3_600_000)
    journal.append("error_occurred", **ERROR)
    found = list(reader.of_segment(info))
    assert [record.seq for record in found] == [0, 1, 2]
    assert os.path.dirname(found[0].path).endswith("segments")


def test_segment_that_is_packed_after_it_was_listed_is_read_from_there(tree):
    path = put(tree, A, [forge.event(1), forge.event(2)])
    reader = JournalReader(tree)
    (info,) = reader.segments()
    put_packed(tree, A, [1, 2])
    path.unlink()
    assert [(record.seq, record.payload) for record in reader.of_segment(info)] == [
        (1, forge.event(1)),
        (2, forge.event(2)),
    ]


def test_segment_that_is_evicted_after_it_was_listed_is_simply_gone(tree):
    path = put(tree, A, [forge.event(1)])
    reader = JournalReader(tree)
    (info,) = reader.segments()
    path.unlink()
    assert list(reader.of_segment(info)) == []
    assert reader.damage == []


def test_segment_that_lies_closed_and_packed_is_read_once_and_the_copies_complete_each_other(tree):
    path = put(tree, A, [forge.event(1), forge.event(2), forge.event(3)])
    put_packed(tree, A, [1, 2, 3])
    data = bytearray(path.read_bytes())
    start, _ = forge.places(bytes(data))[2]
    data[start + 30] ^= 1
    path.write_bytes(data)
    reader = JournalReader(tree)
    assert sorted(identities(reader, events_only=True)) == [(A, 1), (A, 2), (A, 3)]
    assert len(reader.segments()) == 1


def test_packed_sections_are_read_with_their_identities(tree):
    put_packed(tree, A, [2, 3, 7])
    put_packed(tree, B, [1])
    reader = JournalReader(tree)
    assert identities(reader) == [(A, 2), (A, 3), (A, 7), (B, 1)]
    assert {info.state for info in reader.segments()} == {"packed"}
    assert [record.seq for record in reader.tail(2)] == [3, 7]


def test_damaged_packed_file_is_reported_not_raised(tree):
    path = put_packed(tree, A, [1, 2])
    data = bytearray(path.read_bytes())
    data[40] ^= 1  # Of the inventory, which could have put the other byte right.
    data[-9] ^= 1
    path.write_bytes(data)
    reader = JournalReader(tree)
    assert identities(reader) == []
    assert [item.reason for item in reader.damage] == ["packed"]


# Losses.


def test_loss_counts_once_and_only_if_the_segment_is_gone(tree):
    put(tree, A, [forge.loss(B), forge.loss(C), forge.event(1)], created_us=NOON_US + 1)
    put_lane(tree, b"\xd4" * 16, [forge.loss(C, events=4)], created_us=NOON_US + 2)
    put(tree, B, [forge.event(1)])
    (found,) = JournalReader(tree).losses()
    assert (found["segment"], found["events"]) == (C, 9)


def test_losses_of_packed_segments_are_read_from_their_headers(tree):
    kept = {**forge.cbor2.loads(forge.loss(C)), "seq": 1}
    put_packed(tree, A, [2], losses=[kept])
    assert [loss["segment"] for loss in JournalReader(tree).losses()] == [C]


# The newest events.


def test_tail_is_the_end_of_all_events_in_order_of_time(tree):
    for number, segment in enumerate((A, B, C)):
        times = [forge.event(step * 10 + number) for step in range(20)]
        put(tree, segment, times, created_us=NOON_US + number, sealed=segment == B)
    reader = JournalReader(tree)
    every = sorted(
        (record.value["timestamp"], record.segment, record.seq) for record in reader.records(events_only=True)
    )
    for size in (0, 1, 2, 7, 60, 99):
        found = [(record.value["timestamp"], record.segment, record.seq) for record in reader.tail(size)]
        assert found == every[len(every) - min(size, len(every)) :]


def test_tail_finds_what_stands_before_a_step_back_of_the_clock(tree):
    put(tree, A, [forge.event(9_000), forge.event(9_001), forge.event(10)])
    put(tree, B, [forge.event(number) for number in range(20, 40)], created_us=NOON_US + 1)
    found = JournalReader(tree).tail(3)
    assert [record.value["session_duration_ms"] for record in found] == [39, 9_000, 9_001]


def test_tail_counts_what_matches(tree):
    put(tree, A, [forge.event(number) for number in range(50)])
    found = JournalReader(tree).tail(3, lambda record: record.value["session_duration_ms"] % 10 == 0)
    assert [record.value["session_duration_ms"] for record in found] == [20, 30, 40]
