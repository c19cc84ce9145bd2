"""Asking a yes-or-no question on a terminal that belongs to somebody else's program.

The terminal's settings are never changed, so there is nothing to restore, whatever happens.  The answer is read byte by
byte from the descriptor up to the end of its line: what follows, and what the host has buffered, stays the host's.
Without a whole line, at the end of input, on Ctrl-C or when time is up there is no answer, which is not a no.
"""

import contextlib
import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["ask", "in_background", "input_waits", "terminal"]

LINE_BYTES_MAX = 4096  # What a Linux terminal takes as one line; a raw one might never end it.
SLICE_S = 0.2  # How late a Ctrl-C may be noticed; nobody feels it.
_END_OF_LINE, _INTERRUPT, _END_OF_INPUT = b"\r\n", b"\x03", b"\x04"  # A terminal in raw mode hands them through.
_ANSWERS = {b"y": "yes", b"yes": "yes", b"n": "no", b"no": "no", b"": "no"}  # [y/N]: Enter alone is the default.


def terminal(stream: "TextIO | None") -> int | None:
    """Return the descriptor of *stream* if it is a terminal, else None."""
    try:
        descriptor = stream.fileno() if stream is not None else -1
        return descriptor if descriptor >= 0 and os.isatty(descriptor) else None
    except (OSError, ValueError, AttributeError):
        return None


def in_background(descriptor: int) -> bool:
    """Tell whether reading from the terminal would stop this process (SIGTTIN) because it runs in the background."""
    try:
        return os.tcgetpgrp(descriptor) != os.getpgrp()
    except OSError:
        return False  # Not the terminal that controls us: nobody stops us.


def input_waits(descriptor: int) -> bool:
    """Tell whether something was typed already: it is not the answer to a question that was not yet asked."""
    try:
        return bool(select.select([descriptor], [], [], 0)[0])
    except (OSError, ValueError):
        return True


def _read_line(descriptor: int, timeout_s: float) -> bytes | None:
    deadline = time.monotonic() + timeout_s
    line = b""
    while len(line) <= LINE_BYTES_MAX:
        # In slices: a Ctrl-C in the instant before select blocks is only seen when select returns.
        left = deadline - time.monotonic()
        if not select.select([descriptor], [], [], max(0.0, min(left, SLICE_S)))[0]:
            if left > SLICE_S:
                continue
            return None
        byte = os.read(descriptor, 1)
        if byte in (b"", _INTERRUPT, _END_OF_INPUT):
            return None
        if byte in _END_OF_LINE:
            return line
        line += byte
    return None


def ask(question: str, stdin: int, stderr: "TextIO", timeout_s: float) -> str | None:
    """Show *question* and return "yes", "no" (the default: Enter alone), or None where there was no answer.

    *stdin* is a terminal's descriptor; *timeout_s* bounds the wait for the whole line.  Ctrl-C is no answer and goes no
    further, unless the host handles the signal itself.
    """
    line = None
    # Ctrl-C, a terminal that hung up, a descriptor too high for select.
    with contextlib.suppress(KeyboardInterrupt, OSError, ValueError):
        stderr.write(question)
        stderr.flush()
        line = _read_line(stdin, timeout_s)
    if line is None:
        with contextlib.suppress(OSError, ValueError):
            stderr.write("\n")
            stderr.flush()
        return None
    return _ANSWERS.get(line.strip().lower())
