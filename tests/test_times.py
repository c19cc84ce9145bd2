"""Expected values are worked out by hand from the calendar; zones come from the system's zone files."""

import os
import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carojournal.errors import UsageError
from carojournal.times import TIME_MS_MAX, local_text, parse_time, utc_text

BERLIN = ZoneInfo("Europe/Berlin")
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def at(*parts, zone=UTC):
    return int(datetime(*parts, tzinfo=zone).timestamp() * 1000)


NOW = at(2026, 9, 21, 14, 13, 20)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("NOW", NOW),
        ("today", at(2026, 9, 21)),
        ("yesterday", at(2026, 9, 20)),
        ("tomorrow", at(2026, 9, 22)),
        ("2 hours ago", NOW - 2 * HOUR_MS),
        ("an hour ago", NOW - HOUR_MS),
        ("1h 30min ago", NOW - HOUR_MS - 30 * 60_000),
        ("-1h", NOW - HOUR_MS),
        ("-1h30m", NOW - HOUR_MS - 30 * 60_000),
        ("- 90 s", NOW - 90_000),
        ("+1d", NOW + DAY_MS),
        ("1 week ago", NOW - 7 * DAY_MS),
        ("1 month ago", at(2026, 8, 21, 14, 13, 20)),
        ("2 years ago", at(2024, 9, 21, 14, 13, 20)),
        ("@17", 17_000),
        ("@1700000000.25", 1_700_000_000_250),
        ("2026-09-21", at(2026, 9, 21)),
        ("  2026-09-21   14:30 ", at(2026, 9, 21, 14, 30)),
        ("2026-09-21T14:30:05.250Z", at(2026, 9, 21, 14, 30, 5) + 250),
        ("2026-09-21T14:30:00+02:00", at(2026, 9, 21, 12, 30)),
        ("20260921T143000Z", at(2026, 9, 21, 14, 30)),
        ("21 Sep 2026 14:30", at(2026, 9, 21, 14, 30)),
        ("sep 2026", at(2026, 9, 1)),
        ("2026", at(2026, 1, 1)),
        ("14:30", at(2026, 9, 21, 14, 30)),
        ("9:05:07", at(2026, 9, 21, 9, 5, 7)),
    ],
)
def test_reads_the_spellings_of_journalctl(text, expected):
    assert parse_time(text, NOW, UTC) == expected


def test_text_without_a_zone_is_local_time():
    assert parse_time("2026-09-21 14:30", NOW, BERLIN) == at(2026, 9, 21, 12, 30)
    assert parse_time("today", NOW, BERLIN) == at(2026, 9, 20, 22)
    assert parse_time("2026-01-21 14:30", NOW, BERLIN) == at(2026, 1, 21, 13, 30), "winter has another offset"


def test_days_go_by_the_calendar_and_hours_by_the_clock():
    after_change = at(2026, 3, 29, 12, zone=BERLIN)  # Clocks went from 02:00 to 03:00 that morning.
    assert parse_time("1 day ago", after_change, BERLIN) == at(2026, 3, 28, 12, zone=BERLIN)
    assert parse_time("24 hours ago", after_change, BERLIN) == at(2026, 3, 28, 11, zone=BERLIN)
    assert parse_time("tomorrow", after_change - DAY_MS // 2, BERLIN) == at(2026, 3, 29, zone=BERLIN)


NO_TIMES = """
foo|-|+|ago|10|01/02/2026|1/2/26|2 parsecs ago|9999999999 d ago|1969-12-31|999999999y ago|2026-13-01|2026-02-30|25:00
12:|1e9|-1h foo|2026-09-21 14:30 XYZ|\u00e9|@-1|@9999999999999|yesterday ago|1000000000000000 2026|1h|\x1b[31m2026-09-21
"""


@pytest.mark.parametrize("text", ["", " ", "x" * 65, *NO_TIMES.strip().replace("\n", "|").split("|")])
def test_anything_else_is_a_usage_error_that_repeats_nothing(text):
    with pytest.raises(UsageError) as caught:
        parse_time(text, NOW, UTC)
    assert "time" in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    if len(text) > 3:
        assert text not in str(caught.value)


@given(st.text(max_size=70))
def test_no_text_raises_anything_else(text):
    try:
        found = parse_time(text, NOW, UTC)
    except UsageError:
        return
    assert 0 <= found <= TIME_MS_MAX


@given(st.integers(0, TIME_MS_MAX))
def test_utc_text_says_what_datetime_says(time_ms):
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)
    assert utc_text(time_ms) == expected.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert parse_time(utc_text(time_ms), NOW, UTC) == time_ms


def test_times_that_no_calendar_holds_are_shown_as_numbers():
    assert utc_text(2**64 - 1) == local_text(2**64 - 1) == "18446744073709551615"
    assert utc_text(-1) == "-1"


def test_local_text_is_local(monkeypatch):
    try:
        monkeypatch.setenv("TZ", "XYZ-05:30")
        time.tzset()
        here = datetime.fromtimestamp(NOW / 1000, timezone(timedelta(hours=5, minutes=30)))
        assert local_text(NOW) == here.strftime("%Y-%m-%d %H:%M:%S") == "2026-09-21 19:43:20"
        assert parse_time("2026-09-21 19:43:20", 0) == NOW, "and `parse_time` reads it back"
        assert local_text(NOW, zone=True) == here.strftime("%Y-%m-%d %H:%M:%S %z") == "2026-09-21 19:43:20 +0530"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_dateutil_is_imported_only_for_a_time():
    import subprocess

    code = "import sys, carojournal.times; print(any(name.startswith('dateutil') for name in sys.modules))"
    place = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=place)
    assert done.stdout == "False\n"
