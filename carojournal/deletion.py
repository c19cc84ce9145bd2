"""Requests to delete what was sent: the user's word to the receiver, kept until the receiver has confirmed it.

The file `deletion-requests` below the root is text, append-only, one fact a line, each closed by its CRC-32 as in the
identity file.  `off` and `clear` leave it alone: a request is a promise to the user that outlives both.

    request <32 hex> <UTC ms> <number of sessions> <wire format> <URL> <crc>    to that receiver (`receivers`)
    request <32 hex> <UTC ms> <number of sessions> <crc>    to the one that is configured: of an older version, or
                                                            where nothing tells who received anything
    session <request> <YYYY-MM-DD> <32 hex> <crc>           one session id that the receiver is to delete
    done <request> <UTC ms> <crc>                           the receiver has confirmed
    confirmed <request> <UTC ms> <crc>                      the user has: whoever runs the receiver did it by hand

A request with fewer sessions than its first line says was torn by a crash: it was never confirmed to the user and
does not count.  Lines name their request, so that two writers at once cannot mix theirs; every write starts with a
newline, so that a torn line cannot swallow the next.

Which sessions: `mark_sent` notes a session and who receives it in the identity file before carobatch sends the first
byte of its events, so no other id is ever named, and none to anybody else; each receiver has a request of its own.
Where events went out and no day is marked (a copy of an older root), every id in the history is asked for.
"""

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from carojournal.durable import sync_directory
from carojournal.errors import JournalBusy, JournalIOError, JournalUnavailable
from carojournal.identity import IDENTITY, IDENTITY_BYTES_MAX, Identity, line
from carojournal.lines import good_lines
from carojournal.receivers import Receiver, marked, receivers_of, sent_days
from carojournal.segment_file import open_file, read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

__all__ = [
    "BY_HAND",
    "HALF_CLEARED",
    "REQUESTS",
    "Request",
    "acknowledge",
    "check_not_half_cleared",
    "is_deliverable",
    "is_upload",
    "mark_sent",
    "note",
    "pending",
    "queue",
    "read_identity",
    "requested_sessions",
    "requests",
    "sendable_sessions",
    "sent_days",
    "sessions_sent",
    "to_ask",
    "was_sent",
]

HALF_CLEARED = "a clear was interrupted: nothing leaves this machine until 'carojournal clear' is run again"
REQUESTS = "deletion-requests"
# Wire formats without a call to delete: a request waits until the user confirms that somebody has done it by hand.
BY_HAND = frozenset(("posthog", "otlp"))
REQUESTS_BYTES_MAX = 8_000_000  # 100 bytes a session: 200 years of days.
_TIMING = "state.json"  # In sent/: when to look again; an upload that found nothing to send writes it as well.
_TRACES = ("sent", "receipts", "outbox")  # Folders that tell of uploads; receipts of bundles lie among them.


class Request(NamedTuple):
    """One request: its id (32 hex digits), when it was made (UTC ms), (day, session id) pairs, when confirmed.

    `by_hand`: not by the receiver but by the user, after somebody had done it there.  `receiver` is who had something
    of these sessions, None for whichever is configured.
    """

    request: str
    created_ms: int
    sessions: tuple[tuple[str, bytes], ...]
    done_ms: int | None
    by_hand: bool = False
    receiver: Receiver | None = None


