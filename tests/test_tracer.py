"""The tracer that puts faults into "every call" sees every call: held against strace(1), which knows nothing of it."""

import json
import os
import re
import subprocess
import sys

import pytest

from faults import tracer
from faults.syscalls import BY_NUMBER, NAMES

TESTS = os.path.dirname(os.path.abspath(__file__))
TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(tracer.__file__)))
STRACE = (
    "strace",
    "-f",
    "-qq",
    "-y",
    "-e",
    "trace=%file,%desc,%network,clone,clone3",
    "-e",
    "signal=none",
    "-s",
    "4096",
)
# They neither change a file nor can fail for a reason outside of the process, or are waited for and tried again.
NO_FAULTS = {"lseek", "mmap", "ioctl", "dup", "dup2", "dup3", "chdir", "poll", "epoll_wait", "setsockopt", "getsockopt"}
THREADED = ("export", "upload")  # Their threads' calls have no order among each other.
OF_DESCRIPTORS = {shape.name for shape in BY_NUMBER.values() if shape.path < 0}  # What they quote is data.
_LINE = re.compile(r"(\d+) +(\w+)\((.*)")
_FOLDER = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')
_CLONE = re.compile(r"^(\d+) +(?:<\.\.\. )?clone3?\b.* = (\d+)", re.MULTILINE)
_DESCRIPTOR = re.compile(r"\d+<([^>]*)>")
# Words with a digit, and those that are random but happened to get none.
_CHANGING = re.compile(r"[0-9a-z_]*[0-9_][0-9a-z_]*|\b[a-f]{4,}\b|\btmp[a-z]{8}\b")


def seen_by_strace(text, mark, below):
    """Return [name, path] of the calls between the marks that name a file below *below*, or a socket."""
    rows = [(pid, name, rest) for pid, name, rest in (m.groups() for m in map(_LINE.match, text.splitlines()) if m)]
    marks = [at for at, (_, _, rest) in enumerate(rows) if rest.startswith(f'"{mark}", F_OK')]
    first, last = marks
    process = rows[first][0]
    threads = {process}
    for parent, thread in _CLONE.findall(text):
        threads |= {thread} if parent in threads else set()
    calls = []
    for pid, name, rest in rows[first + 1 : last]:
        descriptor, named = _DESCRIPTOR.match(rest), _FOLDER.match(rest)
        path = descriptor[1] if descriptor else ""
        if named and name not in OF_DESCRIPTORS:
            path = os.path.normpath(os.path.join(named[1] or below, named[2])) if named[2] else named[1]
        path = "socket:" if name == "socket" else path
        if pid in threads and path.startswith((f"{below}/", "socket:")):  # The receiver has sockets too.
            calls.append([name, path])
    return calls


def plain(calls, place):
    """Return calls without what differs from run to run: the place, uuids, times and temporary names."""
    found = []
    for name, path in calls:
        where = "socket" if path.startswith("socket:") else path.removeprefix(place).removesuffix(" (deleted)")
        found.append((name, _CHANGING.sub("#", where.rstrip("/"))))
    return found


@pytest.mark.parametrize("name", ["append-synced", "clear-off", "reindex", *THREADED])
def test_strace_sees_the_same_calls_of_an_operation_in_the_same_order(tmp_path, name):
    mark, log = str(tmp_path / "mark"), str(tmp_path / "log")
    words = [sys.executable, os.path.join(TESTS, "traced_operation.py"), name, mark]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((os.path.dirname(TOOLS), TOOLS))}
    theirs = json.loads(subprocess.check_output([*STRACE, "-o", log, "--", *words], env=environ))
    ours = json.loads(subprocess.check_output([*words, "ours"], env=environ))
    with open(log, encoding="utf-8", errors="replace") as file:
        calls = seen_by_strace(file.read(), mark, theirs["place"])
    expected = plain([call for call in calls if call[0] not in NO_FAULTS], theirs["place"])
    below = [call for call in ours["calls"] if call[1].startswith((f"{ours['place']}/", "socket:"))]
    seen = plain(below, ours["place"])
    if name in THREADED:
        expected.sort()
        seen.sort()
    assert len(expected) > 30
    assert {call for call, _ in expected} <= NAMES
    assert seen == expected
