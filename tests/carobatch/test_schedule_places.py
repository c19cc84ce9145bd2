"""Where a scheduled run looks: for the journal and the choice of the shell that installed it, and nowhere else."""

import os
import plistlib
import shlex
import subprocess
import sys

import pytest
from uploads import carobatch

from carobatch import schedule, scheduler
from carobatch.scheduler import Plan, open_scheduler
from carojournal import Journal, policy


def variables(system, entry):
    """What the system's own rules make of the variables in an entry."""
    if system == "launchd":
        [data] = entry.files().values()
        return plistlib.loads(data)["EnvironmentVariables"]
    if system == "cron":
        [line] = [line for line in entry.text().splitlines() if not line.startswith("#")]
        words = shlex.split(line.split(" ", 5)[5].replace("\\%", "%").partition(" || ")[0])[1:4]
    else:
        [line] = [line for line in entry.text().splitlines() if line.startswith("Environment=")]
        words = shlex.split(line.partition("=")[2].replace("%%", "%"))
    return dict(word.split("=", 1) for word in words)


@pytest.mark.parametrize("system", schedule.SYSTEMS)
@pytest.mark.parametrize(
    "environ",
    [
        {"HOME": "/h"},
        {"HOME": "/h", "XDG_CONFIG_HOME": "/c", "XDG_DATA_HOME": "/d e"},
        {"HOME": "/h", "XDG_CONFIG_HOME": "relative", "CAROJOURNAL_DIR": "/j"},
    ],
)
def test_a_scheduled_run_finds_the_choice_and_the_journal_of_this_shell(system, environ):
    """Neither cron nor launchd nor systemd has the variables that decide where both lie."""
    root = policy.journal_root(environ)
    there = variables(system, open_scheduler(system, Plan(root, 7, environ, named=False)))
    assert policy.journal_root(there) == root
    for platform in ("linux", "darwin"):
        assert policy.config_files(there, platform) == policy.config_files(environ, platform)


def test_a_scheduled_run_asks_the_configuration_that_this_shell_has(home, programs, tmp_path, monkeypatch, clock):
    """An `off` that was stored where XDG_CONFIG_HOME says did not reach cron, which has no such variable.

    What cannot be read means off, and is the one choice that `run` says a word about.
    """
    programs(
        "crontab", f'[ "$1" = -l ] && {{ cat {tmp_path}/crontab || echo no crontab; }} || cat > {tmp_path}/crontab'
    )
    (tmp_path / "crontab").write_bytes(b"")
    monkeypatch.setenv("XDG_CONFIG_HOME", f"{home}/elsewhere")
    monkeypatch.setenv("XDG_DATA_HOME", f"{home}/data")
    assert carobatch(["schedule", "install", "cron"]) == 0
    os.makedirs(f"{home}/elsewhere/caro")
    with open(f"{home}/elsewhere/caro/config.toml", "w") as file:
        file.write("no TOML")
    with Journal.open(
        clock=clock, environ={"HOME": home}, admin="/nonexistent", dir=policy.journal_root(os.environ)
    ) as one:
        assert one.record("session_end", session_duration_ms=1)
    [line] = [
        line for line in (tmp_path / "crontab").read_text().splitlines() if "carobatch" in line and line[0] != "#"
    ]
    done = subprocess.run(
        ["sh", "-c", line.split(" ", 5)[5].replace("\\%", "%")],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": "/nonexistent", "PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert f"{home}/elsewhere/caro/config.toml: not TOML" in done.stderr


@pytest.mark.parametrize("system", schedule.SYSTEMS)
@pytest.mark.parametrize(
    ("variable", "value", "mode"),
    [("DO_NOT_TRACK", "1", "off"), ("CARO_TELEMETRY", "0", "off"), ("CARO_TELEMETRY_AIR_GAPPED", "1", "local")],
)
def test_nothing_is_scheduled_under_a_variable_that_would_not_restrict_it(
    home, monkeypatch, capsys, system, variable, value, mode
):
    monkeypatch.setattr(scheduler, "_call", pytest.fail)
    monkeypatch.setenv(variable, value)
    assert carobatch(["schedule", "install", system]) == 77
    err = capsys.readouterr().err
    assert err.startswith(f"carobatch: {variable} would not reach {system}: 'carojournal {mode}' stores what does")
    assert os.listdir(home) == []
    assert carobatch(["schedule", "print", system]) == 0


@pytest.mark.parametrize("name", ["HOME", "XDG_CONFIG_HOME", "CAROJOURNAL_DIR"])
def test_no_variable_ends_an_entry_and_begins_another(home, monkeypatch, capsys, name):
    monkeypatch.setenv(name, f"{home}/a\n* * * * * other")
    for system in schedule.SYSTEMS:
        assert carobatch(["schedule", "print", system]) == 64
        assert "a control character in its name" in capsys.readouterr().err
