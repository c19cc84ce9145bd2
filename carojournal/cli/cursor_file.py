"""Where `inspect` left off: the cursor as it is given and stored."""

from carojournal.cursor import CURSOR_CHARACTERS_MAX, Cursor, parse_cursor
from carojournal.durable import write_file
from carojournal.errors import JournalIOError

__all__ = ["given_cursor", "store_cursor"]


def given_cursor(text: str | None, path: str | None) -> Cursor:
    """Return the cursor that *text* or the file at *path* holds; one that reads from the start if there is neither.

    Raises UsageError, JournalIOError.
    """
    if text is None and path is not None:
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                text = file.read(CURSOR_CHARACTERS_MAX + 1)
        except FileNotFoundError:
            return Cursor()
        except OSError as error:
            raise JournalIOError("read", path, error.errno, error.strerror or "") from error
    return Cursor() if text is None else parse_cursor(text)


def store_cursor(path: str, cursor: Cursor) -> None:
    """Write *cursor* to *path*, whole or not at all.  Raises OutputError."""
    write_file(path, f"{cursor}\n".encode(), overwrite=True)
