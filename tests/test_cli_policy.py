"""`carojournal on | local | off | consent | config`: what they store, say and refuse, and what they leave alone."""

import json
import os
import subprocess
import sys
import tomllib

import pytest
from terminals import on_terminal

import carojournal
from carojournal import policy
from carojournal.cli import main
from carojournal.config_keys import KEYS, allowed

TREE = os.path.dirname(os.path.dirname(carojournal.__file__))
PROGRAM = "import sys; from carojournal import policy; from carojournal.cli import main\n"


@pytest.fixture
def admin(tmp_path, monkeypatch):
    """The administrator's file, in a place that a test may write to; not made yet."""
    place = tmp_path / "admin.toml"
    monkeypatch.setattr(policy, "admin_file", lambda *_args: str(place))
    return place


@pytest.fixture
def place(home, admin):
    """Where the user's config is or will be."""
    assert not admin.exists()
    return os.path.join(home, ".config", "caro", "config.toml")


@pytest.fixture
def run(place, capfd):
    def call(*words):
        code = main(list(words))
        out, err = capfd.readouterr()
        return code, out, err

    assert not os.path.exists(place)
    return call


def stored(place):
    with open(place, "rb") as stream:
        return tomllib.load(stream)["telemetry"]


def mode(channel="beta"):
    return policy.resolve("/nonexistent", channel=channel, environ=os.environ).mode


def files_below(home):
    return [os.path.join(folder, name) for folder, _, names in os.walk(home) for name in names]


def test_off_sticks_on_every_channel_and_makes_only_the_config(run, place, home):
    code, out, err = run("off")
    assert (code, err) == (0, "")
    assert out.startswith("off: ")
    assert stored(place) == {"enabled": False}
    assert (mode("beta"), mode("ga")) == ("off", "off")
    assert files_below(home) == [place]


def test_off_twice_touches_nothing(run, place):
    run("off")
    before = os.stat(place)
    assert run("off")[0] == 0
    assert (os.stat(place).st_mtime_ns, os.stat(place).st_ino) == (before.st_mtime_ns, before.st_ino)


def test_off_after_a_recorded_no_keeps_the_record(run, place):
    os.makedirs(os.path.dirname(place))
    text = '[telemetry]\nenabled = false\nconsent = { answer = "no", version = 1, at = "2026-05-04T03:02:01Z" }\n'
    with open(place, "w") as stream:
        stream.write(text)
    assert run("off")[0] == 0
    with open(place) as stream:
        assert stream.read() == text


def test_off_is_stored_under_a_switch_of_the_environment_too(run, place, monkeypatch):
    """The switch ends with its shell, the user's word does not."""
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    assert run("off")[0] == 0
    assert stored(place) == {"enabled": False}


def test_on_without_a_terminal_needs_a_word(run, place):
    code, out, err = run("on")
    assert (code, out) == (77, "")
    assert "--yes" in err
    assert not os.path.exists(place)


def test_on_with_yes_records_the_yes(run, place):
    assert run("on", "--yes")[0] == 0
    section = stored(place)
    assert (section["enabled"], section["air_gapped"], section["consent"]["answer"]) == (True, False, "yes")
    assert mode() == "on"


def test_on_twice_keeps_the_time_of_the_yes(run, place):
    run("on", "--yes")
    before = stored(place)
    assert run("on")[0] == 0
    assert stored(place) == before


@pytest.mark.parametrize("verb", ["off", "local"])
def test_off_and_local_take_the_yes_back(run, place, verb):
    run("on", "--yes")
    run(verb)
    assert "consent" not in stored(place)
    run("config", "set", "enabled", "true")
    run("config", "set", "air_gapped", "false")
    assert mode() == "local"


def test_local_keeps_and_never_sends(run, place):
    code, out, _ = run("local")
    assert (code, out) == (0, "local: events are kept and never sent\n")
    assert stored(place) == {"enabled": True, "air_gapped": True}
    assert (mode("beta"), mode("ga")) == ("local", "local")


@pytest.mark.parametrize(
    ("verb", "variable", "value", "remark"),
    [
        ("on", "DO_NOT_TRACK", "1", "DO_NOT_TRACK still keeps it off"),
        ("on", "CARO_TELEMETRY", "off", "CARO_TELEMETRY still keeps it off"),
        ("on", "CARO_TELEMETRY", "local", "CARO_TELEMETRY still keeps it local"),
        ("local", "DO_NOT_TRACK", "1", "DO_NOT_TRACK still keeps it off"),
        ("on", "CARO_TELEMETRY_AIR_GAPPED", "1", "CARO_TELEMETRY_AIR_GAPPED still keeps it local"),
        ("local", "CARO_TELEMETRY_ENABLED", "0", "CARO_TELEMETRY_ENABLED still keeps it off"),
    ],
)
def test_a_variable_that_keeps_it_narrower_is_named(run, monkeypatch, verb, variable, value, remark):
    monkeypatch.setenv(variable, value)
    code, out, err = run(verb, *(["--yes"] if verb == "on" else []))
    assert (code, remark in err) == (0, True)
    assert out == f"{verb} is stored, but {remark.split()[-1]} holds: {variable}\n"


