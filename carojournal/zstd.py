"""Zstandard within bounds, and the only module that imports zstandard.

The library trusts a frame's own word in places where we may not: `decompress` ignores its limit when a frame declares
its size, returns only the first of several frames, and a cut-off frame ends a stream as if it were whole.  So frames
are first walked by their block headers (RFC 8878 section 3.1.1), without decompressing anything, which finds every
frame's extent, window and declared size; only then is decompressed, by a reader with a byte budget and a ratio cap.
"""

from typing import TYPE_CHECKING, NamedTuple

import zstandard

from carojournal.errors import DamagedData

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

__all__ = [
    "FRAMES_MAX",
    "LEVELS",
    "LEVEL_DEFAULT",
    "RATIO_MAX",
    "SKIPPABLE_MAGIC",
    "WINDOW_BYTES_MAX",
    "BoundedReader",
    "Frame",
    "compress",
    "compressor",
    "decompress",
    "decompress_damaged",
    "open_frame",
    "skippable",
    "walk_frames",
]

LEVELS = range(1, 20)  # 20 and up need windows beyond WINDOW_BYTES_MAX.
LEVEL_DEFAULT = 9  # Within 7 % of -19 on our records at thirty times its speed.
WINDOW_BYTES_MAX = 8_388_608  # RFC 8878 section 3.1.1.1.2 asks every decoder for 8 MiB, and -19 needs no more.
# An event takes at least 3 bytes of a frame (its literal sequence number and times) and at most about 400 decompressed.
RATIO_MAX = 256
RATIO_SLACK_BYTES = 1_048_576  # Headers and padding of a tar compress without bound; they are small.
FRAMES_MAX = 1_000_000  # A frame may be empty, and a walk over such takes 3 microseconds each.
SKIPPABLE_MAGIC = b"\x50\x2a\x4d\x18"
_MAGIC = b"\x28\xb5\x2f\xfd"
_HEADER_BYTES_MAX = 18
_BLOCK_BYTES_MAX = 131_072
_BLOCK_HEAD_BYTES = 3
# A frame's header that says neither size nor checksum, and a window of WINDOW_BYTES_MAX (RFC 8878 section 3.1.1.1).
_BARE_HEADER = _MAGIC + b"\x00\x68"
_READ_BYTES = 65_536
_UNKNOWN = 0xFFFF_FFFF_FFFF_FFFF


class Frame(NamedTuple):
    """One frame: bytes *start* to *end* of the file; *content* is the declared size, None if it declares none.

    A skippable frame's content is the number of bytes after its eight-byte head.
    """

    start: int
    end: int
    is_skippable: bool
    content: int | None
    has_checksum: bool


def compress(data: bytes, level: int = LEVEL_DEFAULT) -> bytes:
    """Return one frame with content size and checksum; the same bytes for the same input and library."""
    return compressor(level)(data)


def compressor(level: int) -> "Callable[[bytes], bytes]":
    """Return what does the same for one thread and many small frames: its tables are allocated once."""
    writer = zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True, write_dict_id=False)
    return writer.compress


def skippable(data: bytes) -> bytes:
    """Return a skippable frame that holds *data*; every zstd program steps over it (RFC 8878 section 3.1.2)."""
    return SKIPPABLE_MAGIC + len(data).to_bytes(4, "little") + data


def walk_frames(read_at: "Callable[[int, int], bytes]", size: int, name: str) -> "Iterator[Frame]":
    """Yield every frame of *size* bytes that `read_at(offset, length)` gives; decompresses nothing.

    Raises DamagedData (*name* is its path) at bytes that are no frame, a frame that is cut off, wants a window above
    WINDOW_BYTES_MAX or a dictionary, and after FRAMES_MAX frames.
    """
    at = count = 0
    while at < size:
        count += 1
        if count > FRAMES_MAX:
            raise DamagedData(name, at, "more zstd frames than any file of ours has")
        head = read_at(at, _HEADER_BYTES_MAX)
        if len(head) >= 8 and 0x184D2A50 <= int.from_bytes(head[:4], "little") <= 0x184D2A5F:
            content = int.from_bytes(head[4:8], "little")
            frame = Frame(at, at + 8 + content, is_skippable=True, content=content, has_checksum=False)
        elif head[:4] == _MAGIC:
            frame = _walk_frame(read_at, head, at, size, name)
        else:
            raise DamagedData(name, at, "not a zstd frame" if len(head) >= 8 else "cut off in a zstd frame's head")
        if frame.end > size:
            raise DamagedData(name, at, "cut off in a zstd frame")
        yield frame
        at = frame.end


