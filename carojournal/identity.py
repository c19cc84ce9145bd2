"""The identity file `journal`: who this journal is, and the session ids it has used.

Once a day on the hot path: as long as the file has what a process needs, `journal` reads it and never comes here.

Text, append-only, one fact a line, each line closed by the CRC-32 (8 hex digits) of what stands before it:

    carojournal 1 <crc>
    journal <32 hex> <crc>                   random pseudonym; bundles carry it, uploads never
    created <UTC ms> <crc>
    secret <32 hex> <crc>                    marks run ids that this recorder issued; never leaves the machine
    session <YYYY-MM-DD> <32 hex> <crc>      random id of one UTC day
    rotate <UTC ms> <crc>                    ids before this line are not used again
    clearing <UTC ms> <crc>                  the user clears the journal; `cleared` with the same time ends it

The first good line of a kind counts (session: the first of the day after the last `rotate`).  Two processes that race
at midnight both append; `O_APPEND` orders their lines, both read the file again, and both take the first.  So no lock
is needed and nobody waits.  Every append starts with a newline: a line that a crash tore cannot swallow the next one.
"""

import os
import time

import carojournal
from carojournal import frame
from carojournal.policy import IDENTITY, IDENTITY_BYTES_MAX
from carojournal.root import open_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "IDENTITY",
    "IDENTITY_BYTES_MAX",
    "Identity",
    "day_of",
    "issue_run",
    "line",
    "new_identity",
    "open_identity",
    "run_on",
]

_DAY_MS = 86_400_000
_NONCE_BYTES = 8  # Of a run id's 16 bytes: runs of one journal on one day do not collide.
_TAG_BYTES = 8  # The others: a stray UUID passes for an issued run id once in 2**60.
RUN_DAYS_MAX = 31  # A host that runs longer than that begins a new run.


