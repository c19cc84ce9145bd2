"""A CAROJOURNAL_DIR or --dir that is no journal's: every verb says the same of it, and nothing of it changes."""

import os
from pathlib import Path

import pytest
from forged_trees import put, put_identity, put_packed

from carobatch.cli import main as carobatch
from carojournal import Journal, JournalReader
from carojournal.cli import main as carojournal
from carojournal.errors import JournalUnavailable, UnsafeRoot, UsageError
from carojournal.place import has_journal, is_journal

A, B = (bytes([number]) * 16 for number in (0xA1, 0xB2))
APPEND = ("append", "--channel", "beta", "--event", "session_end", "session_duration_ms=1")
LOOKING = [
    (carojournal, words)
    for words in (
        ("verify",),
        ("status",),
        ("inspect",),
        ("inspect", "--disk-usage"),
        ("export", "-o", "out.json"),
        ("export", "--clear", "-o", "out.json"),
        ("salvage", "--out", "out.cborseq"),
        ("reindex",),
        ("audit",),
        ("sent",),
        ("delete-remote",),
        ("clear", "--force"),
    )
] + [
    (carobatch, words)
    for words in (
        ("list",),
        ("status",),
        ("export", "-o", "out.tar.zst"),
        ("export", "--format", "json", "-o", "out.json"),
        ("compact",),
        ("run",),
        ("upload", "--dry-run"),
        ("deletion", "list"),
    )
]
looking = pytest.mark.parametrize(
    ("program", "words"), LOOKING, ids=[f"{program.__module__}-{'-'.join(words)}" for program, words in LOOKING]
)


@pytest.fixture
def place(home, tmp_path, monkeypatch):
    """Where CAROJOURNAL_DIR points; nothing is there yet.  The user has agreed, so that nothing is left out."""
    config = Path(home, ".config", "caro", "config.toml")
    config.parent.mkdir(parents=True)
    consent = '{ answer = "yes", version = 1, at = "2026-05-04T03:02:01Z" }'
    config.write_text(f"[telemetry]\nenabled = true\nconsent = {consent}\n")
    os.utime(config, (1, 1))  # Old enough for a snapshot.
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("CAROJOURNAL_DIR", str(tmp_path / "place"))
    return tmp_path / "place"


def below(path):
    return sorted(
        os.path.relpath(os.path.join(folder, name), path) for folder, _, files in os.walk(path) for name in files
    )


@looking
def test_somebody_elses_folder_is_refused_and_stays_as_it_is(place, program, words, capsys):
    place.mkdir(0o700)
    (place / "notes.txt").write_text("mine")
    assert program([*words]) == 69
    assert capsys.readouterr().err.endswith(f": {place} is not a journal\n")
    assert below(place) == ["notes.txt"]
    assert os.listdir() == []


@looking
def test_a_regular_file_is_no_directory(place, program, words, capsys):
    place.write_text("mine")
    assert program([*words]) == 69
    assert capsys.readouterr().err.endswith(f": {place}: is not a directory\n")
    assert os.listdir() == []


def test_an_append_says_the_same_of_a_regular_file(place, capsys):
    place.write_text("mine")
    assert carojournal([*APPEND]) == 69
    assert capsys.readouterr().err == f"carojournal: {place}: is not a directory\n"


@looking
def test_what_cannot_be_reached_does_not_pass_for_empty(place, program, words, monkeypatch, capsys):
    """A name that is too long stands for a folder without permission: root, who runs some of these tests, has all."""
    monkeypatch.setenv("CAROJOURNAL_DIR", str(place.parent / ("x" * 300)))
    assert program([*words]) == 74
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert os.listdir() == []


@looking
def test_an_empty_folder_is_no_error_and_stays_empty(place, program, words):
    place.mkdir(0o700)
    assert program([*words]) == 0
    assert below(place) == []


@looking
def test_a_missing_folder_is_no_error_and_stays_missing(place, program, words):
    assert program([*words]) == 0
    assert not place.exists()


def test_an_append_makes_a_journal_among_other_files(place):
    place.mkdir(0o700)
    (place / "notes.txt").write_text("mine")
    assert carojournal([*APPEND]) == 0
    assert is_journal(str(place))
    assert (place / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["journal", "drops", "discards", "index.sqlite3", "receipts/acks.json"])
