"""Who decides whether anything is recorded, and where that is said: the resolved policy.  Hot path.

Modes, from narrow to wide: `off` (no file is created, the state directory is not even looked at), `local` (keep, never
send), `on` (keep, and carobatch may send what was recorded after a recorded yes).

Precedence, strongest first: admin file, --no-telemetry, CARO_TELEMETRY_*, DO_NOT_TRACK, the user's config, the
channel's default.  The user's config (else the admin file, else the default) names a mode; everything above it can only
narrow it: an administrator or a variable cannot turn on what the user turned off.  A file that cannot be read or
understood means off.

Where there is neither a config nor an administrator's file, this module decides alone; else `snapshot` is asked.

Places:

    journal's root   $CAROJOURNAL_DIR, else caro's data + telemetry/journal
    caro's data      Linux $XDG_DATA_HOME or ~/.local/share; macOS ~/Library/Application Support; Windows %LOCALAPPDATA%
    config           $XDG_CONFIG_HOME or ~/.config, caro/config.toml; second the platform's own directory
    admin policy     /etc/caro/telemetry.toml; macOS /Library/Application Support/caro; Windows %PROGRAMDATA%

Where one of them needs a home and there is none, off holds (`nowhere`): no place is made up.
"""

import os
import sys

import carojournal
from carojournal import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CAP_BYTES_DEFAULT",
    "CHANNELS",
    "IDENTITY",
    "IDENTITY_BYTES_MAX",
    "MODES",
    "PROMPT_VERSION",
    "SNAPSHOT",
    "Policy",
    "absolute",
    "admin_file",
    "config_file",
    "config_files",
    "default_policy",
    "environment_limits",
    "file_signature",
    "find_root",
    "home",
    "journal_root",
    "resolve",
    "segment_limit",
]

MODES = ("off", "local", "on")
CHANNELS = ("beta", "ga")
CAP_BYTES_DEFAULT = 10_000_000  # `offline_spool_max_mb = 10` of caro's documents, in SI megabytes.
CONFIG_BYTES_MAX = 1_000_000  # A config file is a few kilobytes; a larger one is not read at start-up, which means off.
SNAPSHOT = "policy"
IDENTITY = "journal"
IDENTITY_BYTES_MAX = 4_000_000  # some hundred bytes a day: a file that large is not ours.
PROMPT_VERSION = 1  # Of `consent_text.PROMPT`; here because a snapshot must not outlive the text that was agreed to.

SEGMENT_BYTES_MIN = 16_384  # Below that headers weigh more than events.
SEGMENT_BYTES_MAX = 1_048_576  # Bounds what one damaged file, one read or one eviction can cost.
_SEGMENTS_PER_CAP = 40  # One segment is 2.5 % of the cap: the grain of eviction.
_WIDE_LANES = 4  # Lanes beyond are used only under contention; they get a quarter, so that 64 of them fit the cap.

_FALSE = ("0", "false", "no", "off")
_TRUE = ("1", "true", "yes", "on")


class Policy:
    """What is allowed now.

    `mode` is one of MODES, `level` 0-2 (events.MINIMAL ...), `cap_bytes` bounds the spool, `consent_ms` is when the
    recorded yes was given (UTC milliseconds, 0: never), `source` names what decided the mode, `problems` say what in
    the configuration could not be understood (which means off).
    """

    __slots__ = ("cap_bytes", "channel", "consent_ms", "level", "mode", "problems", "source")

    def __init__(
        self,
        mode: str,
        *,
        source: str,
        channel: str = "beta",
        level: int = events.STANDARD,
        cap_bytes: int = CAP_BYTES_DEFAULT,
        consent_ms: int = 0,
        problems: "tuple[str, ...]" = (),
    ) -> None:
        self.mode = mode
        self.source = source
        self.channel = channel
        self.level = level
        self.cap_bytes = cap_bytes
        self.consent_ms = consent_ms
        self.problems = problems

    def narrowed(self, mode: str, level: int, source: str) -> "Policy":
        """Return this policy with *mode* and *level* as upper bounds; *source* is named if the mode changes."""
        narrower = MODES.index(mode) < MODES.index(self.mode)
        if not narrower and level >= self.level:
            return self
        return Policy(
            mode if narrower else self.mode,
            source=source if narrower else self.source,
            channel=self.channel,
            level=min(level, self.level),
            cap_bytes=self.cap_bytes,
            consent_ms=self.consent_ms,
            problems=self.problems,
        )


def home(environ: "Mapping[str, str]") -> str:
    """Return the absolute path of the user's home.  Raises ConfigError where there is none."""
    found = environ.get("HOME") or os.path.expanduser("~")
    if not os.path.isabs(found):
        raise carojournal.errors.ConfigError(carojournal.nowhere.NO_HOME)
    return found


def _data_home(environ: "Mapping[str, str]", platform: str) -> str:
    if platform == "darwin":
        return os.path.join(home(environ), "Library", "Application Support")
    if platform == "win32":
        return environ.get("LOCALAPPDATA") or os.path.join(home(environ), "AppData", "Local")
    given = environ.get("XDG_DATA_HOME", "")
    return given if given.startswith("/") else os.path.join(home(environ), ".local", "share")


def journal_root(environ: "Mapping[str, str]", platform: str = sys.platform) -> str:
    """Return the absolute path of the journal's root; it need not exist.  Raises ConfigError where it has no place."""
    given = environ.get("CAROJOURNAL_DIR")
    if given:
        return absolute(given)
    return os.path.join(_data_home(environ, platform), "caro", "telemetry", "journal")


def absolute(path: str) -> str:
    """Return *path* as an absolute one.  Raises ConfigError where that takes a current directory, which is gone."""
    try:
        return os.path.abspath(path)
    except OSError:
        raise carojournal.errors.ConfigError(carojournal.nowhere.NO_FOLDER) from None