def day_of(time_ms: int) -> str:
    """Return the UTC day (YYYY-MM-DD) of *time_ms*, milliseconds since 1970."""
    return time.strftime("%Y-%m-%d", time.gmtime(time_ms // 1000))


def line(text: str) -> bytes:
    """Return *text* closed by its CRC-32 and a newline."""
    raw = text.encode()
    return b"%b %08x\n" % (raw, frame.crc32(raw))


def _id(words: bytes) -> bytes:
    """Return the 16 bytes of 32 hexadecimal digits, b"" for anything else."""
    return b"" if len(words) != 32 or words.strip(b"0123456789abcdef") else bytes.fromhex(words.decode())


class Identity:
    """The journal's pseudonym and secret, and today's session id; all 16 random bytes.

    Without *mend* nothing is written where the pseudonym or the secret is missing.
    """

    __slots__ = ("_mend", "_path", "_random", "data", "journal", "secret")

    def __init__(self, path: str, data: bytes, random: "Callable[[int], bytes]", *, mend: bool = True) -> None:
        self._path = path
        self._random = random
        self._mend = mend
        self.data = data
        self.journal = self._first(b"journal ", 16)
        self.secret = self._first(b"secret ", 16)

    def _first(self, prefix: bytes, size: int) -> bytes:
        for words in frame.good_words(self.data, prefix):
            if found := _id(words):
                return found
        # The line is damaged (verify says so): the journal goes on under a new pseudonym.
        fresh = self._random(size)
        if self._mend:
            self.append(prefix.decode() + fresh.hex())
        return fresh

    def append(self, text: str) -> None:
        """Append one line and read the file again.  Raises OSError."""
        self.data = _append(self._path, b"\n" + line(text))

    def session(self, day: str) -> bytes:
        """Return the session id (16 bytes) of the UTC *day*, made now if the day has none yet.  Raises OSError."""
        prefix = b"session %b " % day.encode()
        for _ in range(2):
            rotated = self.data.rfind(b"\nrotate ")
            for words in frame.good_words(self.data, prefix, max(rotated, 0)):
                if found := _id(words):
                    return found
            self.append(f"session {day} {self._random(16).hex()}")
        raise carojournal.errors.JournalIOError(
            "read", self._path, None, "a session line that was just written is not there"
        )

    def issue_run(self, now_ms: int) -> bytes:
        """Return a new run id (16 bytes) of the UTC day of *now_ms*, that `run_on` recognises in other processes."""
        return issue_run(self.secret, day_of(now_ms), self._random)

    @property
    def half_cleared(self) -> bool:
        """Whether the user began to clear the journal and it was interrupted: nothing that is left may be sent."""
        return not set(frame.good_words(self.data, b"clearing ")).issubset(frame.good_words(self.data, b"cleared "))

    def history(self) -> "list[tuple[str, bytes]]":
        """Return (day, session id) of every session that this journal has used, oldest first."""
        found = []
        for words in frame.good_words(self.data, b"session "):
            day, _, text = words.partition(b" ")
            session = _id(text)
            if session and len(day) == 10 and day.isascii():
                found.append((day.decode(), session))
        return found


def _append(path: str, data: bytes) -> bytes:
    descriptor = open_file(path, os.O_RDWR | os.O_APPEND)
    try:
        done = os.write(descriptor, data)
        if done != len(data) and done + os.write(descriptor, data[done:]) != len(data):
            raise OSError(28, "short write")
        return os.pread(descriptor, IDENTITY_BYTES_MAX, 0)
    finally:
        os.close(descriptor)


def open_identity(root: str, now_ms: int, random: "Callable[[int], bytes]") -> Identity:
    """Return the identity of the journal at *root*, made now if there is none.

    The file appears whole or not at all: it is written under another name and linked.  Raises OSError,
    JournalUnavailable where it, or another file with a name of ours, is somebody else's.
    """
    path = os.path.join(root, IDENTITY)
    for _ in range(2):
        try:
            descriptor = open_file(path)
        except FileNotFoundError:
            if not os.path.isdir(f"{root}/lanes"):
                _check_beginning(root)
            _create(path, now_ms, random)
            continue
        try:
            data = os.read(descriptor, IDENTITY_BYTES_MAX)
        finally:
            os.close(descriptor)
        if not frame.good_words(data, b""):
            _check_beginning(root)
        return Identity(path, data, random)
    raise carojournal.errors.JournalIOError("open", path, None, "the identity file vanished twice")


def _check_beginning(root: str) -> None:
    with carojournal._loading:  # noqa: SLF001 - as every module that an append loads; hardly any needs this one
        from carojournal.place import check_beginning
    check_beginning(root)


def new_identity(now_ms: int, random: "Callable[[int], bytes]") -> bytes:
    """Return the text of a journal's identity that begins at *now_ms*, UTC milliseconds."""
    return b"".join(
        line(words)
        for words in (
            "carojournal 1",
            f"journal {random(16).hex()}",
            f"created {now_ms}",
            f"secret {random(16).hex()}",
            f"session {day_of(now_ms)} {random(16).hex()}",
        )
    )


def _create(path: str, now_ms: int, random: "Callable[[int], bytes]") -> None:
    text = new_identity(now_ms, random)
    temporary = f"{path}.{random(8).hex()}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.write(descriptor, text) != len(text):
            raise OSError(28, "short write")
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass  # Another process was first; its identity counts.
        except OSError:
            os.rename(temporary, path)  # A file system without hard links: the last one wins, both are whole.
            return
    finally:
        os.close(descriptor)
        try:  # noqa: SIM105 - contextlib is not on the hot path
            os.unlink(temporary)
        except FileNotFoundError:
            pass  # It has become the identity.


def _tag(secret: bytes, *parts: bytes) -> bytes:
    from hashlib import blake2s  # 5 ms; only runs that span processes need it.

    return blake2s(b"".join(parts), key=secret, digest_size=16).digest()


def issue_run(secret: bytes, day: str, random: "Callable[[int], bytes]") -> bytes:
    """Return a new run id (16 bytes) of the UTC *day* that `run_on` recognises in another process."""
    nonce = random(_NONCE_BYTES)
    return nonce + _tag(secret, nonce, day.encode())[:_TAG_BYTES]


def run_on(secret: bytes, run: bytes, time_ms: int) -> bytes | None:
    """Return the id (16 bytes) under which the issued *run* records at *time_ms*; None if it was not issued here.

    On the day of its issue that is the run id itself, on a later day one derived from it and from the day: no id that
    may be uploaded lives longer than a UTC day.  A run is taken up for RUN_DAYS_MAX days.
    """
    if len(run) != _NONCE_BYTES + _TAG_BYTES:
        return None
    today = day_of(time_ms)
    for ago in range(RUN_DAYS_MAX):
        day = day_of(time_ms - ago * _DAY_MS)
        if _tag(secret, run[:_NONCE_BYTES], day.encode())[:_TAG_BYTES] == run[_NONCE_BYTES:]:
            return _tag(secret, run, today.encode()) if ago else run
    return None
