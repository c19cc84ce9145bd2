"""Cursors: how far somebody has read, so that the next call goes on from there without gap or repetition.

Naming one event is not enough: lanes grow side by side, and an event may reach its lane after a later one reached
another.  So a cursor says of every segment that may still grow how far it was read:

    1;<watermark>;<segment uuid, 32 hex>:<seq>,<segment>:<seq>...;<crc32, 8 hex>

`watermark` is microseconds since 1970: a segment that was created before it and is not listed has been read to its end.
Segments of the last hour before the newest one are always listed, because clocks are set back and segments are created
side by side.  The text is opaque to its users; the checksum catches one that was cut in pasting.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zlib import crc32

from carojournal.errors import UsageError

if TYPE_CHECKING:
    from carojournal.segment_file import SegmentInfo

__all__ = ["Cursor", "parse_cursor"]

GRACE_US = 3_600_000_000
CURSOR_CHARACTERS_MAX = 65_536  # 64 lanes and an hour of closed segments are 5,000; bounds what a file makes us hold.
_VERSION = "1"


@dataclass(frozen=True, slots=True)
class Cursor:
    """What was read: everything in segments created before `watermark_us`, but of those in `read` only up to a seq."""

    watermark_us: int = 0
    read: Mapping[bytes, int] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        """Whether it names segments (16 bytes) and sequence numbers, -1 where nothing was read."""
        return self.watermark_us >= 0 and all(len(name) == 16 and seq >= -1 for name, seq in self.read.items())

    def first_unread(self, segment: bytes, created_us: int) -> int | None:
        """Return the first sequence number of a segment that was not read yet, None if it was read to its end."""
        done = self.read.get(segment)
        if done is not None:
            return done + 1
        return None if created_us < self.watermark_us else 0

    def advanced(self, infos: Iterable["SegmentInfo"], seen: Mapping[bytes, int]) -> "Cursor":
        """Return the cursor after *infos* were read, each up to the sequence number in *seen*."""
        known = list(infos)
        if not known:
            return self
        watermark_us = max(self.watermark_us, max(info.created_us for info in known) - GRACE_US)
        read = {}
        for info in known:
            last = seen.get(info.segment, self.read.get(info.segment, -1))
            unread = self.first_unread(info.segment, info.created_us)
            if unread is None and info.segment not in seen:
                continue
            if info.state == "open" or info.created_us >= watermark_us:
                read[info.segment] = last
        return Cursor(watermark_us, read)

    def __str__(self) -> str:
        listed = ",".join(f"{segment.hex()}:{seq}" for segment, seq in sorted(self.read.items()))
        text = f"{_VERSION};{self.watermark_us};{listed}"
        return f"{text};{crc32(text.encode()):08x}"


def parse_cursor(text: str) -> Cursor:
    """Return the cursor that *text* spells.  Raises UsageError."""
    text, _, crc = text.strip().rpartition(";")
    if len(text) <= CURSOR_CHARACTERS_MAX and text.isascii() and crc == f"{crc32(text.encode()):08x}":
        version, _, rest = text.partition(";")
        watermark, _, listed = rest.partition(";")
        try:
            if version == _VERSION:
                pairs = [word.split(":") for word in listed.split(",") if word]
                found = Cursor(int(watermark), {bytes.fromhex(name): int(seq) for name, seq in pairs})
                if found.is_sound and str(found) == f"{text};{crc}":
                    return found
        except ValueError:
            pass
    raise UsageError("a cursor is what --show-cursor prints, whole and unchanged")
