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


def follow(*words, stdout=subprocess.PIPE):
    return subprocess.Popen(
        [sys.executable, "-m", "carojournal.cli", "inspect", "-f", "-o", "json", *words],
        stdout=stdout,
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


def test_a_file_for_output_is_no_reader_that_has_gone(now, tmp_path):
    place = tmp_path / "shown"
    with open(place, "wb") as out:
        running = follow(stdout=out)
    try:
        for number in (2, 3):
            while len(place.read_bytes().splitlines()) < number - 1:
                assert running.poll() is None
                time.sleep(0.01)
            time.sleep(0.6)  # Two looks that find nothing.
            now.append("session_end", session_duration_ms=number)
        while len(place.read_bytes().splitlines()) < 3:
            assert running.poll() is None
            time.sleep(0.01)
    finally:
        running.terminate()
        running.communicate(timeout=30)


@pytest.mark.usefixtures("now")
def test_with_an_end_in_the_past_it_ends(capsys):
    assert main(["inspect", "-f", "-o", "json", "-U", "-1h"]) == 0
    assert capsys.readouterr().out == ""


def test_what_comes_before_the_end_is_shown(now):
    running = follow("-U", utc_text(time.time_ns() // 1_000_000 + 4_000))
    assert json.loads(running.stdout.readline())["session_duration_ms"] == 1
    now.append("session_end", session_duration_ms=2)
    assert json.loads(running.stdout.readline())["session_duration_ms"] == 2
    assert running.communicate(timeout=30) == (b"", b"")
    assert running.returncode == 0


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
