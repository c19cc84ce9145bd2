"""Entries that call `carobatch run` every hour: for cron, launchd and systemd.  Pure: texts in, texts out.

`run` decides by itself whether anything is due (`timing`), so an entry only says "every hour".  The minute is the
journal's own, so that a fleet does not wake up at once; systemd draws its own delay, which stays the same per machine.

    cron      one line in the user's crontab, between two marker lines
    launchd   ~/Library/LaunchAgents/<LABEL>.plist: StartCalendarInterval, background, low-priority I/O
    systemd   ~/.config/systemd/user/<UNIT>.service and .timer: RandomizedDelaySec, Persistent, hardening

Installing replaces our own entry and touches nothing else; removing leaves what was there before, byte for byte.  So a
crontab is bytes: others' lines are in any encoding, with any ends.

None of the three has the variables of the shell that installs: an entry brings those along that say where things lie.
"""

import plistlib
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "LABEL",
    "SYSTEMS",
    "UNIT",
    "cron_line",
    "crontab_with",
    "crontab_without",
    "is_launchd_plist",
    "is_systemd_unit",
    "launchd_plist",
    "systemd_service",
    "systemd_timer",
]

SYSTEMS = ("cron", "launchd", "systemd")
LABEL = "sh.caro.carobatch"
UNIT = "carobatch"
BEGIN, END = b"# >>> carobatch schedule >>>", b"# <<< carobatch schedule <<<"
_MARK = "# carobatch schedule:"  # How a unit of ours begins.
_HEAD = f"{_MARK} written by 'carobatch schedule install systemd', removed by 'carobatch schedule remove systemd'"


def cron_line(command: list[str], minute: int, environ: "Mapping[str, str]") -> str:
    """Return the crontab line (crontab(5)): hourly at *minute*, exit 75 quiet, every other failure mailed by cron."""
    # Not the shell's own assignments: the user's crontab may name a SHELL that knows none.
    setting = ["/usr/bin/env", *(f"{name}={value}" for name, value in environ.items())]
    words = shlex.join([*setting, *command]).replace("%", "\\%")  # A bare % is a newline to cron.
    return f"{minute} * * * * {words} || [ $? -eq 75 ]"


def crontab_with(data: bytes, line: str) -> bytes:
    """Return the crontab *data* with our entry holding *line*, at its old place if there was one."""
    entry = b"%b\n%b\n%b\n" % (BEGIN, line.encode(), END)
    before, found, rest = _split(data)
    if found:
        return before + entry + rest
    return (data if not data or data.endswith(b"\n") else data + b"\n") + entry


def crontab_without(data: bytes) -> bytes:
    """Return the crontab *data* without our entry."""
    before, _, rest = _split(data)
    return before + rest


def _split(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return (before, our entry, after); a begin without its end, which we never write, is nobody's."""
    end = (b"\n" + data).find(b"\n%b\n" % END)
    begin = (b"\n" + data).rfind(b"\n%b\n" % BEGIN, 0, end + 1) if end >= 0 else -1
    if begin < 0:
        return data, b"", b""
    end += len(END) + 1
    return data[:begin], data[begin:end], data[end:]


def launchd_plist(command: list[str], minute: int, environ: "Mapping[str, str]") -> bytes:
    """Return the property list (launchd.plist(5)) of the agent."""
    return plistlib.dumps(
        {
            "Label": LABEL,
            "ProgramArguments": command,
            "EnvironmentVariables": dict(environ),
            "StartCalendarInterval": {"Minute": minute},
            "ProcessType": "Background",
            "LowPriorityIO": True,
            "LowPriorityBackgroundIO": True,
            "Nice": 10,
            "RunAtLoad": False,
        }
    )


def is_launchd_plist(data: bytes) -> bool:
    """Tell whether *data* is an agent of ours: the label is."""
    try:
        found = plistlib.loads(data)
    except Exception:  # noqa: BLE001 - whatever the parser makes of a strange file, it is not ours
        return False
    return isinstance(found, dict) and found.get("Label") == LABEL


def _systemd_word(word: str) -> str:
    """Return *word* as systemd.syntax(7) reads it back: % is special, and quotes are C's."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def systemd_service(command: list[str], writable: list[str], environ: "Mapping[str, str]") -> str:
    """Return the service (systemd.service(5), systemd.exec(5)); *writable* are the only folders it may write to."""
    start = " ".join(_systemd_word(word.replace("$", "$$")) for word in command)  # A variable there, and only there.
    paths = " ".join(_systemd_word(f"-{path}") for path in writable)
    settings = " ".join(_systemd_word(f"{name}={value}") for name, value in environ.items())
    return f"""\
{_HEAD}
[Unit]
Description=Pack and deliver what caro's journal keeps
Documentation=https://caro.sh/telemetry

[Service]
Type=oneshot
Environment={settings}
ExecStart={start}
SuccessExitStatus=75
Nice=10
IOSchedulingClass=idle
TimeoutStartSec=30min
UMask=0077
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=strict
ProtectHome=read-only
ReadWritePaths={paths}
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
"""


def systemd_timer() -> str:
    """Return the timer (systemd.timer(5)): hourly, spread over the hour, made up for after the machine slept."""
    return f"""\
{_HEAD}
[Unit]
Description=Pack and deliver what caro's journal keeps, every hour

[Timer]
OnCalendar=hourly
RandomizedDelaySec=1h
FixedRandomDelay=true
Persistent=true

[Install]
WantedBy=timers.target
"""


def is_systemd_unit(data: bytes) -> bool:
    """Tell whether *data* is a unit of ours: the first line says so."""
    return data.startswith(_MARK.encode())