def _walk_frame(read_at: "Callable[[int, int], bytes]", head: bytes, at: int, size: int, name: str) -> Frame:
    try:
        known = zstandard.get_frame_parameters(head)
        place = at + zstandard.frame_header_size(head)
    except zstandard.ZstdError as error:
        raise DamagedData(name, at, "not a zstd frame's head") from error
    if known.window_size > WINDOW_BYTES_MAX:
        raise DamagedData(name, at, f"zstd window of more than {WINDOW_BYTES_MAX} bytes")
    if known.dict_id:
        raise DamagedData(name, at, "zstd frame needs a dictionary")
    last = False
    while not last:
        head = read_at(place, _BLOCK_HEAD_BYTES)
        length = _block_bytes(head)
        if place + _BLOCK_HEAD_BYTES > size or length is None:
            reason = "not a zstd block" if place + _BLOCK_HEAD_BYTES <= size else "cut off in a zstd frame"
            raise DamagedData(name, place, reason)
        last = bool(head[0] & 1)
        place += length
    content = None if known.content_size == _UNKNOWN else known.content_size
    end = place + (4 if known.has_checksum else 0)
    return Frame(at, end, is_skippable=False, content=content, has_checksum=bool(known.has_checksum))


def _block_bytes(head: bytes) -> int | None:
    """Return how long the block is that begins with the three bytes *head*, these included; None if none does."""
    block = int.from_bytes(head, "little")
    kind, length = block >> 1 & 3, block >> 3
    if kind == 3 or length > _BLOCK_BYTES_MAX:
        return None
    return _BLOCK_HEAD_BYTES + (1 if kind == 1 else length)  # One byte is what a block that repeats it has.


class _Counted:
    """A binary file that counts what is read from it."""

    def __init__(self, file: "BinaryIO") -> None:
        self._file = file
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.count += len(data)
        return data


class BoundedReader:
    """Decompressed bytes of all frames of a file, never more than the budget, one after another.

    *file* is read from where it stands.  *output_max* bounds the whole output in bytes, RATIO_MAX what a compressed
    byte may become.  Both raise DamagedData, as does anything that zstandard refuses.  Memory: the window (at most
    WINDOW_BYTES_MAX) and what the caller asks for.  Whether a file is cut off is for `walk_frames` to say.
    """

    def __init__(self, file: "BinaryIO", output_max: int, name: str) -> None:
        self._source = _Counted(file)
        self._left = output_max
        self._name = name
        self.count = 0
        reader = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX)
        self._reader = reader.stream_reader(self._source, read_size=_READ_BYTES, read_across_frames=True, closefd=False)  # type: ignore[arg-type]

    def read(self, size: int) -> bytes:
        """Return the next *size* bytes, fewer only at the end."""
        parts = []
        while size > 0:
            try:
                part = self._reader.read(min(size, _READ_BYTES))
            except (zstandard.ZstdError, MemoryError) as error:
                raise DamagedData(self._name, self._source.count, "zstd cannot decompress this") from error
            if not part:
                break
            size -= len(part)
            self.count += len(part)
            parts.append(part)
            if self.count > self._left:
                raise DamagedData(self._name, self._source.count, "decompresses to more than may be")
            if self.count > self._source.count * RATIO_MAX + RATIO_SLACK_BYTES:
                raise DamagedData(self._name, self._source.count, "compressed more than data of ours can be")
        return parts[0] if len(parts) == 1 else b"".join(parts)


def decompress(frame: bytes, output_max: int, name: str) -> bytes:
    """Return the content of exactly one *frame* that declares its size and carries a checksum, both of which hold.

    Raises DamagedData for anything else, and for more than *output_max* bytes.
    """
    reader, size = open_frame(frame, output_max, name)
    data = reader.read(size + 1)
    if len(data) != size:
        raise DamagedData(name, 0, "decompresses to another size than declared")
    return data


def open_frame(frame: bytes, output_max: int, name: str) -> tuple[BoundedReader, int]:
    """Return a reader of the content of one *frame* and the size that it declares; otherwise as `decompress`.

    The checksum holds once all has been read, and one byte more been asked for.
    """
    import io

    frames = list(walk_frames(lambda at, size: frame[at : at + size], len(frame), name))
    if len(frames) != 1 or frames[0].is_skippable or frames[0].content is None or not frames[0].has_checksum:
        raise DamagedData(name, 0, "not one zstd frame with content size and checksum")
    if frames[0].content > output_max:
        raise DamagedData(name, 0, "decompresses to more than may be")
    return BoundedReader(io.BytesIO(frame), output_max, name), frames[0].content


def decompress_damaged(frame: bytes, output_max: int) -> bytes:
    """Return what of a *frame* that does not hold decompresses: *output_max* bytes and a block of zstd at most.

    zstd keeps to itself what a call has decompressed until it fails, so it gets one block a call: nothing is missing of
    those before the one at which it fails.  It never hears what would make it fail, or stop, for nothing: the content's
    size and checksum, which cannot hold any more, and that a block is the last.  What it makes of bytes behind the last
    one is for the caller to judge, as all of it is.
    """
    parts: list[bytes] = []
    count = 0
    try:
        at = zstandard.frame_header_size(frame[:_HEADER_BYTES_MAX])
        stream = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX).decompressobj()
        stream.decompress(_BARE_HEADER)
        while at + _BLOCK_HEAD_BYTES <= len(frame) and count <= output_max:
            length = _block_bytes(frame[at : at + _BLOCK_HEAD_BYTES])
            if length is None:
                break
            parts.append(stream.decompress(bytes((frame[at] & ~1,)) + frame[at + 1 : at + length]))
            count += len(parts[-1])
            at += length
    except (zstandard.ZstdError, MemoryError):
        pass
    return b"".join(parts)
