"""Which call meets the fault, and what kind of fault it is.

    KILL        kill -9 before the call
    ENOSPC ...  the call fails with that error; with a "+" behind it, every call that follows fails too
    SHORT       a write does half of what it was asked for

Counted are the calls below the place and to sockets: what the interpreter does for itself is none of the operation's.
Of an error those calls count that can end with it (`errnos`).
"""

import errno
import os
from collections.abc import Collection

from faults.errnos import can_fail, names
from faults.syscalls import CHANGES, NAMES
from faults.tracer import Call, Fault

__all__ = ["FOREVER", "KILL", "KINDS", "NETWORK", "NUMBERS", "SHORT", "At"]

KILL, SHORT = "KILL", "SHORT"
NUMBERS = ("ENOSPC", "EIO", "EDQUOT", "EFBIG", "EMFILE", "EROFS", "EACCES", "EINTR")
NETWORK = ("ECONNREFUSED", "ECONNRESET", "ETIMEDOUT")
KINDS = (KILL, *NUMBERS, *NETWORK, SHORT)
FOREVER = "+"  # Appended to an error's name: that call fails and every one after it.
_SHORTENED = ("write", "pwrite64", "sendto")


class At:
    """Judges calls: the n-th that counts meets the fault; *looks*: a kill may come before a call that only looks."""

    def __init__(self, place: str, kind: str, nth: int, *, looks: bool) -> None:
        self.left = nth
        self.call = ""
        self.count = 0
        self._place = place + os.sep
        self._looks = looks
        self._error = kind.rstrip(FOREVER) if kind not in (KILL, SHORT) else ""
        self._forever = kind.endswith(FOREVER)
        self._short = kind == SHORT
        self._fault = Fault(kill=kind == KILL, number=getattr(errno, self._error, 0))

    @property
    def names(self) -> Collection[str]:
        """The calls that have to be shown to it."""
        if self._error:
            return names(self._error)
        return _SHORTENED if self._short else NAMES if self._looks else CHANGES

    def __call__(self, call: Call) -> Fault | None:
        """Return what becomes of *call*."""
        if not call.path.startswith((self._place, "socket:")) or not self._counts(call):
            return None
        self.count += 1
        self.left -= 1
        if self.left == 0:
            self.call = f"{call.name} {call.path.removeprefix(self._place)}"
        return self._fault if self.left == 0 or (self._forever and self.left < 0) else None

    def _counts(self, call: Call) -> bool:
        if self._short:
            return call.name in _SHORTENED and call.arguments[2] > 1
        if self._error:
            return can_fail(call, self._error)
        return self._looks or call.is_change
