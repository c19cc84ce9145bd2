r"""Lanes: how records reach the disk.  One lane is one lock file and one open segment; hot path.

    lanes/N.lock   advisory lock (flock, LOCK_EX) and, as text, which segment the lane has; never unlinked:
                   "<segment, 32 hex> <created us, 16 digits> <consent ms, 13 digits> <crc32 of that, 8 hex>\n"
    lanes/N.seg    the open segment (`frame`); renamed into segments/ when it is closed

A writer takes a lane that is free, without waiting, and holds it for one append (`journal` says which it tries first:
writers that share a lane in turns would have to look at each other's records all the time).  Between calls nothing is
locked, so anybody who takes a lane's lock may rename its segment away.  Hence the one check before every write: the
path must still lead to the file that this process has open, with the size it left.  If so, nobody was here; if not,
`attach` looks again, at the last record through its trailing length.  Invariants, with their reasons:

* A segment that is not `N.seg` is never written: a writer compares inode and size of the *path*, not of its descriptor.
* A segment is never repaired or cut short.  A bad tail closes it ("~" in its name) and the next one starts; the only
  truncation is of our own bytes of this very append, under the lock, back to the size seen before.
* The lock file names the segment too, so a damaged header costs the header, not the segment.  It does so after the
  segment exists: a predecessor that a lock file names has always been there.
* Loss records are written before what they name is unlinked.

`rotation` is the part of the class that is needed only when a segment ends or begins; a process that finds its lane in
order never loads it.
"""

import fcntl
import os

import carojournal
from carojournal import events, frame, policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["LANES_MAX", "OPEN", "SEGMENT_AGE_MS_MAX", "Lane"]

LANES_MAX = (
    64  # More writers than that at one instant, on few cores, have not been seen; the next one is a counted drop.
)
SEGMENT_AGE_MS_MAX = 6 * 3_600_000  # A lane that is never idle still hands its events to carobatch four times a day.

_DAY_MS = 86_400_000
_TAIL_BYTES = 4_096  # One read that holds the last record of every event in the schema.
_HEADER_BYTES_MAX = 512  # Label and header, which takes about 200; no event has a key "version".
_SEAL = b"frecorddseal"  # The key and value that make a record a seal.
# As names of this module: every append looks them up.
_encode_next, _flock, _lstat = frame.encode_next, fcntl.flock, os.lstat
_TAKE, _GIVE = fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN
OPEN = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_LOCK = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


_sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync.


def _is_odd(error: OSError) -> bool:
    """Tell whether a folder, a link, a socket or a pipe stands where a file of the lane should be."""
    with carojournal._loading:  # noqa: SLF001 - as every module that an append loads; at the top a first one would pay
        import errno

    return error.errno in (errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.ESPIPE)


