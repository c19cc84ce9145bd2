"""What the files say: types, ranges, ceilings, locks, and that every doubt means off."""

import os
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carojournal import policy
from carojournal.config_files import load
from carojournal.config_keys import KEYS, accept, allowed

YES = 'consent = { answer = "yes", version = 1, at = "2026-05-04T03:02:01Z" }\n'
YES_MS = 1_777_863_721_000  # date -u -d 2026-05-04T03:02:01Z +%s
RECORD = 'answer = "yes"\nversion = 1\nat = "2026-05-04T03:02:01Z"\n'
NO = 'consent = { answer = "no", version = 1, at = "2026-05-04T03:02:01Z" }\n'


@pytest.fixture
def files(tmp_path):
    """Write config and admin file and return their settings; None leaves a file away."""

    def write(user=None, admin=None):
        places = []
        for name, text in (("config.toml", user), ("admin.toml", admin)):
            place = tmp_path / name
            if text is not None:
                place.write_bytes(text if isinstance(text, bytes) else text.encode())
                place.chmod(0o644)
            places.append(str(place))
        return load(*places)

    return write


@pytest.mark.parametrize(
    ("user", "channel", "mode", "source"),
    [
        (None, "beta", "local", "default (beta)"),
        (None, "ga", "off", "default (ga)"),
        ("[other]\nenabled = true\n", "ga", "off", "default (ga)"),
        ("[telemetry]\n", "beta", "local", "default (beta)"),
        ("[telemetry]\nenabled = false\n", "beta", "off", "config"),
        ("[telemetry]\nenabled = true\n", "ga", "local", "config"),
        ("[telemetry]\nenabled = true\n" + YES, "ga", "on", "config"),
        ("[telemetry]\nenabled = true\nair_gapped = true\n" + YES, "beta", "local", "config"),
        ("[telemetry]\nenabled = true\n" + NO, "beta", "local", "config"),
        ("[telemetry]\nenabled = false\n" + YES, "beta", "off", "config"),
        ("[telemetry]\n" + NO, "beta", "off", "config"),
        ("[telemetry]\n" + YES, "beta", "local", "default (beta)"),
        ("[telemetry]\n" + YES, "ga", "off", "default (ga)"),
        ("[telemetry]\nenabled = true\n" + YES.replace("version = 1", "version = 99"), "beta", "local", "config"),
        ("telemetry.enabled = false\n", "beta", "off", "config"),
        ('[telemetry]\nchannel = "ga"\n', "beta", "off", "default (ga)"),
        ('[telemetry]\nchannel = "beta"\n', "ga", "off", "default (ga)"),
    ],
)
def test_user_config_names_the_mode(files, user, channel, mode, source):
    settings = files(user)
    found = settings.policy(channel)
    assert (found.mode, found.source, found.problems) == (mode, source, ())
    assert found.consent_ms == (YES_MS if mode == "on" else 0)


@pytest.mark.parametrize(
    ("user", "admin", "channel", "mode", "source"),
    [
        ("enabled = true\n" + YES, "enabled = false\n", "beta", "off", "admin"),
        ("enabled = true\n" + YES, "[telemetry]\nair_gapped = true\n", "beta", "local", "admin"),
        ("enabled = true\n" + YES, "enabled = true\nair_gapped = false\n", "beta", "on", "config"),
        ("enabled = false\n", "enabled = true\nair_gapped = false\n", "beta", "off", "config"),
        ("enabled = true\nair_gapped = true\n" + YES, "air_gapped = false\n", "beta", "local", "config"),
        ("", "enabled = true\n", "ga", "local", "admin"),
        ("", "enabled = true\n" + YES, "ga", "local", "admin"),
        (YES, "enabled = true\n", "ga", "on", "admin"),
        (NO, "enabled = true\n", "ga", "off", "config"),
        ("", 'channel = "ga"\n', "beta", "off", "default (ga)"),
    ],
)
def test_admin_file_narrows_and_never_widens(files, user, admin, channel, mode, source):
    found = files("[telemetry]\n" + user, admin).policy(channel)
    assert (found.mode, found.source, found.problems) == (mode, source, ())


