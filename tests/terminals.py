"""Real pseudo-terminals for tests: one that answers, and programs that run on one as their controlling terminal."""

import os
import pty
import select
import sys
import termios
import threading

DEADLINE_S = 20.0  # Of a program that hangs; none comes near it.


class Terminal:
    """A pseudo-terminal; `stdin` and `stderr` are text files on its slave, as a shell hands them to a program.

    `answer(reply)` types *reply* as soon as the question's "[y/N] " has been shown; `shown` is all that was written.
    """

    def __init__(self):
        self.master, slave = pty.openpty()
        self.stdin = os.fdopen(slave)
        self.stderr = os.fdopen(os.dup(slave), "w")
        self.shown = b""

    def type(self, data):
        os.write(self.master, data)

    def answer(self, reply):
        thread = threading.Thread(target=self._answer, args=(reply,))
        thread.start()
        return thread

    def _answer(self, reply):
        while b"[y/N] " not in self.shown:
            if not select.select([self.master], [], [], DEADLINE_S)[0]:
                return
            self.shown += os.read(self.master, 4096)
        os.write(self.master, reply)

    def written(self):
        """Return what is there to read on the master now."""
        while select.select([self.master], [], [], 0)[0]:
            self.shown += os.read(self.master, 4096)
        return self.shown

    def settings(self):
        return termios.tcgetattr(self.stdin.fileno())

    def close(self):
        for stream in (self.stdin, self.stderr):
            stream.close()
        os.close(self.master)


def on_terminal(program, exchanges, environ, *, prelude=b""):
    """Run Python *program* with a terminal of its own; type each reply when its cue is shown.

    Return (what was shown, exit status as `os.waitstatus_to_exitcode` gives it).
    """
    pid, master = pty.fork()
    if pid == 0:
        try:
            os.execve(sys.executable, [sys.executable, "-c", program], environ)
        finally:
            os._exit(127)
    shown, pending = b"", list(exchanges)
    if prelude:
        os.write(master, prelude)
    seen = 0
    while select.select([master], [], [], DEADLINE_S)[0]:
        try:
            data = os.read(master, 4096)
        except OSError:  # Linux: EIO once the last process has closed its side.
            break
        if not data:
            break
        shown += data
        while pending and pending[0][0] in shown[seen:]:
            seen = shown.index(pending[0][0], seen) + len(pending[0][0])
            os.write(master, pending.pop(0)[1])
    else:
        os.kill(pid, 9)
    os.close(master)
    return shown, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
