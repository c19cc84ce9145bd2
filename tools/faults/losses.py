"""What loss records say, read again and again beside running writers: each file that does not change only once."""

import os
from collections.abc import Iterator

from carojournal.codec import loads
from carojournal.errors import JournalError
from carojournal.packed import read_inventory
from carojournal.record import control_payloads
from carojournal.segment_file import read_file, resolve_uuid

__all__ = ["LossLog"]

_HEAD_BYTES = 65_536  # The control records stand in front; no segment here has more of them.


class LossLog:
    """Loss records that were found, file by file."""

    def __init__(self) -> None:
        self._read: dict[str, int] = {}

    def new(self, root: str) -> Iterator[dict[str, object]]:
        """Yield the loss records of files below *root* that were not read yet, or are others than they were."""
        for folder in ("lanes", "segments", "packed"):
            path = os.path.join(root, folder)
            for name in os.listdir(path) if os.path.isdir(path) else ():
                if name.endswith((".seg", ".seg~", ".zst")):
                    yield from self._of(os.path.join(path, name))

    def _of(self, path: str) -> Iterator[dict[str, object]]:
        try:
            inode = os.lstat(path).st_ino
            if self._read.get(path) == inode:
                return
            if path.endswith(".zst"):
                yield from (loss for row in read_inventory(path).sections for loss in row["losses"])  # type: ignore[attr-defined]
            else:
                data = read_file(path, _HEAD_BYTES)
                segment, _ = resolve_uuid(data, None)
                if not segment:
                    return
                yield from (loads(one) for one in control_payloads(data, segment) if b"dloss" in one)  # type: ignore[misc]
        except (OSError, JournalError):
            return
        self._read[path] = inode