BAD = {
    "enabled": ["1", '"yes"', "[]"],
    "level": ['"everything"', "2", '"STANDARD"'],
    "batch_interval_hours": ["0", "8761", "24.0", "true", '"24"', "-1"],
    "offline_spool_max_mb": ["0", "100001", "true", "1e3"],
    "air_gapped": ['"no"', "0"],
    "endpoint": [
        '"http://telemetry.caro.sh/v1"',
        '"https://user:pass@host/"',
        '"https://host/?key=1"',
        '"https://host/#a"',
        '"https://"',
        '"ftp://host/"',
        '"https://host:0/"',
        '"https://host:99999/"',
        '"http://localhost.evil.example/"',
        '"http://127.0.0.1.evil.example/"',
        '"http://localhost@evil.example/"',
        '"https://ho\\nst/"',
        '"https://ho\\tst/"',
        '"https://hóst/"',
        '"https:\\\\\\\\host"',
        '""',
        "443",
    ],
    "batch_max_events": ["0", "100001"],
    "wire_format": ['"json"', '""'],
    "ca_file": ['"relative.pem"', '"/a\\u0000b"', "true"],
    "proxy": ['"http://proxy"', '"http://proxy:3128/path"', '"http://u:p@proxy:3128"', '"socks5://proxy:1080"'],
    "posthog_key": ['""', '"phc_"', '"phx_personal"', '"phc_a b"', '"phc+x"', '"phc_ä"', f'"phc_{"a" * 197}"', "7"],
    "channel": ['"nightly"'],
}
GOOD = {
    "enabled": ["true", "false"],
    "level": ['"minimal"', '"standard"', '"detailed"', '"normal"', '"verbose"'],
    "batch_interval_hours": ["1", "8760"],
    "offline_spool_max_mb": ["1", "100000"],
    "air_gapped": ["true"],
    "endpoint": [
        '"https://telemetry.caro.sh/v1/events"',
        '"https://host:8443"',
        '"http://localhost:8080/x"',
        '"http://127.0.0.1:1/"',
        '"http://127.8.9.1/"',
        '"http://[::1]:8080/"',
        '"https://[2001:db8::1]/"',
    ],
    "batch_max_events": ["1", "100000"],
    "wire_format": ['"caro-v1"', '"caro-array"', '"posthog"', '"otlp"'],
    "ca_file": ['"/etc/ssl/own.pem"'],
    "proxy": ['"http://proxy.example:3128"', '"https://proxy.example:3129/"'],
    "posthog_key": ['"phc_Abc-123"', f'"phc_{"a" * 196}"'],
    "channel": ['"beta"', '"ga"'],
}


def test_tables_of_this_test_name_every_key():
    assert set(GOOD) == set(BAD) == set(KEYS)


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD.items() for value in values])
@pytest.mark.parametrize("place", ["user", "admin"])
def test_wrong_type_or_range_means_off_and_is_named_without_its_value(files, key, value, place):
    secret = f"{key} = {value}\n"
    user = "[telemetry]\nenabled = true\n" if key != "enabled" else "[telemetry]\n"
    settings = files(user + secret, None) if place == "user" else files(user, secret)
    found = settings.policy("beta")
    assert found.mode == "off"
    assert found.source == ("config" if place == "user" else "admin")
    (problem,) = found.problems
    assert key in problem
    assert allowed(key) in problem
    assert problem.startswith(settings.config_path if place == "user" else settings.admin_path)
    given = str(tomllib.loads(secret)[key])
    assert len(given) < 9 or given not in problem


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in GOOD.items() for value in values])
def test_right_values_are_taken_with_their_source(files, key, value):
    settings = files(f"[telemetry]\n{key} = {value}\n")
    assert settings.problems == ()
    assert settings.source(key) == "config"
    aliases = {"normal": "standard", "verbose": "detailed"}
    given = tomllib.loads(f"x = {value}")["x"]
    assert settings.value(key) == aliases.get(given, given)


@pytest.mark.parametrize("key", KEYS)
def test_defaults_are_values_that_are_allowed(key):
    default = KEYS[key].default
    assert default is None or accept(key, default) == default


@pytest.mark.parametrize(
    "data",
    [
        b"[telemetry",
        b"\xff\xfe",
        b"a = 1\na = 2\n",
        b"telemetry = 5\n",
        b"\xef\xbb\xbf[telemetry]\n",
        b"x = " + b"[" * 5000,
    ],
)
@pytest.mark.parametrize("place", ["user", "admin"])
def test_a_file_that_is_no_toml_means_off(files, data, place):
    settings = files(data, None) if place == "user" else files("[telemetry]\nenabled = true\n", data)
    found = settings.policy("beta")
    assert found.mode == "off"
    assert found.source == ("config" if place == "user" else "admin")
    assert len(found.problems) == 1


def test_toml_error_names_the_place_but_no_text_of_the_file(files):
    settings = files("[hunter2secret]\n[hunter2secret]\n")
    (problem,) = settings.problems
    assert "line 2" in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize("kind", ["directory", "fifo", "dangling", "huge", "loop"])