@pytest.mark.parametrize(
    ("limits", "verb", "code"),
    [
        ("enabled = false\n", "on", 77),
        ("enabled = false\n", "local", 77),
        ("enabled = false\n", "off", 0),
        ("air_gapped = true\n", "on", 77),
        ("air_gapped = true\n", "local", 0),
        ("enabled = true\nair_gapped = false\n", "off", 0),
        ("enabled = true\nair_gapped = false\n", "local", 0),
        ("junk", "on", 78),
        ("junk", "local", 78),
        ("junk", "off", 0),
    ],
)
def test_the_administrator_limits_the_verbs(run, place, admin, limits, verb, code):
    admin.write_text(limits)
    found, _, err = run(verb, *(["--yes"] if verb == "on" else []))
    assert found == code
    assert os.path.exists(place) is (code == 0)
    if code:
        assert str(admin) in err
        assert err.count("\n") == 1


def test_a_config_that_is_no_toml_is_left_as_it_is(run, place):
    os.makedirs(os.path.dirname(place))
    with open(place, "w") as stream:
        stream.write("[telemetry\n")
    for words in (["on", "--yes"], ["local"], ["off"], ["config", "set", "level", "minimal"], ["config", "list"]):
        code, _, err = run(*words)
        assert (code, place in err) == (78, True)
    with open(place) as stream:
        assert stream.read() == "[telemetry\n"


def test_a_bad_value_can_be_mended_with_config_set(run, place):
    os.makedirs(os.path.dirname(place))
    with open(place, "w") as stream:
        stream.write("[telemetry]\nlevel = 'hunter2'\n")
    code, _, err = run("config", "list")
    assert (code, "hunter2" in err, allowed("level") in err) == (78, False, True)
    assert run("config", "set", "level", "minimal") == (0, "", "")
    assert run("config", "get", "level") == (0, "minimal\n", "")


EXAMPLES = {
    "enabled": ("yes", "true"),
    "level": ("verbose", "detailed"),
    "batch_interval_hours": ("1", "1"),
    "offline_spool_max_mb": ("50", "50"),
    "air_gapped": ("on", "true"),
    "endpoint": ("https://telemetry.example/v1/events", "https://telemetry.example/v1/events"),
    "batch_max_events": ("100", "100"),
    "wire_format": ("otlp", "otlp"),
    "ca_file": ("/etc/ssl/ca.pem", "/etc/ssl/ca.pem"),
    "proxy": ("http://proxy.example:3128", "http://proxy.example:3128"),
    "posthog_key": ("phc_Abc", "phc_Abc"),
    "durability": ("each", "each"),
    "channel": ("ga", "ga"),
}


@pytest.mark.parametrize("key", KEYS)
def test_every_key_can_be_set_got_listed_and_unset(run, place, key):
    text, shown = EXAMPLES[key]
    assert run("config", "set", f"telemetry.{key}", text)[0] == 0
    assert run("config", "get", key) == (0, f"{shown}\n", "")
    assert f"{key}\t{shown}\tconfig\n" in run("config", "list")[1]
    listed = json.loads(run("config", "list", "--json")[1])
    assert (listed[key]["source"], list(listed)) == ("config", list(KEYS))
    assert json.loads(run("config", "get", key, "--json")[1]) == listed[key]["value"] == stored(place)[key]
    assert run("config", "unset", key)[0] == 0
    assert key not in stored(place)
    assert json.loads(run("config", "list", "--json")[1])[key]["source"] == "default"


@pytest.mark.parametrize("key", KEYS)
def test_a_wrong_value_is_refused_with_the_allowed_ones_and_without_itself(run, place, key):
    code, out, err = run("config", "set", key, "hunter2hunter2")
    assert (code, out) == (64, "")
    assert allowed(key) in err
    assert "hunter2" not in err
    assert not os.path.exists(place)


@pytest.mark.parametrize(
    "words",
    [["get", "hunter2"], ["set", "hunter2", "1"], ["unset", "hunter2"], ["get", "consent"], ["set", "telemetry", "1"]],
)
def test_an_unknown_key_is_refused_with_the_known_ones(run, place, words):
    code, _, err = run("config", *words)
    assert code == 64
    assert ", ".join(KEYS) in err
    assert "hunter2" not in err
    assert not os.path.exists(place)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["get"],
        ["set", "level"],
        ["set", "level", "minimal", "hunter2"],
        ["list", "hunter2"],
        ["hunter2"],
        ["list", "--hunter2"],
    ],
)
def test_wrong_words_are_a_usage_error(run, words):
    code, out, err = run("config", *words)
    assert (code, out, err.count("\n"), "hunter2" in err) == (64, "", 1, False)


