"""`carobatch list`: bundles, batches, receipts, gaps."""

import json as json_
import sys

from carobatch.cli.common import DIR_OPTION, is_made, journal_root, open_store
from carojournal.cli.output import is_terminal, table
from carojournal.errors import UsageError

__all__ = ["OPTIONS", "list_"]

_KINDS = ("bundles", "batches", "receipts", "gaps")
OPTIONS = {
    "kinds": {"flags": ("kinds",), "nargs": "*", "metavar": "KIND", "help": f"{', '.join(_KINDS)} (default: all)"},
    "dir": {**DIR_OPTION, "help": "the journal's directory, or that of an imported journal"},
}


def list_(*kinds: str, dir: str | None = None, json: bool = False) -> int:  # noqa: A002 - the option's name
    """List bundles exported here, batches that wait, receipts written here, and what is missing and why."""
    from carobatch import survey

    if not set(kinds) <= set(_KINDS):
        raise UsageError(f"a kind is one of {', '.join(_KINDS)}")
    root = journal_root(dir)
    rows: list[dict[str, object]] = []
    for kind in dict.fromkeys(kinds or _KINDS):
        if not is_made(root):
            break
        if kind == "bundles":
            rows += survey.list_bundles(root)
        elif kind == "batches":
            rows += survey.list_batches(root)
        elif kind == "receipts":
            rows += [row for row in survey.list_received(root) if row["kind"] == "receipt"]
        else:
            rows += survey.list_gaps(open_store(root))
            rows += [row for row in survey.list_received(root) if row["kind"] == "gap"]
    if json:
        json_.dump(rows, sys.stdout)
        print()
        return 0
    cells = [[row["kind"], " ".join(f"{key}={value}" for key, value in row.items() if key != "kind")] for row in rows]
    for line in table(("kind", "what"), cells, terminal=is_terminal()):
        print(line)
    return 0


list_.__name__ = "list"  # The parser looks for a function of the verb's name, which is a builtin's here.
globals()["list"] = list_