@pytest.mark.parametrize("which", [0, 1])
def test_what_is_no_readable_file_means_off_without_hanging(tmp_path, kind, which):
    places = [str(tmp_path / "config.toml"), str(tmp_path / "admin.toml")]
    place = places[which]
    if kind == "directory":
        os.mkdir(place)
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "dangling":
        os.symlink(tmp_path / "nowhere", place)
    elif kind == "loop":
        os.symlink(place, place)
    else:
        with open(place, "w") as stream:
            stream.write("#" * (policy.CONFIG_BYTES_MAX + 1))
    found = load(*places).policy("beta")
    assert (found.mode, len(found.problems)) == ("off", 1)
    assert found.problems[0].startswith(place)


def test_admin_file_that_everybody_may_write_is_refused(files, tmp_path):
    files(None, "endpoint = 'https://host/'\n")
    os.chmod(tmp_path / "admin.toml", 0o666)
    settings = load(str(tmp_path / "none"), str(tmp_path / "admin.toml"))
    assert settings.policy("beta").mode == "off"
    assert "writable by everybody" in settings.problems[0]


@pytest.mark.parametrize(
    "record",
    [
        'answer = "maybe", version = 1, at = "2026-05-04T03:02:01Z"',
        'answer = "yes", version = true, at = "2026-05-04T03:02:01Z"',
        'answer = "yes", version = 0, at = "2026-05-04T03:02:01Z"',
        'answer = "yes", version = 1, at = "2026-05-04T03:02:01"',
        'answer = "yes", version = 1, at = "yesterday"',
        'answer = "yes", version = 1, at = 5',
        'answer = "yes", version = 1, at = "1969-01-01T00:00:00Z"',
        'answer = "yes", version = 1, at = "9999-12-31T23:59:59-05:00"',
        'answer = "yes", version = 1',
        'answer = true, version = 1, at = "2026-05-04T03:02:01Z"',
    ],
)
def test_damaged_consent_record_means_off(files, record):
    found = files(f"[telemetry]\nenabled = true\nconsent = {{ {record} }}\n").policy("beta")
    assert (found.mode, found.consent_ms) == ("off", 0)
    assert "consent." in found.problems[0]


def test_consent_that_is_no_record_means_off(files):
    assert files('[telemetry]\nenabled = true\nconsent = "yes"\n').policy("beta").mode == "off"


@pytest.mark.parametrize("at", ['"2026-05-04T05:02:01+02:00"', "2026-05-04T03:02:01Z", '"2026-05-04T03:02:01.000Z"'])
def test_every_spelling_of_a_time_gives_the_same_consent(files, at):
    settings = files(f"[telemetry]\nenabled = true\n[telemetry.consent]\nanswer = 'yes'\nversion = 1\nat = {at}\n")
    assert settings.policy("beta").consent_ms == YES_MS


def test_legacy_and_unknown_keys_are_notes(files):
    settings = files('[telemetry]\nfirst_run = true\nfuture = 1\n"a b\\u001b" = 2\n')
    assert settings.problems == ()
    assert [note.partition("] ")[2].partition(":")[0] for note in settings.notes] == [
        "first_run",
        "future",
        "<unknown>",
    ]


def test_admin_keys_win_and_lock(files):
    settings = files(
        "[telemetry]\nlevel = 'detailed'\nbatch_max_events = 5\nair_gapped = true\n",
        "endpoint = 'https://site.example/'\nlevel = 'standard'\nbatch_max_events = 7\nenabled = true\n"
        "air_gapped = false\n",
    )
    assert (settings.value("endpoint"), settings.source("endpoint")) == ("https://site.example/", "admin")
    assert (settings.value("batch_max_events"), settings.source("batch_max_events")) == (7, "admin")
    assert (settings.value("level"), settings.source("level")) == ("standard", "admin")
    assert (settings.value("air_gapped"), settings.source("air_gapped")) == (True, "config")
    assert settings.locked("endpoint", "https://other.example/")
    assert settings.locked("batch_max_events", 5)
    assert settings.locked("level", "detailed")
    # Less than the administrator allows is always the user's to choose.
    assert not settings.locked("level", "minimal")
    assert not settings.locked("enabled", False)
    assert not settings.locked("air_gapped", True)
    assert not settings.locked("batch_interval_hours", 3)


def test_admin_ceilings_lock_upwards(files):
    settings = files(None, "enabled = false\nair_gapped = true\n")
    assert settings.locked("enabled", True)
    assert settings.locked("air_gapped", False)
    assert settings.ceiling == "off"


def test_user_level_below_the_admins_holds(files):
    settings = files("[telemetry]\nlevel = 'minimal'\n", "level = 'standard'\n")
    assert (settings.value("level"), settings.source("level")) == ("minimal", "config")


