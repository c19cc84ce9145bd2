"""How `inspect` writes an event: for people (short, verbose) and for programs (the JSON and CBOR forms).

    short         one line: time, event, field=value ...; aligned and coloured on a terminal
    verbose       one line a field, a blank line after each event
    json          one object a line (NDJSON), keys in the order of `view`
    json-pretty   the same, indented
    json-seq      RFC 7464: RS, the object, LF
    cbor-seq      RFC 8742: arrays [segment, seq, event map], the map as it is stored

On a terminal times are local, in a pipe RFC 3339 UTC.  JSON is written in ASCII, so nothing in it acts on a terminal.
"""

from functools import cache
from typing import TYPE_CHECKING

from carojournal.cbor import encode_bytes, encode_int
from carojournal.cli.output import escape, paint
from carojournal.times import local_text, utc_text
from carojournal.view import event_view, record_view

if TYPE_CHECKING:
    from collections.abc import Callable
    from json import JSONEncoder

    from carojournal.reader import Record

__all__ = ["FORMATS", "MACHINE_FORMATS", "json_text", "writer_of"]

FORMATS = ("short", "verbose", "json", "json-pretty", "json-seq", "cbor-seq")
MACHINE_FORMATS = FORMATS[2:]

_STYLES = {
    "session_start": "cyan",
    "session_end": "cyan",
    "command_generated": "green",
    "command_executed": "blue",
    "safety_triggered": "yellow",
    "error_occurred": "red",
}
_EVENT_WIDTH = max(map(len, _STYLES))
_IDS = ("event", "event_id", "timestamp", "session_id", "run_id")
_RECORD_SEPARATOR = "\x1e"


def json_text(value: object, *, pretty: bool = False) -> str:
    """Return JSON in printable ASCII (and, if *pretty*, newlines)."""
    return _encoder(pretty).encode(value).replace("\x7f", "\\u007f")  # The one control character that JSON lets pass.


@cache
def _encoder(pretty: bool) -> "JSONEncoder":
    from json import JSONEncoder

    return JSONEncoder(indent=2 if pretty else None, separators=None if pretty else (",", ":"), allow_nan=False)


def writer_of(form: str, *, terminal: bool, color: bool) -> "Callable[[Record], bytes]":
    """Return a function from an event record to what one of FORMATS writes for it, line ends included."""
    time_text = local_text if terminal else utc_text

    def short(record: "Record") -> bytes:
        view = event_view(record.value, "")  # The id is not shown, and deriving it imports hashlib.
        return _short(view, time_text(_time(record)), terminal=terminal, color=color).encode()

    def verbose(record: "Record") -> bytes:
        view = record_view(record)
        event = escape(view["event"])
        head = f"{time_text(_time(record))} {paint(event, _STYLES.get(event, 'bold'), color=color)}\n"
        rows = [(key, value) for key, value in view.items() if key not in ("event", "timestamp")]
        rows.append(("position", f"{record.segment.hex()}:{record.seq}"))
        return (head + "".join(f"    {escape(key)}={_text(value)}\n" for key, value in rows) + "\n").encode()

    def cbor(record: "Record") -> bytes:
        return b"\x83" + encode_bytes(record.segment) + encode_int(record.seq) + record.payload

    return {
        "short": short,
        "verbose": verbose,
        "json": lambda record: f"{json_text(record_view(record))}\n".encode(),
        "json-pretty": lambda record: f"{json_text(record_view(record), pretty=True)}\n".encode(),
        "json-seq": lambda record: f"{_RECORD_SEPARATOR}{json_text(record_view(record))}\n".encode(),
        "cbor-seq": cbor,
    }[form]


def _time(record: "Record") -> int:
    time_ms = record.value["timestamp"]
    assert isinstance(time_ms, int)
    return time_ms


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return escape(value)


def _short(view: "dict[str, object]", when: str, *, terminal: bool, color: bool) -> str:
    event = escape(view["event"])
    words = [
        f"{paint(escape(key) + '=', 'dim', color=color)}{_text(value)}"
        for key, value in view.items()
        if key not in _IDS
    ]
    if not terminal:
        return "\t".join((when, event, " ".join(words))) + "\n"
    name = paint(event.ljust(_EVENT_WIDTH), _STYLES.get(event, "bold"), color=color)
    return f"{paint(when, 'dim', color=color)}  {name}  {' '.join(words)}".rstrip() + "\n"
