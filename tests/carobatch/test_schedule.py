"""Schedule entries: what the systems' own programs read, installed once, removed without a trace."""

import os
import plistlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from uploads import carobatch

from carobatch import schedule, scheduler
from carobatch.scheduler import Plan, open_scheduler
from carojournal.errors import JournalUnavailable, OutputError

COMMAND = ["/opt/my venv/bin/carobatch", "run", "--dir", "/home/a b/100% $HOME"]
OTHERS = b"MAILTO=me\n# a comment\n5 4 * * * backup --all\n"
FOREIGN = (
    b"# Sauvegarde quotidienne, \xe9t\xe9\r\n5 4 * * * backup\r\n# a\x0cb\x85c\rd\n"  # Latin-1, and ends of others.
)
PLACES = {"HOME": "/home/a b", "XDG_CONFIG_HOME": "/home/a b/100% $HOME"}


class Crontab:
    """crontab(1), as its manual describes it."""

    def __init__(self, data=None):
        self.data, self.calls = data, []

    def __call__(self, words, given=None, **_options):
        self.calls.append(words)
        if words == ["crontab", "-l"]:
            return (1, b"no crontab for me\n") if self.data is None else (0, self.data)
        self.data = None if words == ["crontab", "-r"] else given
        return 0, b""


def plan(home, root="/j", minute=7):
    return Plan(root, minute, {"HOME": str(home)}, named=True)


def test_a_shell_reads_the_cron_line_back():
    """cron takes a backslash before % away and hands the rest to sh."""
    minute, hour, day, month, weekday, command = schedule.cron_line(COMMAND, 7, PLACES).split(" ", 5)
    assert (minute, hour, day, month, weekday) == ("7", "*", "*", "*", "*")
    assert not re.search(r"(?<!\\)%", command)
    words = ["/usr/bin/env", *(f"{name}={value}" for name, value in PLACES.items()), *COMMAND]
    assert shlex.split(command.replace("\\%", "%").partition(" || ")[0]) == words


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (75, 0), (69, 1), (78, 1)])
def test_cron_hears_of_everything_but_75(code, expected):
    line = schedule.cron_line(["sh", "-c", f"exit {code}"], 0, {}).split(" ", 5)[5]
    assert bool(subprocess.run(["sh", "-c", line], check=False).returncode) == bool(expected)


@pytest.mark.parametrize("before", [None, b"", OTHERS, OTHERS.rstrip(b"\n"), FOREIGN, schedule.BEGIN + b"\nnobody's\n"])
def test_installing_is_idempotent_and_removing_leaves_what_was_there(tmp_path, before):
    crontab = Crontab(before)
    entry = open_scheduler("cron", plan(tmp_path), crontab)
    assert not entry.installed()
    entry.install()
    once = crontab.data
    assert entry.installed()
    assert once.startswith(before or b"")
    entry.install()
    assert crontab.data == once
    assert sum(words == ["crontab", "-"] for words in crontab.calls) == 1
    open_scheduler("cron", plan(tmp_path, minute=9), crontab).install()
    assert crontab.data == once.replace(b"\n7 * ", b"\n9 * ")
    entry.remove()
    expected = before if not before or before.endswith(b"\n") else before + b"\n"
    assert crontab.data == (expected or None)
    entry.remove()
    assert crontab.data == (expected or None)


def test_an_entry_in_the_middle_stays_there(tmp_path):
    crontab = Crontab()
    entry = open_scheduler("cron", plan(tmp_path), crontab)
    entry.install()
    crontab.data = OTHERS + crontab.data + OTHERS
    assert entry.installed()
    entry.install()
    entry.remove()
    assert crontab.data == OTHERS + OTHERS


def test_what_others_wrote_goes_through_the_programs_byte_for_byte(home, programs, tmp_path):
    """A Latin-1 byte was a bug report, and the end of a line was another one after install and remove."""
    crontab = tmp_path / "crontab"
    crontab.write_bytes(FOREIGN)
    programs(
        "crontab", f'if [ "$1" = -l ]; then cat {crontab}; else cat > {crontab}.new; mv {crontab}.new {crontab}; fi'
    )
    assert carobatch(["schedule", "status", "cron"]) == 69
    assert carobatch(["schedule", "install", "cron"]) == 0
    assert crontab.read_bytes().startswith(FOREIGN + schedule.BEGIN)
    assert carobatch(["schedule", "status", "cron"]) == 0
    assert carobatch(["schedule", "remove", "cron"]) == 0
    assert crontab.read_bytes() == FOREIGN


