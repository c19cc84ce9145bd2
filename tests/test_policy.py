"""Precedence, the variables, and the snapshot that saves parsing TOML: any doubt, and the files are read again."""

import itertools
import os
import subprocess
import sys
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carojournal import config, policy, snapshot
from carojournal.policy import Policy, environment_limits, resolve
from carojournal.root import make_root
from carojournal.snapshot import encode_snapshot, parse_snapshot, says

TREE = os.path.dirname(os.path.dirname(config.__file__))
NO_ADMIN = "/nonexistent/telemetry.toml"
YES = 'consent = { answer = "yes", version = 1, at = "2026-05-04T03:02:01Z" }\n'
ON = "[telemetry]\nenabled = true\nair_gapped = false\n" + YES
SIGNATURES = "1790000000000000000:123:45 -"
SAMPLE = Policy("on", source="config", channel="beta", level=2, cap_bytes=10_000_000, consent_ms=1_777_863_721_000)


@pytest.mark.parametrize(
    ("environ", "mode", "source"),
    [
        ({}, "on", ""),
        ({"DO_NOT_TRACK": ""}, "on", ""),
        ({"DO_NOT_TRACK": "0"}, "on", ""),
        ({"DO_NOT_TRACK": "false"}, "on", ""),
        ({"DO_NOT_TRACK": "1"}, "off", "DO_NOT_TRACK"),
        ({"DO_NOT_TRACK": "true"}, "off", "DO_NOT_TRACK"),
        ({"DO_NOT_TRACK": "please"}, "off", "DO_NOT_TRACK"),
        ({"CARO_TELEMETRY_ENABLED": "true"}, "on", ""),
        ({"CARO_TELEMETRY_ENABLED": " 1 "}, "on", ""),
        ({"CARO_TELEMETRY_ENABLED": ""}, "on", ""),
        ({"CARO_TELEMETRY_ENABLED": "0"}, "off", "CARO_TELEMETRY_ENABLED"),
        ({"CARO_TELEMETRY_ENABLED": "False"}, "off", "CARO_TELEMETRY_ENABLED"),
        ({"CARO_TELEMETRY_ENABLED": "nonsense"}, "off", "CARO_TELEMETRY_ENABLED"),
        ({"CARO_TELEMETRY": "off"}, "off", "CARO_TELEMETRY"),
        ({"CARO_TELEMETRY": "local"}, "local", "CARO_TELEMETRY"),
        ({"CARO_TELEMETRY": "on"}, "on", ""),
        ({"CARO_TELEMETRY_AIR_GAPPED": "1"}, "local", "CARO_TELEMETRY_AIR_GAPPED"),
        ({"CARO_TELEMETRY_AIR_GAPPED": "nonsense"}, "local", "CARO_TELEMETRY_AIR_GAPPED"),
        ({"CARO_TELEMETRY_AIR_GAPPED": "no"}, "on", ""),
        ({"CARO_TELEMETRY_AIR_GAPPED": "1", "DO_NOT_TRACK": "1"}, "off", "DO_NOT_TRACK"),
        ({"CARO_TELEMETRY_ENABLED": "1", "DO_NOT_TRACK": "1"}, "off", "DO_NOT_TRACK"),
        ({"CARO_TELEMETRY_ENABLED": "0", "DO_NOT_TRACK": "1"}, "off", "CARO_TELEMETRY_ENABLED"),
    ],
)
def test_variables_narrow(environ, mode, source):
    assert environment_limits(environ)[::2] == (mode, source)


def test_no_telemetry_comes_before_the_variables():
    assert environment_limits({"DO_NOT_TRACK": "1"}, no_telemetry=True)[::2] == ("off", "--no-telemetry")


@pytest.mark.parametrize(
    ("value", "level"),
    [("minimal", 0), ("normal", 1), ("STANDARD", 1), ("verbose", 2), ("detailed", 2), ("x", 0), ("", 2)],
)
def test_level_variable_is_a_ceiling(value, level):
    assert environment_limits({"CARO_TELEMETRY_LEVEL": value})[1] == level


