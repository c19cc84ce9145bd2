"""The words of `carojournal append`: its help, its options, and text to the types of the schema.  Hot path.

A parser of its own, because argparse alone costs three times what the whole append does.
"""

import carojournal
from carojournal import redact
from carojournal.events import EVENTS, FIELD_ALIASES, TYPES

__all__ = ["HELP", "parse_words", "typed_value"]

NUMBER_DIGITS_MAX = 20  # More than any field takes; bounds what `int` is given.

HELP = """\
usage: carojournal append [option ...] --event NAME [key=value ...] [--event ...]
       carojournal append [option ...] < EVENTS
       carojournal append --new-run

Append events to the journal.  Without --event, standard input holds one JSON object a line:
    {"event": "session_start", "caro_version": "1.1.0", "os": "linux"}
Lines are appended as they come.  `carojournal schema` lists events, fields and values; a value of a list is separated
by commas, a flag is true or false.

options:
  --event NAME      an event whose fields follow as key=value; may stand several times
  --new-run         print a new run id, which joins the events of several calls; creates the journal.
                    Prints nothing if telemetry is off
  --run ID          the events belong to the run that --new-run printed; an empty ID means none.  Number the run's
                    generations yourself: generation=1, generation=2 ...
  --channel NAME    the host's release channel: ga (default) or beta.  Where the user has chosen nothing, the events
                    of a beta are kept on this machine, those of a ga are not
  --level NAME      keep less than the user allows: minimal, standard, detailed
  --durability HOW  os (default) survives the death of all processes, each also a power cut
  --no-telemetry    keep nothing
  --dir DIR         the journal's directory
  --quiet           say nothing about refused events
  -h, --help        print this

exit codes:
  0   everything was kept, or left out because telemetry is off or by the level
  64  usage
  69  an event was refused (standard error names line, field and reason, never a value), or the directory is unsafe
  74  reading or writing failed
  75  the journal is busy
"""

_VALUED = ("--run", "--channel", "--level", "--durability", "--dir")
_FLAGS = ("--new-run", "--no-telemetry", "--quiet")


def parse_words(words: list[str]) -> tuple[dict[str, str], list[tuple[str, dict[str, str]]]]:
    """Return (options, events) of a command line; an event is its name and its fields as text.

    Raises UsageError, which repeats no word: values may stand in the wrong place.
    """
    options: dict[str, str] = {}
    events: list[tuple[str, dict[str, str]]] = []
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name in (*_VALUED, "--event"):
            if not equals:
                value = next(rest, "--")
                if value.startswith("--"):
                    raise carojournal.errors.UsageError(f"{name} needs a value")
            if name == "--event":
                events.append((value, {}))
            else:
                options[name] = value
        elif word in _FLAGS:
            options[word] = ""
        elif word.startswith("-"):
            raise carojournal.errors.UsageError("unknown option (see 'carojournal append --help')")
        elif not events or not equals or not name:
            raise carojournal.errors.UsageError("fields are written key=value, after --event NAME")
        elif name in events[-1][1]:
            raise carojournal.errors.UsageError("a field is given twice")
        else:
            events[-1][1][name] = value
    if "--new-run" in options and (events or "--run" in options):
        raise carojournal.errors.UsageError("--new-run stands alone: pass what it prints to --run")
    return options, events


def typed_value(event_type: str, key: str, text: str) -> object:
    """Return *text* as the type of the event's field; as it is where that does not fit: the check then says so."""
    event = redact.event_name(event_type)
    field = FIELD_ALIASES[event].get(key, key) if event else key
    kind: object = ""
    if field in ("generation", "generation_id"):
        kind = "int"
    elif event and field in EVENTS[event][1]:
        kind = TYPES[EVENTS[event][1][field][0]][0]
    if kind == "bool":
        return {"true": True, "false": False}.get(text, text)
    if kind == "words":
        return text.split(",") if text else []
    return _number(text, whole=kind == "int") if kind in ("int", "score") else text


def _number(text: str, *, whole: bool) -> object:
    digits = text.removeprefix("-")
    if len(digits) <= NUMBER_DIGITS_MAX and digits.isascii():
        if digits.isdigit():
            return int(text)
        if not whole and digits.replace(".", "", 1).isdigit():
            return float(text)
    return text
