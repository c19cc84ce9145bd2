"""Standard input, output and error where they are closed, full, broken or lack letters: one line and an exit code.

Python leaves `sys.stdout` None where a program is started without one, prints to standard output what was meant for a
missing standard error, and complains in two lines of its own, with exit code 120, if the last flush fails.  With
PYTHONUNBUFFERED it writes to standard output without asking how much of it was written.
"""

import io
import os
import sys

from carojournal.errors import JournalIOError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["abandon_output", "buffered_output", "stand_in_for_closed", "write_output"]


def stand_in_for_closed() -> None:
    """Open something for every standard stream that is closed, so that no file of a journal gets its number.

    What is then read is empty, what is said to standard error is lost, and what is written to standard output fails
    with EBADF, as it does for other programs: results must not vanish unnoticed.
    """
    for name, mode, flags in (("stdin", "r", os.O_RDONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY)):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, flags)  # The lowest number that is free, which is the missing stream's.
            # Escaped like standard error's own: a stand-in must not fail where the real stream would not.
            stream = open(descriptor, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def buffered_output() -> "TextIO":
    """Return standard output with a buffer, as it is unless Python was told to do without.

    Without one a short write loses its rest unnoticed, and an error does not tell that it is standard output's.  What
    its encoding lacks is escaped, as on standard error; Python would fail.
    """
    stream = sys.stdout
    errors = stream.errors
    # In UTF-8 "surrogateescape" fails for no path, and hands over the bytes of its name.
    if errors == "strict" or (errors == "surrogateescape" and stream.encoding.lower() not in ("utf-8", "utf8")):
        errors = "backslashreplace"
    if isinstance(getattr(stream, "buffer", None), io.RawIOBase):
        return open(stream.fileno(), "w", encoding=stream.encoding, errors=errors, closefd=False)
    if isinstance(stream, io.TextIOWrapper) and errors != stream.errors:
        stream.reconfigure(errors=errors)
    return stream


def write_output(text: str = "") -> None:
    """Write out what standard output still holds, and *text*.  Raises BrokenPipeError, JournalIOError."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise JournalIOError("write", "standard output", error.errno, error.strerror or "") from error


def abandon_output() -> bool:
    """Let go of what standard output cannot take; tell whether there was such.  Python would complain at its exit."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return True
    return False
