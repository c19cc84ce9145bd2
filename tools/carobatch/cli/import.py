"""`carobatch import`: take bundles over into journals of their own, and write receipts."""  # noqa: N999 - the verb

import json as json_
import os
import sys
from typing import TYPE_CHECKING

from carojournal import policy
from carojournal.cli.exits import DAMAGED
from carojournal.cli.output import count_text, escape, say
from carojournal.errors import JournalUnavailable, UsageError
from carojournal.place import is_journal
from carojournal.root import make_folders

if TYPE_CHECKING:
    from carobatch.importer import Imported

__all__ = ["OPTIONS", "import_"]

OPTIONS = {
    "bundles": {"flags": ("bundles",), "metavar": "BUNDLE", "nargs": "+", "help": "as of 'carobatch verify'"},
    "into": {"metavar": "DIR", "help": "where imported journals are kept (default: 'imported' beside the journal)"},
    "receipts": {"metavar": "DIR", "help": "put a copy of every receipt there, to carry back"},
    "allowed_signers": {"metavar": "FILE", "help": "take only what one of these keys has signed (ssh-keygen's format)"},
    "identity": {"flags": ("-i", "--identity"), "metavar": "FILE", "help": "age identities for encrypted bundles"},
    "sign": {"metavar": "KEY", "help": "sign receipts with this OpenSSH Ed25519 private key"},
}


def import_(
    *bundles: str,
    into: str | None = None,
    receipts: str | None = None,
    allowed_signers: str = "",
    identity: str = "",
    sign: str = "",
    json: bool = False,
) -> int:
    """Take the events of bundles over, each once, and write a receipt for every bundle.

    A bundle is verified as 'carobatch verify' does; one that is not usable changes nothing.  Single events that are
    refused are left out and named in the receipt.  Importing again is harmless.  It imports under 'off', too: what
    others' bundles hold is no telemetry of this machine.  Exit 65: a bundle was not usable, events were refused, or two
    bundles contradict each other.
    """
    from carobatch.importer import import_bundle
    from carobatch.sshsig import load_signer, read_allowed_signers

    for option, given in (("--into", into), ("--receipts", receipts)):
        if given == "":
            raise UsageError(f"{option} is empty: leave it out, or name a folder")
    allowed = read_allowed_signers(allowed_signers) if allowed_signers else None
    signer = load_signer(sign) if sign else None
    into = os.path.abspath(into) if into else os.path.join(os.path.dirname(policy.journal_root(os.environ)), "imported")
    if is_journal(into):
        raise JournalUnavailable(f"{into} is a journal: name a folder beside it with --into")
    code = 0
    values = []
    for bundle in bundles:
        done = import_bundle(bundle, into, identity=identity, allowed=allowed, signer=signer)
        if done.receipt and receipts:
            _copy(done.receipt, receipts)
        values.append(_value(done))
        if not json:
            _print(done)
        if not done.verdict.is_valid or done.conflicts or done.problems:
            code = DAMAGED
    if json:
        json_.dump(values, sys.stdout)
        print()
    return code


import_.__name__ = "import"  # The parser looks for a function of the verb's name, which is a keyword here.
globals()["import"] = import_


def _copy(path: str, folder: str) -> None:
    from carobatch.receipt import PREFIX
    from carojournal.durable import remove_abandoned, write_file

    make_folders(folder)
    remove_abandoned(folder, PREFIX)
    for name in (f"{path}.sig", path):
        try:
            with open(name, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            if name == path:
                raise
            continue  # Not signed.
        write_file(os.path.join(folder, os.path.basename(name)), data, overwrite=True)


def _value(done: "Imported") -> dict[str, object]:
    return {
        "path": done.verdict.path,
        "errors": done.verdict.errors,
        "receipt": done.receipt or None,
        "events": done.events,
        "new": done.new,
        "rejected": len(done.verdict.refusals),
        "conflicts": done.conflicts,
    }


def _print(done: "Imported") -> None:
    name = escape(done.verdict.path)
    if not done.receipt:
        print(f"{name}: not imported")
        for error in done.verdict.errors:
            print(f"  error: {escape(error)}")
        return
    print(f"{name}: {count_text(done.events, 'event')} held, {count_text(done.new)} of them new")
    print(f"  receipt: {escape(done.receipt)}")
    for (event, field, reason), count in sorted(done.verdict.refused.items()):
        print(f"  rejected: {count_text(count)} x {event}.{field}: {reason}")
    if done.conflicts:
        say(
            f"ALARM: {name} says something else of {count_text(len(done.conflicts), 'event')} that"
            " are held already; neither version was changed",
            "carobatch",
        )
    for path, reason in done.problems:
        say(f"{path}: {reason}", "carobatch")
