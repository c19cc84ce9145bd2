"""Exit codes of every verb of both programs: sysexits.h where it has one.

    0   done; a missing or empty journal included, and rows that `migrate` refuses
    64  usage: unknown verb, option or value                       EX_USAGE
    65  damaged data, or sensitive data found                      EX_DATAERR
    69  unavailable or refused: no journal but something else, an unsafe directory, nothing of that name, an event
                                                                   EX_UNAVAILABLE
    70  a bug in carojournal                                       EX_SOFTWARE
    73  an output file cannot be created                           EX_CANTCREAT
    74  reading or writing failed                                  EX_IOERR
    75  busy or not yet: try again later                           EX_TEMPFAIL
    77  the user's choice forbids it                               EX_NOPERM
    78  the configuration is wrong                                 EX_CONFIG
    130 interrupted from the keyboard

`carojournal verify` alone answers 1 (torn tails only), 2 (damage) and 3 (unexplained gaps) instead of 65.
"""

import os

from carojournal import errors

__all__ = ["EXIT_CODES", "error_text", "exit_code"]

USAGE, DAMAGED, UNAVAILABLE, BUG, CANNOT_CREATE, IO_FAILED, RETRY, DENIED, CONFIG, INTERRUPTED = (
    64,
    65,
    69,
    70,
    73,
    74,
    75,
    77,
    78,
    130,
)

# Most specific class first.
EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (errors.UsageError, USAGE),
    (errors.DamagedData, DAMAGED),
    (errors.CorruptRecord, DAMAGED),
    (errors.MalformedCBOR, DAMAGED),
    (errors.EventRefused, UNAVAILABLE),
    (errors.JournalUnavailable, UNAVAILABLE),
    (errors.JournalClosed, UNAVAILABLE),
    (errors.UnsafeRoot, UNAVAILABLE),
    (errors.OutputError, CANNOT_CREATE),
    (errors.JournalIOError, IO_FAILED),
    (errors.JournalBusy, RETRY),
    (errors.ClockUnusable, RETRY),
    (errors.ConsentError, DENIED),
    (errors.ConfigError, CONFIG),
    (OSError, IO_FAILED),
    (KeyboardInterrupt, INTERRUPTED),
)


def exit_code(error: BaseException) -> int:
    """Return the exit code for *error*; 70 for anything that we did not mean to raise."""
    for kind, code in EXIT_CODES:
        if isinstance(error, kind):
            return code
    return BUG


def error_text(error: BaseException) -> str:
    """Return what to say of *error*: of a system call "name: why", as other programs do, never Python's form of it."""
    if not isinstance(error, OSError):
        return str(error) or "interrupted"
    why = error.strerror or type(error).__name__
    return why if error.filename is None else f"{os.fsdecode(error.filename)}: {why}"
