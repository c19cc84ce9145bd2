"""Where things are.  Hot path: `os` and `sys` only; nothing here touches the disk except `config_file`.

journal's root   $CAROJOURNAL_DIR, else caro's data directory + telemetry/journal
caro's data      Linux $XDG_DATA_HOME or ~/.local/share; macOS ~/Library/Application Support; Windows %LOCALAPPDATA%
config           $XDG_CONFIG_HOME or ~/.config, caro/config.toml; second the platform's own directory
admin policy     /etc/caro/telemetry.toml; macOS /Library/Application Support/caro; Windows %PROGRAMDATA%
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["admin_file", "config_file", "config_files", "journal_root"]


def _home(environ: "Mapping[str, str]") -> str:
    return environ.get("HOME") or os.path.expanduser("~")


def _data_home(environ: "Mapping[str, str]", platform: str) -> str:
    if platform == "darwin":
        return os.path.join(_home(environ), "Library", "Application Support")
    if platform == "win32":
        return environ.get("LOCALAPPDATA") or os.path.join(_home(environ), "AppData", "Local")
    given = environ.get("XDG_DATA_HOME", "")
    return given if given.startswith("/") else os.path.join(_home(environ), ".local", "share")


def journal_root(environ: "Mapping[str, str]", platform: str = sys.platform) -> str:
    """Return the absolute path of the journal's root; it need not exist."""
    given = environ.get("CAROJOURNAL_DIR")
    if given:
        return os.path.abspath(given)
    return os.path.join(_data_home(environ, platform), "caro", "telemetry", "journal")


def config_files(environ: "Mapping[str, str]", platform: str = sys.platform) -> tuple[str, ...]:
    """Return the places of caro's config.toml, the first one that exists counts; new ones go to the first place."""
    given = environ.get("XDG_CONFIG_HOME", "")
    base = given if given.startswith("/") else os.path.join(_home(environ), ".config")
    first = os.path.join(base, "caro", "config.toml")
    if platform == "darwin":
        return first, os.path.join(_home(environ), "Library", "Application Support", "caro", "config.toml")
    if platform == "win32":
        roaming = environ.get("APPDATA") or os.path.join(_home(environ), "AppData", "Roaming")
        return first, os.path.join(roaming, "caro", "config.toml")
    return (first,)


def config_file(environ: "Mapping[str, str]", platform: str = sys.platform) -> str:
    """Return the config file that counts: the first that exists, else the first place.  One `lstat` a candidate."""
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
