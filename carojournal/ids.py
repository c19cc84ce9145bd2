"""The ids that an event carries, read from the identity file; hot.

`identity` says what that file is, and makes what it lacks.
"""

import os

from carojournal import frame, policy

__all__ = ["is_unchanged", "read_ids"]

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # A pipe in the file's place must not hang the host.


def _ids(lines: "list[bytes]") -> "list[bytes]":
    """Return the ids (16 bytes) of those *lines* that are one: others verify and are none of ours."""
    hexadecimal = b"0123456789abcdef"
    return [bytes.fromhex(words.decode()) for words in lines if len(words) == 32 and not words.strip(hexadecimal)]


def read_ids(root: str, today: str) -> "tuple[bytes, bytes, tuple[int, int]] | None":
    """Return the journal's pseudonym, *today*'s session id, and (inode, bytes) of the identity file that has them.

    None if it lacks one of them, which `identity` can make.  Raises OSError.
    """
    try:
        descriptor = os.open(f"{root}/{policy.IDENTITY}", _READ)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        data = os.read(descriptor, min(status.st_size, policy.IDENTITY_BYTES_MAX))
    finally:
        os.close(descriptor)
    names = _ids(frame.good_words(data, b"journal "))
    sessions = _ids(frame.good_words(data, b"session %b " % today.encode(), max(data.rfind(b"\nrotate "), 0)))
    if not names or not sessions:
        return None
    seen = (status.st_ino, status.st_size)
    return names[0], sessions[0], seen


def is_unchanged(root: str, seen: "tuple[int, int]") -> bool:
    """Tell whether the file is the one that was *seen*: no process replaced it or added ids (`clear`, `delete-remote`).

    One `stat`.
    """
    try:
        status = os.lstat(f"{root}/{policy.IDENTITY}")
    except OSError:
        return False
    return (status.st_ino, status.st_size) == seen