@pytest.fixture
def user(home):
    """Write the user's config, old enough that its snapshot may be kept."""
    place = os.path.join(home, ".config", "caro", "config.toml")
    os.makedirs(os.path.dirname(place))
    ages = itertools.count(3600)

    def write(text):
        with open(place, "w") as stream:
            stream.write(text)
        age_ns = time.time_ns() - next(ages) * 1_000_000_000
        os.utime(place, ns=(age_ns, age_ns))
        return place

    return write


def held(root, channel="beta", admin=NO_ADMIN, **environ):
    return resolve(root, channel=channel, environ={"HOME": os.environ["HOME"], **environ}, admin=admin)


def test_environment_never_widens(user, root):
    """The product of every variable's values with every choice of the user: never wider than the choice alone."""
    choices = {"off": "[telemetry]\nenabled = false\n", "local": "[telemetry]\nenabled = true\n", "on": ON}
    names = ("CARO_TELEMETRY_ENABLED", "CARO_TELEMETRY", "CARO_TELEMETRY_AIR_GAPPED", "DO_NOT_TRACK")
    for choice, text in choices.items():
        user(text)
        assert held(root).mode == choice
        for values in itertools.product(("", "0", "1", "x"), repeat=len(names)):
            environ = dict(zip(names, values, strict=True))
            widest = environment_limits(environ)[0]
            expected = min(choice, widest, key=policy.MODES.index)
            assert held(root, CARO_TELEMETRY_LEVEL="detailed", **environ).mode == expected
            assert held(root, CARO_TELEMETRY_LEVEL="detailed", **environ).level <= 1


@pytest.mark.usefixtures("home")
def test_under_an_environment_switch_no_file_is_looked_at(root, monkeypatch):
    monkeypatch.setattr(policy, "file_signature", pytest.fail)
    monkeypatch.setattr(policy, "config_file", pytest.fail)
    assert held(root, DO_NOT_TRACK="1").mode == "off"


@pytest.mark.usefixtures("home")
def test_nobody_chose(root):
    assert (held(root).mode, held(root).source) == ("local", "default (beta)")
    assert (held(root, "ga").mode, held(root, "ga").source) == ("off", "default (ga)")
    assert not os.path.exists(root)


def test_upgrade_from_beta_to_ga_switches_off_unless_the_user_chose(user, root):
    make_root(root)
    user("[telemetry]\nlevel = 'minimal'\n")
    assert (held(root).mode, held(root, "ga").mode) == ("local", "off")
    user("[telemetry]\nenabled = true\n")
    assert (held(root).mode, held(root, "ga").mode) == ("local", "local")


@pytest.fixture
def parses(monkeypatch):
    """Counts how often the files are parsed."""
    seen = []
    refresh = config.refresh_snapshot
    monkeypatch.setattr(config, "refresh_snapshot", lambda *args: (seen.append(args), refresh(*args))[1])
    return seen


def test_snapshot_saves_the_second_parse(user, root, parses):
    user(ON)
    make_root(root)
    first, second = held(root), held(root)
    assert len(parses) == 1
    assert [getattr(first, name) for name in Policy.__slots__] == [getattr(second, name) for name in Policy.__slots__]
    assert first.mode == "on"
    assert os.stat(os.path.join(root, "policy")).st_mode & 0o777 == 0o600
    assert sorted(os.listdir(root)) == ["lanes", "policy", "segments"]


def test_looking_at_a_policy_makes_no_directory(user, root):
    user(ON)
    assert held(root).mode == "on"
    assert not os.path.exists(os.path.dirname(root))


@pytest.mark.parametrize("text", ["[telemetry]\nenabled = false\n", "telemetry = {enabled = false}\n", "[telemetry"])
def test_off_writes_no_snapshot(user, root, text):
    make_root(root)
    user(text)
    assert held(root).mode == "off"
    assert sorted(os.listdir(root)) == ["lanes", "segments"]


