"""What is known to be wrong and waits to be mended: shown, but no failure.  A row goes with its cause."""

import re

__all__ = ["is_known"]

# operation, the call that met the fault, what was found wrong
_ROWS = (
    # A process that dies when all is removed but the empty folder itself leaves that.
    ("clear-off", "rmdir .*", "was not done"),
)


def is_known(operation: str, call: str, wrong: str) -> bool:
    """Tell whether this is a known fault."""
    return any(
        re.fullmatch(name, operation) and re.fullmatch(where, call) and re.search(what, wrong)
        for name, where, what in _ROWS
    )
