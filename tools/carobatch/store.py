"""The folder packed/: how its files are written, read back, found and bounded."""

import contextlib
import os
from itertools import count
from typing import TYPE_CHECKING

from carojournal import packed, packed_write, spool, zstd
from carojournal.durable import DurableFile, sync_directory
from carojournal.errors import DamagedData, JournalIOError
from carojournal.policy import segment_limit
from carojournal.segment_file import read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from carojournal.packed import Inventory, Section

__all__ = ["SECTIONS_MAX", "PackedStore"]

_FILES_PER_CAP = 10  # An eviction takes one packed file: no more than a tenth of what is kept.
SECTIONS_MAX = 256  # A section's line of the inventory has about 500 bytes, all lines together at most a mebibyte.
_FILE_BYTES_MAX = 8_388_608  # And what one damaged file can cost is bounded whatever the cap.
# Who packs or merges a file holds its content four times.  Much more than zstd's window compresses no better.
_CONTENT_BYTES_MAX = 8_388_608
_RATIO_GUESS = 4  # Packed files are three to fifteen times smaller than their content; the last one says it better.


class PackedStore:
    """Packed files of the journal at *root*, at most *cap_bytes* with everything else; *level* is zstd's."""

    def __init__(self, root: str, cap_bytes: int, level: int = zstd.LEVEL_DEFAULT) -> None:
        self.root = root
        self.folder = os.path.join(root, packed.PACKED)
        self.file_bytes_max = min(cap_bytes // _FILES_PER_CAP, _FILE_BYTES_MAX)
        self.content_bytes_max = _CONTENT_BYTES_MAX
        self.rules = packed_write.rules_hash()
        self._cap_bytes = cap_bytes
        self._compress = zstd.compressor(level)
        self._ratio = _RATIO_GUESS
        self._used = -1

    def encode(self, sections: "Sequence[Section]") -> bytes:
        """Return a packed file's bytes; the caller vouches that every event has passed `recheck`."""
        data = packed_write.encode_packed(sections, self._compress, self.rules)
        self._ratio = max(1, sum(len(section.body) for section in sections) // len(data))
        return data

    def is_full(self, content_bytes: int) -> bool:
        """Tell whether that much content is enough for one packed file."""
        return content_bytes > min(self.file_bytes_max * self._ratio, self.content_bytes_max)

    def may_fit(self, content_bytes: int) -> bool:
        """Tell whether it is worth while to pack that much content: `fits` says afterwards what became of it."""
        guess = content_bytes // self._ratio
        if 0 <= self._used <= self._cap_bytes - guess:
            return True  # As of the last look, which costs more than this guess is worth.
        return self.fits(guess)

    def fits(self, size: int) -> bool:
        """Tell whether *size* bytes more stay below the cap, every open lane counted as if it were full."""
        return self._use() + size <= self._cap_bytes

    def _use(self) -> int:
        total = 0
        for folder, name, bytes_ in spool.usage(self.root):
            lane = name[:-4] if folder == "lanes" and name.endswith(".seg") else ""
            total += max(bytes_, segment_limit(self._cap_bytes, int(lane)) if lane.isdigit() else 0)
        self._used = total
        return total

    def path_of(self, section: "Section") -> str:
        """Return the path of a packed file that begins with *section*."""
        return os.path.join(self.folder, packed.packed_name(section.header["created"], section.segment))  # type: ignore[arg-type]

    def free_path(self, section: "Section") -> str:
        """Return a path for a packed file that begins with *section*, where no other file stands."""
        created = int(section.header["created"])  # type: ignore[call-overload]
        paths = (os.path.join(self.folder, packed.packed_name(at, section.segment)) for at in count(created))
        return next(path for path in paths if not os.path.lexists(path))

    def write(self, sections: "Sequence[Section]", data: bytes, path: str = "") -> str:
        """Write *data*, the encoding of *sections*, read it back, compare it and put it in its place; return its path.

        *path* is that place, if it is not that of the first section.  Raises JournalIOError, DamagedData if what is
        read is not what was written; what stood in its place before then still does.
        """
        path = path or self.path_of(sections[0])
        self._put(
            path,
            data,
            lambda written: packed.reads_back(packed.read_inventory(written), (one.encode() for one in sections)),
        )
        return path

    def put(self, path: str, data: bytes) -> None:
        """Write *data*, a whole packed file, in the place of the one at *path*.  Raises as `write`."""
        self._put(path, data, lambda written: read_file(written, len(data) + 1) == data)

    def _put(self, path: str, data: bytes, holds: "Callable[[str], bool]") -> None:
        os.makedirs(self.folder, 0o700, exist_ok=True)
        with DurableFile(path, overwrite=True, error=JournalIOError) as file:
            file.write(data)
            file.sync()
            if not holds(file.temporary):
                raise DamagedData(path, 0, "reads back other than it was written")
            file.commit()

    def paths(self) -> list[str]:
        """Return the paths of all packed files, oldest first."""
        names: list[str] = []
        with contextlib.suppress(FileNotFoundError):
            names = sorted(os.listdir(self.folder))
        return [
            os.path.join(self.folder, name)
            for name in names
            if name.endswith(packed.SUFFIX) and not name.startswith(".")
        ]

    def inventories(self, problems: list[tuple[str, str]]) -> "list[Inventory]":
        """Return the inventories of all packed files, oldest first; what is damaged goes to *problems*."""
        found = []
        for path in self.paths():
            try:
                inventory = packed.read_inventory(path)
            except FileNotFoundError:
                continue
            except DamagedData as error:
                problems.append((error.path, error.reason))
                continue
            if inventory.size != inventory.start + inventory.frame_bytes:
                problems.append((path, "the file is shorter or longer than its inventory says"))
            found.append(inventory)
        return found

    def sections(self, path: str) -> "Iterator[Section]":
        """Yield the sections of a packed file.  Raises DamagedData, OSError."""
        import io

        inventory = packed.read_inventory(path)
        content = packed.read_content(inventory)
        yield from packed.iter_content(io.BytesIO(content).read, len(content), path)

    def replace_section(self, path: str, section: "Section") -> None:
        """Write the packed file at *path* again with *section* in place of the one of the same segment."""
        sections = [section if old.segment == section.segment else old for old in self.sections(path)]
        self.write(sections, self.encode(sections), path)

    def remove(self, path: str) -> None:
        """Unlink a packed file, durably; one that is gone already is fine.  Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        sync_directory(self.folder)

    def remove_temporaries(self) -> None:
        """Remove what a killed run left half-written; the caller holds batch.lock."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.folder):
                if name.startswith(".") and name.endswith(".tmp"):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(os.path.join(self.folder, name))
