"""`config explain`: which place decided each setting, and what was said elsewhere without effect."""

import os

from carojournal import config, events, policy
from carojournal.config_keys import KEYS

YES = 'consent = { answer = "yes", version = 1, at = "2026-05-04T03:02:01Z" }\n'


def rows_of(rows, key):
    return [(value, source) for name, value, source in rows if name == key]


def test_explain_names_the_winner_and_what_had_no_effect(home, tmp_path):
    os.makedirs(os.path.join(home, ".config", "caro"))
    with open(os.path.join(home, ".config", "caro", "config.toml"), "w") as stream:
        stream.write("[telemetry]\nenabled = true\nlevel = 'detailed'\nodd = 1\n" + YES)
    environ = {"HOME": home, "DO_NOT_TRACK": "1", "CARO_TELEMETRY_LEVEL": "minimal"}
    rows = config.explain("/r", "beta", environ, admin=str(tmp_path / "none"))
    assert rows_of(rows, "mode") == [
        ("off", "DO_NOT_TRACK"),
        ("on", "config (no effect)"),
        ("local", "default (beta) (no effect)"),
    ]
    assert rows_of(rows, "level")[:2] == [("minimal", "CARO_TELEMETRY_LEVEL"), ("detailed", "config (no effect)")]
    assert {name for name, _, _ in rows} == {"mode", "journal", "note", *KEYS}
    assert not os.path.exists("/r")


def test_explain_sets_no_default_of_none_beside_what_was_set(home, tmp_path):
    admin = str(tmp_path / "none")
    environ = {"HOME": home, "DO_NOT_TRACK": "1"}
    assert rows_of(config.explain("/r", "beta", environ, admin=admin), "posthog_key") == [("(none)", "default")]
    os.makedirs(os.path.join(home, ".config", "caro"))
    with open(os.path.join(home, ".config", "caro", "config.toml"), "w") as stream:
        stream.write("[telemetry]\nposthog_key = 'phc_abc'\nproxy = 'http://127.0.0.1:1'\nca_file = '/ca'\n")
    rows = config.explain("/r", "beta", environ, admin=admin)
    assert rows_of(rows, "posthog_key") == [("phc_abc", "config")]
    assert rows_of(rows, "proxy") == [("http://127.0.0.1:1", "config")]
    assert rows_of(rows, "ca_file") == [("/ca", "config"), ("(the system's)", "default (no effect)")]


def test_explain_agrees_with_resolve(home, tmp_path):
    """The row that explains the mode and the mode that holds come from different code; they must not differ."""
    admin = tmp_path / "admin.toml"
    place = os.path.join(home, ".config", "caro", "config.toml")
    os.makedirs(os.path.dirname(place))
    for text in (
        "",
        "[telemetry]\nenabled = true\n" + YES,
        "[telemetry]\nenabled = false\n",
        "[telemetry",
        "[telemetry]\nlevel = 3\n",
    ):
        with open(place, "w") as stream:
            stream.write(text)
        for limits in ("", "enabled = false\n", "air_gapped = true\n", "enabled = true\n", "junk"):
            admin.write_text(limits)
            for extra in ({}, {"DO_NOT_TRACK": "1"}, {"CARO_TELEMETRY_AIR_GAPPED": "1"}, {"CARO_TELEMETRY_LEVEL": "x"}):
                for channel in policy.CHANNELS:
                    environ = {"HOME": home, **extra}
                    held = policy.resolve("/nonexistent", channel=channel, environ=environ, admin=str(admin))
                    rows = config.explain("/nonexistent", channel, environ, admin=str(admin))
                    assert rows_of(rows, "mode")[0][0] == held.mode
                    if held.mode != "off":
                        assert rows_of(rows, "mode")[0][1] == held.source
                        assert rows_of(rows, "level")[0][0] == events.LEVELS[held.level]
