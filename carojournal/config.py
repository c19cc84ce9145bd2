"""The policy that the files name, and who said what: what `policy` and `status --explain` ask when in doubt.

Off the hot path: `policy` comes here only when its snapshot does not match the files.
"""

import contextlib
import os
import stat
import time
from typing import TYPE_CHECKING

from carojournal import nowhere, policy
from carojournal.config_files import load
from carojournal.config_keys import KEYS
from carojournal.errors import ConfigError
from carojournal.events import LEVELS
from carojournal.place import is_journal
from carojournal.policy import SNAPSHOT, Policy, environment_limits
from carojournal.settings import Settings, Value
from carojournal.snapshot import encode_snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CHANNEL", "explain", "load", "load_for", "refresh_snapshot", "resolve_files", "shown"]

CHANNEL = "beta"  # Of this release: whose default the command line takes, where no host names a channel.

# A file's time comes from a clock that ticks every 1-10 ms (every 1-2 s on old file systems).  A file changed twice in
# one tick looks unchanged, so no snapshot is kept of a file that is younger than this.
RACY_NS = 100_000_000
RACY_WHOLE_SECONDS_NS = 2_000_000_000


def load_for(environ: "Mapping[str, str]", admin: str | None = None) -> Settings:
    """Return what the files of *environ*'s user and the administrator's file (default: the platform's) say.

    Where the user's has no place, that is a problem of the settings, and their `config_path` is empty.
    """
    admin = policy.admin_file(environ) if admin is None else admin
    try:
        return load(policy.config_file(environ), admin)
    except ConfigError as error:
        return Settings("", admin, {}, {}, None, (str(error),))


def resolve_files(config_path: str, admin_path: str, channel: str) -> Policy:
    """Return the policy that the files name for *channel*, before the environment narrows it."""
    return load(config_path, admin_path).policy(channel)


def _is_settled(signature: str, now_ns: int) -> bool:
    """Tell whether a file cannot change any more without its signature telling."""
    if signature == "-":
        return True
    changed_ns = int(signature.partition(":")[0])
    racy_ns = RACY_NS if changed_ns % 1_000_000_000 else RACY_WHOLE_SECONDS_NS
    return not 0 <= now_ns - changed_ns < racy_ns


def _write_snapshot(root: str, data: bytes) -> None:
    status = os.lstat(root)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        return
    if not is_journal(root):
        return
    path = os.path.join(root, SNAPSHOT)
    # One name for all: two processes at once can at worst leave a wrong CRC, and the next one replaces that.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(f"{path}.tmp", flags, 0o600)
    try:
        if os.write(descriptor, data) != len(data):
            return  # A full disk; the next one to look finds the files themselves.
    finally:
        os.close(descriptor)
    os.replace(f"{path}.tmp", path)


def refresh_snapshot(root: str, config_path: str, admin_path: str, signatures: str, channel: str) -> Policy:
    """Return `resolve_files`, and leave a snapshot of it below *root* unless it is off.  Never raises.

    *signatures* are the files' signatures from before this call, as `snapshot.encode_snapshot` takes them.  Nothing is
    written where there is no journal yet: looking at a policy makes no directories, and no files among somebody's own.
    """
    found = resolve_files(config_path, admin_path, channel)
    if found.mode != "off" and "!" not in signatures:
        now_ns = time.time_ns()
        if all(_is_settled(signature, now_ns) for signature in signatures.split(" ")):
            with contextlib.suppress(OSError):
                _write_snapshot(root, encode_snapshot(found, signatures))
    return found


def _mode_rows(settings: Settings, base: Policy, limits: tuple[str, str]) -> list[tuple[str, str, str]]:
    """Return who said what about the mode: first what holds, then what has no effect, strongest source first."""
    said: list[tuple[str, str]] = []
    if settings.ceiling != "on":
        said.append((f"at most {settings.ceiling}", "admin"))
    if limits[1]:
        said.append((f"at most {limits[0]}", limits[1]))
    named, source = settings.named_mode(base.channel)
    said.append((named, source))
    if source == "config":
        said.append(Settings(settings.config_path, "", {}, settings.admin, None).named_mode(base.channel))
    effective = base.narrowed(limits[0], len(LEVELS) - 1, limits[1])
    rows = [("mode", effective.mode, effective.source)]
    rows += [("mode", text, f"{source} (no effect)") for text, source in said if source != effective.source]
    return rows


def explain(
    root: str,
    channel: str,
    environ: "Mapping[str, str]",
    no_telemetry: bool = False,
    admin: str | None = None,
) -> list[tuple[str, str, str]]:
    """Return rows (key, value, source): mode and every key, what holds first, then what other sources said.

    A source that did not decide is marked " (no effect)".  Rows `problem` and `note` carry a sentence.
    Nothing is written.
    """
    settings = load_for(environ, admin)
    base = settings.policy(channel) if root else nowhere.off(root, environ, channel)
    mode, _, source = environment_limits(environ, no_telemetry=no_telemetry)
    wanted = environ.get("CARO_TELEMETRY_LEVEL", "").strip()
    level = environment_limits({"CARO_TELEMETRY_LEVEL": wanted})[1]
    rows = _mode_rows(settings, base, (mode, source))
    rows.append(("journal", root or "(none)", "CAROJOURNAL_DIR" if environ.get("CAROJOURNAL_DIR") else "default"))
    for name, key in KEYS.items():
        value, origin = settings.value(name), settings.source(name)
        said: list[tuple[Value | None, str]] = [
            (admin_value, "admin") for admin_value in (settings.admin.get(name),) if admin_value is not None
        ]
        said += [(user_value, "config") for user_value in (settings.user.get(name),) if user_value is not None]
        if shown(name, key.default) != "(none)":  # Beside what was set that would read as if nothing were.
            said.append((key.default, "default"))
        if name == "level" and wanted:
            said.insert(0, (LEVELS[level], "CARO_TELEMETRY_LEVEL"))
            if level < LEVELS.index(str(value)):
                value, origin = said[0]
        rows.append((name, shown(name, value), origin))
        rows += [(name, shown(name, one), f"{other} (no effect)") for one, other in said if other != origin]
    rows += [("problem", text, "files") for text in base.problems]
    rows += [("note", text, "files") for text in settings.notes]
    return rows


def shown(name: str, value: Value | None) -> str:
    """Return *value* as TOML writes it without quotes; what stands for it where the key *name* has none."""
    if value is None:
        return f"({KEYS[name].absent})"
    return str(value).lower() if isinstance(value, bool) else str(value)
