"""Many at one journal, a second each; more with `python tools/faults/concurrency.py --scale 100`."""

import pytest

from carojournal import JournalReader
from faults import concurrency_scenes
from faults.crew import Crew


@pytest.mark.parametrize("name", concurrency_scenes.NAMES)
def test_it_adds_up(home, name):
    text, problems = concurrency_scenes.check(name)
    assert text
    assert not problems


def test_what_a_crew_lost_is_noticed(tmp_path, monkeypatch):
    root = str(tmp_path / "journal")
    made = Crew.alone(root, 5)
    assert concurrency_scenes._sum(root, made) == ("5 acknowledged = 5 present", [])
    assert concurrency_scenes._sum(root, [*made, made[0]])[1] == ["an identity was given twice"]
    assert concurrency_scenes._sum(root, [*made, (made[0][0], 99)])[1]
    everything = JournalReader.records
    monkeypatch.setattr(JournalReader, "records", lambda *rest, **more: list(everything(*rest, **more))[1:])
    assert concurrency_scenes._sum(root, made)[1]