@pytest.mark.parametrize("verb", ["install", "remove", "installed"])
def test_a_crontab_that_cannot_be_read_is_left_alone(tmp_path, monkeypatch, verb):
    """Taken for empty, it would be replaced by our one line."""
    program = tmp_path / "crontab"
    program.write_text(
        '#!/bin/sh\n[ "$1" = -l ] || : > "$0.written"\necho "you are not allowed to use it" >&2\nexit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(JournalUnavailable, match="left alone"):
        getattr(open_scheduler("cron", plan(tmp_path)), verb)()
    assert not os.path.exists(f"{program}.written")


def test_the_real_crontab_says_that_there_is_none(tmp_path):
    """The words by which an empty crontab is known are those of the program that is installed here."""
    whose = [] if os.geteuid() else ["-u", "nobody"]
    said = subprocess.run(
        ["crontab", *whose, "-l"], capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}
    )
    assert said.returncode == 0 or "no crontab" in said.stderr


def test_launchd(tmp_path):
    calls = []
    entry = open_scheduler("launchd", plan(tmp_path), lambda words, *_a, **_k: (calls.append(words), (0, b""))[1])
    entry.install()
    [path] = entry.files()
    assert path == str(tmp_path / "Library/LaunchAgents/sh.caro.carobatch.plist")
    with open(path, "rb") as file:
        found = plistlib.load(file)
    assert found["StartCalendarInterval"] == {"Minute": 7}
    assert (found["ProcessType"], found["LowPriorityIO"], found["Label"]) == ("Background", True, schedule.LABEL)
    assert found["ProgramArguments"][-3:] == ["run", "--dir", "/j"]
    assert entry.installed()
    entry.install()
    assert [words[1] for words in calls] == ["bootstrap", "bootout", "bootstrap"]
    entry.remove()
    assert not os.path.exists(path)
    assert not entry.installed()


