"""Editing [telemetry]: what the user wrote elsewhere stays byte for byte, and a doubt leaves the file as it is."""

import fcntl
import os
import stat
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carojournal import config_edit
from carojournal.config_edit import edit, edited
from carojournal.errors import ConfigError, JournalBusy, JournalIOError

RECORD = {"answer": "yes", "version": 1, "at": "2026-05-04T03:02:01.000Z"}
ALL = {"enabled": False, "level": "minimal", "batch_max_events": 7, "consent": RECORD}

USERS_FILE = """\
# my caro
backend = "ollama"   # the big box

[telemetry]
enabled = true  # asked in May
# more to come

# how it looks
[ui]
colors = [
  "red",    # alarm
  "[telemetry]",
]
text = '''
[telemetry]
enabled = false
'''
"""


def test_keys_change_and_every_other_byte_stays():
    assert edited(USERS_FILE, {"enabled": False, "level": "minimal"}) == USERS_FILE.replace(
        "enabled = true  # asked in May\n", 'enabled = false  # asked in May\nlevel = "minimal"\n'
    )


def test_lines_end_as_the_file_has_them():
    given_text = USERS_FILE.replace("\n", "\r\n")
    assert edited(given_text, {"level": "minimal"}) == given_text.replace(
        "# asked in May\r\n", '# asked in May\r\nlevel = "minimal"\r\n'
    )


def test_a_new_section_goes_to_the_end():
    assert edited("[ui]\nx = 1", {"enabled": True}) == "[ui]\nx = 1\n\n[telemetry]\nenabled = true\n"
    assert edited("", {"enabled": True}) == "[telemetry]\nenabled = true\n"


def test_what_holds_already_changes_nothing():
    text = "[telemetry]\nlevel='minimal'   # so\n"
    assert edited(text, {"level": "minimal"}) == text
    assert edited(text, {"enabled": None}) == text


def test_true_and_1_are_different_values():
    assert tomllib.loads(edited("[telemetry]\nenabled = 1\n", {"enabled": True}))["telemetry"]["enabled"] is True


def test_a_number_that_equals_nothing_is_no_obstacle():
    assert edited("x = nan\n[telemetry]\nenabled = true\n", {"enabled": None}) == "x = nan\n[telemetry]\n"


SHAPES = {
    "empty": "",
    "comment": "# only this\n",
    "other": "[other]\nx = 1\n",
    "no newline": "[telemetry]\nenabled = true",
    "comment between": "[telemetry]\nenabled = true # yes\n\n# about other\n[other]\nx = 1\n",
    "out of order": "[telemetry]\nenabled = true\n[other]\nx = 1\n[telemetry.consent]\nanswer = 'no'\n# z\n[z]\n",
    "dotted": "telemetry.enabled = true\n\n# o\n[other]\nx = 1\n",
    "inline": "telemetry = { enabled = true }\n[o]\nx = 1\n",
    "unknown table": "[telemetry]\nenabled = true\n\n[telemetry.future]\na = 1\n\n[other]\nx = 1",
    "no header": "[telemetry.consent]\nanswer = 'no'\n# c\n[other]\n",
    "between": "[a.b]\nx = 1\n[telemetry]\n[a.c]\ny = 1\n",
    "arrays": "[[a]]\nx = 1\n[[a]]\nx = 2\n",
    "quoted": '["telemetry"]\n"enabled" = true\n',
    "spaced": "[ telemetry ]\n  enabled = true\n  # deep\n\n[other]\n",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_set_and_unset_in_every_shape_of_section(shape):
    text = SHAPES[shape]
    before = tomllib.loads(text)
    changed = edited(text, ALL)
    section = tomllib.loads(changed)["telemetry"]
    assert {key: section[key] for key in ALL} == ALL
    assert {key: value for key, value in tomllib.loads(changed).items() if key != "telemetry"} == {
        key: value for key, value in before.items() if key != "telemetry"
    }
    back = edited(changed, dict.fromkeys(ALL))
    assert not {key: value for key, value in tomllib.loads(back).get("telemetry", {}).items() if value} or shape == (
        "unknown table"
    )
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert [line for line in back.splitlines() if line.startswith("#")] == comments


KEYS = st.sampled_from(["enabled", "level", "x", "consent", "telemetry"])
VALUES = st.sampled_from(["true", "'a'", "3", "[1, 2]", "{ a = 1 }", "'''\n[telemetry]\n'''"])
LINES = st.one_of(
    st.tuples(KEYS, VALUES).map(lambda pair: f"{pair[0]} = {pair[1]}"),
    st.sampled_from(["", "# c", "[telemetry]", "[telemetry.consent]", "[other]", "[[list]]", "telemetry.level = 'x'"]),
)


@given(st.lists(LINES, max_size=12), st.sampled_from(["enabled", "level", "consent"]), st.booleans())
def test_an_edit_is_exact_or_refused(lines, key, remove):
    text = "\n".join(lines) + "\n"
    value = None if remove else {"enabled": False, "level": "minimal", "consent": RECORD}[key]
    try:
        before = tomllib.loads(text)
    except ValueError:
        with pytest.raises(tomllib.TOMLDecodeError):
            edited(text, {key: value})
        return
    try:
        after = tomllib.loads(edited(text, {key: value}))
    except ValueError:
        return
    old, new = before.pop("telemetry", {}), after.pop("telemetry", {})
    assert before == after
    assert {name: one for name, one in old.items() if name != key and one != {}} == {
        name: one for name, one in new.items() if name != key and one != {}
    }
    if remove:
        assert not new.get(key)
    elif key == "consent":
        assert {name: new[key][name] for name in RECORD} == RECORD
    else:
        assert new[key] == value


@pytest.fixture
def place(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(USERS_FILE)
    path.chmod(0o640)
    return path


def test_mode_of_the_file_stays_and_nothing_is_left_beside_it(place):
    assert edit(str(place), {"enabled": False})
    assert stat.S_IMODE(place.stat().st_mode) == 0o640
    assert os.listdir(place.parent) == ["config.toml"]


def test_a_link_stays_a_link_and_its_target_changes(place, tmp_path):
    link = tmp_path / "elsewhere" / "config.toml"
    link.parent.mkdir()
    link.symlink_to(os.path.join("..", "config.toml"))
    assert edit(str(link), {"enabled": False})
    assert link.is_symlink()
    assert "enabled = false  # asked in May" in place.read_text()


def test_new_file_and_directories_are_private(tmp_path):
    path = tmp_path / "a" / "b" / "config.toml"
    assert edit(str(path), {"enabled": True})
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path.parent.parent, path.parent, path)] == [
        0o700,
        0o700,
        0o600,
    ]


