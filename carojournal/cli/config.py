"""`carojournal config get KEY | set KEY VALUE | unset KEY | list`: the section [telemetry] of caro's config.toml."""

import json as encoder
import os

from carojournal.choices import held_back
from carojournal.cli.exits import CONFIG
from carojournal.cli.output import is_terminal, say, table, uses_color
from carojournal.config import load_for, shown
from carojournal.config_edit import edit
from carojournal.config_keys import KEYS, SECTION, accept_text, allowed
from carojournal.errors import ConsentError, UsageError
from carojournal.events import LEVELS
from carojournal.policy import environment_limits
from carojournal.settings import Settings

__all__ = ["OPTIONS", "config"]

_WORDS = {"get": 1, "set": 2, "unset": 1, "list": 0}

OPTIONS = {
    "action": {"flags": ("action",), "choices": tuple(_WORDS), "help": "what to do"},
    "words": {"flags": ("words",), "nargs": "*", "metavar": "KEY [VALUE]", "help": "the key, and for set its value"},
    "json": {"help": "print JSON"},
}


def config(action: str, *words: str, json: bool = False) -> int:
    """Get, set, unset or list the settings.

    What the files say; 'carojournal status --explain' also tells what the environment makes of it.
    """
    if action not in _WORDS:
        raise UsageError("config is followed by get, set, unset or list")
    if len(words) != _WORDS[action]:
        raise UsageError(
            f"config {action} takes {('nothing', 'a KEY', 'a KEY and a VALUE')[_WORDS[action]]} (quote spaces)"
        )
    settings = load_for(os.environ)
    if action == "list":
        _list(settings, json=json)
    else:
        key = words[0].removeprefix(f"{SECTION}.")
        if key not in KEYS:
            raise UsageError(f"unknown key; known are {', '.join(KEYS)}")
        if action == "get":
            _get(settings, key, json=json)
        else:
            _set(settings, key, words[1] if action == "set" else None)
            settings = load_for(os.environ)
    for problem in settings.problems:
        say(problem)
    return CONFIG if settings.problems else 0


def _get(settings: Settings, key: str, *, json: bool) -> None:
    value = settings.value(key)
    if json:
        print(encoder.dumps(value))
    elif value is not None:
        print(shown(key, value))


def _list(settings: Settings, *, json: bool) -> None:
    if json:
        settings_by_name = {
            name: {
                "value": settings.value(name),
                "source": settings.source(name),
                "default": key.default,
                "allowed": allowed(name),
                "about": key.about,
                "admin": name in settings.admin,
            }
            for name, key in KEYS.items()
        }
        print(encoder.dumps(settings_by_name, indent=2))
        return
    rows = [(name, shown(name, settings.value(name)), settings.source(name)) for name in KEYS]
    for line in table(("KEY", "VALUE", "SOURCE"), rows, terminal=is_terminal(), color=uses_color()):
        print(line)
    for note in settings.notes:
        say(note)


def _set(settings: Settings, key: str, text: str | None) -> None:
    """Store the value of *text*, or take the key away.  A problem elsewhere in the file is no reason to refuse."""
    value = None if text is None else accept_text(key, text)
    if text is not None and value is None:
        raise UsageError(f"{key}: allowed is {allowed(key)}")
    if settings.locked(key, value):
        raise ConsentError(f"{key}: the administrator's file {settings.admin_path} decides; nothing was changed")
    edit(settings.config_path, {key: value})
    if key == "level" and value is not None:
        level = environment_limits(os.environ)[1]
        if level < LEVELS.index(str(value)):
            say(f"CARO_TELEMETRY_LEVEL still keeps it at {LEVELS[level]}")
    if (key, value) in (("enabled", True), ("air_gapped", False)):
        after = load_for(os.environ)
        mode = after.named_mode("ga")[0]
        note = held_back(mode, os.environ)
        if note:
            say(note)
        if mode == "local" and not after.user.get("air_gapped"):
            say("nothing is sent without a yes: 'carojournal on'")