def test_admin_key_given_twice_is_a_problem(files):
    settings = files(None, "enabled = true\n[telemetry]\nenabled = false\n")
    assert settings.policy("beta").mode == "off"
    assert len(settings.problems) == 1


def test_policy_carries_level_and_cap(files):
    found = files("[telemetry]\nlevel = 'minimal'\noffline_spool_max_mb = 25\n").policy("beta")
    assert (found.level, found.cap_bytes) == (0, 25_000_000)


@given(st.binary(max_size=200))
def test_no_bytes_in_a_config_raise(tmp_path_factory, data):
    place = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    place.write_bytes(b"[telemetry]\n" + data)
    assert load(str(place), "/nonexistent").policy("ga").mode in policy.MODES


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("enabeld", "enabeld"),
        ("some_other_key", "some_other_key"),
        ("sk-proj-Abc123", "<unknown>"),
        ("hunter2", "<unknown>"),
        ("a" * 33, "<unknown>"),
        ('"jane.doe@example.com"', "<unknown>"),
    ],
)
def test_an_unknown_key_is_named_only_if_it_looks_like_a_mistyped_one(files, key, shown):
    notes = files(f"[telemetry]\n{key} = 1\n").notes
    assert [note.partition("[telemetry] ")[2] for note in notes] == [f"{shown}: unknown key, ignored"]


MISWRITTEN = {
    "[telemetry]\nenabled = true\nair-gapped = true\n": "[telemetry] air_gapped",
    '[telemetry]\nenabled = true\nAir_Gapped = "hunter2"\n': "[telemetry] air_gapped",
    '[telemetry]\nenabled = true\n"air gapped" = true\n': "[telemetry] air_gapped",
    "[telemetry]\nenabled = true\nairgapped = true\n": "[telemetry] air_gapped",
    "[telemetry]\nEnabled = false\n": "[telemetry] enabled",
    "[telemetry]\nenabled = true\nENABLED = false\n": "[telemetry] enabled",
    '[telemetry]\nLevel = "minimal"\n': "[telemetry] level",
    "[telemetry]\nbatch-max-events = 5\n": "[telemetry] batch_max_events",
    "[telemetry.Consent]\nanswer = 'no'\n": "[telemetry] consent",
    "[Telemetry]\nenabled = false\n": "[telemetry]",
    '["telemetry "]\nenabled = false\n': "[telemetry]",
    "[telemetry]\nenabled = true\n[TELEMETRY]\nenabled = false\n": "[telemetry]",
    "Telemetry = false\n": "[telemetry]",
}


@pytest.mark.parametrize("text", MISWRITTEN)
def test_a_name_of_ours_in_other_letters_is_a_problem(files, text):
    """Passed over, what somebody forbade would be allowed."""
    settings = files(text + ("" if "consent" in text.lower() else f"[telemetry.consent]\n{RECORD}"))
    assert [problem.partition(": ")[2].partition(": written")[0] for problem in settings.problems] == [MISWRITTEN[text]]
    assert (settings.policy("beta").mode, settings.policy("ga").mode) == ("off", "off")
    assert "hunter" not in str(settings.problems + settings.notes)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Enabled = false\n", " enabled"),
        ("air-gapped = true\n", " air_gapped"),
        ("[telemetry]\nair-gapped = true\n", " [telemetry] air_gapped"),
        ("[Telemetry]\nenabled = false\n", " [telemetry]"),
    ],
)
def test_so_it_is_in_the_administrators_file(files, text, named):
    settings = files("[telemetry]\nenabled = true\n" + YES, text)
    assert [problem.partition(":")[2].partition(": written")[0] for problem in settings.problems] == [named]
    assert (settings.policy("beta").mode, settings.policy("beta").source) == ("off", "admin")


@pytest.mark.parametrize("key", ["enabeld", "air_gappd", "levels", "telemetry", "en.abled", "consents"])
def test_what_differs_by_more_is_a_note(files, key):
    settings = files(f"[telemetry]\n{key} = 1\n[telemetries]\nEnabled = false\n[other]\nenabled = false\n")
    assert (settings.problems, len(settings.notes)) == ((), 1)


def test_no_two_names_of_ours_differ_by_that_alone():
    folded = {name.replace("_", "") for name in (*KEYS, "consent", "telemetry")}
    assert len(folded) == len(KEYS) + 2


def test_a_key_of_very_many_parts_is_refused_at_once(tmp_path):
    path = tmp_path / "config.toml"
    path.write_bytes(b"a." * 400_000 + b"a = 1\n")
    settings = load(str(path), "")
    assert settings.problems == (f"{path}: a line with more dots than any key needs",)
    assert settings.policy("beta").mode == "off"
