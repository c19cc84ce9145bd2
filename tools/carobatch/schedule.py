"""Entries that call `carobatch run` every hour: for cron, launchd and systemd.  Pure: texts in, texts out.

`run` decides by itself whether anything is due (`timing`), so an entry only says "every hour".  The minute is the
journal's own, so that a fleet does not wake up at once; systemd draws its own delay, which stays the same per machine.

    cron      one line in the user's crontab, between two marker lines
    launchd   ~/Library/LaunchAgents/<LABEL>.plist: StartCalendarInterval, background, low-priority I/O
    systemd   ~/.config/systemd/user/<UNIT>.service and .timer: RandomizedDelaySec, Persistent, hardening

Installing replaces our own entry and touches nothing else; removing leaves what was there before, byte for byte.
"""

import plistlib
import shlex

__all__ = [
    "LABEL",
    "SYSTEMS",
    "UNIT",
    "cron_line",
    "crontab_with",
    "crontab_without",
    "launchd_plist",
    "systemd_service",
    "systemd_timer",
]

SYSTEMS = ("cron", "launchd", "systemd")
LABEL = "sh.caro.carobatch"
UNIT = "carobatch"
BEGIN, END = "# >>> carobatch schedule >>>", "# <<< carobatch schedule <<<"


def cron_line(command: list[str], minute: int) -> str:
    """Return the crontab line (crontab(5)): hourly at *minute*, exit 75 quiet, every other failure mailed by cron."""
    words = shlex.join(command).replace("%", "\\%")  # A bare % is a newline to cron.
    return f"{minute} * * * * {words} || [ $? -eq 75 ]"


def crontab_with(text: str, line: str) -> str:
    """Return the crontab *text* with our entry holding *line*, at its old place if there was one."""
    entry = f"{BEGIN}\n{line}\n{END}\n"
    before, found, rest = _split(text)
    if found:
        return before + entry + rest
    return (text if not text or text.endswith("\n") else f"{text}\n") + entry


def crontab_without(text: str) -> str:
    """Return the crontab *text* without our entry."""
    before, _, rest = _split(text)
    return before + rest


def _split(text: str) -> tuple[str, str, str]:
    """Return (before, our entry, after); a begin without its end, which we never write, is nobody's."""
    end = f"\n{text}".find(f"\n{END}\n")
    begin = f"\n{text}".rfind(f"\n{BEGIN}\n", 0, end + 1) if end >= 0 else -1
    if begin < 0:
        return text, "", ""
    end += len(END) + 1
    return text[:begin], text[begin:end], text[end:]


def launchd_plist(command: list[str], minute: int) -> bytes:
    """Return the property list (launchd.plist(5)) of the agent."""
    return plistlib.dumps(
        {
            "Label": LABEL,
            "ProgramArguments": command,
            "StartCalendarInterval": {"Minute": minute},
            "ProcessType": "Background",
            "LowPriorityIO": True,
            "LowPriorityBackgroundIO": True,
            "Nice": 10,
            "RunAtLoad": False,
        }
    )


def _systemd_word(word: str) -> str:
    """Return *word* as systemd.service(5) reads it back: % and $ are special, and quotes are C's."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def systemd_service(command: list[str], writable: list[str]) -> str:
    """Return the service (systemd.service(5), systemd.exec(5)); *writable* are the only folders it may write to."""
    start = " ".join(map(_systemd_word, command))
    paths = " ".join(_systemd_word(f"-{path}") for path in writable)
    return f"""\
# carobatch schedule: written by 'carobatch schedule install systemd', removed by 'carobatch schedule remove systemd'
[Unit]
Description=Pack and deliver what caro's journal keeps
Documentation=https://caro.sh/telemetry

[Service]
Type=oneshot
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
    return """\
# carobatch schedule: written by 'carobatch schedule install systemd', removed by 'carobatch schedule remove systemd'
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
