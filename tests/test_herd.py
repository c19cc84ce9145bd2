"""After an outage a fleet comes back evenly: the real schedule, simulated with an injected clock."""

import pytest

import herd
from carobatch.timing import HOUR_MS

OUTAGE = (48, 54)


@pytest.mark.parametrize("seed", [1, 2])
def test_ten_thousand_machines_after_six_hours(seed):
    found = herd.ours(10_000, 24 * HOUR_MS, OUTAGE, 80, seed)
    assert herd.peak_by_mean(found, OUTAGE[1], 24) <= 1.2
    # Everybody is heard again within the window, the missed ones besides those whose slot it is.
    assert sum(found[hour] for hour in range(OUTAGE[1], OUTAGE[1] + 24)) >= 10_000


def test_the_baseline_is_far_worse():
    found = herd.baseline(10_000, 24 * HOUR_MS, OUTAGE, 80, 1)
    assert herd.peak_by_mean(found, OUTAGE[1], 24) > 2


def test_what_is_printed(capsys):
    assert herd.main(["--clients", "3000", "--outage-h", "3", "--seed", "4"]) in (0, 1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["carobatch", "plain"]
