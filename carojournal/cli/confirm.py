"""The question before something that cannot be undone.

Asked on a terminal only: where nobody can answer, nothing happens unless the call itself said so.  The question goes to
standard error; standard output is for results.
"""

import sys

from carojournal import asking
from carojournal.errors import ConsentError

__all__ = ["confirm"]

TIMEOUT_S = 120.0  # Long enough to read a list; a forgotten terminal must not hold the journal's user for ever.


def confirm(question: str, *, forced: bool, flag: str = "--force") -> None:
    """Return if the user agrees or the call was *forced* (by *flag*), else raise ConsentError."""
    if forced:
        return
    stdin = asking.terminal(sys.stdin)
    if stdin is None or asking.terminal(sys.stderr) is None:
        raise ConsentError(f"there is no terminal to ask on; {flag} goes ahead without asking")
    if asking.ask(f"{question} [y/N] ", stdin, sys.stderr, TIMEOUT_S) != "yes":
        raise ConsentError("nothing was changed")
