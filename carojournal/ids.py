"""The ids that an event carries, read from the identity file; hot.

`identity` says what that file is, and makes what it lacks.  `prepare` is of `journal.Journal`, hence the look at its
attributes.
"""
# ruff: noqa: SLF001 - see above

import os
import time

import carojournal
from carojournal import frame, policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carojournal.journal import Journal

__all__ = ["is_unchanged", "prepare", "read_ids"]

_DAY_MS = 86_400_000

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


def prepare(journal: "Journal", now_ms: int) -> None:
    """Make sure of root, identity, run and today's session.

    Raises OSError, UnsafeRoot, JournalUnavailable for a folder of somebody else's files, EventRefused.
    """
    journal._checked = False
    try:
        status = os.lstat(journal.root)
    except FileNotFoundError:
        carojournal.root.make_root(journal.root)
        status = os.lstat(journal.root)
        journal._drop_lanes()
    if status.st_mode & 0o170022 != 0o040000 or status.st_uid != os.geteuid():
        carojournal.root.check_root(journal.root)  # Says what is wrong with it.
    journal._checked = True
    today = time.strftime("%Y-%m-%d", time.gmtime(now_ms // 1000))
    tries = 4  # `clear` may replace the file between the making and the reading.
    while (found := read_ids(journal.root, today)) is None:
        tries -= 1
        if not tries:
            raise carojournal.errors.JournalIOError("read", journal.root, None, "what was just written is not there")
        try:
            carojournal.identity.open_identity(journal.root, now_ms, journal._random).session(today)
        except carojournal.errors.JournalUnavailable:
            journal._checked = False  # Nothing of ours goes there, not even counts.
            raise
    pseudonym, session, seen = found
    is_cleared = journal._pseudonym not in (b"", pseudonym)  # Nothing that comes belongs to what was there.
    if not os.path.lexists(f"{journal.root}/drops"):
        carojournal.drops.create_drops(journal.root)
    day = now_ms // _DAY_MS
    run = journal._run
    if journal._given_run is not None:
        run = carojournal.runs.continue_run(journal, journal._given_run, now_ms)
    elif day != journal._day or is_cleared or not run:
        # Nothing that may be uploaded lives longer than a UTC day: at midnight a run goes on under another id.
        run = journal._random(16)
    if is_cleared:
        journal._generation, journal._generations, journal._renumbers = 0, {}, True
    # Together, with nothing that can fail in between: half of it is nobody's.
    journal._pseudonym = pseudonym
    journal._run = run
    journal._session = session
    journal._identity_seen = seen
    journal._day = day
