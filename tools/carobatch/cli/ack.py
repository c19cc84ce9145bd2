"""`carobatch ack`: take an importer's receipts back to the source."""

import os
import time

from carobatch.cli.common import DIR_OPTION, is_made, journal_root, open_store, refuse_off
from carojournal import locks
from carojournal.cli.output import bytes_text, count_text, escape
from carojournal.errors import JournalUnavailable

__all__ = ["OPTIONS", "ack"]

_REJECTED_SHOWN = 20
OPTIONS = {
    "receipts": {"flags": ("receipts",), "metavar": "RECEIPT", "nargs": "+", "help": "receipt-....json of an importer"},
    "dir": DIR_OPTION,
    "allowed_signers": {"metavar": "FILE", "help": "take only receipts that one of these keys has signed"},
    "reclaim": {"flags": ("--reclaim",), "action": "store_true", "help": "then remove packed files confirmed whole"},
}


def ack(
    *receipts: str,
    dir: str | None = None,  # noqa: A002 - the option's name
    allowed_signers: str = "",
    reclaim: bool = False,
) -> int:
    """Make reclaimable exactly what importers have accepted, and show what they rejected and why.

    A receipt must be for a bundle that was exported here.  Nothing is removed without --reclaim.
    """
    from carobatch.ack import acknowledge
    from carobatch.ack import reclaim as remove_confirmed
    from carobatch.ledger import Ledger
    from carobatch.sshsig import read_allowed_signers
    from carobatch.sweep import sweep
    from carojournal.identity import open_identity

    root = journal_root(dir)
    refuse_off(root)
    allowed = read_allowed_signers(allowed_signers) if allowed_signers else None
    if not is_made(root):
        raise JournalUnavailable("there is no journal here")
    with locks.batch_lock(root):
        sweep(root)
        ledger = Ledger(root)
        journal = open_identity(root, time.time_ns() // 1_000_000, os.urandom).journal
        for path in receipts:
            done = acknowledge(ledger, journal, path, allowed)
            signed = f", signed by {escape(done.signer)}" if done.signer else ""
            print(f"bundle {done.bundle}: {count_text(done.events, 'event')} confirmed{signed}")
            for row in done.rejected[:_REJECTED_SHOWN]:
                words = ".".join(escape(row[key]) for key in ("event", "field"))
                print(f"  rejected: {escape(row.get('segment'))} {row['seq']}: {words}: {escape(row['reason'])}")
            if len(done.rejected) > _REJECTED_SHOWN:
                print(f"  rejected: {count_text(len(done.rejected) - _REJECTED_SHOWN)} more")
            if done.conflicts:
                print(f"  ALARM: the importer holds {count_text(len(done.conflicts), 'event')} otherwise")
        if reclaim:
            files, size = remove_confirmed(open_store(root), ledger)
            print(f"{count_text(files, 'file')} removed, {bytes_text(size)} free")
    return 0