@pytest.mark.parametrize(
    ("limits", "key", "value", "code"),
    [
        ("endpoint = 'https://site.example/'\n", "endpoint", "https://other.example/", 77),
        ("endpoint = 'https://site.example/'\n", "batch_max_events", "5", 0),
        ("[telemetry]\nlevel = 'standard'\n", "level", "detailed", 77),
        ("[telemetry]\nlevel = 'standard'\n", "level", "minimal", 0),
        ("enabled = false\n", "enabled", "true", 77),
        ("enabled = true\n", "enabled", "false", 0),
        ("air_gapped = true\n", "air_gapped", "false", 77),
        ("offline_spool_max_mb = 5\n", "offline_spool_max_mb", "50", 77),
    ],
)
def test_what_the_administrator_decides_cannot_be_set(run, place, admin, limits, key, value, code):
    admin.write_text(limits)
    found, _, err = run("config", "set", key, value)
    assert found == code
    assert os.path.exists(place) is (code == 0)
    assert (str(admin) in err) is (code == 77)


def test_switching_on_by_a_setting_is_no_yes(run):
    code, _, err = run("config", "set", "enabled", "true")
    assert (code, "carojournal on" in err, mode()) == (0, True, "local")


def test_a_level_above_what_the_environment_allows_is_named(run, monkeypatch):
    monkeypatch.setenv("CARO_TELEMETRY_LEVEL", "minimal")
    assert "CARO_TELEMETRY_LEVEL still keeps it at minimal" in run("config", "set", "level", "detailed")[2]


def test_looking_makes_no_file(run, home):
    for words in (["config", "list"], ["config", "get", "level"], ["config", "unset", "level"], ["consent", "--text"]):
        assert run(*words)[0] == 0
    assert run("consent")[0] == 77
    assert files_below(home) == []


def test_consent_tells_what_was_answered(run):
    run("on", "--yes")
    code, out, err = run("consent")
    assert (code, err) == (0, "")
    assert out.startswith("yes, to version 1 of the text, 20")


def test_consent_is_not_asked_where_a_variable_forbids_it(run, monkeypatch):
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    code, out, err = run("consent")
    assert (code, out, "DO_NOT_TRACK" in err) == (77, "", True)


def on_own_terminal(home, admin, verb, exchanges, **more):
    environ = {"HOME": home, "PATH": os.environ.get("PATH", ""), "PYTHONPATH": TREE, **more}
    program = f"{PROGRAM}policy.admin_file = lambda *_: {str(admin)!r}\nsys.exit(main({verb!r}))\n"
    return on_terminal(program, exchanges, environ)


def test_on_asks_on_a_terminal(place, home, admin):
    shown, code = on_own_terminal(home, admin, ["on"], [(b"[y/N] ", b"yes\n")])
    assert b"What is NEVER collected:" in shown
    assert code == 0
    assert stored(place)["consent"]["answer"] == "yes"


@pytest.mark.parametrize("reply", [b"n\n", b"\n", b"\x03", b"\x04", b"perhaps\n"])
def test_on_changes_nothing_without_a_yes(place, home, admin, reply):
    _, code = on_own_terminal(home, admin, ["on"], [(b"[y/N] ", reply)])
    assert (code, os.path.exists(place)) == (77, False)


@pytest.mark.parametrize(("reply", "code", "answer"), [(b"y\n", 0, "yes"), (b"n\n", 0, "no"), (b"\x03", 77, None)])
def test_consent_asks_on_a_terminal(place, home, admin, reply, code, answer):
    _, found = on_own_terminal(home, admin, ["consent"], [(b"[y/N] ", reply)])
    assert found == code
    assert (stored(place)["consent"]["answer"] if os.path.exists(place) else None) == answer


def test_config_list_is_a_table_on_a_terminal(home, admin):
    shown, code = on_own_terminal(home, admin, ["config", "list"], [], NO_COLOR="1")
    lines = shown.decode().splitlines()
    assert code == 0
    assert lines[0].split() == ["KEY", "VALUE", "SOURCE"]
    assert len({line.rindex("default") for line in lines[1:]}) == 1


def test_the_verbs_as_programs(home, admin):
    """Through real processes, as a user calls them: exit code, clean standard output, one line on standard error."""
    environ = {"HOME": home, "PATH": os.environ.get("PATH", ""), "PYTHONPATH": TREE}

    def call(*words):
        program = f"{PROGRAM}policy.admin_file = lambda *_: {str(admin)!r}\nsys.exit(main({list(words)!r}))\n"
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environ,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr.count("\n")

    assert call("on") == (77, "", 1)
    assert call("on", "--yes") == (0, "on: events are kept and sent\n", 0)
    assert call("config", "get", "enabled") == (0, "true\n", 0)
    assert call("config", "set", "level", "all") == (64, "", 1)
    assert call("off") == (0, "off: nothing is kept from now on; hosts that are running notice within a second\n", 0)
    assert call("config", "get", "enabled") == (0, "false\n", 0)