class Lane:
    """One writer's way to the disk.  `append` takes the lane's lock by itself; `attach` needs it taken."""

    __slots__ = (
        "_consent_ms",
        "_created_us",
        "_descriptor",
        "_device",
        "_findable",
        "_from_ms",
        "_inode",
        "_lock",
        "_lock_path",
        "_path",
        "_previous",
        "_random",
        "_root",
        "_sealed",
        "_seed",
        "_segment",
        "_seq",
        "_size",
        "_until_ms",
        "_waited",
        "cap_bytes",
        "limit",
        "number",
    )

    def __init__(self, root: str, number: int, cap_bytes: int, random: "Callable[[int], bytes]") -> None:
        self.number = number
        self.bound(cap_bytes)
        self._root = root
        self._random = random
        self._path = f"{root}/lanes/{number}.seg"
        self._lock_path = f"{root}/lanes/{number}.lock"
        if _lstat(f"{root}/lanes").st_mode & 0o170000 == 0o120000:
            carojournal.root.check_root(root)  # Readers follow no link: what is written behind one is lost to them.
        self._lock = -1
        try:
            self._open_lock()
        except OSError as error:
            if not _is_odd(error):
                raise
        self._descriptor = -1
        self._waited = False  # In vain, for somebody who makes room (`rotation`).
        self._forget()

    def bound(self, cap_bytes: int) -> None:
        """Set the spool's bound, which sets the size at which a segment is closed."""
        self.cap_bytes = cap_bytes
        self.limit = policy.segment_limit(cap_bytes, self.number)

    def _forget(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            try:  # noqa: SIM105 - contextlib is not on the hot path
                os.close(descriptor)
            except OSError:
                pass  # Closed all the same; what was written was judged when it was written.
        self._sealed = self._findable = False
        self._segment = frame.NO_SEGMENT
        self._size = self._inode = self._device = -1
        self._seq = self._seed = 0
        self._created_us = self._consent_ms = self._from_ms = self._until_ms = 0
        self._previous: tuple[bytes, int | None, int | None] | None = None

    def _open_lock(self) -> None:
        self._lock = os.open(self._lock_path, _LOCK, 0o600)

    def acquire(self) -> bool:
        """Take the lane's lock without waiting; return whether it was free."""
        if self._lock < 0:
            self._open_lock()  # Says what stands in its place.
        try:
            _flock(self._lock, _TAKE)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Give the lock back."""
        _flock(self._lock, _GIVE)

    def close(self) -> None:
        """Close both descriptors; the segment stays open for whoever comes next."""
        for descriptor in (self._descriptor, self._lock):
            if descriptor >= 0:
                try:
                    os.close(descriptor)
                except OSError:
                    continue
        self._descriptor = self._lock = -1

    def append(
        self, payloads: "Sequence[bytes]", now_ms: int, consent_ms: int, *, sync: bool
    ) -> "tuple[bytes, int] | None":
        """Take the lock, write *payloads* as the next records, all or none, and give the lock back.

        Returns (segment uuid, seq of the first), or None if the lane cannot be had: somebody else holds it, or what
        stands in its files' place is no file.  *now_ms* is UTC milliseconds, *consent_ms* the time of the recorded yes
        under which the events were made (0: none); *sync* waits until they are on the disk.  Raises OSError,
        JournalIOError, LaneLost.
        """
        try:
            _flock(self._lock, _TAKE)
        except (BlockingIOError, ValueError):  # Held; or -1, no lock file.
            return None
        try:
            try:
                status = _lstat(self._path)
                known = status.st_size == self._size and status.st_ino == self._inode and status.st_dev == self._device
            except FileNotFoundError:
                known = False
            if not known:
                try:
                    self.attach(now_ms)
                except OSError as error:
                    if not _is_odd(error):
                        raise
                    return None
            first = self._seq
            data = _encode_next(self._seed, first, payloads[0]) if len(payloads) == 1 else self._records(payloads)
            size = self._size + len(data)
            if (
                self._descriptor < 0
                or size > self.limit
                or not self._from_ms <= now_ms < self._until_ms
                or consent_ms != self._consent_ms
            ):
                return carojournal.rotation.append_next(self, payloads, now_ms, consent_ms, size, sync=sync)
            self._write(data, first + len(payloads), sync=sync)
            return self._segment, first
        finally:
            try:  # noqa: SIM105 - as above
                _flock(self._lock, _GIVE)
            except OSError:
                pass  # What is written is written; while we keep the lock, others take other lanes.

    def _records(self, payloads: "Sequence[bytes]") -> bytes:
        seed, first = self._seed, self._seq
        return b"".join([_encode_next(seed, first + at, payload) for at, payload in enumerate(payloads)])

    def _write(self, data: bytes, seq: int, *, sync: bool) -> None:
        """Append *data*, or leave the file as it was; *seq* is the number of the next record."""
        if sync and not self._findable:
            carojournal.rotation.sync_names(self._root)
            self._findable = True
        before = self._size
        self._size = -1  # Until this has succeeded nothing is known; an exception in between makes us look again.
        try:
            done = os.write(self._descriptor, data)
            # A full disk or a quota cuts short without an error; asking for the rest brings the error out.
            if done != len(data) and done + os.write(self._descriptor, data[done:]) != len(data):
                raise carojournal.errors.JournalIOError("write", self._path, None, "short write")
            if sync:
                _sync(self._descriptor)
        except (OSError, carojournal.errors.JournalIOError):
            try:
                os.ftruncate(self._descriptor, before)
            finally:
                if sync:
                    self._forget()  # A descriptor on which a sync has failed is not synced again: pages may be gone.
            raise
        self._seq = seq
        self._size = before + len(data)  # Last: whoever is interrupted before it looks again.

    def attach(self, now_ms: int) -> None:
        """Find out what the lane holds now; afterwards `_descriptor` is an intact segment or -1."""
        ours = os.fstat(self._lock)
        try:
            there = os.lstat(self._lock_path)
        except FileNotFoundError:
            raise carojournal.errors.LaneLost from None
        if (ours.st_ino, ours.st_dev) != (there.st_ino, there.st_dev):
            raise carojournal.errors.LaneLost
        try:
            if not self._catch_up():
                self._look(now_ms)
        except BaseException:
            self._forget()  # Half of it is known: the next append must not take that for all.
            raise

    def _look(self, now_ms: int) -> None:
        """Open what the lane holds now."""
        self._forget()
        named = self._read_lock()
        try:
            self._descriptor = os.open(self._path, OPEN)
        except FileNotFoundError:
            self._previous = (named[0], None, None) if named else None
            return
        status = os.fstat(self._descriptor)
        self._inode, self._device, self._size = status.st_ino, status.st_dev, status.st_size
        if self._size == 0:
            # Made, but its header never arrived: nothing to keep.
            self._forget()
            os.unlink(self._path)
            self._previous = (named[0], None, None) if named else None
            return
        seq = None
        if named:
            self._segment, self._created_us, self._consent_ms = named
            seq = self._last_seq(self._size)
        header = None
        if seq is None and (header := carojournal.rotation.read_header(os.pread(self._descriptor, _TAIL_BYTES, 0))):
            # The lock file is damaged, or somebody put another segment here.
            self._segment, self._created_us, self._consent_ms = header
            seq = self._last_seq(self._size)
            if seq is not None:
                carojournal.rotation.name_segment(self)
        if seq is None:
            carojournal.rotation.set_aside(self, header, named, now_ms)
            return
        self._set_span()
        self._seq = seq + 1
        if self._sealed or not self._is_ours():
            # Whoever sealed it died before it was closed; nothing follows a seal.
            carojournal.rotation.close_segment(self)

    def _catch_up(self) -> bool:
        """Go on behind what another process appended to the segment that is open here; False if it is not that."""
        try:
            status = _lstat(self._path)
        except FileNotFoundError:
            return False
        if (status.st_ino, status.st_dev) != (self._inode, self._device):
            return False
        seq = self._last_seq(status.st_size)
        if seq is None or self._sealed or seq < self._seq:
            return False  # What came is no new record: another look at what it is.
        self._seq = seq + 1
        self._size = status.st_size  # Last, as in `_write`.
        return True

    def _is_ours(self) -> bool:
        """Tell whether the segment's header is of the version that we write, and names our schema.

        Its checksum is not asked: of a header that is damaged there the segment is closed, and nothing is lost by that.
        """
        header = os.pread(self._descriptor, _HEADER_BYTES_MAX, 0)
        return b"gversion\x01" in header and b"fschemaX " + events.SCHEMA_HASH in header

    def _set_span(self) -> None:
        """Take events of the segment's UTC day only, and for a limited time; its uuid is where checksums begin."""
        self._seed = frame.crc32(self._segment)
        created_ms = self._created_us // 1000
        day = created_ms // _DAY_MS
        self._from_ms = day * _DAY_MS
        self._until_ms = min((day + 1) * _DAY_MS, created_ms + SEGMENT_AGE_MS_MAX)

    def _read_lock(self) -> "tuple[bytes, int, int] | None":
        """Return (segment, created, consent) as the lock file names them, or None if it does not verify."""
        text, _, crc = os.pread(self._lock, 128, 0).rstrip(b"\n").rpartition(b" ")
        words = text.split(b" ")
        if crc != b"%08x" % frame.crc32(text) or [len(word) for word in words] != [32, 16, 13]:
            return None
        if words[0].strip(b"0123456789abcdef") or not (words[1] + words[2]).isdigit():
            return None
        return bytes.fromhex(words[0].decode()), int(words[1]), int(words[2])

    def _last_seq(self, length: int) -> "int | None":
        """Return the sequence number of the last record of *length* bytes, or None if the tail is torn or damaged.

        So is one that does not go on from what stands before it; where it ended when we were here we know.
        """
        for size in (_TAIL_BYTES, frame.PAYLOAD_BYTES_MAX + frame.RECORD_OVERHEAD_BYTES):
            size = min(size, length)  # noqa: PLW2901
            data = os.pread(self._descriptor, size, length - size)
            at = frame.last_record_offset(data)
            if at is None and size < min(length, frame.PAYLOAD_BYTES_MAX + frame.RECORD_OVERHEAD_BYTES):
                continue
            if at is None:
                return None
            alone = length - size + at == frame.FIRST_RECORD_OFFSET
            try:
                found = frame.decode_record(frame.NO_SEGMENT if alone else self._segment, data, at)
            except carojournal.errors.CorruptRecord:
                return None
            if found is None or (alone and b"gsegmentP" + self._segment not in data[found[1] : found[2]]):
                return None  # A header's checksum holds under any uuid: it must also say the one that we think it has.
            if self._seq == 0 and _is_late(data, at, found[0], self._segment):
                return None
            self._sealed = _SEAL in data[found[1] : found[2]]
            return found[0]
        return None


def _is_late(data: bytes, at: int, seq: int, segment: bytes) -> bool:
    """Tell whether a record in front of the one at *at* has a number above its *seq*: a copy of old bytes came last.

    The number after it would be given out twice then, and readers take the first.  Looked at is what *data* reaches,
    by trailing lengths; only who seems to say so is asked for its checksum.
    """
    while (before := frame.last_record_offset(data[:at])) is not None:
        if data[before : before + 2] != frame.RECORD_MARK:
            return False
        if int.from_bytes(data[before + 7 : before + 15], "big") > seq:
            try:
                return frame.decode_record(segment, data, before) is not None
            except carojournal.errors.CorruptRecord:
                return False
        at = before
    return False
