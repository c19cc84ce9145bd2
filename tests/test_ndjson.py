"""Lines of JSON, as they arrive."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carojournal import ndjson


def reader(pieces):
    rest = iter(pieces)
    return lambda _size: next(rest, b"")


@given(st.lists(st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b""))), st.integers(1, 7), st.booleans())
def test_lines_do_not_depend_on_how_they_arrive(lines, size, closed):
    data = b"".join(line + b"\n" for line in lines)
    if not closed:
        data = data[:-1]
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    found = [item for batch in ndjson.read_batches(reader(pieces)) for item in batch]
    expected = data.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert found == list(enumerate(expected, 1))


def test_complete_lines_are_handed_over_before_the_next_read():
    reads = []

    def read(size):
        reads.append(size)
        return [b"one\ntwo\nthr", b"ee\n", b""][len(reads) - 1]

    batches = ndjson.read_batches(read)
    assert next(batches) == [(1, b"one"), (2, b"two")]
    assert len(reads) == 1
    assert next(batches) == [(3, b"three")]
    assert len(reads) == 2


@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_byte_order_mark_is_passed_over_before_the_first_line_only(size):
    mark = b"\xef\xbb\xbf"
    data = mark + mark + b"a\n" + mark + b"b"
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    found = [item for batch in ndjson.read_batches(reader(pieces)) for item in batch]
    assert found == [(1, mark + b"a"), (2, mark + b"b")]
    assert [*ndjson.read_batches(reader([mark]))] == [[(1, b"")]]
    assert [*ndjson.read_batches(reader([mark + b"{}"]))] == [[(1, b"{}")]]


def test_a_line_that_is_too_long_is_named_and_never_held():
    longest = b"x" * ndjson.LINE_BYTES_MAX
    pieces = [b"a\n", longest, b"\n", longest, b"x", *(longest for _ in range(100)), b"tail\nb\n"]
    found = [item for batch in ndjson.read_batches(reader(pieces)) for item in batch]
    assert found == [(1, b"a"), (2, longest), (3, None), (4, b"b")]


def test_the_last_line_may_be_too_long():
    pieces = [b"x" * ndjson.LINE_BYTES_MAX, b"x"]
    assert [*ndjson.read_batches(reader(pieces))] == [[(1, None)]]


@pytest.mark.parametrize("key", ["event", "event_type", "type"])
def test_an_event_is_named_by_any_of_three_keys(key):
    assert ndjson.read_event(json.dumps({key: "session_end", "retries": 3}).encode()) == ("session_end", {"retries": 3})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", ndjson.NOT_JSON),
        (b"{", ndjson.NOT_JSON),
        (b'{"event": "a"} {"event": "b"}', ndjson.NOT_JSON),
        (b'{"event": "a", "x": NaN}', ndjson.NOT_JSON),
        (b'{"event": "a", "x": -Infinity}', ndjson.NOT_JSON),
        (b'{"event": "a", "x": ' + b"9" * 5000 + b"}", ndjson.NOT_JSON),
        (b'{"event": "a\x00"}', ndjson.NOT_JSON),
        (b"\xef\xbb\xbf{}", ndjson.NOT_JSON),
        (b'{"event": "\xff"}', ndjson.NOT_UTF8),
        ('{"event": "a"}'.encode("utf-16"), ndjson.NOT_UTF8),
        (b'{"event": "a", "x": "\xed\xa0\x80"}', ndjson.NOT_UTF8),
        (b"[]", ndjson.NOT_OBJECT),
        (b'"event"', ndjson.NOT_OBJECT),
        (b"{}", ndjson.NO_NAME),
        (b'{"Event": "a"}', ndjson.NO_NAME),
        (b'{"event": "a", "event": "b"}', ndjson.TWICE),
        (b'{"event": "a", "p": {"os": 1, "os": 2}}', ndjson.TWICE),
        (b"[" * 60_000, ndjson.TOO_DEEP),
        (b'{"a":' * 9 + b"1" + b"}" * 9, ndjson.TOO_DEEP),
    ],
)
def test_what_is_no_event_is_refused_with_a_reason_of_ours(line, reason):
    assert ndjson.read_event(line) == reason


@given(st.binary(max_size=200))
def test_no_line_raises(line):
    found = ndjson.read_event(line)
    assert isinstance(found, (str, tuple))
