"""Locks that may wait are the same ones that writers take without waiting."""

import os

import pytest

from carojournal import locks
from carojournal.errors import JournalBusy
from carojournal.lanes import Lane


def test_a_held_lane_keeps_its_writer_out_and_the_lock_file_stays(tmp_path):
    (tmp_path / "lanes").mkdir()
    lane = Lane(str(tmp_path), 0, 10_000_000, os.urandom)
    with locks.lane_lock(str(tmp_path), 0):
        assert not lane.acquire()
    assert lane.acquire()
    with pytest.raises(JournalBusy), locks.lane_lock(str(tmp_path), 0, 0):
        pass
    lane.close()
    assert (tmp_path / "lanes" / "0.lock").stat().st_mode & 0o777 == 0o600


def test_there_is_one_batch_at_a_time(tmp_path):
    with locks.batch_lock(str(tmp_path)), pytest.raises(JournalBusy), locks.batch_lock(str(tmp_path)):
        pass
    with locks.batch_lock(str(tmp_path)):
        assert (tmp_path / "batch.lock").exists()
