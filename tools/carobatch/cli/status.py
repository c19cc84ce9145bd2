"""`carobatch status`: how much is packed, carried, acknowledged."""

import json as json_
import sys
from dataclasses import asdict

from carobatch.cli.common import DIR_OPTION, is_made, journal_root, open_store, say_problems
from carojournal.cli.exits import DAMAGED
from carojournal.cli.output import bytes_text, count_text

__all__ = ["OPTIONS", "status"]

OPTIONS = {"dir": DIR_OPTION}


def status(*, dir: str | None = None, json: bool = False) -> int:  # noqa: A002 - the option's name
    """Show what waits to be packed, what is packed, what importers have confirmed.

    Exit 65: a packed file has another length than its inventory says, or the inventory itself does not hold.  The
    events in it are not read: 'carojournal verify' reads everything.
    """
    from carobatch.survey import Survey, survey

    root = journal_root(dir)
    found = survey(open_store(root)) if is_made(root) else Survey()
    if json:
        json_.dump(asdict(found), sys.stdout)
        print()
    else:
        print(
            f"to pack       {count_text(found.open_lanes, 'open lane')}, {count_text(found.closed, 'closed segment')}"
        )
        print(
            f"packed        {count_text(found.events, 'event')} of {count_text(found.segments, 'segment')}"
            f" in {count_text(found.packed_files, 'file')}, {bytes_text(found.packed_bytes)}"
        )
        print(
            f"confirmed     {count_text(found.confirmed_events, 'event')},"
            f" {bytes_text(found.reclaimable_bytes)} reclaimable"
        )
        print(f"bundles       {count_text(found.bundles)}, {count_text(found.bundles_acknowledged)} acknowledged")
        print(f"batches       {count_text(found.batches)} waiting")
        print(f"quarantine    {count_text(found.quarantined, 'file')}, {bytes_text(found.quarantined_bytes)}")
        print(f"everything    {bytes_text(found.total_bytes)}")
    say_problems(found.problems)
    return DAMAGED if found.problems else 0