@pytest.mark.parametrize("change", ["mtime", "size", "inode", "admin", "channel", "text"])
def test_a_snapshot_of_anything_else_is_not_used(user, root, parses, tmp_path, monkeypatch, change):
    place = user(ON)
    make_root(root)
    admin = tmp_path / "admin.toml"
    assert held(root, admin=str(admin)).mode == "on"
    status = os.stat(place)
    if change == "mtime":
        os.utime(place, ns=(status.st_mtime_ns, status.st_mtime_ns + 1))
    elif change == "size":
        with open(place, "a") as stream:
            stream.write("\n")
        os.utime(place, ns=(status.st_mtime_ns, status.st_mtime_ns))
    elif change == "inode":
        os.rename(place, f"{place}.old")
        with open(place, "w") as stream:
            stream.write(ON)
        os.utime(place, ns=(status.st_mtime_ns, status.st_mtime_ns))
    elif change == "admin":
        admin.write_text("air_gapped = true\n")
    elif change == "text":
        monkeypatch.setattr(policy, "PROMPT_VERSION", policy.PROMPT_VERSION + 1)
    held(root, "ga" if change == "channel" else "beta", admin=str(admin))
    assert len(parses) == 2


def test_every_single_bit_flip_of_a_snapshot_is_detected():
    data = encode_snapshot(SAMPLE, SIGNATURES)
    assert parse_snapshot(data, SIGNATURES, "beta") is not None
    for position in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        assert parse_snapshot(bytes(flipped), SIGNATURES, "beta") is None


def test_every_truncation_of_a_snapshot_is_detected():
    data = encode_snapshot(SAMPLE, SIGNATURES)
    assert all(parse_snapshot(data[:size], SIGNATURES, "beta") is None for size in range(len(data)))


def test_damaged_snapshot_is_replaced(user, root, parses):
    user(ON)
    make_root(root)
    held(root)
    place = os.path.join(root, "policy")
    with open(place, "r+b") as stream:
        stream.write(b"\0")
    assert held(root).mode == "on"
    assert held(root).mode == "on"
    assert len(parses) == 2


@pytest.mark.parametrize(
    ("line", "other"), [(b"mode on", b"mode ON"), (b"level detailed", b"level all"), (b"cap_bytes 1", b"cap_bytes x")]
)
def test_a_strange_snapshot_with_the_right_crc_is_replaced(user, root, line, other):
    user(ON)
    make_root(root)
    held(root)
    place = os.path.join(root, "policy")
    with open(place, "rb") as stream:
        text = stream.read().rpartition(b"crc ")[0].replace(line, other)
    with open(place, "wb") as stream:
        stream.write(text + b"crc %08x\n" % zlib.crc32(text))
    assert held(root).mode == "on"


@given(st.binary(max_size=300))
def test_no_bytes_pass_for_a_snapshot(data):
    text = b"carojournal-policy 1\n" + data
    for one in (data, text, text + b"crc %08x\n" % zlib.crc32(text)):
        try:
            assert parse_snapshot(one, SIGNATURES, "beta") is None
        except ValueError:
            continue  # What `resolve` takes for damage.


@pytest.mark.parametrize("root_mode", [0o777, 0o770])
def test_no_snapshot_goes_where_others_can_write(user, root, root_mode):
    user(ON)
    make_root(root)
    os.chmod(root, root_mode)
    assert held(root).mode == "on"
    assert sorted(os.listdir(root)) == ["lanes", "segments"]


@pytest.mark.parametrize("names", [(), ("notes.txt",), ("journal",)])
def test_no_snapshot_goes_where_there_is_no_journal(user, root, names):
    user(ON)
    os.makedirs(root, mode=0o700)
    for name in names:
        with open(os.path.join(root, name), "w") as stream:
            stream.write("mine\n")
    assert held(root).mode == "on"
    assert sorted(os.listdir(root)) == sorted(names)


def test_no_snapshot_goes_through_a_link(user, root, tmp_path):
    user(ON)
    make_root(root)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    os.symlink(victim, os.path.join(root, "policy.tmp"))
    assert held(root).mode == "on"
    assert victim.read_text() == "precious"


