"""Where one segment ends and the next begins: names, headers, and lanes that nobody uses any more.

What `lanes` needs only at such a moment, about once in 900 events or six hours; kept apart so that a process that finds
an open segment does not load it.  The same class in another file, hence the look at its attributes.
"""
# ruff: noqa: SLF001 - see above

import os

import carojournal
from carojournal import cbor, events, frame, lanes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from carojournal.eviction import Victim

__all__ = [
    "FORMAT_VERSION",
    "LANE_IDLE_MS_MAX",
    "WRITER",
    "append_next",
    "close_idle",
    "close_segment",
    "closed_name",
    "closed_path",
    "encode_header",
    "encode_start",
    "name_segment",
    "read_header",
    "set_aside",
    "sync_names",
]

WRITER = "carojournal/0.1.0"
FORMAT_VERSION = 1
LANE_IDLE_MS_MAX = 600_000  # A lane that contention opened stops counting as full soon after.
_US_END, _MS_END = 10**16, 10**13  # Beyond what the digits of a lock file say.
_OVERTIME = 4  # A segment may outgrow its limit by this fraction while somebody else makes room.


def closed_name(created_us: int, segment: bytes, *, damaged: bool = False) -> str:
    """Return the name of a closed segment below segments/: creation time in microseconds, uuid, "~" after damage."""
    return f"{created_us:016d}-{segment.hex()}.seg{'~' if damaged else ''}"


def closed_path(root: str, created_us: int, segment: bytes, *, damaged: bool = False) -> str:
    """Return a path below segments/ for a segment that is closed, at which nothing stands yet.

    What has the segment's own name is another copy of it, and either may hold what the other does not: then this one's
    name says a later microsecond.  The caller holds the lane's lock.
    """
    while os.path.lexists(path := f"{root}/segments/{closed_name(created_us, segment, damaged=damaged)}"):
        created_us += 1
    return path


def encode_header(
    segment: bytes, created_us: int, lane: int, consent_ms: int, previous: "tuple[bytes, int | None, int | None] | None"
) -> bytes:
    """Return the payload of record 0.

    *previous* is (uuid, last seq, bytes; None if unknown) of the segment that the lane had before: a reader that finds
    it shorter, or not at all, knows that something is missing.
    """
    return cbor.encode_map(
        {
            "record": "header",
            "version": FORMAT_VERSION,
            "segment": segment,
            "created": created_us,
            "lane": lane,
            "consent": consent_ms,
            "previous": list(previous) if previous else None,
            "schema": events.SCHEMA_HASH,
            "writer": WRITER,
        }
    )


def encode_start(segment: bytes, header: bytes, losses: "Iterable[bytes]") -> bytes:
    """Return what a segment begins with: label, the payload *header* as record 0, the payloads of loss records."""
    records = [frame.encode_record(segment, seq, payload) for seq, payload in enumerate(losses, 1)]
    return b"".join((frame.LABEL, frame.encode_record(frame.NO_SEGMENT, 0, header), *records))


def read_header(data: bytes) -> tuple[bytes, int, int] | None:
    """Return (segment uuid, created us, consent ms) as record 0 says; None if *data*, a segment's start, holds none."""
    if not data.startswith(frame.LABEL):
        return None
    try:
        found = frame.decode_record(frame.NO_SEGMENT, data, frame.FIRST_RECORD_OFFSET)
        header = carojournal.cbordecode.decode(data[found[1] : found[2]]) if found else {}
        segment, created, consent = header["segment"], header["created"], header["consent"]
    except (carojournal.errors.CorruptRecord, carojournal.errors.MalformedCBOR, KeyError):
        return None
    # Anybody may have written that: what the lock file and the name of a closed file cannot say is no header.
    if type(segment) is not bytes or type(created) is not int or type(consent) is not int:
        return None
    said = len(segment) == 16 and 0 <= created < _US_END and 0 <= consent < _MS_END
    return (segment, created, consent) if said else None


