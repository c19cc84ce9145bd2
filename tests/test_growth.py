"""Growth is measured by real programs on real journals; how long they take decides nothing."""

import json

import pytest

from bench import growth
from bench.growth import Growth, exponent


def test_the_exponent_is_the_slope_of_the_logarithms():
    assert exponent({10**power: 3.0 * 10**power for power in range(3, 6)}) == pytest.approx(1)
    assert exponent({10**power: 1e-6 * 10 ** (2 * power) for power in range(3, 6)}) == pytest.approx(2)
    assert exponent({1_000: 5.0, 10_000: 5.0, 100_000: 5.0}) == pytest.approx(0)


def test_times_within_noise_have_none():
    assert exponent({1_000: 0.001, 10_000: 5.0}) is None
    assert exponent({1_000: -0.1, 10_000: 0.01}) is None


def test_a_line_takes_the_empty_journal_off():
    found = Growth("read", (1.0, 20_000_000), {1_000: (2.0, 21_000_000), 10_000: (11.0, 24_500_000)})
    words = found.line().split()
    assert words[0] == "read"
    assert words[-3:] == ["1.00", "+4", "MB"]
    assert Growth("read", (1.0, 1), {1_000: (1.0, 1), 10_000: (1.0, 1)}).line().split()[-3] == "flat"


def test_every_operation_runs_and_uploads_reach_the_receiver(tmp_path):
    found = growth.measure(str(tmp_path), [20], list(growth.OPERATIONS))
    assert [one.name for one in found] == list(growth.OPERATIONS)
    assert all(list(one.sizes) == [20] and one.base[1] > 5_000_000 for one in found)
    assert list(tmp_path.iterdir()) == []


def test_one_operation_brings_those_before_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(growth, "_EMPTY", 2)
    monkeypatch.setattr(growth, "OPERATIONS", {name: growth.OPERATIONS[name] for name in list(growth.OPERATIONS)[:3]})
    path = tmp_path / "figures.json"
    assert growth.main(["--to", "3", "--only", "read", "--json", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("read ")
    [read] = json.loads(path.read_text())
    assert set(read["sizes"]) == {"1000"}


def test_a_program_that_fails_is_not_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(growth, "OPERATIONS", {"append": lambda *_: ("-c", "raise SystemExit('no')")})
    with pytest.raises(Exception, match="returned non-zero"):
        growth.measure(str(tmp_path), [1], ["append"])
