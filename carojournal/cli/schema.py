"""`carojournal schema`: what may enter the journal, as a table, as JSON Schema or as CDDL.  Needs no journal."""

from typing import TYPE_CHECKING

from carojournal import events, own_events
from carojournal.cli.output import count_text, is_terminal, table, uses_color
from carojournal.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OPTIONS", "schema"]

OPTIONS = {
    "json": {"help": "print the JSON Schema (2020-12) of one event in its JSON view"},
    "cddl": {"help": "print the CDDL (RFC 8610) of the stored records"},
}


def schema(*, json: bool = False, cddl: bool = False) -> int:
    """Print the event schema: every event, field and allowed value.

    'carojournal docs events' also says why each field is collected.
    """
    if json and cddl:
        raise UsageError("--json and --cddl exclude each other")
    if json:
        from carojournal.schema_export import json_schema_text

        print(json_schema_text(), end="")
    elif cddl:
        from carojournal.schema_cddl import cddl as cddl_text

        print(cddl_text(), end="")
    else:
        _print()
    return 0


def _print() -> None:
    from carojournal.schema_registry import read_registry

    terminal, color = is_terminal(), uses_color()
    released = ((f"{version}", known.hex(), _mark(known)) for version, known in read_registry())
    print("\n".join(table(("version", "SHA-256 of the schema", ""), released, terminal=terminal, color=color)))
    if terminal:
        fields = sum(len(declared) for _, declared in own_events.ALL_EVENTS.values())
        print(f"\n{count_text(len(own_events.ALL_EVENTS), 'event')}, {count_text(fields, 'field')}; * is required\n")
    headings = ("event", "field", "level", "values")
    print("\n".join(table(headings, _rows(terminal=terminal), terminal=terminal, color=color)))


def _mark(known: bytes) -> str:
    return "this release" if known == events.SCHEMA_HASH else ""


def _rows(*, terminal: bool) -> "Iterator[tuple[str, str, str, str]]":
    """Yield a row for each field; on a terminal an event is named once."""
    from carojournal.schema_markdown import values

    for event, (_, fields) in own_events.ALL_EVENTS.items():
        named = event
        for field, (kind, level, required, _) in fields.items():
            allowed = values(kind).replace("`", "").replace("*", "")
            yield named, f"{field}{'*' if required else ''}", events.LEVELS[level], allowed
            if terminal:
                named = ""
