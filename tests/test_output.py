"""What goes to a terminal or a pipe."""

import io
import os
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carojournal.cli import output


class Terminal(io.StringIO):
    def isatty(self):
        return True


@given(st.text() | st.text(alphabet="\x00\x07\x1b\x7f\x9b\u200b\u202e\ud800ab "))
def test_nothing_that_acts_on_a_terminal_passes(text):
    shown = output.escape(text)
    assert not any(unicodedata.category(letter)[0] == "C" for letter in shown)
    assert all(letter == " " or unicodedata.category(letter)[0] != "Z" for letter in shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ünïcode ✓", "plain ünïcode ✓"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\nb\tc\r", "a\\x0ab\\x09c\\x0d"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202eevil", "\\u202eevil"),
        ("\U000e0001", "\\U000e0001"),
        (12, "12"),
    ],
)
def test_escapes_are_readable(text, shown):
    assert output.escape(text) == shown


@pytest.mark.parametrize(
    ("stream", "environ", "color"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": ""}, True),  # no-color.org: present and not an empty string
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": "0"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_color_needs_a_terminal_and_no_objection(stream, environ, color):
    assert output.uses_color(stream, environ) is color


def test_a_closed_stream_is_no_terminal():
    stream = io.StringIO()
    stream.close()
    assert not output.is_terminal(stream)


def test_a_pseudo_terminal_is_a_terminal():
    leader, follower = os.openpty()
    try:
        with os.fdopen(follower, "w") as stream:
            assert output.is_terminal(stream)
    finally:
        os.close(leader)


def test_tables_are_aligned_on_a_terminal_and_tabbed_in_a_pipe():
    rows = [("a", 5), ("long\x1b", 12_345)]
    assert output.table(("name", "bytes"), rows, terminal=True, right=(1,)) == [
        "name      bytes",
        "a             5",
        "long\\x1b  12345",
    ]
    assert output.table(("name", "bytes"), rows, terminal=False) == ["a\t5", "long\\x1b\t12345"]
    assert output.table(("name", "bytes"), [], terminal=False) == []
    assert output.table(("name",), [("x",)], terminal=True, color=True)[0] == "\033[1mname\033[0m"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (10_000_000, "10.0 MB"),
        (2_500_000_000_000, "2.5 TB"),
    ],
)
def test_bytes_are_shown_in_si_units(size, text):
    assert output.bytes_text(size) == text


def test_counts_and_ages():
    assert output.count_text(43_120) == "43,120"
    assert output.count_text(1, "event") == "1 event"
    assert output.count_text(0, "entry", "entries") == "0 entries"
    assert [output.age_text(ms) for ms in (-5, 59_999, 60_000, 7_200_000, 3 * 86_400_000)] == [
        "0 s",
        "59 s",
        "1 min",
        "2 h",
        "3 d",
    ]


def test_paint_adds_nothing_without_color():
    assert output.paint("x", "red", color=False) == "x"
    assert output.paint("x", "red", color=True) == "\033[31mx\033[0m"


def test_remarks_go_to_standard_error_in_one_clean_line(capsys, monkeypatch):
    output.say("one\ntwo\x1b")
    assert capsys.readouterr() == ("", "carojournal: one\\x0atwo\\x1b\n")
    monkeypatch.setattr(sys, "stderr", None)
    output.say("nobody listens")
