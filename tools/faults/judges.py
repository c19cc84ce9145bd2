"""Which call meets the fault, and what kind of fault it is.

    KILL        kill -9 before the call
    ENOSPC ...  the call fails with that error; with a "+" behind it, every call that follows fails too
    SHORT       a write does half of what it was asked for

Counted are the calls below the place and to sockets: what the interpreter does for itself is none of the operation's.
"""

import errno
import os

from faults.syscalls import KINDS as KINDS_OF_CALLS
from faults.tracer import Call, Fault

__all__ = ["FOREVER", "KILL", "KINDS", "NUMBERS", "SHORT", "At"]

KILL, SHORT = "KILL", "SHORT"
NUMBERS = ("ENOSPC", "EIO", "EDQUOT", "EFBIG", "EMFILE", "EROFS", "EACCES", "EINTR")
KINDS = (KILL, *NUMBERS, SHORT)
FOREVER = "+"  # Appended to an error's name: that call fails and every one after it.
_SHORTENED = ("write", "pwrite64", "sendto")


class At:
    """Judges calls: the n-th that counts meets the fault."""

    def __init__(self, place: str, kind: str, nth: int, *, looks: bool) -> None:
        self.left = nth
        self.kinds = KINDS_OF_CALLS if looks else ("change", "open")
        self.call = ""
        self.count = 0
        self._place = place + os.sep
        self._looks = looks
        self._forever = kind.endswith(FOREVER)
        self._short = kind == SHORT
        number = getattr(errno, kind.rstrip(FOREVER), 0)
        self._fault = Fault(kill=kind == KILL, number=number)

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
        return self._looks or call.is_change