def test_systemd_takes_the_units(tmp_path):
    command = [sys.executable, "-c", 'print("100% $HOME")', "a b"]
    (tmp_path / "carobatch.service").write_text(schedule.systemd_service(command, [str(tmp_path), "/a b"], PLACES))
    (tmp_path / "carobatch.timer").write_text(schedule.systemd_timer())
    units = [str(tmp_path / "carobatch.service"), str(tmp_path / "carobatch.timer")]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "SYSTEMD_LOG_LEVEL": "warning"},
    )
    ours = [line for line in done.stderr.splitlines() if "carobatch" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_systemd_files_come_and_go(tmp_path):
    calls = []
    entry = open_scheduler("systemd", plan(tmp_path), lambda words, *_a, **_k: (calls.append(words), (0, b""))[1])
    other = tmp_path / ".config/systemd/user/other.service"
    other.parent.mkdir(parents=True)
    other.write_text("[Unit]\n")
    entry.install()
    assert entry.installed()
    service, timer = (tmp_path / f".config/systemd/user/carobatch.{kind}" for kind in ("service", "timer"))
    assert "SuccessExitStatus=75" in service.read_text()
    assert {"RandomizedDelaySec=1h", "Persistent=true"} <= set(timer.read_text().splitlines())
    assert calls[-1] == ["systemctl", "--user", "enable", "--now", "carobatch.timer"]
    entry.remove()
    assert [path.name for path in other.parent.iterdir()] == ["other.service"]
    count = len(calls)
    entry.remove()
    assert len(calls) == count


@pytest.mark.parametrize("own", ["[Unit]\nDescription=mine\n", "", "link"])
@pytest.mark.parametrize("kind", ["service", "timer"])
def test_a_unit_of_the_same_name_that_is_not_ours_is_left_alone(home, programs, tmp_path, capsys, kind, own):
    programs("systemctl", f': > "{tmp_path}/called"')
    path = os.path.join(home, f".config/systemd/user/carobatch.{kind}")
    os.makedirs(os.path.dirname(path))
    if own == "link":  # As systemd masks a unit.
        os.symlink("/dev/null", path)
    else:
        with open(path, "w") as file:
            file.write(own)
    for action in ("install", "remove", "status"):
        assert carobatch(["schedule", action, "systemd"]) == 69
        err = capsys.readouterr().err
        assert err == (
            "" if action == "status" else f"carobatch: {path}: not written by 'carobatch schedule', and left alone\n"
        )
    assert os.listdir(os.path.dirname(path)) == [f"carobatch.{kind}"]
    assert os.readlink(path) == "/dev/null" if own == "link" else Path(path).read_text() == own
    assert not os.path.exists(tmp_path / "called")


def test_an_agent_that_is_not_ours_is_left_alone(tmp_path):
    entry = open_scheduler("launchd", plan(tmp_path), lambda *_a, **_k: pytest.fail("called"))
    [path] = entry.files()
    os.makedirs(os.path.dirname(path))
    for data in (b"mine", plistlib.dumps({"Label": "mine"}), plistlib.dumps(["mine"])):
        with open(path, "wb") as file:
            file.write(data)
        assert not entry.installed()
        for act in (entry.install, entry.remove):
            with pytest.raises(JournalUnavailable, match="left alone"):
                act()
        with open(path, "rb") as file:
            assert file.read() == data


def test_the_folders_of_units_are_ones_own_alone(folders, programs):
    programs("systemctl", "exit 0")
    assert carobatch(["schedule", "install", "systemd"]) == 0
    assert folders() == dict.fromkeys((".config", ".config/systemd", ".config/systemd/user"), 0o700)


@pytest.mark.parametrize("broken", ["exit 1", '[ "$2" != enable ]', "missing"])
def test_where_systemctl_fails_nothing_is_left(home, programs, capsys, monkeypatch, broken):
    if broken == "missing":
        monkeypatch.setenv("PATH", "/nonexistent")
    else:
        programs("systemctl", broken)
    assert carobatch(["schedule", "install", "systemd"]) == 69
    assert "systemctl" in capsys.readouterr().err
    assert os.listdir(os.path.join(home, ".config/systemd/user")) == []
    assert carobatch(["schedule", "status", "systemd"]) == 69


@pytest.mark.parametrize(
    ("system", "fails"), [("systemd", "enable"), ("systemd", "daemon-reload"), ("launchd", "bootstrap")]
)
def test_what_was_installed_before_is_there_again_where_renewing_it_fails(tmp_path, system, fails):
    calls = []

    def call(words, *_arguments, checked=True, **_options):
        calls.append(words)
        if checked and fails in words and any(os.path.exists(path) for path in broken):
            raise JournalUnavailable("it does not work")
        return 0, b""

    broken = []
    open_scheduler(system, plan(tmp_path), call).install()
    renewed = open_scheduler(system, plan(tmp_path, root="/other", minute=9), call)
    before = {path: Path(path).read_bytes() for path in renewed.files()}
    broken = [str(tmp_path)]
    with pytest.raises(JournalUnavailable, match="does not work"):
        renewed.install()
    assert {path: Path(path).read_bytes() for path in before} == before
    assert before != renewed.files()
    assert fails in calls[-1]  # What was there before was started again, as far as that goes.


def test_an_installation_that_cannot_write_all_of_its_files_leaves_none(tmp_path, monkeypatch):
    entry = open_scheduler("systemd", plan(tmp_path), lambda *_a, **_k: (0, b""))
    write = scheduler.write_file

    def full(path, *arguments, **options):
        if path.endswith(".timer"):
            raise OutputError("write", path, 28, "No space left on device")
        write(path, *arguments, **options)

    monkeypatch.setattr(scheduler, "write_file", full)
    with pytest.raises(OutputError):
        entry.install()
    assert os.listdir(tmp_path / ".config/systemd/user") == []


@pytest.mark.parametrize("system", schedule.SYSTEMS)
def test_print_changes_nothing_and_names_the_command(home, system, capsys):
    assert carobatch(["schedule", "print", system]) == 0
    text = capsys.readouterr().out
    assert "run" in text
    assert os.listdir(home) == []


@pytest.mark.parametrize("system", schedule.SYSTEMS)
@pytest.mark.parametrize("name", ["a\n* * * * * other", "a\x7f", "a\x85", "a\udcff"])
def test_a_directory_that_no_entry_can_name_is_refused(home, monkeypatch, capsys, system, name):
    """A newline made two lines of a crontab's one, and a setting of its own in a unit."""
    folder = os.path.join(home, name)
    for action in ("print", "install", "status"):
        assert carobatch(["schedule", action, system, "--dir", folder]) == 64
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert "a control character in its name" in err
    monkeypatch.setenv("CAROJOURNAL_DIR", folder)
    assert carobatch(["schedule", "print", system]) == 64
    assert os.listdir(home) == []


def test_status_and_wrong_words(home, capsys):
    assert carobatch(["schedule", "status", "systemd"]) == 69
    assert capsys.readouterr().out == "not installed\n"
    assert carobatch(["schedule", "print", "anacron"]) == 64
    assert carobatch(["schedule", "start", "cron"]) == 64


def test_the_real_crontab_takes_the_entry(tmp_path):
    """Debian's crontab -n checks a file and changes nothing; `tools/check_cron.py` lets a real cron run it."""
    path = tmp_path / "crontab"
    path.write_text(open_scheduler("cron", plan(tmp_path)).text())
    assert subprocess.run(["crontab", "-n", path], capture_output=True, check=False).returncode == 0
    path.write_text(path.read_text().replace("\n7 * ", "\n61 * "))
    assert subprocess.run(["crontab", "-n", path], capture_output=True, check=False).returncode != 0