def test_taking_keys_away_makes_no_file(tmp_path):
    assert not edit(str(tmp_path / "a" / "config.toml"), {"enabled": None})
    assert os.listdir(tmp_path) == []


def test_an_unchanged_value_does_not_touch_the_file(place):
    before = place.stat()
    assert not edit(str(place), {"enabled": True})
    assert (place.stat().st_mtime_ns, place.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


@pytest.mark.parametrize("data", [b"[telemetry", b"\xff", b"telemetry = 5\n", b"#" * 1_000_001])
def test_a_file_that_cannot_be_understood_is_refused_and_unchanged(place, data):
    place.write_bytes(data)
    with pytest.raises(ConfigError, match="nothing was changed"):
        edit(str(place), {"enabled": False})
    assert place.read_bytes() == data
    assert os.listdir(place.parent) == ["config.toml"]


def test_a_link_to_nowhere_is_refused(tmp_path):
    link = tmp_path / "config.toml"
    link.symlink_to(tmp_path / "unmounted" / "config.toml")
    with pytest.raises(ConfigError, match="link to nowhere"):
        edit(str(link), {"enabled": False})
    assert not (tmp_path / "unmounted").exists()


def test_a_fifo_is_refused_without_hanging(tmp_path):
    os.mkfifo(tmp_path / "config.toml")
    with pytest.raises(ConfigError, match="not a regular file"):
        edit(str(tmp_path / "config.toml"), {"enabled": False})


def test_what_a_killed_edit_left_behind_is_no_obstacle(place):
    (place.parent / ".config.toml.carojournal").write_text("half")
    assert edit(str(place), {"enabled": False})
    assert os.listdir(place.parent) == ["config.toml"]


def test_two_edits_do_not_overlap(place, monkeypatch):
    monkeypatch.setattr(config_edit, "LOCK_TIMEOUT_S", 0.0)
    holder = os.open(place.parent, os.O_RDONLY)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(JournalBusy):
            edit(str(place), {"enabled": False})
    finally:
        os.close(holder)
    assert place.read_text() == USERS_FILE


def test_an_editor_that_saved_meanwhile_wins(place, monkeypatch):
    write = config_edit._write

    def slow(descriptor, data, like):
        write(descriptor, data, like)
        place.write_text("# saved by hand\n")

    monkeypatch.setattr(config_edit, "_write", slow)
    with pytest.raises(JournalBusy):
        edit(str(place), {"enabled": False})
    assert place.read_text() == "# saved by hand\n"
    assert os.listdir(place.parent) == ["config.toml"]


@pytest.mark.parametrize("call", ["fsync", "replace", "fchmod"])
def test_a_failing_system_leaves_the_file_as_it_was(place, monkeypatch, call):
    def fails(*_args, **_keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fails)
    with pytest.raises(JournalIOError) as caught:
        edit(str(place), {"enabled": False})
    assert caught.value.errno == 28
    assert place.read_text() == USERS_FILE
    assert os.listdir(place.parent) == ["config.toml"]
