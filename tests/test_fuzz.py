"""Every parser fuzzed for a moment, the same inputs each time; the long run is `tools/faults/fuzz.py`."""

import base64
import json
import os
import subprocess
import sys
import zlib

import pytest

from carojournal.errors import DamagedData, UsageError
from faults import fuzz
from faults.fuzz_engine import Campaign, run_one
from faults.fuzz_engine import fuzz as campaign
from faults.fuzz_mutate import CANARY
from faults.fuzz_target import Target, WrongValue, attempt

TARGETS = fuzz.targets()


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_our_own_errors_comes_out_of_a_parser(home, name):
    target = TARGETS[name]
    done = campaign(target, 1, runs=target.runs)
    assert done.runs == target.runs
    assert {key: text for key, (_, text) in done.findings.items()} == {}
    assert len(done.outcomes) > 1, "no input was refused, or none accepted"


def seeds():
    """(target, input) of what once was a finding."""
    with open(os.path.join(os.path.dirname(__file__), "fuzz_seeds.txt"), encoding="ascii") as file:
        rows = [line.split() for line in file if not line.startswith("#")]
    return [(name, zlib.decompress(base64.b64decode(text))) for name, text in rows]


def test_what_once_was_a_finding_is_none(home):
    done = Campaign()
    for name, data in seeds():
        run_one(TARGETS[name], data, done)
    assert {key: text for key, (_, text) in done.findings.items()} == {}
    assert done.runs > 50


def planted(run):
    return Target("planted", lambda: [b"a seed of some bytes"], run)


def test_an_error_of_another_kind_is_a_finding():
    done = campaign(planted(lambda data: str(1 // len(data.replace(b"a", b"")[:1]))), 1, runs=400)
    assert [key.split()[0] for key in done.findings] == ["ZeroDivisionError"]
    ((data, text),) = done.findings.values()
    assert not data.replace(b"a", b"")
    assert "ZeroDivisionError" in text


def test_an_input_that_takes_too_long_is_a_finding(monkeypatch):
    monkeypatch.setattr("faults.fuzz_engine.DEADLINE_S", 0.05)

    def run(data):
        while b"\xff" in data:
            pass
        return "done"

    done = campaign(planted(run), 1, runs=40)
    assert [key.split()[0] for key in done.findings] == ["Overtime"]


def test_a_message_that_quotes_a_refused_value_is_a_finding():
    def refuse(text):
        raise UsageError(text)

    def caused():
        try:
            int(CANARY)
        except ValueError as error:
            raise DamagedData("path", 0, "not a number") from error

    assert attempt(lambda: refuse("not a word of ours")) == (None, "UsageError")
    for call in (lambda: refuse(f"unknown {CANARY}"), caused):
        with pytest.raises(WrongValue):
            attempt(call)


def test_the_same_seed_gives_the_same_inputs():
    seen = []
    for seed in (5, 5, 6):
        inputs = []
        campaign(planted(lambda data, to=inputs: to.append(data) or str(len(data) % 5)), seed, runs=60)
        seen.append(inputs)
    assert seen[0] == seen[1] != seen[2]


def test_the_command_reports_a_target_and_its_findings(tmp_path, home):
    done = subprocess.run(
        [sys.executable, fuzz.__file__, "--target", "snapshot", "--runs", "20", "--keep", str(tmp_path / "keep")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("snapshot ")
    assert "runs 20 " in done.stdout
    assert done.stdout.endswith("1 targets, 20 runs\n")
    assert not (tmp_path / "keep").exists()


def test_a_worker_that_dies_is_a_finding(tmp_path, capsys):
    row = {"target": "a", "runs": 3, "findings": {"the worker ended with -9": [b"input".hex(), "log"]}}
    fuzz._report(json.loads(json.dumps(row)), str(tmp_path))
    assert (tmp_path / "a-0").read_bytes() == b"input"
    assert "the worker ended with -9" in capsys.readouterr().out
