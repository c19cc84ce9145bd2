"""The benchmark of many pending events makes a journal that is one, and uploads all of it."""

import pytest

from bench import bench_pending
from carojournal import JournalReader


@pytest.mark.parametrize("packed", [False, True])
def test_pending_events_are_made_and_all_of_them_uploaded(tmp_path, capsys, packed):
    found = bench_pending.measure(str(tmp_path / "journal"), 2_500, packed=packed)
    assert [step for step, _, _ in found] == (["compact", "upload"] if packed else ["upload"])
    assert all(rate > 0 and peak > 10 for _, rate, peak in found)
    assert capsys.readouterr().out.splitlines()[0].startswith("2,500 events pending in ")
    assert list(JournalReader(str(tmp_path / "journal")).records(events_only=True)) == []
