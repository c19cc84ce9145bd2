"""The settings of `[telemetry]`, as data: what each key may hold, what holds without it, and what it is for.

The first six are caro's own (same names, types and defaults), the others are ours.  A value outside its set is refused,
never clamped or guessed at, and the refusal names what is allowed, never the value.
"""

import ipaddress
import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from carojournal.events import LEVEL_ALIASES, LEVELS

__all__ = [
    "CONSENT",
    "KEYS",
    "SECTION",
    "Key",
    "accept",
    "accept_text",
    "allowed",
    "is_loopback",
    "meant",
    "plain_name",
]

SECTION = "telemetry"
NAME_CHARACTERS_MAX = 32  # The longest key of ours has 20.
CONSENT = "consent"  # The record of the user's answer stands in [telemetry.consent]; it is no setting.
KEY_PREFIX = "phc_"  # Of a project's key, which only writes; a personal one (phx_) reads and must go nowhere.
TOKEN_CHARACTERS_MAX = 200  # PostHog's keys have about 47.
TEXT_CHARACTERS_MAX = 2048  # What proxies and servers take as a URL; longer than any path that a file system takes.


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: `kind` is bool, int, choice, url, proxy, path or token; `absent` is what a `default` None means."""

    kind: str
    default: bool | int | str | None
    about: str
    choices: tuple[str, ...] = ()
    lowest: int = 0
    highest: int = 0
    absent: str = "none"


KEYS: dict[str, Key] = {
    "enabled": Key("bool", None, "keep events at all", absent="the channel's default: beta true, ga false"),
    "level": Key("choice", "standard", "how much is kept", choices=LEVELS),
    "batch_interval_hours": Key("int", 24, "hours between two uploads", lowest=1, highest=8_760),
    "offline_spool_max_mb": Key(
        "int", 10, "megabytes (10^6 bytes) that the journal may take on this disk", lowest=1, highest=100_000
    ),
    "air_gapped": Key("bool", False, "keep events, never send them"),
    "endpoint": Key("url", None, "where batches are sent", absent="the wire format's own"),
    "batch_max_events": Key("int", 1_000, "events in one batch, at most", lowest=1, highest=100_000),
    "wire_format": Key(
        "choice",
        "caro-v1",
        "how a batch is written",
        choices=("caro-v1", "caro-array", "posthog", "otlp"),
    ),
    "ca_file": Key("path", None, "certificates (PEM) to trust instead of the system's", absent="the system's"),
    "proxy": Key("proxy", None, "proxy for uploads; never taken from the environment"),
    "posthog_key": Key("token", None, "the project's key, for the wire format posthog"),
    "channel": Key(
        "choice",
        None,
        "whose default holds; ga wins over a host's beta",
        choices=("beta", "ga"),
        absent="the host's own",
    ),
}

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_ALIASES = {"level": LEVEL_ALIASES}


_ALLOWED = {
    "bool": "true or false",
    "path": "an absolute path",
    "token": f"a project's key, {KEY_PREFIX} and ASCII letters, digits, - and _",
    "proxy": "http://HOST:PORT or https://HOST:PORT, without user, path, query or fragment",
    "url": "an https:// URL without user, query or fragment (http:// for this machine only)",
}


def allowed(name: str) -> str:
    """Return what the key *name* may hold, for a message."""
    key = KEYS[name]
    if key.kind == "int":
        return f"an integer from {key.lowest} to {key.highest}"
    if key.kind == "choice":
        return f"{', '.join(key.choices[:-1])} or {key.choices[-1]}"
    return _ALLOWED[key.kind]


def is_loopback(host: str) -> bool:
    """Tell whether *host*, of a URL, is this machine: nothing that goes there, as it may without TLS, may leave it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _accepts_url(text: str, *, proxy: bool) -> bool:
    # urlsplit drops tabs and newlines silently and takes user names: look at the characters first.
    if not all("!" <= letter <= "~" and letter not in '@\\"<>^`{|}?#' for letter in text):
        return False
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    host = parts.hostname or ""
    if not host or port == 0:
        return False
    if proxy:
        return parts.scheme in ("http", "https") and port is not None and parts.path in ("", "/")
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def accept(name: str, value: object) -> bool | int | str | None:
    """Return *value* as the key *name* holds it (aliases resolved), or None if it is not allowed there."""
    key = KEYS[name]
    if key.kind == "bool":
        return value if isinstance(value, bool) else None
    if key.kind == "int":
        fits = isinstance(value, int) and not isinstance(value, bool) and key.lowest <= value <= key.highest
        return value if fits and isinstance(value, int) else None
    if not isinstance(value, str) or len(value) > TEXT_CHARACTERS_MAX:
        return None
    if key.kind == "choice":
        value = _ALIASES.get(name, {}).get(value, value)
        return value if value in key.choices else None
    if key.kind == "token":
        good = value.startswith(KEY_PREFIX) and len(value) <= TOKEN_CHARACTERS_MAX
        good = good and value.isascii() and value[4:].replace("-", "").replace("_", "").isalnum()
    elif key.kind == "path":
        good = os.path.isabs(value) and value.isprintable()
    else:
        good = _accepts_url(value, proxy=key.kind == "proxy")
    return value if good else None


def accept_text(name: str, text: str) -> bool | int | str | None:
    """Return the value of *text* from a command line, or None if it is not allowed for the key *name*."""
    key = KEYS[name]
    word = text.strip()
    if key.kind == "bool":
        folded = word.lower()
        return True if folded in _TRUE else False if folded in _FALSE else None
    if key.kind == "int":
        # isdecimal alone takes the digits of every script, and int() any number of them.
        return accept(name, int(word)) if word.isascii() and word.isdecimal() and len(word) < 10 else None
    return accept(name, word.lower() if key.kind == "choice" else word)


def plain_name(key: str) -> str:
    """Return an unknown key's name for a message: as it is if it looks like a name of ours mistyped, else `<unknown>`.

    Small letters and "_" only: a token that somebody pasted in the wrong place has digits, capitals or hyphens.
    """
    ours = key.isascii() and key.islower() and key.replace("_", "").isalpha() and len(key) <= NAME_CHARACTERS_MAX
    return key if ours else "<unknown>"


def _letters(key: str) -> str:
    return "".join(letter for letter in key.lower() if letter not in "-_" and not letter.isspace())


_MEANT = {_letters(name): name for name in (*KEYS, CONSENT, SECTION)}


def meant(key: str) -> str:
    """Return the name of ours from which *key* differs by case, hyphens, "_" or blanks alone, "" if there is none.

    Whoever writes `air-gapped = true` means it: to pass over that would allow what they forbid.
    """
    name = _MEANT.get(_letters(key), "")
    return "" if name == key else name
