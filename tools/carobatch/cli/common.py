"""What several verbs share: where the journal is, its cap, and how problems are said."""

import contextlib
import os
from typing import TYPE_CHECKING

from carojournal import policy
from carojournal.cli.output import bytes_text, count_text, say
from carojournal.config import CHANNEL
from carojournal.errors import JournalOff, UsageError
from carojournal.place import has_journal
from carojournal.root import check_root

if TYPE_CHECKING:
    from carobatch.compact import Compaction
    from carobatch.store import PackedStore

__all__ = ["DIR_OPTION", "is_made", "journal_root", "open_store", "refuse_off", "say_compaction", "say_problems"]

DIR_OPTION: dict[str, object] = {"help": "the journal's directory (default: $CAROJOURNAL_DIR, else caro's own)"}


def journal_root(given: str | None) -> str:
    """Return the journal's root: *given*, else the default of this environment; it need not exist.

    Raises UsageError if *given* is empty, UnsafeRoot if the root is a link, somebody else's or writable by others,
    JournalUnavailable if it holds other things than a journal, OSError where that cannot be said.
    """
    if given == "":
        raise UsageError("--dir is empty: leave it out for the default")
    root = policy.journal_root(os.environ) if given is None else os.path.abspath(given)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        check_root(root)
    has_journal(root)
    return root


def is_made(root: str) -> bool:
    """Tell whether there is a journal, below which may be written.  Raises as `place.has_journal`."""
    return has_journal(root)


def refuse_off(root: str) -> None:
    """Raise JournalOff if *root* is this user's own journal and telemetry is off: then nothing is written below it.

    Any other journal, such as an imported one that --dir names, is no telemetry of this machine.
    """
    if root != os.path.abspath(policy.journal_root(os.environ)):
        return
    found = policy.resolve(root, channel=CHANNEL, environ=os.environ)
    if found.mode == "off":
        raise JournalOff(f"telemetry is off ({found.source}); what was kept stays as it is")


def open_store(root: str, level: int = 9) -> "PackedStore":
    """Return the packed store of the journal at *root*, with the cap of the policy that holds."""
    from carobatch.store import PackedStore

    return PackedStore(root, policy.resolve(root, channel=CHANNEL, environ=os.environ).cap_bytes, level)


def say_problems(problems: list[tuple[str, str]]) -> None:
    """Say on standard error what was found (path, reason) and left as it was."""
    for path, reason in problems:
        say(f"{path}: {reason}", "carobatch")


def say_compaction(done: "Compaction") -> bool:
    """Say on standard error what of the journal could not be packed as it was; return whether there was any."""
    say_problems(done.problems)
    if done.refused or done.damaged_bytes:
        refused, damaged = count_text(done.refused, "event"), bytes_text(done.damaged_bytes)
        say(f"put into quarantine and named in what is packed: {refused} refused, {damaged} damaged", "carobatch")
    return bool(done.problems or done.refused or done.damaged_bytes)
