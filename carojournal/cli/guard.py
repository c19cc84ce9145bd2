"""What stands around every verb of both programs: errors become one line on standard error and an exit code.

Never a traceback, not even where Ctrl-C falls into the 70 ms that the import of the parser takes; and no word of the
user's is repeated that might be sensitive.
"""

import os
import sys
from typing import TYPE_CHECKING

from carojournal.cli import streams
from carojournal.cli.exits import BUG, error_text, exit_code
from carojournal.errors import JournalError, OutputError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["guarded"]


def guarded(program: str, call: "Callable[[], int]") -> int:
    """Return the exit code that *call* returns, or that stands for what it raises; *program* is who says so."""
    streams.stand_in_for_closed()
    given = sys.stdout
    try:
        sys.stdout = streams.buffered_output()
        try:
            code = call()
        except SystemExit as end:  # --help and --version
            code = int(end.code or 0)
        streams.write_output()
    except BrokenPipeError:
        code = 0  # The reader has had enough.
    except (JournalError, OSError, KeyboardInterrupt) as error:
        code = exit_code(error)
        if isinstance(error, OSError) and error.filename is None and streams.abandon_output():
            error = OutputError("write", "standard output", error.errno, error.strerror or "")
        _say(program, error_text(error))
    except Exception as error:  # noqa: BLE001 - the last resort: one line, no values, the place of the bug
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f"{os.path.basename(place.tb_frame.f_code.co_filename)}:{place.tb_lineno}" if place else "unknown place"
        _say(program, f"this is a bug in {program}: {type(error).__name__} at {where}")
        code = BUG
    streams.abandon_output()
    sys.stdout = given
    return code


def _say(program: str, text: str) -> None:
    line = "".join(letter if letter.isprintable() else "?" for letter in text)
    try:
        print(f"{program}: {line}", file=sys.stderr)
    except (OSError, ValueError):
        return
