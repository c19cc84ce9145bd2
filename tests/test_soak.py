"""The soak's short run, and that its account notices whatever does not add up."""

import json
import os
import shutil

import pytest

from faults import soak
from faults.soak_check import settle
from faults.soak_log import ROW_BYTES, RunLog, read_runs, repeated
from faults.soak_receiver import judge
from faults.soak_samples import growth, spool_bytes

WRITERS = 2
WROTE = {"kept": 4, "logged": 4, "offered": 6, "dropped": 1, "refused": 1}


@pytest.fixture(scope="module")
def soaked(tmp_path_factory):
    """The folder and report of a run that is over as soon as both writers have been through every way to append."""
    place = tmp_path_factory.mktemp("soak")
    words = (
        f"--seconds 200 --events 40000 --writers {WRITERS} --cap-mb 4 --every 0.2 --dir {place} --json {place}/report"
    )
    code = soak.main(words.split())
    return code, str(place), json.loads((place / "report").read_text())


@pytest.fixture
def copied(soaked, tmp_path):
    """A copy of the run's journal and logs to spoil."""
    for folder in ("journal", "logs"):
        shutil.copytree(os.path.join(soaked[1], folder), tmp_path / folder)
    return str(tmp_path / "journal"), str(tmp_path / "logs")


def problems(copied):
    return settle(*copied, WRITERS)["problems"]


def test_everything_is_accounted_for(soaked):
    code, _, report = soaked
    assert report["problems"] == []
    assert code == 0
    assert report["events"] == report["answered"] == 40_000
    assert report["samples"] > 0
    assert report["accepted"] > 0
    assert report["evicted"] == report["losses_told"]
    assert [row["process"] for row in report["processes"]] == ["writer 0", "writer 1", "batch"]
    assert all(row["memory_bytes_max"] > 1_000_000 and row["descriptors_max"] > 3 for row in report["processes"])
    assert report["batch"]["rounds"] > 0


def test_the_copy_that_is_spoiled_below_was_good(copied):
    assert problems(copied) == []


@pytest.mark.parametrize(
    ("log", "problem"),
    [
        ("acked-0", "there and never answered for"),
        ("ids", "accepted by a receipt, not by the receiver"),
    ],
)
def test_a_log_that_lacks_its_beginning_is_noticed(copied, log, problem):
    path = os.path.join(copied[1], log)
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(data[16 if log == "ids" else ROW_BYTES :])
    assert any(found.startswith(problem) for found in problems(copied))


def test_an_event_that_the_receiver_made_up_is_noticed(copied):
    with open(f"{copied[1]}/ids", "ab") as file:
        file.write(bytes(16) + bytes(range(16)))
    words = "taken by the receiver, in no receipt, no intent and not evicted: 2"
    assert problems(copied) == [words]


def test_an_event_that_vanished_is_noticed(copied):
    log = RunLog(f"{copied[1]}/acked-0")
    log.add(bytes(16), 7, 3)
    log.close()
    assert problems(copied) == ["answered for and nowhere: 3"]


def test_an_identity_that_was_given_twice_is_noticed(copied):
    with open(f"{copied[1]}/acked-1", "rb") as file:
        row = file.read(ROW_BYTES)
    with open(f"{copied[1]}/acked-0", "ab") as file:
        file.write(row)
    assert [found.partition(":")[0] for found in problems(copied)] == ["answered for twice under one identity"]


def test_a_loss_that_nobody_told_is_noticed(copied):
    """As if a file had been removed without a record."""
    for name in ("acked-0", "evicted-0"):
        log = RunLog(f"{copied[1]}/{name}")
        log.add(bytes(16), 7, 3)
        log.close()
    assert problems(copied) == ["losses told less files removed: -3"]


