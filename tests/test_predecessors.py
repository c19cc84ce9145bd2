"""What was evicted stays accounted for, in whatever order segments go."""

import os

import pytest
from carobatch_journals import fill, squeezed

from carojournal import held
from carojournal.lanes import Lane
from carojournal.reader import JournalReader
from carojournal.recovery import verify

CAP_BYTES = 90_000  # Room for five of the smallest segments.


def spare(root):
    """Name the oldest closed segment as a batch under way does; return its uuid."""
    name = min(os.listdir(os.path.join(root, "segments")))
    os.makedirs(os.path.join(root, "outbox"))
    with open(os.path.join(root, "outbox", "batch"), "w") as file:
        file.write(name[17:49])
    return bytes.fromhex(name[17:49])


def lost(root):
    return sum(loss["events"] + sum(row["events"] for row in loss["carried"]) for loss in JournalReader(root).losses())


def test_the_predecessor_of_a_spared_segment_is_no_gap(tmp_path, clock):
    root = str(tmp_path / "journal")
    with squeezed(root, clock, CAP_BYTES) as journal:
        made = len(fill(journal, clock, 900, 1))
        spared = spare(root)
        for _ in range(8):
            made += len(fill(journal, clock, 300, 1))
            report = verify(root)
            assert (report.exit_code, report.gaps) == (0, [])
            assert report.events + lost(root) == made
    assert spared in {info.segment for info in JournalReader(root).segments()}


@pytest.mark.parametrize("step_ms", [-86_400_000, -1, 0])
def test_a_clock_that_was_set_back_makes_no_gap(tmp_path, clock, step_ms):
    root = str(tmp_path / "journal")
    with squeezed(root, clock, CAP_BYTES) as journal:
        made = len(fill(journal, clock, 900, 1))
        for _ in range(4):
            clock.advance(step_ms)
            made += len(fill(journal, clock, 300, 0))
            report = verify(root)
            assert (report.exit_code, report.gaps) == (0, [])
            assert report.events + lost(root) == made


def test_a_lane_that_rested_finds_its_predecessor_accounted_for(tmp_path, clock):
    root = str(tmp_path / "journal")
    made = 0
    with squeezed(root, clock, CAP_BYTES) as journal:
        for _ in range(2):
            made += len(fill(journal, clock, 2_000, 1))
            other = Lane(root, 0, CAP_BYTES, os.urandom)
            assert other.acquire()
            made += len(fill(journal, clock, 5, 1))
            other.close()
            report = verify(root)
            assert (report.exit_code, report.gaps) == (0, [])
            assert report.events + lost(root) == made
    assert "1.lock" in os.listdir(os.path.join(root, "lanes"))


def test_what_nobody_asks_for_is_summed(tmp_path, clock):
    root = str(tmp_path / "journal")
    with squeezed(root, clock, CAP_BYTES) as journal:
        fill(journal, clock, 3_000, 1)
    named = [loss for loss in JournalReader(root).losses() if loss["carried"]]
    assert named
    assert all(len(held.describe(info.path)[0][4]) <= 1 for info in JournalReader(root).segments())
    assert len(JournalReader(root).losses()) <= len(JournalReader(root).segments()) + 1
