"""`carojournal export`: write what is kept to a file of caro's own JSON shape."""

import contextlib
import os
import time

from carojournal import export as exporting
from carojournal import policy
from carojournal.cli.exits import DAMAGED
from carojournal.cli.output import bytes_text, count_text, say
from carojournal.closed import close_lanes
from carojournal.config import CHANNEL
from carojournal.errors import JournalOff, UsageError
from carojournal.export_clear import Removed, remove_exported
from carojournal.identity import day_of
from carojournal.locks import batch_lock
from carojournal.place import has_journal
from carojournal.reader import JournalReader
from carojournal.root import check_root

__all__ = ["OPTIONS", "export"]

_BUNDLE = "bundle"
_ENDINGS = {".json": "json", ".json.gz": "json.gz", ".ndjson": "ndjson", ".jsonl": "ndjson"}
OPTIONS = {
    "output": {"flags": ("-o", "--output"), "metavar": "FILE", "help": "where to write ('-': standard output)"},
    "format": {
        "flags": ("--format",),
        "choices": (*exporting.FORMATS, _BUNDLE),
        "help": "default: by FILE's ending (.json, .json.gz, .ndjson, .jsonl); json if it has none",
    },
    "clear": {"flags": ("--clear",), "action": "store_true", "help": "then remove what the written file holds"},
    "force": {"flags": ("-f", "--force"), "action": "store_true", "help": "overwrite FILE"},
}


def _form(output: str, given: str) -> str:
    if given == _BUNDLE:
        raise UsageError("a bundle is made by 'carobatch export'")
    if given or not output:
        return given or "json.gz"
    name = os.path.basename(output).lower()
    for ending, form in _ENDINGS.items():
        if name.endswith(ending):
            return form
    if not os.path.splitext(name)[1]:
        return "json"
    hint = "a bundle is made by 'carobatch export'" if ".tar" in name else "or say --format"
    raise UsageError(f"FILE's ending names no format: it is {', '.join(_ENDINGS)}; {hint}")


def export(*, output: str = "", format: str = "", clear: bool = False, force: bool = False) -> int:  # noqa: A002
    """Write every event that is kept to FILE, in the shape of caro's own exports.

    Without --output the file is telemetry-export-YYYY-MM-DD.json.gz in this directory.  Every event is checked once
    more; what is refused or damaged is left out, said, and exit code 65.  With --clear exactly those events are removed
    that were read back from the finished file.  A bundle for air-gapped transport is made by 'carobatch export'.
    """
    form = _form(output, format)
    if output == exporting.STDOUT and (clear or form == "json.gz"):
        raise UsageError("standard output takes json or ndjson, without --clear")
    root = policy.journal_root(os.environ)
    now_ms = time.time_ns() // 1_000_000
    if clear:
        found = policy.resolve(root, channel=CHANNEL, environ=os.environ)
        if found.mode == "off":
            # The journal would have to note what was removed, and nothing is written under off.
            raise JournalOff(f"telemetry is off ({found.source}): export without --clear, then 'carojournal clear'")
    output = output or f"telemetry-export-{day_of(now_ms)}.{form}"
    removed = None
    with contextlib.ExitStack() as held:
        there = has_journal(root)
        if clear and there:
            check_root(root)
            held.enter_context(batch_lock(root))
            close_lanes(root, now_ms)
        reader = JournalReader(root)
        plan = exporting.plan_export(reader)
        if not plan.events and output != exporting.STDOUT:
            say("the journal holds no events; nothing was written")
            return _judge(plan, reader)
        size = exporting.export(reader, plan, output, form, now_ms, overwrite=force)
        if clear:
            removed = remove_exported(output, reader, plan, now_ms)
    if output != exporting.STDOUT:
        _print(output, plan.events, size, removed)
    return _judge(plan, reader)


def _print(output: str, events: int, size: int, removed: Removed | None) -> None:
    print(f"Wrote {count_text(events, 'event')} to {output} ({bytes_text(size)}).")
    if removed is not None:
        print(f"Removed {count_text(removed.events, 'event')} in {count_text(removed.files, 'file')} from the journal.")


def _judge(plan: exporting.Plan, reader: JournalReader) -> int:
    """Say what is not in the file, and return the exit code."""
    for (event, name, reason), count in sorted(plan.refused.items()):
        say(f"{count_text(count, 'event')} left out: {event}.{name}: {reason}")
    damage = [found for found in reader.damage if not found.torn]
    if damage:
        size = sum(found.size for found in damage)
        say(f"left out {bytes_text(size)} of damage, which 'carojournal verify' describes")
    return DAMAGED if plan.refused or damage else 0