def test_a_file_that_was_just_changed_gets_no_snapshot(user, root):
    place = user(ON)
    make_root(root)
    now_ns = time.time_ns() + 60_000_000_000  # Ahead of the test by more than it takes.
    for age_ns, kept in ((1, False), (99_000_000, False), (101_000_000, True)):
        os.utime(place, ns=(now_ns - age_ns, now_ns - age_ns))
        signature = policy.file_signature(place)
        assert config._is_settled(signature, now_ns) is kept


def test_file_systems_with_whole_seconds_wait_longer():
    assert not config._is_settled("1790000000000000000:1:1", 1_790_000_001_500_000_000)
    assert config._is_settled("1790000000000000000:1:1", 1_790_000_002_000_000_000)
    assert config._is_settled("-", 0)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[telemetry]\nenabled = false\n", True),
        ("[telemetry] # so\n  enabled=false # no\n", True),
        ("[telemetry]\r\nenabled = false\r\n", True),
        ("[other]\nx = 1\n[telemetry]\nlevel = 'a'\nenabled = false", True),
        ("[telemetry]\nenabled = true\n", False),
        ("[other]\nenabled = false\n", False),
        ("[telemetry]\n[other]\nenabled = false\n", False),
        ("[telemetry]\n[telemetry.consent]\nenabled = false\n", False),
        ("[telemetry]\nenabled_x = false\n", False),
        ("# [telemetry]\nenabled = false\n", False),
        ("[telemetry]\n# enabled = false\n", False),
    ],
)
def test_quick_look_for_off(text, found):
    assert says(text.encode(), b"enabled", b"false") is found


def test_plain_off_parses_nothing(user, root, parses):
    user("[telemetry]\nenabled = false\n")
    assert held(root).mode == "off"
    assert parses == []


def test_off_by_default_does_not_parse_the_rest_of_caros_settings(user, root, parses):
    user("[ui]\ncolor = 'red'\n")
    assert (held(root, "ga").mode, parses) == ("off", [])


@pytest.mark.parametrize("channel", policy.CHANNELS)
@pytest.mark.parametrize("kind", ["directory", "fifo", "dangling", "loop", "unreadable"])
def test_a_config_that_cannot_be_read_means_off_and_never_hangs(user, root, channel, kind, monkeypatch):
    place = user(ON)
    if kind == "unreadable":  # Not with chmod: the tests may run as root.
        monkeypatch.setattr(snapshot, "read", lambda *_args: (_ for _ in ()).throw(PermissionError(13, "")))
    else:
        os.unlink(place)
        {"directory": os.mkdir, "fifo": os.mkfifo}.get(kind, lambda path: os.symlink("nowhere", path))(place)
        if kind == "loop":
            os.unlink(place)
            os.symlink(place, place)
    assert held(root, channel).mode == "off"


def test_unreadable_admin_file_means_off(user, root, tmp_path):
    user(ON)
    os.symlink(tmp_path / "nowhere", tmp_path / "admin.toml")
    found = held(root, admin=str(tmp_path / "admin.toml"))
    assert (found.mode, found.source) == ("off", "admin")


def test_narrowed_names_the_source_only_where_it_narrows():
    assert SAMPLE.narrowed("on", 2, "x").source == "config"
    assert SAMPLE.narrowed("local", 2, "x").source == "x"
    assert SAMPLE.narrowed("on", 0, "x").level == 0


def test_policy_loads_nothing_heavy_where_the_snapshot_holds(user, root):
    """A fresh interpreter resolves a policy without a TOML parser."""
    user(ON)
    make_root(root)
    held(root)
    program = (
        "import sys, os\n"
        "from carojournal.policy import resolve\n"
        f"found = resolve({root!r}, channel='beta', environ=dict(os.environ), admin={NO_ADMIN!r})\n"
        "assert found.mode == 'on', found.mode\n"
        "print([name for name in ('tomllib', 're', 'dataclasses', 'typing', 'json') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", f"import sys; sys.path.insert(0, {TREE!r})\n{program}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