def find_root(environ: "Mapping[str, str]", named: "str | os.PathLike[str] | None" = None) -> str:
    """Return the absolute path of *named*, else `journal_root`; empty where it has no place, which `resolve` knows."""
    try:
        return journal_root(environ) if named is None else absolute(os.fspath(named))
    except carojournal.errors.ConfigError:
        return ""


def config_files(environ: "Mapping[str, str]", platform: str = sys.platform) -> "tuple[str, ...]":
    """Return the places of caro's config.toml, the first one that exists counts; new ones go to the first place.

    Raises ConfigError where that takes a home and there is none.
    """
    given = environ.get("XDG_CONFIG_HOME", "")
    base = given if given.startswith("/") else os.path.join(home(environ), ".config")
    first = os.path.join(base, "caro", "config.toml")
    if platform == "darwin":
        return first, os.path.join(home(environ), "Library", "Application Support", "caro", "config.toml")
    if platform == "win32":
        roaming = environ.get("APPDATA") or os.path.join(home(environ), "AppData", "Roaming")
        return first, os.path.join(roaming, "caro", "config.toml")
    return (first,)


def config_file(environ: "Mapping[str, str]", platform: str = sys.platform) -> str:
    """Return the config file that counts: the first that exists, else the first place.  One `lstat` a candidate.

    Raises as `config_files`.
    """
    places = config_files(environ, platform)
    for place in places[:-1]:
        if os.path.lexists(place):
            return place
    return places[-1] if len(places) > 1 and os.path.lexists(places[-1]) else places[0]


def admin_file(environ: "Mapping[str, str]", platform: str = sys.platform) -> str:
    """Return the place of the administrator's policy; no environment variable of the user can move it on Unix."""
    if platform == "darwin":
        return "/Library/Application Support/caro/telemetry.toml"
    if platform == "win32":
        return os.path.join(environ.get("PROGRAMDATA") or "C:\\ProgramData", "caro", "telemetry.toml")
    return "/etc/caro/telemetry.toml"


def segment_limit(cap_bytes: int, lane: int) -> int:
    """Return the size in bytes at which *lane*'s segment is closed, for a spool of *cap_bytes*."""
    limit = min(max(cap_bytes // _SEGMENTS_PER_CAP, SEGMENT_BYTES_MIN), SEGMENT_BYTES_MAX)
    return limit if lane < _WIDE_LANES else limit // 4


def default_policy(channel: str) -> Policy:
    """Return what holds where nobody chose: beta collects locally, ga is off."""
    return Policy("local" if channel == "beta" else "off", source=f"default ({channel})", channel=channel)


def environment_limits(environ: "Mapping[str, str]", *, no_telemetry: bool = False) -> "tuple[str, int, str]":
    """Return (widest mode, highest level, source) that the call and the environment leave.

    Variables only narrow.  A value that is neither yes nor no is read as the narrowest meaning of its variable: whoever
    sets one of these wants less, not more.  An empty variable counts as unset.
    """
    mode, level, source = "on", events.LEVELS.index("detailed"), ""
    if no_telemetry:
        return "off", level, "--no-telemetry"
    for name in ("CARO_TELEMETRY_ENABLED", "CARO_TELEMETRY"):
        value = environ.get(name, "").strip().lower()
        if name == "CARO_TELEMETRY" and value in ("local", "air-gapped", "air_gapped"):
            mode, source = "local", name
        elif value and value not in _TRUE:
            return "off", level, name
    value = environ.get("CARO_TELEMETRY_AIR_GAPPED", "").strip().lower()
    if value and value not in _FALSE:
        mode, source = "local", "CARO_TELEMETRY_AIR_GAPPED"
    value = environ.get("DO_NOT_TRACK", "").strip().lower()
    if value and value not in ("0", "false"):
        return "off", level, "DO_NOT_TRACK"
    value = environ.get("CARO_TELEMETRY_LEVEL", "").strip().lower()
    if value:
        value = events.LEVEL_ALIASES.get(value, value)
        level = events.LEVELS.index(value) if value in events.LEVELS else 0
    return mode, level, source


def file_signature(path: str) -> str:
    """Return "<mtime ns>:<size>:<inode>" of a file, "-" where there is none, "!" where it cannot be looked at.

    A link to nowhere is no missing file: what the user said stands in a place that is not there now.
    """
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return "-"
    except OSError:
        return "!"
    if status.st_mode & 0o170000 == 0o120000:
        try:
            status = os.stat(path)
        except OSError:
            return "!"
    return f"{status.st_mtime_ns}:{status.st_size}:{status.st_ino}"


def resolve(
    root: str, *, channel: str, environ: "Mapping[str, str]", no_telemetry: bool = False, admin: "str | None" = None
) -> Policy:
    """Return the policy that holds for the journal at *root* now.  Never raises; writes nothing when it is off.

    An empty *root* is none (`find_root`).  *channel* is the host's release channel ("beta" or "ga"), *admin* the
    administrator's file (default: the platform's).
    """
    mode, level, source = environment_limits(environ, no_telemetry=no_telemetry)
    if mode == "off":
        return Policy("off", source=source, channel=channel)
    try:
        config = config_file(environ)
    except carojournal.errors.ConfigError:
        root = ""
    if not root:
        return carojournal.nowhere.off(root, environ, channel)
    admin = admin_file(environ) if admin is None else admin
    config_signature, admin_signature = file_signature(config), file_signature(admin)
    if config_signature == "-" == admin_signature:
        base = default_policy(channel)
    else:
        signatures = f"{config_signature} {admin_signature}"
        base = carojournal.snapshot.from_files(root, config, admin, signatures, channel)
    return base.narrowed(mode, level, source)
