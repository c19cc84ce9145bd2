"""An error says which file it is about, also where the system call knew no name."""

import os
import sys

import pytest

from carobatch.cli import main as carobatch
from carojournal import named
from carojournal.cli import main as carojournal

UNREADABLE = "/proc/self/mem"  # It opens, is a regular file, and reading its first byte gives EIO.


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize(
    ("program", "words"),
    [
        (carobatch, ["verify"]),
        (carobatch, ["import", "--into", "taken"]),
        (carojournal, ["audit"]),
        (carojournal, ["migrate"]),
    ],
)
def test_a_file_that_cannot_be_read_is_named(root, tmp_path, monkeypatch, capsys, program, words):
    monkeypatch.chdir(tmp_path)
    assert program([*words, UNREADABLE]) == 74
    assert capsys.readouterr().err == f"{program.__module__.split('.')[0]}: {UNREADABLE}: Input/output error\n"


def test_a_file_that_migrate_does_not_find_is_named(root, tmp_path, capsys):
    missing = str(tmp_path / "none.db")
    assert carojournal(["migrate", missing]) == 69
    assert capsys.readouterr().err == f"carojournal: {missing}: there is no such file\n"


def test_a_configuration_that_cannot_be_read_is_named(root, home, journal, capsys):
    journal.append("session_end", session_duration_ms=1)
    path = os.path.join(home, ".config", "caro", "config.toml")
    os.makedirs(path)
    assert carobatch(["run"]) == 78
    assert capsys.readouterr().err == f"carobatch: {path}: cannot be read\n"


def test_a_name_that_an_error_has_stays():
    for error in (OSError(5, "why", "other"), OSError("why")):
        before = error.filename
        with pytest.raises(OSError, match="why"), named.named("path"):
            raise error
        assert error.filename == before
