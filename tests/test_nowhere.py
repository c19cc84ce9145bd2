"""Where there is no home, or no current directory: nothing is kept or stored below whatever directory that may be."""

import os

import pytest
from uploads import carobatch

from carojournal import Journal, JournalReader, cli, consent, policy
from carojournal.config import load_for
from carojournal.errors import ConfigError, JournalOff
from carojournal.nowhere import NO_FOLDER, NO_HOME


@pytest.fixture(params=["no home", "a relative one"])
def here(request, home, tmp_path, monkeypatch):
    """An empty current directory of a user without a usable home."""
    if request.param == "no home":  # Nor is the user in the system's list: `expanduser` gives back what it was given.
        monkeypatch.delenv("HOME")
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    else:
        monkeypatch.setenv("HOME", "home")
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    yield place
    assert list(place.iterdir()) == []


@pytest.fixture
def gone(home, tmp_path, monkeypatch):
    """A current directory that somebody has removed."""
    place = tmp_path / "gone"
    place.mkdir()
    monkeypatch.chdir(place)
    place.rmdir()


def is_off(journal, problem):
    assert (journal.mode, journal.policy.problems) == ("off", (problem,))
    assert not journal.record("session_end", session_duration_ms=1)
    with pytest.raises(JournalOff):
        journal.append("session_end", session_duration_ms=1)
    return True


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("channel", policy.CHANNELS)
def test_a_host_without_a_home_keeps_nothing(channel):
    with Journal.open(channel=channel, admin="/nonexistent") as journal:
        assert is_off(journal, NO_HOME)


@pytest.mark.usefixtures("here")
def test_a_journal_that_has_a_place_is_off_where_the_choice_has_none(tmp_path, monkeypatch):
    """The user may have said off."""
    root = tmp_path / "journal"
    with Journal.open(root, admin="/nonexistent") as journal:
        assert is_off(journal, NO_HOME)
    monkeypatch.setenv("CAROJOURNAL_DIR", str(root))
    with Journal.open(admin="/nonexistent") as journal:
        assert is_off(journal, NO_HOME)
    assert not root.exists()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["CAROJOURNAL_DIR", "XDG_DATA_HOME"])
def test_no_home_is_needed_where_variables_name_both_places(tmp_path, monkeypatch, name):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with Journal.open(admin="/nonexistent") as journal:
        assert is_off(journal, NO_HOME)
    monkeypatch.setenv(name, str(tmp_path / "data"))
    with Journal.open(admin="/nonexistent") as journal:
        assert journal.record("session_end", session_duration_ms=1)
    assert cli.main(["off"]) == 0
    assert (tmp_path / "config/caro/config.toml").exists()
    assert policy.resolve(policy.find_root(os.environ), channel="beta", environ=os.environ).mode == "off"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "words", [["on", "--yes"], ["local"], ["off"], ["config", "set", "enabled", "false"], ["config", "unset", "level"]]
)
def test_a_choice_that_has_no_place_is_refused(words, capsys):
    """`off` reported success, and held in that one directory."""
    assert cli.main(words) == 78
    assert capsys.readouterr() == ("", f"carojournal: {NO_HOME}\n")


@pytest.mark.usefixtures("here")
def test_status_says_why_and_what_to_do(capsys):
    assert cli.main(["status"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"mode\toff (set by config): nothing is recorded\nproblem\t{NO_HOME}\n")
    assert cli.main(["status", "--json"]) == 0
    assert NO_HOME in capsys.readouterr().out
    assert cli.main(["status", "--explain"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].split("\t")[:2] == ["mode", "off"]
    assert any(line.startswith(f"problem\t{NO_HOME}") for line in told)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("words", [["inspect"], ["verify"], ["clear"], ["export"], ["audit"]])
def test_other_verbs_say_so_too(words, capsys):
    assert cli.main(words) == 78
    assert capsys.readouterr().err == f"carojournal: {NO_HOME}\n"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("words", [["run"], ["upload"], ["compact"], ["schedule", "print", "cron"], ["import", "x"]])
def test_the_other_program_says_so_too(words, capsys):
    assert carobatch(words) == 78
    assert capsys.readouterr().err == f"carobatch: {NO_HOME}\n"


@pytest.mark.usefixtures("here")
def test_nobody_is_asked_for_a_choice_that_cannot_be_stored():
    assert consent._plainly_decided(os.environ, "beta", None) is None
    assert consent.decided(load_for(os.environ)).reason == "configuration"


@pytest.mark.usefixtures("here")
def test_a_reader_of_the_default_journal_says_so():
    with pytest.raises(ConfigError, match="set HOME"):
        JournalReader()


@pytest.mark.usefixtures("gone")
@pytest.mark.parametrize("named", [True, False])
def test_a_host_whose_directory_is_gone_keeps_nothing_in_a_relative_journal(monkeypatch, named):
    """It was raised into the host."""
    monkeypatch.setenv("CAROJOURNAL_DIR", "x")
    with Journal.open("y" if named else None, admin="/nonexistent") as journal:
        assert is_off(journal, NO_FOLDER)


@pytest.mark.usefixtures("gone")
def test_a_relative_journal_named_where_the_directory_is_gone_is_not_the_default_one(root):
    with Journal.open("y", admin="/nonexistent") as journal:
        assert is_off(journal, NO_FOLDER)
    assert not os.path.exists(root)


@pytest.mark.usefixtures("gone")
def test_a_journal_that_is_not_relative_needs_no_current_directory(root):
    with Journal.open(admin="/nonexistent") as journal:
        assert journal.record("session_end", session_duration_ms=1)
    assert os.path.isdir(root)


@pytest.mark.usefixtures("gone")
def test_status_where_the_directory_is_gone(monkeypatch, capsys):
    monkeypatch.setenv("CAROJOURNAL_DIR", "x")
    assert cli.main(["status"]) == 0
    assert f"problem\t{NO_FOLDER}\n" in capsys.readouterr().out
    assert cli.main(["status", "--explain"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("mode\toff\t")
    assert f"problem\t{NO_FOLDER}\t" in told
    assert cli.main(["inspect"]) == 78
    assert capsys.readouterr().err == f"carojournal: {NO_FOLDER}\n"