def test_nothing_that_has_a_name_of_ours_is_taken_over(place, name, capsys):
    (place / name).parent.mkdir(0o700, parents=True, exist_ok=True)
    place.chmod(0o700)
    (place / name).write_text("Dear diary")
    assert carojournal([*APPEND]) == 69
    assert f"{place} is not a journal, and has a " in capsys.readouterr().err
    with Journal.open() as journal:
        assert not journal.record("session_end", session_duration_ms=1)
        assert journal.stats["reasons"] == {"drop unsafe_root": 1}
    assert carojournal(["clear", "--force"]) == 69
    assert below(place) == [name]
    assert (place / name).read_text() == "Dear diary"


def test_an_identity_that_was_damaged_is_still_ours(place):
    assert carojournal([*APPEND]) == 0
    path = place / "journal"
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    assert carojournal([*APPEND]) == 0
    assert len(list(JournalReader(str(place)).records(events_only=True))) == 2


def test_verify_refuses_a_folder_that_is_named(root, journal, tmp_path, capsys):
    journal.append("session_end", session_duration_ms=1)
    carobatch(["compact", "--idle", "0"])
    capsys.readouterr()
    (tmp_path / "notes.txt").write_text("mine")
    for path in (tmp_path, f"{root}/packed"):
        assert carojournal(["verify", root, str(path)]) == 69
        assert capsys.readouterr() == ("", f"carojournal: {path} is not a journal\n")
    assert carojournal(["verify", root]) == 0
    assert carojournal(["verify", f"{root}/segments"]) == 0  # Empty by now.


def test_a_copy_without_lanes_and_identity_can_be_looked_at(place):
    for folder in ("segments", "packed"):
        (place / folder).mkdir(0o700, parents=True)
    with pytest.raises(JournalUnavailable):
        has_journal(str(place))
    put(place, A, [])
    assert has_journal(str(place))
    os.unlink(next((place / "segments").iterdir()))
    put_packed(place, B, [1, 2])
    assert has_journal(str(place))
    assert not is_journal(str(place))


def test_an_identity_or_lanes_make_a_journal(place):
    (place / "lanes").mkdir(0o700, parents=True)
    assert is_journal(str(place))
    os.rmdir(place / "lanes")
    put_identity(place, b"carojournal 1")
    assert is_journal(str(place))


@pytest.mark.parametrize("kind", ["file", "folder", "pipe", "link"])
def test_what_only_has_the_name_of_an_identity_makes_none(place, kind):
    place.mkdir(0o700)
    make = {"file": lambda path: path.write_text("mine"), "folder": os.mkdir, "pipe": os.mkfifo}
    make.get(kind, lambda path: os.symlink("/etc/hostname", path))(place / "journal")
    assert not is_journal(str(place))


def test_requests_to_delete_are_what_a_cleared_journal_leaves(place):
    place.mkdir(0o700)
    (place / "deletion-requests").write_text("")
    assert has_journal(str(place))


def test_a_device_is_no_directory():
    with pytest.raises(UnsafeRoot):
        has_journal("/dev/null")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (carojournal, APPEND),
        (carojournal, ("append", "--new-run")),
        (carojournal, ("demo",)),
        *((program, words) for program, words in LOOKING if program is carobatch),
        (carobatch, ("ack", "receipt.json")),
        (carobatch, ("schedule", "print", "cron")),
    ],
)
@pytest.mark.parametrize("option", [("--dir", ""), ("--dir=",)])
@pytest.mark.usefixtures("place")
def test_an_empty_dir_is_a_usage_error_and_not_this_directory(program, words, option, capsys):
    head, rest = words[:1], words[1:]
    assert program([*head, *option, *rest]) == 64
    assert "dir is empty" in capsys.readouterr().err
    assert os.listdir() == []


@pytest.mark.usefixtures("place")
def test_an_empty_dir_is_a_usage_error_in_python_too():
    with pytest.raises(UsageError):
        Journal.open("")
    with pytest.raises(UsageError):
        JournalReader("")
    assert os.listdir() == []


def test_an_empty_variable_counts_as_unset(root, place, monkeypatch):
    monkeypatch.setenv("CAROJOURNAL_DIR", "")
    assert carojournal([*APPEND]) == 0
    assert os.path.isdir(f"{root}/lanes")
    assert not place.exists()
