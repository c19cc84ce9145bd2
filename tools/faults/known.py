"""What is known to be wrong and waits to be mended: shown, but no failure.  A row goes with its cause."""

import re

__all__ = ["is_known"]

# operation, the call that met the fault, what was found wrong
_ROWS = (
    # A lane whose segment was sealed by a process that died before it could close it: the next writer goes on in it.
    ("seal|compact-torn", ".*", "after_seal|reason='sequence'"),
    # A lane that could not be attached, or whose segment's descriptor could not be closed, costs more than one event.
    (".*", "(pread64|fstat|newfstatat|close) .*", "one fault, but answers"),
    # A lock that could not be given back: the event is there, its host was told that it is not.
    (".*", "flock .*", "nobody recorded"),
    # A lane goes on with a descriptor on which a sync has failed.
    ("append-synced", "fdatasync .*", "synced again"),
    # Half of the lock file's text: the header has it too.
    (".*", "pwrite64 .*lock", "lock$"),
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
