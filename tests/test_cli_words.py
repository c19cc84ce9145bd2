"""The words of a command line, before a verb sees them: what the one parser of both programs makes of them."""

import json
import time

import pytest

from carobatch.cli import main as batch
from carojournal import Journal
from carojournal.cli import main

HOUR_MS = 3_600_000


@pytest.fixture
def kept(root):
    """The default journal with an event of three hours ago and one of now."""
    now_ns = time.time_ns()
    for number, ago_ms in enumerate((3 * HOUR_MS, 0)):
        clock_ns = now_ns - ago_ms * 1_000_000
        environ = {"HOME": "/nonexistent"}
        with Journal.open(root, clock=lambda at=clock_ns: at, environ=environ, admin="/nonexistent") as journal:
            journal.append("session_end", session_duration_ms=number)
    return root


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("-S", "-30min"), [1]),
        (("-S", "-4h"), [0, 1]),
        (("--since", "-1h 30min", "-n", "5"), [1]),
        (("-U", "-1h"), [0]),
        (("-S", "-5h", "-U", "-1h", "event=session_end"), [0]),
        (("-S=-30min",), [1]),
        (("--until=-1h",), [0]),
        (("-S", "+1h"), []),
    ],
)
@pytest.mark.usefixtures("kept")
def test_a_time_that_begins_with_a_minus_is_a_word_like_others(capsys, words, shown):
    assert main(["inspect", "-o", "json", *words]) == 0
    found = [json.loads(line)["session_duration_ms"] for line in capsys.readouterr().out.splitlines()]
    assert found == shown


@pytest.mark.usefixtures("kept")
def test_the_same_holds_for_the_times_of_carobatch(tmp_path, capsys):
    assert batch(["export", "-o", str(tmp_path), "--since", "-1d", "--until", "-1h"]) == 0
    assert "1 event in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-S",), "argument --since/-S: expected one argument"),
        (("-S", "-r"), "argument --since/-S: expected one argument"),
        (("-S", "-n", "3"), "argument --since/-S: expected one argument"),
        (("-S", "-30hunter2"), "a time is"),
        (("--", "-S", "-30min"), "a filter is FIELD=VALUE"),
        (("-n", "-30min"), "argument --limit/-n: expected one argument"),
    ],
)
@pytest.mark.usefixtures("kept")
def test_nothing_else_that_begins_with_a_minus_is_taken_for_a_value(capsys, words, said):
    assert main(["inspect", *words]) == 64
    error = capsys.readouterr().err
    assert said in error
    assert "hunter2" not in error


@pytest.mark.parametrize(
    ("program", "words", "prog"),
    [
        (main, ("inspect", "--hunter2"), "carojournal inspect"),
        (main, ("delete-remote", "--hunter2"), "carojournal delete-remote"),
        (main, ("config", "list", "--hunter2"), "carojournal config"),
        (batch, ("upload", "--hunter2"), "carobatch upload"),
        (batch, ("run", "--hunter2"), "carobatch run"),
    ],
)
@pytest.mark.usefixtures("root")
def test_an_unknown_option_leads_to_the_help_of_its_verb(capsys, program, words, prog):
    assert program([*words]) == 64
    assert capsys.readouterr() == ("", f"{prog.split()[0]}: unrecognized arguments (see '{prog} --help')\n")


@pytest.mark.parametrize(("program", "name"), [(main, "carojournal"), (batch, "carobatch")])
@pytest.mark.parametrize("word", ["--hunter2", "hunter2"])
@pytest.mark.usefixtures("root")
def test_without_a_verb_it_is_the_help_of_the_program(capsys, program, name, word):
    assert program([word]) == 64
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith(f"(see '{name} --help')\n")
    assert "hunter2" not in err


def test_the_help_of_a_verb_names_it_once(capsys):
    assert main(["status", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: carojournal status [-h] [--json]")
