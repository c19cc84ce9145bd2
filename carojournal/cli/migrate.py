"""`carojournal migrate`: take over the queue or exports of caro 1.1."""

import json as jsonlib
import os
import time

from carojournal import migrate as migration
from carojournal import policy
from carojournal.cli.exits import DAMAGED, RETRY
from carojournal.cli.output import count_text, is_terminal, say, table, uses_color
from carojournal.config import CHANNEL
from carojournal.errors import JournalOff

__all__ = ["OPTIONS", "migrate"]

OPTIONS = {
    "dry_run": {"flags": ("-n", "--dry-run"), "action": "store_true", "help": "only say what would be taken"},
    "json": {"flags": ("--json",), "action": "store_true", "help": "print the report as JSON"},
}


def migrate(path: str, *, dry_run: bool = False, json: bool = False) -> int:
    """Take over what caro 1.1 recorded: its sqlite queue, or a JSON export of it (array, object, NDJSON; .gz too).

    Every event passes the same check as a new one and keeps its time, but none of its ids.  Run it as often as you
    like: a row is taken once.  Migrated events are never sent.  The file itself is not changed.

    Rows that are refused are counted by reason and change no exit code: caro 1.1 recorded what is not collected any
    more.  Exit code 69 for what is neither caro 1.1's nor an export of another journal; 65 if part of the file could
    not be read, 75 if part of it found no room below the spool's bound.
    """
    root = policy.journal_root(os.environ)
    now_ms = time.time_ns() // 1_000_000
    found = policy.resolve(root, channel=CHANNEL, environ=os.environ)
    if found.mode == "off":
        raise JournalOff(f"telemetry is off ({found.source}); nothing was taken")
    report = migration.migrate(path, root, found, now_ms, dry_run=dry_run)
    if json:
        _print_json(report, dry_run=dry_run)
    else:
        _print(report, dry_run=dry_run)
    if report.damage is not None:
        say(f"the rest of the file cannot be read: {report.damage.reason}")
        return DAMAGED
    if report.left:
        say(f"{count_text(report.left, 'event')} found no room: run it again when there is some")
        return RETRY
    return 0


def _print_json(report: migration.Report, *, dry_run: bool) -> None:
    counts = {"dry_run": dry_run}
    names = ("read", "taken", "already", "filtered", "left", "segments", "evicted")
    print(
        jsonlib.dumps(
            {
                **counts,
                **{name: getattr(report, name) for name in names},
                "refused": _rows(report.refused),
                "replaced": _rows(report.replaced),
                "mapped": dict(sorted(report.mapped.items())),
                "damage": report.damage.reason if report.damage else None,
            }
        )
    )


def _rows(counts: "dict[tuple[str, str, str], int]") -> list[dict[str, object]]:
    return [
        {"event": event, "field": field, "reason": reason, "count": count}
        for (event, field, reason), count in sorted(counts.items())
    ]


def _print(report: migration.Report, *, dry_run: bool) -> None:
    refused = sum(report.refused.values())
    lines = [
        ("would be taken" if dry_run else "taken", report.taken),
        ("there already", report.already),
        ("left out by the level", report.filtered),
        ("without room", report.left),
        ("refused", refused),
        ("read", report.read),
    ]
    rows: list[tuple[str, str, int]] = [("rows", text, count) for text, count in lines if count or text == "read"]
    rows += [("mapped", text, count) for text, count in sorted(report.mapped.items())]
    for kind, counts in (("refused", report.refused), ("replaced", report.replaced)):
        rows += [
            (kind, f"{event}.{field}: {reason}", count) for (event, field, reason), count in sorted(counts.items())
        ]
    for row in table(("", "what", "count"), rows, terminal=is_terminal(), color=uses_color(), right=(2,)):
        print(row)
