"""`inspect -f` ends by itself where going on is in vain, and not before."""

import json
import os
import subprocess
import sys
import time

import pytest

import carojournal
from carojournal import Journal
from carojournal.cli import main
from carojournal.cli.follow_end import LATE_MS, FollowEnd
from carojournal.times import utc_text

TREE = os.path.dirname(os.path.dirname(carojournal.__file__))


@pytest.fixture
def now(root):
    """A journal that goes by the real clock, with one event in it."""
    with Journal.open(root, environ={"HOME": "/nonexistent"}, admin="/nonexistent") as journal:
        journal.append("session_end", session_duration_ms=1)
        yield journal


def follow():
    return subprocess.Popen(
        [sys.executable, "-m", "carojournal.cli", "inspect", "-f", "-o", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=TREE,
    )


@pytest.mark.usefixtures("now")
def test_it_ends_without_a_word_when_the_reader_is_gone_and_nothing_is_recorded():
    running = follow()
    assert json.loads(running.stdout.readline())["session_duration_ms"] == 1
    running.stdout.close()
    assert running.wait(timeout=30) == 0
    assert running.stderr.read() == b""
    running.stderr.close()


def test_a_pipe_counts_as_long_as_it_is_read(monkeypatch):
    reader, writer = os.pipe()
    with open(writer, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        ends = FollowEnd(None)
        assert ends() is False
        os.close(reader)
        assert ends() is True


def test_a_file_for_output_is_no_reader_that_has_gone(monkeypatch, tmp_path):
    with open(tmp_path / "shown", "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        ends = FollowEnd(None)
        assert [ends(), ends()] == [False, False]


@pytest.mark.usefixtures("now")
def test_with_an_end_in_the_past_it_ends(capsys):
    assert main(["inspect", "-f", "-o", "json", "-U", "-1h"]) == 0
    assert capsys.readouterr().out == ""


def test_what_comes_before_the_end_is_shown(now, monkeypatch, capsys):
    clock, ahead_ns, number = time.time_ns, 0, 1

    def sleep(_seconds):
        nonlocal ahead_ns, number
        if number == 3:
            ahead_ns = 3_600_000_000_000
        else:
            number += 1
            now.append("session_end", session_duration_ms=number)

    until = utc_text(clock() // 1_000_000 + 1_800_000)
    monkeypatch.setattr(time, "time_ns", lambda: clock() + ahead_ns)
    monkeypatch.setattr(time, "sleep", sleep)
    assert main(["inspect", "-f", "-o", "json", "-U", until]) == 0
    shown = [json.loads(line)["session_duration_ms"] for line in capsys.readouterr().out.splitlines()]
    assert shown == [1, 2, 3]


def test_one_more_look_follows_the_end(monkeypatch):
    clock = [0]
    monkeypatch.setattr(time, "time_ns", lambda: clock[0] * 1_000_000)
    ends = FollowEnd(5_000)
    for now_ms, is_over in ((0, False), (5_000 + LATE_MS, False), (5_001 + LATE_MS, False), (5_002 + LATE_MS, True)):
        clock[0] = now_ms
        assert ends() is is_over
    clock[0] = 1 << 50
    never = FollowEnd(None)
    assert [never(), never()] == [False, False]
