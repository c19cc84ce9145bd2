"""Let a real systemd user manager call an entry of `carobatch schedule` once, and take the entry out again.

    sudo python tools/check_systemd.py

Needs root and systemd's package, but no booted systemd: the manager (`systemd --user`) is started here and ended again,
in a mount namespace of its own with an empty /run, and in a pid namespace of its own: a manager moves every process
that it finds in its control group, and must not find those of the machine.  The journal is a temporary one below the
home directory, because the unit's PrivateTmp hides /tmp (so neither this checkout nor its Python may stand there), and
ProtectHome makes the rest of the home read-only.  Checked:

    install     the manager loads both units; the timer is enabled, active, and has a next time within two hours
    start       the service packs a lane at rest, under all its hardening options, and its result is success
    busy        while another carobatch holds batch.lock it exits 75, and its result is success all the same
    read-only   a program that writes beside the journal fails: the hardening is in force
    remove      neither units nor timer are left

A hardening option that the machine itself cannot grant (in a container, say) is named, and left out by a drop-in.
"""

import glob
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from carobatch.scheduler import Plan, Systemd
from carojournal import Journal, locks

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["main"]

_TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_MANAGER = "/lib/systemd/systemd"
_INSIDE = "--inside"
_PATIENCE_S = 30
_NEXT_S_MAX = 7_200  # Hourly, and spread over an hour.


def _control(*words: str) -> str:
    done = subprocess.run(["systemctl", "--user", *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _property(unit: str, name: str) -> str:
    return _control("show", "--value", "-p", name, unit)


@contextmanager
def _manager(home: str) -> "Iterator[None]":
    """Run the user manager of *home* in this namespace, and have it believe that systemd has booted the machine."""
    os.environ["HOME"] = home
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    runtime = f"/run/user/{os.getuid()}"
    os.makedirs("/run/systemd/system")
    os.makedirs(runtime, 0o700)
    os.environ["XDG_RUNTIME_DIR"] = runtime
    process = subprocess.Popen([_MANAGER, "--user"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + _PATIENCE_S
        while _control("is-system-running") not in ("running", "degraded") and time.monotonic() < until:
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait()


def _ungranted(unit: bytes) -> list[str]:
    """Return the hardening options of *unit* with which not even true(1) can be started here."""
    options = [line for line in unit.decode().splitlines() if line.startswith(("Private", "Protect", "Restrict"))]
    command = ["systemd-run", "--user", "--wait", "--quiet", "-p"]
    return [
        option
        for option in options
        if subprocess.run([*command, option, "true"], capture_output=True, check=False).returncode
    ]


def _leave_out(options: list[str], folder: str) -> None:
    os.makedirs(folder)
    with open(os.path.join(folder, "check.conf"), "w", encoding="utf-8") as file:
        file.write("[Service]\n" + "".join(f"{option.partition('=')[0]}=no\n" for option in options))


def _journal(root: str, home: str) -> None:
    with Journal.open(root, environ={"HOME": home}, admin="/nonexistent") as journal:
        journal.append("session_end", session_duration_ms=1)
    rest = time.time() - 7_200
    os.utime(os.path.join(root, "lanes", "0.seg"), (rest, rest))


def _check(home: str) -> dict[str, bool]:
    root = os.path.join(home, "journal")
    _journal(root, home)
    plan = Plan(root, 0, {"HOME": home}, named=True)
    plan.command = ["env", f"PYTHONPATH={_TREE}:{_TREE}/tools", f"HOME={home}", *plan.command]
    entry = Systemd(plan)
    found: dict[str, bool] = {}
    [(path, unit), _] = entry.files().items()
    left_out = _ungranted(unit)
    print(f"not granted on this machine: {', '.join(left_out) or 'nothing'}")
    _leave_out(left_out, f"{path}.d")
    entry.install()
    timer, service = "carobatch.timer", "carobatch.service"
    [listed] = json.loads(_control("list-timers", "--all", "--output=json", timer)) or [{"next": 0}]
    found["install"] = (_control("is-enabled", timer), _control("is-active", timer)) == ("enabled", "active")
    found["install"] &= 0 <= listed["next"] / 1_000_000 - time.time() <= _NEXT_S_MAX
    _control("start", service)
    found["start"] = _ended(service, "0") and os.path.isdir(os.path.join(root, "packed"))
    rest = time.time() - 7_200
    with locks.batch_lock(root), Journal.open(root, environ={"HOME": home}, admin="/nonexistent") as journal:
        journal.append("session_end", session_duration_ms=1)
        os.utime(os.path.join(root, "lanes", "0.seg"), (rest, rest))
        _control("start", service)
        found["busy"] = _ended(service, "75")
    beside = os.path.join(home, "beside")
    plan.command = ["touch", beside]
    entry.install()
    _control("start", service)
    found["read-only"] = _property(service, "Result") == "exit-code" and not os.path.exists(beside)
    entry.remove()
    found["remove"] = _control("list-unit-files", "--no-legend", "carobatch.*") == "" and not entry.installed()
    found["remove"] &= _control("is-active", timer) == "inactive"
    return found


def _ended(service: str, code: str) -> bool:
    return (_property(service, "Result"), _property(service, "ExecMainStatus")) == ("success", code)


def main(words: list[str]) -> int:
    """Return 0 if everything in the module's docstring holds."""
    if words != [_INSIDE]:
        alone = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc"]
        code = subprocess.run([*alone, sys.executable, __file__, _INSIDE], check=False).returncode
        for scope in glob.glob("/sys/fs/cgroup/init.scope") + glob.glob("/sys/fs/cgroup/*/init.scope"):
            with suppress(OSError):  # The manager's, unless somebody is in it.
                os.rmdir(scope)
        return code
    with tempfile.TemporaryDirectory(prefix="carobatch-", dir=os.path.expanduser("~")) as home, _manager(home):
        found = _check(home)
    for name, good in found.items():
        print(f"{name}: {'as it should be' if good else 'NOT as it should be'}")
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
