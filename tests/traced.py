"""What a program did to files and sockets, as strace(1) saw it.

Fail-closed: of the calls that take a path or touch a network, those that only look are listed; every other is a change.
"""

import os
import re
import subprocess
from dataclasses import dataclass

__all__ = ["Call", "parse", "traced"]

# -y prints descriptors with their paths, so that a name below a directory's descriptor can be told where it is.
STRACE = ("strace", "-f", "-qq", "-y", "--seccomp-bpf", "-e", "trace=%file,%network,ftruncate", "-e", "signal=none")
_LOOKS = {
    *("stat", "lstat", "newfstatat", "statx", "statfs", "access", "faccessat", "faccessat2", "readlink", "readlinkat"),
    *("getcwd", "chdir", "execve", "getxattr", "lgetxattr", "listxattr", "inotify_add_watch"),
}
_OPENS = {"open", "openat", "openat2"}
_WRITES = re.compile(r"\bO_(CREAT|WRONLY|RDWR|TRUNC|APPEND|TMPFILE)\b")
_NETWORK = {
    *("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "sendto", "sendmsg", "sendmmsg"),
    *("recvfrom", "recvmsg", "recvmmsg", "shutdown", "getsockname", "getpeername", "setsockopt", "getsockopt"),
}
_DEVICES = ("/dev/null", "/dev/tty", "/dev/ptmx", "/dev/pts/")  # They keep nothing.
_LINE = re.compile(r"(?:\d+ +)?(\w+)\((.*)")
_PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Call:
    """One system call: its name, the paths among its arguments, and its line for a failing test's message.

    Paths are absolute, but for those of the calls without a directory's descriptor, such as rename(2).
    """

    name: str
    paths: tuple[str, ...]
    line: str

    @property
    def is_network(self):
        return self.name in _NETWORK

    @property
    def changes(self):
        """Whether it creates, writes, renames or removes, or tries to; also whatever is not known to only look."""
        if self.is_network or self.name in _LOOKS:
            return False
        if self.paths and all(path.startswith(_DEVICES) for path in self.paths):
            return False
        return self.name not in _OPENS or _WRITES.search(self.line) is not None


def parse(text):
    """Return the calls of strace's output."""
    calls = []
    for line in text.splitlines():
        found = _LINE.match(line)
        if not found:
            # The end of a call that another thread's interrupted, whose beginning had the arguments; or an exit.
            assert re.match(r"(\d+ +)?(<\.\.\. \w+ resumed>|\+\+\+ |--- )", line), line
            continue
        name, rest = found.groups()
        paths = tuple(os.path.normpath(os.path.join(folder, part)) for folder, part in _PATH.findall(rest))
        if not paths and name == "ftruncate":
            paths = tuple(re.findall(r"^\d+<([^>]*)>", rest))
        calls.append(Call(name, paths, line))
    return calls


def traced(words, log, **keywords):
    """Run *words* under strace; return what `subprocess.run` returns, and the calls."""
    done = subprocess.run([*STRACE, "-o", log, "--", *words], capture_output=True, check=False, text=True, **keywords)
    with open(log, encoding="utf-8", errors="replace") as file:
        return done, parse(file.read())
