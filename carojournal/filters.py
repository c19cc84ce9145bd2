"""Filters as people type them: `field=value`.

The same field twice means "or", different fields mean "and".  Fields and values are those of the schema, plus what the
recorder adds.  Anything else is refused here, naming what is allowed, so that a typing error never looks like an empty
journal; what was typed is not repeated.
"""

from collections.abc import Callable, Iterable, Sequence

from carojournal import error_codes, grammars, kinds
from carojournal.errors import UsageError
from carojournal.events import ALIASES, EVENT_ALIASES
from carojournal.own_events import ALL_EVENTS, ALL_TYPES
from carojournal.query import FIELDS, IDS, Query

__all__ = ["event_choice", "id_prefix", "parse_filters"]

ID_DIGITS_MIN = 4  # Fewer match by accident.

_GRAMMARS: dict[str, tuple[Callable[[str], bool], str]] = {
    "version": (kinds.is_version, "a version, X.Y.Z"),
    "code": (error_codes.is_error_code, "an error code such as E1234"),
    "model": (grammars.is_model, "a known model name or other"),
}


def event_choice(text: str) -> str:
    """Return the canonical name of an event or alias.  Raises UsageError naming the events."""
    name = EVENT_ALIASES.get(text.strip(), text.strip())
    if name not in ALL_EVENTS:
        raise UsageError(f"an event is one of {', '.join(ALL_EVENTS)}")
    return name


def id_prefix(text: str, name: str) -> str:
    """Return a prefix of an id as hexadecimal digits without dashes.  Raises UsageError."""
    digits = text.strip().lower().replace("-", "")
    if not ID_DIGITS_MIN <= len(digits) <= 32 or digits.strip("0123456789abcdef"):
        raise UsageError(f"{name} takes {ID_DIGITS_MIN} to 32 hexadecimal digits, the first ones of an id")
    return digits


def parse_filters(
    words: Sequence[str], *, since_ms: int | None = None, until_ms: int | None = None, events: Iterable[str] = ()
) -> Query:
    """Return the query that the words `field=value`, the times and the *events* (canonical names) ask for.

    Raises UsageError for a word that is no filter, an unknown field, or a value that the field cannot hold.
    """
    named: set[str] = set(events)
    ids: dict[str, set[str]] = {}
    fields: dict[str, set[object]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip()
        if not equals:
            raise UsageError("a filter is FIELD=VALUE")
        if name == "event":
            named.add(event_choice(text))
        elif name in IDS:
            ids.setdefault(name, set()).add(id_prefix(text, name))
        elif name == "generation" or name in FIELDS:
            fields.setdefault(name, set()).add(_value(name, text.strip()))
        else:
            raise UsageError(
                f"a filter's field is one of event, {', '.join(IDS)}, generation, {', '.join(sorted(FIELDS))}"
            )
    return Query(
        since_ms=since_ms,
        until_ms=until_ms,
        events=frozenset(named),
        ids={name: frozenset(prefixes) for name, prefixes in ids.items()},
        fields={name: frozenset(values) for name, values in fields.items()},
    )


def _value(name: str, text: str) -> object:
    """Return the value of a field as it is stored."""
    kind = FIELDS.get(name, "count")
    spec = ALL_TYPES[kind]
    if spec[0] == "words":
        kind = str(spec[1])
        spec = ALL_TYPES[kind]
    if spec[0] == "enum":
        words: tuple[str, ...] = spec[1]  # type: ignore[assignment]
        word = ALIASES.get(kind, {}).get(text, text)
        if word not in words:
            raise UsageError(f"{name} is one of {', '.join(words)}")
        return word
    if spec[0] == "bool":
        if text.lower() not in ("true", "false"):
            raise UsageError(f"{name} is true or false")
        return text.lower() == "true"
    if spec[0] == "int":
        if not (text.isascii() and text.isdecimal() and len(text) <= 9):
            raise UsageError(f"{name} is a whole number")
        return int(text)
    if spec[0] == "score":
        return _score(name, text)
    good, form = _GRAMMARS[str(spec[0])]
    if text != "other" and not (len(text) <= 64 and good(text)):
        raise UsageError(f"{name} is {form}")
    return text


def _score(name: str, text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:
        raise UsageError(f"{name} is a number from 0 to 1")
    return round(score * 100) / 100
