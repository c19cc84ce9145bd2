"""Cursors: text that goes out and comes back, and what they say of a segment."""

import pytest

from carojournal.cursor import GRACE_US, Cursor, parse_cursor
from carojournal.errors import UsageError
from carojournal.segment_file import SegmentInfo

HOUR_US = 3_600_000_000
A, B, C = (bytes([number]) * 16 for number in (1, 2, 3))


def info(segment, created_us, state="closed"):
    return SegmentInfo("path", state, False, segment, created_us, 0, 0, b"", None, 1, False)


def test_text_goes_out_and_comes_back():
    cursor = Cursor(1_789_612_896_866_000, {A: 17, B: 0})
    assert parse_cursor(f" {cursor}\n") == cursor
    assert parse_cursor(str(Cursor())) == Cursor()


@pytest.mark.parametrize("text", ["", "x", "1;0;;00000000", "1;0;;", "\x1b[31m", "é", "1;" * 50_000])
def test_anything_else_is_refused(text):
    with pytest.raises(UsageError):
        parse_cursor(text)


def test_a_cursor_that_lost_a_letter_is_refused():
    text = str(Cursor(5, {A: 17}))
    for at in range(len(text)):
        with pytest.raises(UsageError):
            parse_cursor(text[:at] + text[at + 1 :])


def test_old_segments_are_read_new_ones_are_not_and_listed_ones_in_part():
    cursor = Cursor(10 * HOUR_US, {A: 17})
    assert cursor.first_unread(A, 0) == 18
    assert cursor.first_unread(B, 9 * HOUR_US) is None
    assert cursor.first_unread(B, 11 * HOUR_US) == 0
    assert Cursor().first_unread(B, 0) == 0


def test_only_segments_that_may_still_grow_or_be_late_stay_listed():
    old, lane, newest = info(A, 0), info(B, 1, "open"), info(C, 5 * HOUR_US)
    cursor = Cursor().advanced([old, lane, newest], {A: 5, B: 6, C: 7})
    assert cursor.watermark_us == 5 * HOUR_US - GRACE_US
    assert cursor.read == {B: 6, C: 7}
    assert cursor.first_unread(A, 0) is None
    again = cursor.advanced([old, info(B, 1), newest], {C: 7})
    assert again.first_unread(B, 1) is None, "closed and read to its end: its last number was seen"


def test_a_lane_that_was_closed_unread_is_not_forgotten():
    cursor = Cursor().advanced([info(B, 1, "open"), info(C, 5 * HOUR_US)], {B: 6, C: 7})
    assert cursor.first_unread(B, 1) == 7, "numbers from 7 on may have been added before it was closed"
