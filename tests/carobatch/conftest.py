"""Fixtures: a bundle of two days, and its members."""

from pathlib import Path

import pytest
from carobatch_bundles import members
from carobatch_journals import DAY_MS, fill, journal_at

from carobatch.cli import main


@pytest.fixture
def bundle(root, clock, tmp_path, capsys):
    """The path of a bundle with 30 events of each of two days."""
    with journal_at(root, clock) as journal:
        fill(journal, clock, 30)
        clock.advance(DAY_MS)
        fill(journal, clock, 30)
    (tmp_path / "a").mkdir()
    assert main(["export", "-o", str(tmp_path / "a")]) == 0
    return Path(capsys.readouterr().out.strip())


@pytest.fixture
def files(bundle):
    """What is in it: name -> bytes."""
    return members(bundle)