def read_identity(root: str) -> Identity | None:
    """Return the identity of the journal at *root* without writing anything, None if there is none.  Raises OSError."""
    path = os.path.join(root, IDENTITY)
    try:
        return Identity(path, read_file(path, IDENTITY_BYTES_MAX), os.urandom, mend=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _append(root: str, name: str, data: bytes) -> None:
    """Append *data* to the file and wait until it is on the disk."""
    path = os.path.join(root, name)
    fresh = not os.path.lexists(path)
    try:
        descriptor = open_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            done = os.write(descriptor, data)
            # A full disk cuts short without an error; asking for the rest brings the error out.
            if done != len(data) and done + os.write(descriptor, data[done:]) != len(data):
                raise JournalIOError("write", path, None, "short write")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if fresh:
            sync_directory(root)
    except OSError as error:
        raise JournalIOError("write", path, error.errno, error.strerror or "") from error


def check_not_half_cleared(root: str) -> None:
    """Refuse what leaves the machine while a `clear` was interrupted.  Raises JournalBusy, OSError."""
    identity = read_identity(root)
    if identity is not None and identity.half_cleared:
        raise JournalBusy(HALF_CLEARED)


def mark_sent(root: str, day: str, sessions: "Collection[bytes]", receiver: Receiver) -> None:
    """Note, durably, that events of the UTC *day* and of *sessions* are about to be sent to *receiver*.

    Once is enough and more do no harm.  carobatch calls this before the first byte of a batch goes out.  Raises
    JournalUnavailable (no journal), JournalIOError.
    """
    identity = read_identity(root)
    if identity is None:
        raise JournalUnavailable("there is no journal")
    missing = {(day, session, receiver) for session in sessions} - marked(identity)
    for _, session, _ in sorted(missing):
        note(root, f"sent {day} {session.hex()} {receiver}")


def note(root: str, text: str) -> None:
    """Append a line to the identity file, which must be there, durably.  Raises FileNotFoundError, JournalIOError."""
    os.lstat(os.path.join(root, IDENTITY))
    _append(root, IDENTITY, b"\n" + line(text))


def was_sent(root: str, identity: Identity | None) -> bool:
    """Tell whether anything was ever sent under the ids that the journal still knows."""
    return bool(identity and sent_days(identity)) or _has_traces(root)


def _has_traces(root: str) -> bool:
    for folder in _TRACES:
        with contextlib.suppress(OSError), os.scandir(os.path.join(root, folder)) as entries:
            names = [entry.name for entry in entries if entry.name != _TIMING and not entry.name.endswith(".tmp")]
            if any(folder != "receipts" or is_upload(name) for name in names):
                return True
    return False


def is_upload(name: str) -> bool:
    """Tell whether a file in receipts/ is of uploads, by its *name*: others are of bundles that somebody carries."""
    return name.startswith("upload") and name.endswith(".cbor")


def to_ask(
    root: str, identity: Identity, *, everything: bool = False
) -> "dict[Receiver | None, tuple[tuple[str, bytes], ...]]":
    """Return receiver -> (day, session id) of the sessions that it had and no earlier request has asked it for.

    *everything* asks for all that the journal has used, sent or not.
    """
    everything = everything or (not sent_days(identity) and _has_traces(root))
    asked = {(session, one.receiver) for one in requests(root) for _, session in one.sessions}
    found: dict[Receiver | None, dict[tuple[str, bytes], None]] = {}
    for (day, session), receivers in receivers_of(root, identity, everything=everything).items():
        for receiver in receivers:
            # A request to whichever was configured has asked for all that there was.
            if not asked & {(session, receiver), (session, None)}:
                found.setdefault(receiver, {})[day, session] = None
    return {receiver: tuple(found[receiver]) for receiver in sorted(found, key=lambda one: one or ("", ""))}


def sessions_sent(root: str, identity: Identity, *, everything: bool = False) -> tuple[tuple[str, bytes], ...]:
    """Return (day, session id) of all that `to_ask` returns, oldest first."""
    wanted = {one for sessions in to_ask(root, identity, everything=everything).values() for one in sessions}
    return tuple(dict.fromkeys(one for one in identity.history() if one in wanted))


def queue(
    root: str,
    sessions: "Iterable[tuple[str, bytes]]",
    now_ms: int,
    random: "Callable[[int], bytes]" = os.urandom,
    *,
    receiver: Receiver | None = None,
) -> Request:
    """Store a request to *receiver* for *sessions* durably and return it.  Raises JournalIOError."""
    wanted = tuple(sessions)
    name = random(16).hex()
    lines = [line(f"request {name} {now_ms} {len(wanted)}{f' {receiver}' if receiver else ''}")]
    lines += [line(f"session {name} {day} {session.hex()}") for day, session in wanted]
    _append(root, REQUESTS, b"\n" + b"".join(lines))
    return Request(name, now_ms, wanted, None, receiver=receiver)


def acknowledge(root: str, request: str, now_ms: int, *, by_hand: bool = False) -> None:
    """Note, durably, that the receiver (or, *by_hand*, the user) has confirmed *request* (32 hex digits).

    Raises JournalIOError.
    """
    _append(root, REQUESTS, b"\n" + line(f"{'confirmed' if by_hand else 'done'} {request} {now_ms}"))


def _session(word: str) -> bytes:
    """Return a session id.  Raises ValueError for what is none."""
    if len(word) != 32 or not word.isascii() or not word.isalnum():
        raise ValueError("not a session id")
    return bytes.fromhex(word)


def _number(word: str) -> int:
    """Return a number that a line holds.  Raises ValueError for what `int` takes besides digits."""
    if not word.isascii() or not word.isdigit():
        raise ValueError("not a number")
    return int(word)


def requests(root: str) -> list[Request]:
    """Return every whole request at *root*, oldest first; an absent file holds none.  Raises JournalIOError."""
    path = os.path.join(root, REQUESTS)
    try:
        data = read_file(path, REQUESTS_BYTES_MAX)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise JournalIOError("read", path, error.errno, error.strerror or "") from error
    heads: dict[str, tuple[int, int, Receiver | None]] = {}
    sessions: dict[str, dict[tuple[str, bytes], None]] = {}
    done: dict[str, tuple[int, bool]] = {}
    for words in good_lines(data):
        with contextlib.suppress(ValueError):
            if words[0] == "request" and len(words) in (4, 6) and all(map(str.isprintable, words)):
                receiver = Receiver(*words[4:]) if len(words) == 6 else None
                heads.setdefault(words[1], (_number(words[2]), _number(words[3]), receiver))
            elif words[0] == "session" and len(words) == 4:
                sessions.setdefault(words[1], {})[words[2], _session(words[3])] = None
            elif words[0] in ("done", "confirmed") and len(words) == 3:
                done.setdefault(words[1], (_number(words[2]), words[0] == "confirmed"))
    found = []
    for name, (created, count, receiver) in heads.items():
        if len(sessions.get(name, ())) == count:
            done_ms, by_hand = done.get(name, (None, False))
            found.append(Request(name, created, tuple(sessions.get(name, ())), done_ms, by_hand, receiver))
    return found


def is_deliverable(request: Request, here: Receiver) -> bool:
    """Tell whether a call can deliver *request* while *here* is the receiver that is configured."""
    return here.sink not in BY_HAND and request.receiver in (None, here)


def pending(root: str) -> list[Request]:
    """Return the requests that the receiver has not confirmed yet, oldest first.  Raises JournalIOError."""
    return [request for request in requests(root) if request.done_ms is None]


def requested_sessions(root: str) -> frozenset[bytes]:
    """Return every session id (16 bytes) that a request names, confirmed or not.  Raises JournalIOError."""
    return frozenset(session for request in requests(root) for _, session in request.sessions)


def sendable_sessions(root: str) -> frozenset[bytes]:
    """Return the session ids (16 bytes) whose events may be sent.  Raises JournalIOError, OSError.

    Whoever sends leaves out the others for good: what the user had deleted must not arrive again, and of a session that
    this journal has not issued (a forged event, one that a host recorded while the journal was cleared) nobody could
    ever ask for the deletion.
    """
    identity = read_identity(root)
    issued = () if identity is None else identity.history()
    return frozenset(session for _, session in issued) - requested_sessions(root)
