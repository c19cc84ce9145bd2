"""Where `inspect` left off: the cursor as it is given and stored."""

from carojournal.cursor import CURSOR_CHARACTERS_MAX, Cursor, parse_cursor
from carojournal.durable import write_file
from carojournal.errors import JournalIOError, UsageError

__all__ = ["given_cursor", "store_cursor"]


def given_cursor(text: str | None, path: str | None) -> Cursor:
    """Return the cursor that *text* or the file at *path* holds; one that reads from the start if there is neither.

    A file that is missing or empty, as `mktemp` leaves it, holds none yet.  Raises UsageError, JournalIOError.
    """
    stored = "" if path is None else _read(path)
    if text is not None:
        if stored:
            raise UsageError("--after-cursor and the cursor in --cursor-file say two things: give one of them")
        return parse_cursor(text)
    if not stored:
        return Cursor()
    try:
        return parse_cursor(stored)
    except UsageError:
        raise UsageError(
            f"{path}: holds no whole cursor of ours; empty or remove it to read from the start, or name another file"
        ) from None


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(CURSOR_CHARACTERS_MAX + 1).strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise JournalIOError("read", path, error.errno, error.strerror or "") from error


def store_cursor(path: str, cursor: Cursor) -> None:
    """Write *cursor* to *path*, whole or not at all.  Raises OutputError."""
    write_file(path, f"{cursor}\n".encode(), overwrite=True)
