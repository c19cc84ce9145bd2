"""`carojournal audit`: says whether anything sensitive is in there."""

import json as json_module
import os
import re
from collections import Counter

from carojournal import policy
from carojournal.audit import Report, audit_paths
from carojournal.cli.exits import DAMAGED
from carojournal.place import has_journal

__all__ = ["OPTIONS", "audit"]

LINES_MAX = 50  # Of the table for people; --json has everything.
OPTIONS = {
    "paths": {"flags": ("paths",), "nargs": "*", "help": "files or directories (default: the journal)"},
    "json": {"help": "print the report as JSON"},
}


def audit(*paths: str, json: bool = False) -> int:
    """Scan journals, bundles, exports or any files for sensitive strings, without trusting the schema.

    Prints counts by rule and the first position of each, never values; --json lists every position, up to
    ten thousand.  Exits 0 if nothing was found, 65 if something was, or if a part could not be read.
    """
    root = policy.journal_root(os.environ)
    if not paths and has_journal(root):
        paths = (root,)
    report = audit_paths(paths)
    if json:
        print(json_module.dumps(report.as_json(), indent=2))
    else:
        _print(report)
    return 0 if report.clean else DAMAGED


def _print(report: Report) -> None:
    rows: Counter[tuple[str, str, str, str]] = Counter()
    first: dict[tuple[str, str, str, str], str] = {}
    for found in report.findings:
        # Positions that differ in their numbers alone are one row: a field that leaks does so in every record.
        row = (found.file, found.member, re.sub(r"\d+", "*", found.position), found.rule)
        rows[row] += 1
        first.setdefault(row, found.position)
    for row, count in rows.most_common(LINES_MAX):
        file, member, _, rule = row
        more = f" and {count - 1} more like it" if count > 1 else ""
        print(f"{count:6}  {rule:<18} {file}{' ' if member else ''}{member} at {first[row]}{more}")
    if len(rows) > LINES_MAX:
        print(f"        and {len(rows) - LINES_MAX} more rows; --json lists them")
    for file, member, reason in report.unread:
        print(f"unread  {file}{' ' if member else ''}{member}: {reason}")
    verdict = "nothing sensitive found" if report.clean else f"{report.counts.total()} findings"
    print(f"{verdict}; {report.members} files and members, {report.bytes} bytes looked at")
