"""What accidents do in the model: writers die, whole operations are killed, bytes go bad."""

import os
import random
from collections.abc import Callable, Iterator
from typing import Any

from carojournal.frame import encode_record
from faults import conservation, model_files
from faults.dying import Dying, Lines
from faults.model_world import World

__all__ = ["Accidents"]


class Accidents(World):
    """A world in which things break."""

    def die(self, writer: int, tail: str, size: int) -> None:
        """Let a writer die, perhaps in the middle of an append to lane 0; another takes its place."""
        self.restart(writer)
        path = os.path.join(self.root, "lanes", "0.seg")
        if tail == "none" or not os.path.exists(path) or os.path.getsize(path) == 0:
            return
        with open(path, "rb") as file:
            data = file.read()
        segment = model_files.uuid_of(path, data)
        whole = model_files.is_whole(data, segment)
        if tail == "zeros" or not whole:
            model_files.strike(path, "zeros", 0, size)
            return
        last = model_files.records_in(data, segment)[-1]
        if b"frecord" in last.payload and last.seq > 0 and b"dseal" in last.payload:
            return
        at = last.payload.find(b"session_duration_ms")
        record = encode_record(segment, last.seq + 1, last.payload)
        with open(path, "ab") as file:
            file.write(record[: max(1, min(size, len(record) - 1))] if tail == "torn" or at < 0 else record)
        old = self.known.events.get((segment, last.seq))
        if tail == "untold" and at >= 0 and old is not None:
            self.learn((segment, last.seq + 1), 1, old, False)

    def kill(self, nth: int, operation: Callable[[Lines], object], hear: Callable[[list[Any]], None]) -> None:
        """Do *operation* in a process that dies at the *nth* call that changes a file; *hear* every line it told."""
        seed = self.random.getrandbits(64)  # Two processes never draw the same identities.

        def reseeded(tell: Lines) -> None:
            self.random = random.Random(seed)
            operation(tell)

        for line in Dying(nth).run(reseeded):
            hear(line)

    def strike(self, which: int, kind: str, at: float, size: int) -> None:
        """Damage one of the journal's files."""
        paths = sorted(self._breakable())
        if not paths:
            return
        path = paths[which % len(paths)]
        with open(path, "rb") as file:
            data = file.read()
        if not data:
            return
        if path.endswith((".zst", "drops", "policy", ".lock")):
            self._strike_whole(path, data, kind, int(at * len(data)), size)
            return
        segment = model_files.uuid_of(path, data)
        before = model_files.records_in(data, segment)
        place = (path, int(at * len(data)), size)
        if kind == "flip" and place in self.known.flipped:
            return  # Flipped again it would be what it was.
        start, end = model_files.strike(path, kind, *place[1:])
        if kind == "flip":
            self.known.flipped.add(place)
        if kind != "zeros" or not (path.endswith("~") or os.path.basename(os.path.dirname(path)) == "lanes"):
            self.known.struck.add(segment)
        self.known.slack += 2
        with open(path, "rb") as file:
            after = model_files.uuid_of(path, file.read())
        for record in before:
            hit = (record.start < end and start < record.end) or after != segment
            if hit and b"frecord" in record.payload and record.seq > 0 and b"dloss" in record.payload:
                self._blur()
            elif hit and (segment, record.seq) in self.known.events:
                self.known.damaged.add((segment, record.seq))
        if kind in ("cut", "again") or (kind == "zero" and end == len(data)):
            self.known.cut.add(segment)  # What is left, or repeated, may look like the beginning of a record.
        self.known.blurred |= kind == "cut"

    def rot(self, which: int, kind: str, at: float, size: int) -> None:
        """Damage a packed file behind its inventory, by so little that nothing may be lost."""
        paths = sorted(path for path in self._breakable() if path.endswith(".zst"))
        if not paths:
            return
        path = paths[which % len(paths)]
        with open(path, "rb") as file:
            data = file.read()
        start = 8 + int.from_bytes(data[4:8], "little")
        if start < len(data):
            place = max(start, len(data) - size) if kind == "cut" else start + int(at * (len(data) - 1 - start))
            self._strike_whole(path, data, kind, place, size)

    def _breakable(self) -> Iterator[str]:
        yield from model_files.segment_files(self.root)
        for folder, names in (("packed", None), ("lanes", None), ("", ("drops", "policy"))):
            place = os.path.join(self.root, folder) if folder else self.root
            if os.path.isdir(place):
                for name in os.listdir(place):
                    if name in names if names else name.endswith((".zst", ".lock")):
                        yield os.path.join(place, name)

    def _strike_whole(self, path: str, data: bytes, kind: str, at: int, size: int) -> None:
        """Damage a file that is good or bad as a whole, or that parity puts right; not twice before it is written anew.

        The same bit flipped again would be the old one, and a second place in a packed file be beyond its parity.
        """
        if self.known.struck_files.get(path, (b"", False))[0] == data:
            return
        is_packed = path.endswith(".zst")
        if is_packed and not model_files.is_mendable(data, kind, at, size):
            for segment in {segment for segment, _ in self.known.events}:
                if segment in data:  # The inventory names the segments of a packed file in plain bytes.
                    self.known.damaged |= {one for one in self.known.events if one[0] == segment}
            self._blur()
        if path.endswith(".lock") and kind in ("zeros", "again"):
            kind = "flip"  # A lock file is written in place and never grows.
        named = self._named(path)
        model_files.strike(path, kind, at, size)
        if self._named(path) != named:  # Nothing else said which segment the lane has.
            self.known.damaged |= {one for one in self.known.events if one[0] == named}
        with open(path, "rb") as file:
            after = file.read()
        self.known.struck_files[path] = (after, after != data and (kind == "flip" or is_packed))

    def _named(self, path: str) -> bytes:
        """Return the uuid of the segment beside the lock file at *path*; empty for another file."""
        beside = f"{path.removesuffix('.lock')}.seg"
        if not path.endswith(".lock") or not os.path.exists(beside):
            return b""
        with open(beside, "rb") as file:
            return model_files.uuid_of(beside, file.read())

    def _blur(self) -> None:
        """Forgive everything that is gone by now: what said where it went is damaged."""
        present = conservation.survey(self.root).present
        gone = conservation.without(self.acknowledged(), present)
        self.known.damaged |= {
            (segment, seq) for segment, runs in gone.items() for first, last in runs for seq in range(first, last + 1)
        }
        self.known.blurred = True
