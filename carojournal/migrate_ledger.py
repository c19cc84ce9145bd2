"""Which rows were taken over already: the file `migrated` below the root, and the recovery of an interrupted migration.

    taken <segment uuid, 32 hex> <rows> <16 hex of each row, joined> <crc>

Text, append-only; a line is closed by its CRC-32 as in the identity file and names one segment and the rows in it.  A
row is a keyed hash (blake2b, 8 bytes, key: the identity's secret) of its id, or of its content and how often that
came before: the file tells nobody what was in the rows.  Eight bytes: among a million rows two meet once in 30
million migrations.

A segment is written as `segments/<name>.tmp` and synced, then its line is appended and synced, then it is
renamed.  So the line decides: `recover` renames a temporary that a good line names and removes any other.  Whenever
the power goes, a row is either in a segment and in the ledger, or in neither.

The file's lock (flock) is held for the whole migration; `clear` takes it before it removes the file.
"""

import contextlib
import os
import re
from fcntl import LOCK_EX, LOCK_NB, flock
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Self

from carojournal import codec, spool
from carojournal.closed import encode_closed
from carojournal.durable import sync_directory, write_file
from carojournal.errors import JournalBusy, JournalIOError
from carojournal.identity import line
from carojournal.lines import good_lines
from carojournal.predecessors import losses_of
from carojournal.root import open_file
from carojournal.scan import scan
from carojournal.segments import list_segments

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["LEDGER", "ROW_BYTES", "Ledger"]

LEDGER = "migrated"
LEDGER_BYTES_MAX = 67_108_864  # Two million rows and more.
ROW_BYTES = 8
_TEMPORARY = re.compile(r"\d{16}-([0-9a-f]{32})\.seg\.tmp", re.ASCII)


class Ledger:
    """The rows that were taken, `known`, and the way to add more.  A context manager that holds the file's lock.

    With *dry* nothing is created, locked or written: the ledger is only read.
    """

    def __init__(self, root: str, secret: bytes, *, dry: bool = False) -> None:
        self._root = root
        self._secret = secret
        self._path = os.path.join(root, LEDGER)
        self.known: set[bytes] = set()
        self._segments: set[bytes] = set()
        self._descriptor = self._open(dry)
        if self._descriptor >= 0:
            self._load()

    def _open(self, dry: bool) -> int:
        flags = os.O_RDONLY if dry else os.O_RDWR | os.O_APPEND | os.O_CREAT
        try:
            descriptor = open_file(self._path, flags)
        except FileNotFoundError:
            if dry:
                return -1
            raise
        if not dry:
            try:
                flock(descriptor, LOCK_EX | LOCK_NB)
            except BlockingIOError as error:
                os.close(descriptor)
                raise JournalBusy("another migration is under way") from error
        return descriptor

    def _load(self) -> None:
        with open(os.dup(self._descriptor), "rb") as file:
            data = file.read(LEDGER_BYTES_MAX)
        for words in good_lines(data):
            if words[0] != "taken" or len(words) != 4:
                continue
            with contextlib.suppress(ValueError):
                rows = bytes.fromhex(words[3])
                self.known.update(rows[at : at + ROW_BYTES] for at in range(0, len(rows), ROW_BYTES))
                self._segments.add(bytes.fromhex(words[1]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the lock back.  Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def row(self, key: bytes, repeat: int) -> bytes:
        """Return what stands for a row: *key* (16 bytes) hashes its id or content, *repeat* counts equals before it."""
        return blake2b(key + repeat.to_bytes(8, "big"), key=self._secret, digest_size=ROW_BYTES).digest()

    def append(self, segment: bytes, rows: "Sequence[bytes]") -> None:
        """Note durably that *rows* are in the segment with uuid *segment*.

        Raises JournalIOError.  Whether the line arrived is then unknown: its segment must stay for `recover`.
        """
        data = b"\n" + line(f"taken {segment.hex()} {len(rows)} {b''.join(rows).hex()}")
        try:
            if os.write(self._descriptor, data) != len(data):
                raise JournalIOError("write", self._path, None, "short write")
            os.fsync(self._descriptor)
        except OSError as error:
            raise JournalIOError("write", self._path, error.errno, error.strerror or "") from error
        self.known.update(rows)

    def recover(self) -> None:
        """Finish or undo what an interrupted migration left in segments/.

        Raises JournalBusy if a host makes room for too long, JournalIOError, OSError.
        """
        folder = os.path.join(self._root, "segments")
        for name in os.listdir(folder):
            found = _TEMPORARY.fullmatch(name)
            if found is None:
                continue
            path = os.path.join(folder, name)
            if bytes.fromhex(found[1]) in self._segments:
                _place(self._root, path, bytes.fromhex(found[1]))
            else:
                os.unlink(path)
        sync_directory(folder)


def _place(root: str, path: str, segment: bytes) -> None:
    """Give the file at *path* its name; the losses that it tells must be of files that still stand, or told in those.

    Hosts that made room since it was written have told of those that are gone.
    """
    room = spool.lock_room(root, spool.PATIENT_S)
    try:
        standing = {info.segment: info.path for group in list_segments(root).groups for info in group}
        with open(open_file(path), "rb") as file:
            data = file.read()
        header: Any = None
        losses, events = [], []
        for _, _, start, end in scan(data, segment).records:
            payload = data[start:end]
            value: Any = codec.loads_fast(payload) if b"frecord" in payload else {}
            header = header or value
            if value.get("record") == "loss":
                losses.append((value["segment"], payload))
            elif not value:
                events.append(payload)
        # What a file of those tells itself was copied, where another one asks for it, and goes with that file.
        within = [loss for name, _ in losses if name in standing for loss in losses_of(standing[name], name)]
        named = {*standing, *(loss["segment"] for loss in within)}
        kept = [payload for name, payload in losses if name in named]
        if len(kept) < len(losses):
            whole = encode_closed(segment, header["created"], kept, events, header["consent"])
            write_file(path, whole, overwrite=True, error=JournalIOError)
        os.rename(path, path.removesuffix(".tmp"))
    except FileNotFoundError as error:
        raise JournalBusy("segments were packed meanwhile, try again") from error
    finally:
        spool.unlock_room(room)
