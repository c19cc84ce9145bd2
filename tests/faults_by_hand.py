"""Make the Nth call of the operating system's functions fail, for each N, as a full disk or a broken one would."""

import os

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