def test_what_follows_in_a_segment_is_one_row(tmp_path):
    path = str(tmp_path / "log")
    log = RunLog(path)
    for segment, first, events in ((b"a" * 16, 1, 2), (b"b" * 16, 1, 1), (b"a" * 16, 3, 1), (b"a" * 16, 9, 1)):
        log.add(segment, first, events)
    log.close()
    assert os.path.getsize(path) == 3 * ROW_BYTES
    found = read_runs(path, str(tmp_path / "none"))
    assert found == {b"a" * 16: [[1, 3], [9, 9]], b"b" * 16: [[1, 1]]}
    assert repeated(found) == 0
    assert repeated({b"a" * 16: [[5, 9], [1, 5], [7, 8]]}) == 3
    assert log.events == 5


def test_many_segments_at_once_cost_rows_but_no_event(tmp_path):
    log = RunLog(str(tmp_path / "log"))
    for seq in range(1, 3):
        for number in range(100):
            log.add(bytes([number]) * 16, seq, 1)
    log.close()
    found = read_runs(str(tmp_path / "log"))
    assert all(
        sorted(run for first, last in runs for run in range(first, last + 1)) == [1, 2] for runs in found.values()
    )
    assert len(found) == 100


def test_growth_is_of_the_last_quarter_over_the_second():
    assert growth([100, 100, 1, 1, 5, 5, 3, 3]) == 2
    assert growth([1, 2]) == 0


def test_the_spool_is_measured_without_the_identity(tmp_path):
    (tmp_path / "segments").mkdir()
    (tmp_path / "journal").write_bytes(bytes(7))
    (tmp_path / "drops").write_bytes(bytes(5))
    (tmp_path / "segments" / "journal").write_bytes(bytes(3))
    assert spool_bytes(str(tmp_path)) == 8


def report_with(**changes):
    row = {"process": "batch", "memory_growth_bytes": 0, "descriptors_growth": 0}
    fields = {name: changes.pop(name) for name in list(changes) if name in row}
    report = {
        "seconds": 3600,
        "spool_bytes_max": 1,
        "processes": [{**row, **fields}],
        "writers": [WROTE],
        "batch": {"errors": {}, "problems": {}},
    }
    return {**report, **changes}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"spool_bytes_max": 10_250_000}, None),
        ({"spool_bytes_max": 10_250_001}, "the spool held"),
        ({"memory_growth_bytes": soak.MEMORY_BYTES + 1}, "memory grew"),
        ({"memory_growth_bytes": soak.MEMORY_BYTES + 1, "seconds": 20}, None),
        ({"descriptors_growth": 3}, "3 descriptors more"),
        ({"writers": [{**WROTE, "logged": 5}]}, "a writer was told of 4"),
        ({"writers": [{**WROTE, "dropped": 2}]}, "a writer offered 6 events; 7 were"),
        ({"batch": {"errors": {"OSError": 2}, "problems": {}}}, "2 x in carobatch"),
        ({"batch": {"errors": {}, "problems": {"damaged": 1}}}, "1 x reported by carobatch"),
    ],
)
def test_what_does_not_hold_is_a_problem(changes, words):
    found = soak.other_problems(report_with(**changes), 10_000_000)
    assert len(found) == (words is not None)
    assert all(words in text for text in found)


def test_the_receiver_takes_what_its_answer_says():
    ids = [b"%d" % number for number in range(9)]
    assert judge("take", ids) == (200, ids, b"")
    assert judge("take and die", ids)[:2] == (0, ids)
    status, taken, body = judge("again", ids)
    assert (status, json.loads(body)) == (200, {"retry": ["0", "7"]})
    assert sorted([*taken, b"0", b"7"]) == ids
    assert judge("refuse", ids) == (200, ids[1:], b'{"rejected": ["0"]}')
    for word, code in (
        ("busy", 503),
        ("slow down", 429),
        ("smaller", 413),
        ("fault", 400),
        ("die", 0),
        ("portal", 200),
    ):
        assert judge(word, ids)[:2] == (code, [])
