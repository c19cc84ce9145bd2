"""What is known to be wrong and waits to be mended: shown, but no failure.  A row goes with its cause."""

import re

__all__ = ["is_known"]

# operation, the call that met the fault, what was found wrong
_ROWS = (
    # A journal that is removed under `off` has nothing left that says so.
    ("clear-off", ".*", "^gap"),
    # And a folder that could not be listed, or whose removal was left out, stays although the verb says it is done.
    ("clear-off", "(rmdir|getdents64|openat) .*", "was not done|is not a journal"),
)


def is_known(operation: str, call: str, wrong: str) -> bool:
    """Tell whether this is a known fault."""
    return any(
        re.fullmatch(name, operation) and re.fullmatch(where, call) and re.search(what, wrong)
        for name, where, what in _ROWS
    )
