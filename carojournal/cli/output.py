"""What verbs print with: terminal detection, colour, tables, numbers, and the escaping of everything that is not ours.

Results go to standard output, remarks to standard error.  On a terminal there are aligned tables and colour; in a pipe
there is neither: one row a line, cells separated by tabs.  A non-empty NO_COLOR (https://no-color.org) or TERM=dumb
means no colour.  A journal may have been written by anybody, so every string passes `escape` on its way out: nothing
moves the cursor, nothing turns the reading direction around.
"""

import contextlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import TextIO

__all__ = [
    "STYLES",
    "age_text",
    "bytes_text",
    "count_text",
    "escape",
    "is_terminal",
    "paint",
    "say",
    "table",
    "uses_color",
]

# SGR numbers of the eight colours that every terminal has; they keep their contrast in light and dark themes.
STYLES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}

_KILO = 1000  # The cap is configured in SI megabytes; sizes are shown in the same unit.
_UNITS_S = ((86_400, "d"), (3_600, "h"), (60, "min"))


def escape(text: object) -> str:
    """Return str(*text*) with everything unprintable (Unicode categories C and Z, but for the blank) as an escape.

    That covers C0 and C1 controls, DEL, lone surrogates, bidirectional overrides and zero-width characters.
    """
    plain = str(text)
    if plain.isprintable():
        return plain
    return "".join(letter if letter.isprintable() else _escaped(ord(letter)) for letter in plain)


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def is_terminal(stream: "TextIO | None" = None) -> bool:
    """Tell whether *stream* (default: standard output) is a terminal; a closed or missing stream is none."""
    stream = sys.stdout if stream is None else stream
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def uses_color(stream: "TextIO | None" = None, environ: "Mapping[str, str] | None" = None) -> bool:
    """Tell whether colour may be written to *stream*."""
    environ = os.environ if environ is None else environ
    return is_terminal(stream) and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def paint(text: str, style: str, *, color: bool) -> str:
    """Return *text* in one of STYLES if *color*, else as it is.  Escape first: the escape sequences are ours."""
    return f"\033[{STYLES[style]}m{text}\033[0m" if color else text


def say(text: object, program: str = "carojournal") -> None:
    """Write one remark to standard error; a closed standard error is no error."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(f"{program}: {escape(text)}", file=sys.stderr, flush=True)


def table(
    headings: "Sequence[str]",
    rows: "Iterable[Sequence[object]]",
    *,
    terminal: bool,
    color: bool = False,
    right: "Iterable[int]" = (),
) -> "list[str]":
    """Return the lines of a table, cells escaped.

    On a terminal columns are aligned (those numbered in *right* to the right) and headed; in a pipe a row is its cells
    separated by tabs, without headings.
    """
    cells = [[escape(cell) for cell in row] for row in rows]
    if not terminal:
        return ["\t".join(row) for row in cells]
    flush_right = set(right)
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]

    def line(row: "Sequence[str]") -> str:
        parts = (
            cell.rjust(width) if number in flush_right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(parts).rstrip()

    return [paint(line(headings), "bold", color=color), *map(line, cells)]


def bytes_text(size: int) -> str:
    """Return a number of bytes for people, in SI units: "812 B", "4.1 kB", "9.8 MB"."""
    if abs(size) < _KILO:
        return f"{size} B"
    amount = float(size)
    for unit in ("kB", "MB", "GB"):
        amount /= _KILO
        if abs(amount) < _KILO - 0.05:
            return f"{amount:.1f} {unit}"
    return f"{amount / _KILO:.1f} TB"


def count_text(count: int, noun: str = "", plural: str = "") -> str:
    """Return a number with thousands separated, and *noun* in the right number: "1 event", "43,120 events"."""
    if not noun:
        return f"{count:,}"
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def age_text(milliseconds: int) -> str:
    """Return a span of time for people in its largest whole unit: "3 d", "5 h", "12 min", "8 s"."""
    seconds = max(0, milliseconds) // 1000
    for size, unit in _UNITS_S:
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
