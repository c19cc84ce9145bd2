"""Make the Nth call of the operating system's functions fail, for each N, as a full disk or a broken one would."""

import os
import signal

CALLS = ("open", "write", "pwrite", "pread", "read", "rename", "link", "unlink", "mkdir", "makedirs", "ftruncate")
CALLS += ("lstat", "fstat", "scandir", "listdir", "close")


class FaultAt:
    """Replace functions of `os`; the call with number `nth` (from 1) raises OSError(number) or is cut short.

    `forever` keeps failing from that call on.  `fired` tells whether there was such a call.
    """

    def __init__(self, monkeypatch, nth, number, *, calls=CALLS, short=False, forever=False):
        self.left = nth
        self.number = number
        self.short = short
        self.forever = forever
        self.fired = ""
        for name in calls:
            monkeypatch.setattr(os, name, self._wrapped(name, getattr(os, name)))

    def _wrapped(self, name, function):
        def call(*args, **keywords):
            self.left -= 1
            if self.left == 0 or (self.forever and self.left < 0):
                self.fired = self.fired or name
                if not self.short:
                    raise OSError(self.number, os.strerror(self.number))
                if name in ("write", "pwrite"):
                    descriptor, data, *rest = args
                    return function(descriptor, data[: len(data) // 2], *rest)
            return function(*args, **keywords)

        return call


CHANGES = ("open", "write", "fsync", "rename", "link", "unlink", "mkdir", "rmdir", "ftruncate")


def lives_beyond(nth, act, calls=CHANGES):
    """Run *act* in a child that is killed before its *nth* call (from 1) of *calls* of `os`; return whether it lived.

    A call counts if it can change a disk: a kill before one that only reads is the same as one before the next.
    """
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        assert status in (0, signal.SIGKILL)
        return status == 0
    left = [nth]

    def wrapped(name, call):
        def counted(*arguments, **options):
            left[0] -= name != "open" or bool(arguments[1] & (os.O_CREAT | os.O_RDWR | os.O_WRONLY))
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return counted

    try:
        for name in calls:
            setattr(os, name, wrapped(name, getattr(os, name)))
        act()
        os._exit(0)
    finally:
        os._exit(1)
