"""Queries: what matches, without decoding where that is enough, and the order of events."""

import random

import cbor2
import pytest
from full_journals import by_hand, fill
from hypothesis import given
from hypothesis import strategies as st

from carojournal.cursor import Cursor
from carojournal.query import Query, merged, order_of, time_of
from carojournal.reader import JournalReader, Record
from carojournal.selection import newest, ordered

RUN, SESSION, SEGMENT = b"r" * 16, b"s" * 16, b"g" * 16


def record(seq=1, segment=SEGMENT, **fields):
    value = {"event": "session_end", "timestamp": 1_790_000_000_000, "run_id": RUN, "session_id": SESSION, **fields}
    return Record(segment, seq, cbor2.dumps(value, canonical=True), "path", 0, None)


@pytest.mark.parametrize(
    ("query", "match"),
    [
        (Query(), True),
        (Query(since_ms=1_790_000_000_000, until_ms=1_790_000_000_000), True),
        (Query(since_ms=1_790_000_000_001), False),
        (Query(until_ms=1_789_999_999_999), False),
        (Query(events=frozenset({"session_end", "session_start"})), True),
        (Query(events=frozenset({"session_start"})), False),
        (Query(fields={"retries": frozenset({3, 4})}), True),
        (Query(fields={"retries": frozenset({4})}), False),
        (Query(fields={"retries": frozenset({3}), "generation": frozenset({2})}), False),
        (Query(fields={"generation": frozenset({1})}), True),
        (Query(fields={"success": frozenset({True})}), True),
        (Query(fields={"safety_blocks": frozenset({True})}), False),
        (Query(fields={"backend_available": frozenset({"ollama"})}), True),
        (Query(fields={"backend_available": frozenset({"vllm"})}), False),
        (Query(ids={"session_id": frozenset({"7373"})}), True),
        (Query(ids={"session_id": frozenset({"73737"})}), True),
        (Query(ids={"session_id": frozenset({"73730"})}), False),
        (Query(ids={"run_id": frozenset({"00", "7272"})}), True),
    ],
)
def test_all_conditions_must_hold_and_one_value_of_each_suffices(query, match):
    one = record(retries=3, generation=1, success=True, safety_blocks=1, backend_available=["mlx", "ollama"])
    assert query.matches(one) is match


def test_event_ids_match_by_prefix_with_or_without_dashes():
    one = record()
    assert Query(ids={"event_id": frozenset({one.event_id.replace("-", "")[:20]})}).matches(one)
    assert not Query(ids={"event_id": frozenset({"ffff"})}).matches(one)


def test_a_field_alone_says_which_events_can_have_it():
    assert Query(fields={"exit_reason": frozenset({"error"})}).possible_events == {"session_end"}
    assert Query(fields={"error_category": frozenset({"unknown"})}).possible_events == {
        "command_generated",
        "error_occurred",
    }
    assert Query().possible_events is None
    assert Query(events=frozenset({"session_end"}), fields={"shell": frozenset({"sh"})}).possible_events == frozenset()


@given(st.integers(2**32, 2**64 - 1))
def test_a_time_is_read_without_decoding(time_ms):
    assert time_of(record(timestamp=time_ms).payload) == time_ms


def test_a_time_that_could_be_another_value_is_not_guessed():
    assert time_of(record(shell="itimestamp\x1bxxxxxxxx").payload) is None
    assert Query(since_ms=1).matches(record(shell="itimestamp\x1bxxxxxxxx")), "then the payload is decoded"
    assert time_of(cbor2.dumps({"record": "seal"}, canonical=True)) is None


@given(st.lists(st.lists(st.integers(0, 200_000), max_size=20), max_size=6), st.randoms(use_true_random=False))
def test_merged_is_sorted_if_no_segment_begins_after_its_events(times, rand):
    groups = []
    for number, group in enumerate(times):
        records = [
            record(seq, bytes([number]) * 16, timestamp=2**33 + time_ms) for seq, time_ms in enumerate(sorted(group))
        ]
        rand.shuffle(records)
        groups.append((min([time_of(one.payload) for one in records], default=0), records))
    groups.sort(key=lambda group: group[0])
    everything = [one for _, records in groups for one in records]
    assert list(merged(groups)) == sorted(everything, key=order_of)


def test_merged_holds_only_segments_that_overlap():
    drawn = []

    def draw(number):
        drawn.append(number)
        yield record(number, timestamp=2**33 + number * 1_000_000)

    found = merged((2**33 + number * 1_000_000, draw(number)) for number in range(5))
    next(found)
    assert drawn in ([0], [0, 1])


def test_a_copy_of_an_event_is_no_error():
    assert len(list(merged([(0, [record(), record()])]))) == 2


@pytest.fixture
def filled(root):
    fill(root, 700_000)
    return root


def test_newest_and_ordered_agree_with_reading_by_hand(filled):
    expected = by_hand(filled)
    reader = JournalReader(filled)
    assert [(one.segment, one.seq) for one in ordered(reader, Query())] == [row[1:3] for row in expected]
    for limit in (1, 20, 10_000):
        assert [one.seq for one in newest(reader, Query(), limit)] == [row[2] for row in expected[-limit:]]
    assert newest(reader, Query(), 0) == []
    wanted = Query(events=frozenset({"error_occurred"}))
    errors = [row for row in expected if row[3]["event"] == "error_occurred"]
    assert errors
    assert [one.value for one in newest(reader, wanted, 5)] == [row[3] for row in errors[-5:]]
    middle = expected[len(expected) // 2][0]
    since = Query(since_ms=middle, until_ms=middle + 60_000)
    assert [one.value for one in ordered(reader, since)] == [
        row[3] for row in expected if middle <= row[0] <= middle + 60_000
    ]
    assert reader.damage == []


def test_a_cursor_that_moves_in_random_steps_meets_every_event_once(root):
    from carojournal.cursor import parse_cursor
    from carojournal.selection import unread

    rand = random.Random(3)
    clock, cursor, met = None, Cursor(), []
    for step in range(1, 12):
        clock = fill(root, step * 70_000, clock)
        clock.advance(rand.choice([0, 1_000, 2_000_000]))
        reader = JournalReader(root)
        infos, seen = reader.segments(), {}
        met += [(one.segment, one.seq) for one in unread(reader, Query(), cursor, seen, infos)]
        cursor = parse_cursor(str(cursor.advanced(infos, seen)))
    assert len(met) == len(set(met))
    assert sorted(met) == sorted(row[1:3] for row in by_hand(root))
    assert len(str(cursor)) < 1_000