def append_next(
    lane: lanes.Lane, payloads: "Sequence[bytes]", now_ms: int, consent_ms: int, size: int, *, sync: bool
) -> tuple[bytes, int]:
    """Do what `Lane.append` says where the segment is at its end: write *payloads* into the next one.

    Into the same, up to *size* bytes, where all that is wrong is its size and the lock for making room cannot be had at
    this moment.  As long as that is not by much, nobody waits.  Then the first wait is the last one until the lock was
    free again: whoever has it may have been stopped.  Who goes on without it holds another one meanwhile, or several
    would each take the room that is left.
    """
    spool, root, own = carojournal.spool, lane._root, max(lane._size, 0)
    may_grow = lane._descriptor >= 0 and lane._from_ms <= now_ms < lane._until_ms and consent_ms == lane._consent_ms
    fits = may_grow and size <= lane.limit + lane.limit // _OVERTIME
    try:
        room = spool.lock_room(root, 0 if fits or lane._waited else spool.ROOM_WAIT_S)
    except (carojournal.errors.JournalBusy, OSError):
        if fits:
            return _write(lane, payloads, sync=sync)
        lane._waited = True
        line = spool.lock_room(root, spool.ROOM_WAIT_S / 10, "lanes")
        try:
            left = spool.bytes_left(root, lane.cap_bytes, lane.number)
            if own + max(lane.limit, size - own) <= left:
                close_segment(lane)
                _create(lane, now_ms, consent_ms, [])
            elif not may_grow or size > left:
                raise
            return _write(lane, payloads, sync=sync)
        finally:
            spool.unlock_room(line)
    lane._waited = False
    try:
        first_bytes = size - own
        close_segment(lane)
        close_idle(root, lane.number, lane.cap_bytes, now_ms, lane._random)
        victims = spool.make_room(root, lane.cap_bytes, lane.number, first_bytes)
        _create(lane, now_ms, consent_ms, _losses(victims))
        stuck: dict[str, OSError] = {}
        while more := spool.remove(victims):
            stuck |= more
            victims = spool.make_room(root, lane.cap_bytes, lane.number, first_bytes, stuck)
            losses = _losses(victims)
            lane._write(lane._records(losses), lane._seq + len(losses), sync=False)
        # They may be more than what the lane counts for: who makes room next must see them.
        return _write(lane, payloads, sync=sync)
    finally:
        spool.unlock_room(room)


def _write(lane: lanes.Lane, payloads: "Sequence[bytes]", *, sync: bool) -> tuple[bytes, int]:
    first = lane._seq
    lane._write(lane._records(payloads), first + len(payloads), sync=sync)
    return lane._segment, first


def _losses(victims: "list[Victim]") -> list[bytes]:
    return [payload for victim in victims for payload in victim.payloads]


def close_segment(lane: lanes.Lane, *, damaged: bool = False) -> None:
    """Close the segment of *lane*, whose lock is held: rename it into segments/.  Does nothing if the lane has none."""
    if lane._descriptor < 0:
        return
    target = closed_path(lane._root, lane._created_us, lane._segment, damaged=damaged)
    if os.path.islink(f"{lane._root}/segments"):
        carojournal.root.check_root(lane._root)
    try:
        os.rename(lane._path, target)
    except FileNotFoundError:
        carojournal.root.make_folders(f"{lane._root}/segments")
        os.rename(lane._path, target)
    previous = (lane._segment, None if damaged else lane._seq - 1, lane._size)
    lane._forget()
    lane._previous = previous


