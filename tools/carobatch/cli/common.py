"""What several verbs share: where the journal is, its cap, and how problems are said."""

import os
from typing import TYPE_CHECKING

from carojournal import paths, policy
from carojournal.cli.output import say

if TYPE_CHECKING:
    from carobatch.store import PackedStore

__all__ = ["DIR_OPTION", "journal_root", "open_store", "say_problems"]

DIR_OPTION: dict[str, object] = {"help": "the journal's directory (default: $CAROJOURNAL_DIR, else caro's own)"}


def journal_root(given: str) -> str:
    """Return the journal's root: *given*, else the default of this environment."""
    return os.path.abspath(given) if given else paths.journal_root(os.environ)


def open_store(root: str, level: int = 9) -> "PackedStore":
    """Return the packed store of the journal at *root*, with the cap of the policy that holds."""
    from carobatch.store import PackedStore

    return PackedStore(root, policy.resolve(root, channel="beta", environ=os.environ).cap_bytes, level)


def say_problems(problems: list[tuple[str, str]]) -> None:
    """Say on standard error what was found (path, reason) and left as it was."""
    for path, reason in problems:
        say(f"{path}: {reason}", "carobatch")
