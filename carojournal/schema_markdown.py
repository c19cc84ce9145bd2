"""EVENTS.md, the data dictionary for people, made from `events`, `grammars` and `schema_docs`."""

from textwrap import wrap
from typing import TYPE_CHECKING

from carojournal import error_codes, events, grammars, own_events, schema_docs
from carojournal.redact import GENERATION_MAX
from carojournal.refusal import REASONS
from carojournal.schema_json import int_ranges
from carojournal.shape import TEXT_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["events_markdown", "values"]

_HEAD = f"""\
# What the journal may hold

Schema version {{version}}. Generated from `carojournal/events.py`; what is not in this file cannot get in.

* A record is a flat list of the fields below. Callers may group fields the way caro's own documents do
  (`platform`, `backend_config`, `safety_result`); the recorder takes the groups apart. Under *also written* a dot
  means a nested object: `safety_result.risk_level` is `{{{{"safety_result": {{{{"risk_level": ...}}}}}}}}`.
* Every text is a word of a closed list, or follows a closed grammar. No field takes free text. Whatever the field, a
  text has at most {TEXT_BYTES_MAX} characters of `A-Z a-z 0-9 . _ : + / -`.
* A value that does not fit is never cut, masked or hashed. In a required field it refuses the event; in an optional
  field it becomes `other` or `unknown` where the list has such a word, else the field is left out. Each refusal is
  counted by event, field and reason, without the value.
* *Level* is the lowest collection level at which a field is kept: `minimal`, then `standard`, then `detailed`.
* *Alias* is another name or word that callers may use. Aliases are never stored. Where one call gives a field under two
  names, the one that stands last counts; one name twice is refused, on a command line and in a line of JSON.
"""

_GRAMMARS = {
    "version": "`X.Y` or `X.Y.Z` with at most 1, 2 and 3 digits, optionally `-alpha`, `-beta` or `-rc` with `.N`",
    "model": "name of a public model: a known family, then only known sizes, versions, tunings and quantisations",
    "code": "`E` and four digits, or one of caro's and TLS's published error names",
}


def values(kind: str) -> str:
    """Return in one line what a field of type *kind* may hold."""
    spec = own_events.ALL_TYPES[kind]
    shape = str(spec[0])
    if shape == "enum":
        return ", ".join(f"`{word}`" for word in spec[1])  # type: ignore[attr-defined]
    if shape == "words":
        return f"list of up to {spec[2]} distinct words of *{spec[1]}*"
    if shape == "bool":
        return "`true` or `false`"
    if shape == "score":
        return "0 to 1, rounded to 0.01"
    if shape != "int":
        return _GRAMMARS[shape]
    most, exact, step = (int(part) for part in spec[1:])  # type: ignore[call-overload]
    _, rounded = int_ranges(most, exact, step)
    text = f"whole number, 0 to {most:,}"
    return text if rounded is None else f"{text}; above {exact:,} rounded to the nearest {step:,}"


def _table(head: tuple[str, ...], rows: "Iterable[tuple[str, ...]]") -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _aliases(pairs: dict[str, str], name: str) -> str:
    return ", ".join(f"`{alias}`" for alias, canonical in pairs.items() if canonical == name)


def _event(event: str) -> str:
    level, fields = own_events.ALL_EVENTS[event]
    what, why = schema_docs.EVENT_DOCS[event]
    rows = []
    for field, (kind, lowest, required, group) in fields.items():
        means, reason = schema_docs.FIELD_DOCS[event][field]
        names = [f"`{group}.{field}`"] if group else []
        names += filter(None, [_aliases(events.FIELD_ALIASES.get(event, {}), field)])
        given = "required" if required else "optional"
        rows.append((f"`{field}`", means, f"*{kind}*", events.LEVELS[lowest], given, reason, ", ".join(names)))
    aliases = _aliases(events.EVENT_ALIASES, event)
    said = f"Aliases: {aliases}." if event in events.EVENTS else schema_docs.OWN_DOCS
    return "\n".join(
        (
            f"## `{event}`\n",
            f"{what} {why}\n",
            f"Kept from level `{events.LEVELS[level]}` on. {said}\n",
            _table(("field", "what it is", "type", "level", "given", "why: it ...", "also written"), rows),
        )
    )


def _types() -> str:
    rows = []
    for kind in own_events.ALL_TYPES:
        aliases = ", ".join(f"`{alias}` = `{word}`" for alias, word in events.ALIASES.get(kind, {}).items())
        rows.append((f"*{kind}*", values(kind), aliases))
    return "## Types\n\n" + _table(("type", "allowed values", "aliases"), rows)


def _recorder() -> str:
    rows = ((f"`{key}`", *schema_docs.ENVELOPE_DOCS[key]) for key in events.ENVELOPE)
    ignored = ", ".join(f"`{key}`" for key in events.RECORDER_OWNED)
    return (
        "## What the recorder adds to every event\n\n"
        + _table(("key", "stored as", "what it is", "why"), rows)
        + f"\nKeys that belong to the recorder: {ignored}. {schema_docs.IGNORED_DOCS}"
        + f" `generation`, or `generation_id`, is an ordinal from 1 to {GENERATION_MAX} or a UUID of the caller's,"
        + " which is replaced by an ordinal and not stored. Any other is left out and counted: `range` where it is a"
        + " whole number, else `foreign_id`, as is a UUID in a run that several processes share.\n"
    )


def _control() -> str:
    about = "They tell of segments and losses, not of people, and never hold a field of an event."
    parts = [f"## The journal's own records\n\n{about}\n"]
    for record, (what, keys) in schema_docs.CONTROL_DOCS.items():
        parts.append(f"### `{record}`\n\n{what}\n")
        parts.append(_table(("key", "what it is"), ((f"`{key}`", text) for key, text in keys.items())))
    return "\n".join(parts)


_NUMBERS = f"""\
After the family, besides sizes (`7b`, `8x22b`), versions of at most {grammars.VERSION_DIGITS_MAX} digits,
quantisations (`q4`, `fp16`) and one date of release from {grammars.RELEASE_YEARS[0]} to {grammars.RELEASE_YEARS[1]}.
But for that date a name has at most {grammars.MODEL_DIGITS_MAX} digits: there is no room for a telephone number, a
card, a date of birth or an address."""


def _words() -> str:
    lists = (
        ("Error names", "Accepted in *error_code* beside `E` and four digits.", error_codes.ERROR_CODES),
        (
            "Model families",
            "A name in *model* begins with one of these, perhaps with a number.",
            grammars.MODEL_FAMILIES,
        ),
        (
            "Other words of model names",
            _NUMBERS,
            grammars.MODEL_WORDS - grammars.MODEL_FAMILIES,
        ),
    )
    return "\n".join(
        f"## {title}\n\n{about}\n\n" + "\n".join(wrap(" ".join(f"`{word}`" for word in sorted(words)), 118)) + "\n"
        for title, about, words in lists
    )


def _reasons() -> str:
    rows = ((f"`{reason}`", text) for reason, text in REASONS.items())
    return "## Why something is refused\n\n" + _table(("reason", "meaning"), rows)


def events_markdown() -> str:
    """Return the text of EVENTS.md."""
    parts = [_HEAD.format(version=events.SCHEMA_VERSION)]
    parts += [_event(event) for event in own_events.ALL_EVENTS]
    parts += [_types(), _words(), _recorder(), _control(), _reasons()]
    return "\n".join(parts)