def set_aside(
    lane: lanes.Lane,
    header: "tuple[bytes, int, int] | None",
    named: "tuple[bytes, int, int] | None",
    now_ms: int,
) -> None:
    """Close the segment of *lane*, whose tail is bad, under the uuid that readers find in it.

    *header* is what a good header says, *named* what the lock file says.  Where they agree, as a writer that died
    leaves it, that is it.  Where no record and no header bears the lock file out, this is not that segment, which was
    closed before, but the beginning of the next: it gets a uuid of its own, or it would pass for the other one.  What
    the lock file names is then still what the lane had before.
    """
    segment: bytes | None
    if header and named and header[0] == named[0]:
        segment, created_us = header[:2]
    else:
        with carojournal._loading:  # Readers know how; their modules cost a host 50 ms.
            from carojournal.segment_file import identify, read_all
        segment, created_us = identify(read_all(lane._descriptor), named[:2] if named else None, now_ms)
    lane._segment, lane._created_us = segment or lane._random(16), created_us
    close_segment(lane, damaged=True)
    if segment is None:
        lane._previous = (named[0], None, None) if named else None


def _create(lane: lanes.Lane, now_ms: int, consent_ms: int, losses: list[bytes]) -> None:
    """Write the first bytes of a segment: header and *losses*; name it in the lock file."""
    segment = lane._random(16)
    created_us = now_ms * 1000
    header = encode_header(segment, created_us, lane.number, consent_ms, lane._previous)
    data = encode_start(segment, header, losses)
    lane._descriptor = os.open(lane._path, lanes.OPEN | os.O_CREAT | os.O_EXCL, 0o600)
    lane._size = 0
    try:
        lane._write(data, 1 + len(losses), sync=False)
    except (OSError, carojournal.errors.JournalIOError):
        lane._forget()
        os.unlink(lane._path)
        raise
    status = os.fstat(lane._descriptor)
    lane._segment, lane._created_us, lane._consent_ms = segment, created_us, consent_ms
    lane._inode, lane._device = status.st_ino, status.st_dev
    lane._set_span()
    name_segment(lane)


def name_segment(lane: lanes.Lane) -> None:
    """Write into the lock file which segment *lane* has; the header says the same, so failing costs nothing."""
    text = b"%b %016d %013d" % (lane._segment.hex().encode(), lane._created_us, lane._consent_ms)
    data = b"%b %08x\n" % (text, frame.crc32(text))
    try:
        done = os.pwrite(lane._lock, data, 0)
        if done != len(data):
            os.pwrite(lane._lock, data[done:], done)
    except OSError:
        return


def close_idle(root: str, number: int, cap_bytes: int, now_ms: int, random: "Callable[[int], bytes]") -> None:
    """Close the segments of lanes other than *number* that nobody has written to for a while.

    Their reservation of room ends with that; a lane that cannot be closed is left.  *now_ms* is UTC milliseconds.
    Raises OSError if the lanes cannot be listed.
    """
    folder = f"{root}/lanes"
    for name in os.listdir(folder):
        stem = name[:-4]
        if not name.endswith(".seg") or not stem.isdigit() or int(stem) == number:
            continue
        try:
            status = os.lstat(f"{folder}/{name}")
        except FileNotFoundError:
            continue
        # Of the future is only what a clock that was set back left: since *now_ms*, when this append began, others have
        # gone on appending.
        if abs(now_ms - status.st_mtime_ns // 1_000_000) <= LANE_IDLE_MS_MAX:
            continue
        try:
            other = lanes.Lane(root, int(stem), cap_bytes, random)
            try:
                if other.acquire():
                    try:
                        other.attach(now_ms)
                        close_segment(other)
                    finally:
                        other.release()  # A child that was forked meanwhile has the descriptor too.
            finally:
                other.close()
        except (carojournal.errors.LaneLost, OSError):
            continue  # What is wrong with another lane costs its writers, not this one.


def sync_names(root: str) -> None:
    """Make durable where a lane's segments are to be found, which a sync of a file alone need not do.

    Where closed segments go comes first: none must be nowhere.  Raises OSError.
    """
    for path in (f"{root}/segments", f"{root}/lanes", root, os.path.dirname(root)):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:
            continue  # The folder above the root need not be readable to us.
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
