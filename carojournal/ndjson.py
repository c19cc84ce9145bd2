"""Events as lines of JSON (NDJSON), as they arrive: lines are bounded, and one bad line costs itself only.

A line is one object: `{"event": NAME, "field": value, ...}`; `event_type` and `type` say the same as `event`.  The
objects of caro's documents (`platform`, `backend_config`, `safety_result`) may stand in it.  Lines end with LF or CRLF,
the last one may end with the input; empty lines count but say nothing.  A byte order mark before the first line is
passed over: some editors and shells write one.  Stricter than `json.loads`: UTF-8 only, no key
twice, no NaN or Infinity, bounded nesting.  A refusal is one of the texts below, never a word of the line.
"""

from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["LINE_BYTES_MAX", "read_batches", "read_event"]

LINE_BYTES_MAX = 65_536  # The largest possible event has about 700 bytes; this bounds what a broken producer costs.
READ_BYTES = 65_536  # A pipe of Linux holds as much.
# An event needs five: itself, three groups, one list.  Counted before the parser sees the line, within strings too: no
# accepted value holds a bracket.
BRACKETS_MAX = 8
_BOM = b"\xef\xbb\xbf"
NAME_KEYS = ("event", "event_type", "type")

TOO_LONG = f"longer than {LINE_BYTES_MAX} bytes"
NOT_UTF8 = "not UTF-8"
NOT_JSON = "not JSON"
NOT_OBJECT = "not an object"
NO_NAME = "no event name"
TOO_DEEP = "nested too deeply"
TWICE = "a key stands twice"


def read_batches(read: "Callable[[int], bytes]") -> "Iterator[list[tuple[int, bytes | None]]]":
    """Yield (line number from 1, line) in lists of what one *read* completed; None stands for a line that is too long.

    *read* takes a number of bytes, waits for the first and returns b"" at the end, as `os.read` does.  Nothing that has
    arrived waits for more to come, and never more than a line and a read are held.
    """
    number, held, too_long = 0, b"", False
    while data := read(READ_BYTES):
        *lines, tail = data.split(b"\n")
        batch: list[tuple[int, bytes | None]] = []
        for line in lines:
            number += 1
            fits = not too_long and len(held) + len(line) <= LINE_BYTES_MAX
            batch.append((number, held + line if fits else None))
            held, too_long = b"", False
        if too_long or len(held) + len(tail) > LINE_BYTES_MAX:
            held, too_long = b"", True
        else:
            held += tail
        if batch:
            batch[0] = _unmarked(*batch[0])
            yield batch
    if held or too_long:
        yield [_unmarked(number + 1, None if too_long else held)]


def _unmarked(number: int, line: bytes | None) -> tuple[int, bytes | None]:
    return number, line.removeprefix(_BOM) if line and number == 1 else line


class _KeyTwiceError(ValueError):
    pass


def _object(pairs: "list[tuple[str, object]]") -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _KeyTwiceError
    return found


def _constant(name: str) -> object:
    raise ValueError(name)


@cache
def _decode() -> "Callable[[str], object]":
    from json import JSONDecoder  # 13 ms, and only those who read lines pay them.

    return JSONDecoder(object_pairs_hook=_object, parse_constant=_constant).decode


def read_event(line: bytes) -> "tuple[object, dict[str, object]] | str":
    """Return (event name, fields) of one line, or as text why it is none.  Names and values are not looked at here."""
    if line.count(b"{") + line.count(b"[") > BRACKETS_MAX:
        return TOO_DEEP
    try:
        found = _decode()(line.decode())
    except ValueError as error:
        kinds = ((UnicodeDecodeError, NOT_UTF8), (_KeyTwiceError, TWICE))
        return next((reason for kind, reason in kinds if isinstance(error, kind)), NOT_JSON)
    if not isinstance(found, dict):
        return NOT_OBJECT
    for key in NAME_KEYS:
        if key in found:
            return found.pop(key), found
    return NO_NAME
