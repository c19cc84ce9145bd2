"""The power goes after any call: what was promised durable is there.  In full: `python tools/faults/power_loss.py`."""

import os

import pytest

from carojournal import durable
from faults import power_scenes
from faults.power_disk import Disk, Recorder, Step, states

SHORT = {"upload": 12, "choose": 1, "append": 40, "append-os": 40}  # Every how many calls; others every fifth.


@pytest.mark.parametrize("name", power_scenes.NAMES)
def test_what_was_promised_is_there(home, name):
    looked, problems = power_scenes.check(name, SHORT.get(name, 5), ("ordered", "harsh"))
    assert looked > 3
    assert not problems


def test_a_bundle_that_was_never_synced_is_noticed(home, monkeypatch):
    monkeypatch.setattr(durable.DurableFile, "sync", lambda _: None)
    _, problems = power_scenes.check("export", 50, ("harsh",))
    assert any("the bundle that was announced is not whole" in problem for problem in problems)


def test_the_recorder_notes_what_changes_a_file(tmp_path):
    place = str(tmp_path)
    with Recorder(place) as recorder:
        os.mkdir(f"{place}/a")
        descriptor = os.open(f"{place}/a/b", os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"one")
        with open(descriptor, "wb", closefd=False) as file:
            file.write(b"two")
        os.fsync(descriptor)
        os.close(descriptor)
        os.rename(f"{place}/a/b", f"{place}/c")
    kinds = [step.kind for step in recorder.steps]
    assert kinds == ["mkdir", "create", "write", "write", "sync", "rename"]
    last = [disk for _, disk in states(recorder.before, recorder.steps, len(kinds), "ordered")]
    assert {(*disk.names,) for disk in last} == {("a/b",), ("c",)}
    assert all(data == b"onetwo" for disk in last for data in disk.files.values())


def test_a_harsh_disk_forgets_names_and_tears_what_was_not_synced():
    steps = [
        Step("create", 1, "x"),
        Step("write", 1, data=bytes([7]) * 1_000),
        Step("sync", 1),
        Step("write", 1, offset=1_000, data=b"8"),
    ]
    found = [disk for _, disk in states(Disk(), steps, len(steps), "harsh")]
    assert any(not disk.names for disk in found)
    contents = {disk.files[1] for disk in found if disk.names}
    assert contents == {bytes([7]) * 1_000, bytes([7]) * 1_000 + b"8", bytes([7]) * 1_000 + b"\0"}
