"""`carojournal verify`: check every byte that is kept."""

import json as jsonlib
import os

from carojournal import policy
from carojournal.cli.output import bytes_text, count_text, escape, paint, uses_color
from carojournal.place import has_journal
from carojournal.recovery import GAP_REASONS, REASONS, Report, verify_paths
from carojournal.recovery import verify as verify_journal
from carojournal.root import is_folder

__all__ = ["OPTIONS", "verify"]

OPTIONS = {
    "paths": {
        "flags": ("paths",),
        "nargs": "*",
        "metavar": "PATH",
        "help": "segment or packed files, or journals (default: the journal)",
    },
    "json": {"flags": ("--json",), "action": "store_true", "help": "print the findings as one JSON object"},
}


def verify(*paths: str, json: bool = False) -> int:
    """Check every byte that is kept, and whether anything is missing.  Nothing is changed.

    Exit codes: 0 clean (also where there is no journal), 1 only torn tails, which a crash leaves and which lose nothing
    that was acknowledged, 2 damage, 3 records are missing and nothing accounts for them.  With both, 2 wins over 3.  A
    directory that holds other things is no journal: 69.
    """
    root = policy.journal_root(os.environ)
    for place in filter(is_folder, paths) if paths else (root,):
        has_journal(place)  # Of files that are none of ours nothing can be said to be whole.
    report = verify_paths(paths) if paths else verify_journal(root)
    if json:
        print(jsonlib.dumps(_as_json(report, root if not paths else None)))
        return report.exit_code
    for line in _lines(report, color=uses_color()):
        print(line)
    if not paths and not report.files and not report.exit_code:
        print(f"no journal at {escape(root)}" if not is_folder(root) else "the journal is empty")
        return 0
    read = f"{count_text(report.files, 'file')}, {bytes_text(report.bytes)}, {count_text(report.events, 'event')}"
    print(f"{read}: {_verdict(report)}")
    return report.exit_code


def _verdict(report: Report) -> str:
    counts = (
        (len(report.damage), "damaged place"),
        (len(report.gaps), "unexplained gap"),
        (len(report.torn), "torn tail"),
    )
    return ", ".join(count_text(count, noun) for count, noun in counts if count) or "clean"


def _lines(report: Report, *, color: bool) -> "list[str]":
    found = []
    for kind, style, findings in (("damage", "red", report.damage), ("torn", "yellow", report.torn)):
        for item in findings:
            where = f"{escape(item.path)} at byte {item.offset}, {count_text(item.size, 'byte')}"
            found.append(f"{paint(kind, style, color=color)}: {where}: {REASONS[item.reason]}")
    for gap in report.gaps:
        missing = f"segment {gap.segment.hex()}"
        if gap.first_seq is not None:
            last = gap.last_seq if gap.last_seq is not None else "the end"
            missing += f", records {gap.first_seq} to {last}"
        where = f"{escape(gap.path)} at byte {gap.offset}"
        found.append(f"{paint('gap', 'red', color=color)}: {where}: {GAP_REASONS[gap.reason]} ({missing})")
    return found


def _as_json(report: Report, root: str | None) -> dict[str, object]:
    def place(item: object, *keys: str) -> dict[str, object]:
        return {key: getattr(item, key) for key in keys}

    return {
        "root": root,
        "exit_code": report.exit_code,
        "files": report.files,
        "records": report.records,
        "events": report.events,
        "bytes": report.bytes,
        "torn": [place(item, "path", "offset", "size", "reason") for item in report.torn],
        "damage": [place(item, "path", "offset", "size", "reason") for item in report.damage],
        "gaps": [
            {**place(gap, "path", "offset", "first_seq", "last_seq", "reason"), "segment": gap.segment.hex()}
            for gap in report.gaps
        ],
    }
