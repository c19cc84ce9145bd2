"""Damage every file of a journal, and ask everything that reads it: detected, or harmless and shown to be.

    python tools/faults/damage.py [--files PART] [--stride N] [--loops N] [--seed S]

Every truncation, every single-bit flip (every N-th with --stride N), NUL-filled and duplicated tails, the file as it
was before, of another journal, empty, of a later version.  Each time: no exception but our own, no value that was not
there before, no event lost but those whose bytes were hit (none at all where no more than a block of a packed file
was), and either `verify` (or the answer itself) says so or every
answer is what it was.  --loops are rounds of several damages at once with appends and compactions in between.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [
    path for path in (os.path.dirname(_HERE), os.path.dirname(os.path.dirname(_HERE))) if path not in sys.path
]

from carobatch.compact import compact  # noqa: E402 - the path comes first where this file is started by its name
from carobatch.store import PackedStore  # noqa: E402
from carojournal.errors import JournalError  # noqa: E402
from carojournal.parity import BLOCK_BYTES_MIN  # noqa: E402
from carojournal.reader import JournalReader  # noqa: E402
from faults import fuzz_samples as samples  # noqa: E402
from faults.damage_index import INDEX, IndexBench  # noqa: E402
from faults.damage_view import Answers, Event, events, look  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Bench", "loop", "main", "variants"]

# What refuses to be detected, because it says nothing that anything relies on: bytes that are kept, never read.
UNREAD = ("quarantine/",)
# Damaged, these count as missing, which their own answers then show; there is nothing that `verify` could add.
MISSING_IS_FINE = ("sent/state.json",)
# Cut between two lines or records, these say what they said before the last was appended: nobody can tell.
APPENDED = ("journal", "drops", "deletion-requests", "lanes/", "segments/")
# These name no journal, or are what names it: another journal's cannot be told from one's own.
NAMELESS = ("journal", "drops", "deletion-requests")


def variants(data: bytes, other: bytes, stride: int = 1) -> "Iterator[tuple[str, bytes]]":
    """Yield (what was done, the damaged bytes); *other* is the same file of another journal."""
    for size in range(0, len(data), stride):
        yield f"cut to {size}", data[:size]
    for bit in range(0, len(data) * 8, stride):
        at = bit >> 3
        yield f"bit {bit}", data[:at] + bytes([data[at] ^ 1 << (bit & 7)]) + data[at + 1 :]
    for size in range(0, len(data), max(1, stride * 4)):
        yield f"zeros from {size}", data[:size] + bytes(len(data) - size)
        yield f"twice from {size}", data + data[size:]
    yield "zeros behind", data + bytes(512)
    yield "other journal's", other
    yield "noise", Random(len(data)).randbytes(len(data))
    yield "later version", data.replace(b"gversion\x01", b"gversion\x02").replace(b"carojournal 1", b"carojournal 2")


class Bench:
    """A copy of the sample in which one file after another is damaged and put back."""

    def __init__(self, folder: str) -> None:
        self.root = samples.copy(folder, "bench")
        self.other = self._other(folder)
        self.healthy, self.events, code = look(self.root)
        if code:
            raise ValueError("the sample is not healthy")
        self._places: dict[Event, tuple[str, int, int]] = {}
        for record in JournalReader(self.root).records(events_only=True):
            path = os.path.relpath(record.path, self.root)
            self._places[record.segment, record.seq] = (path, record.offset, record.offset + len(record.payload) + 25)
        self.counts: Counter[str] = Counter()

    @staticmethod
    def _other(folder: str) -> "dict[str, bytes]":
        """Return kind of file -> bytes of a journal with other ids."""
        root = os.path.join(folder, "other")
        samples.fill(root, samples.NOON_MS, Random(99))
        found = {}
        for name in samples.names(root):
            with open(os.path.join(root, name), "rb") as file:
                found[name.partition("/")[0] + os.path.splitext(name)[1]] = file.read()
        return found

    def files(self, part: str = "") -> list[str]:
        """Return the files of the journal whose path holds *part*."""
        return [name for name in samples.names(self.root) if part in name]

    def run(self, name: str, stride: int) -> "Iterator[str]":
        """Damage one file in every way and yield what went wrong."""
        path = os.path.join(self.root, name)
        with open(path, "rb") as file:
            data = file.read()
        kind = name.partition("/")[0] + os.path.splitext(name)[1]
        other = self.other.get(kind, self.other.get("lanes.seg", b"") if name.endswith(".seg") else data[::-1])
        try:
            for what, damaged in variants(data, other, stride):
                if damaged == data:
                    continue
                with open(path, "wb") as file:
                    file.write(damaged)
                problem = self._judge(name, data, damaged, foreign=what == "other journal's")
                if problem and not (name.startswith("lanes/") and not damaged):
                    # A lane's file that is empty is one to which nothing was written yet: what a crash leaves, too.
                    yield f"{name}: {what}: {problem}"
            os.unlink(path)
            problem = self._judge(name, data, b"")
            if problem:
                yield f"{name}: missing: {problem}"
        finally:
            with open(path, "wb") as file:
                file.write(data)

    def _judge(self, name: str, before: bytes, after: bytes, *, foreign: bool = False) -> str:  # noqa: PLR0911 - one line a verdict
        try:
            answers, read, code = look(self.root)
        except Exception as error:
            return f"{type(error).__name__} {error}"
        if foreign and (code or name in NAMELESS):
            # What is whole and another journal's is read as what it is; that it is here must be said.
            self.counts["detected"] += 1
            return ""
        wrong = [key for key, payload in read.items() if self.events.get(key) != payload]
        if wrong:
            return "an event that was never recorded"
        hit = _hit(before, after)
        for key in self.events.keys() - read.keys():
            path, start, end = self._places[key]
            apart = name.startswith(("lanes", "segments")) and (end <= hit[0] or start >= hit[1])
            if path != name or apart or (name.startswith("packed") and hit[1] - hit[0] <= BLOCK_BYTES_MIN):
                return "an event was lost that the damage did not touch"
        changed = _worse(self.healthy, answers)
        if changed.startswith("!"):
            return f"a wrong answer: {changed[1:]}"
        lost = len(read) < len(self.events)
        self.counts["detected" if code else "answer changed" if changed else "harmless"] += 1
        if code or name.startswith(UNREAD) or (not lost and not changed):
            return ""
        if name.startswith(APPENDED) and before.startswith(after):
            self.counts["as if never appended"] += 1
            return ""
        refused = any(isinstance(answer, str) for answer in answers.values())
        if refused or name in MISSING_IS_FINE or not os.path.exists(os.path.join(self.root, name)):
            return ""
        return f"undetected, though {'events are lost' if lost else changed}"


def _hit(before: bytes, after: bytes) -> tuple[int, int]:
    """Return the range of offsets in which *after* differs from *before*."""
    same = next(
        (at for at, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    if len(before) != len(after):
        return same, max(len(before), len(after))
    end = next(at for at in range(len(before), 0, -1) if before[at - 1] != after[at - 1])
    return same, end


# Where damage may leave an answer with something new: fewer batches with a copy, a fresh pseudonym, defaults.
_MAY_DIFFER = ("batches", "tries", "survey")


def _worse(healthy: Answers, answers: Answers) -> str:
    """Return which answer lost something, "!" in front where one says what was never so; "" if all are as they were."""
    changed = ""
    for name, answer in answers.items():
        known = healthy[name]
        if answer == known:
            continue
        changed = changed or name
        if isinstance(answer, str):
            continue
        if not isinstance(answer, frozenset) or not isinstance(known, frozenset):
            return f"!{name}"
        fresh = {row for row in answer - known if name != "identity" or row[0] != "journal"}
        if fresh and name not in _MAY_DIFFER:
            return f"!{name}"
    return changed


def loop(folder: str, rounds: int, seed: int) -> "Iterator[str]":
    """Damage several files at once, again and again, with appends, compactions and readers in between."""
    random = Random(f"damage {seed}")
    root = samples.copy(folder, f"loop{seed}")
    known = events(root)
    now_ms = samples.NOON_MS + 2 * 86_400_000 + 7_200_000
    for number in range(rounds):
        names = [name for name in samples.names(root) if not name.endswith(".tmp")]
        for name in random.sample(names, min(len(names), random.randrange(1, 5))):
            with open(os.path.join(root, name), "r+b") as file:
                data = file.read()
                damaged = random.choice(list(variants(data, data[::-1], max(1, len(data) // 4))))[1]
                file.seek(0)
                file.truncate()
                file.write(damaged)
        now_ms += 60_000
        try:
            with samples.open_at(root, now_ms, random) as journal:
                made = [
                    journal.append("session_end", session_duration_ms=number, commands_generated=1) for _ in range(2)
                ]
            read = events(root)
            known.update({(one[0], one[1]): read[one[0], one[1]] for one in _identities(made) if one in read})
            if any((one[0], one[1]) not in read for one in _identities(made)):
                yield f"round {number}: an event that was just recorded is not read"
            if number % 5 == 4:
                compact(root, PackedStore(root, samples.CAP_BYTES), now_ms + 10 * 86_400_000)
            look(root)
            read = events(root)
        except JournalError as error:
            yield f"round {number}: {type(error).__name__}: {error}"
            continue
        except Exception as error:
            import traceback

            yield f"round {number}: {type(error).__name__}: {error} {traceback.format_exc()[-800:]}"
            continue
        if any(known.get(key) != payload for key, payload in read.items()):
            yield f"round {number}: an event that was never recorded"
    shutil.rmtree(root)


def _identities(made: "list[object]") -> list[Event]:
    return [(one[0], one[1]) for one in made if isinstance(one, tuple)]


def _report(where: str, counts: "Counter[str]", found: list[str]) -> int:
    """Print one line, and what went wrong; return how much that was."""
    print(f"{where}{counts.total():,} damages, {dict(counts)}, {len(found)} wrong", flush=True)
    for text in found[:5]:
        print(f"  {text}", flush=True)
    return len(found)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", default="", help="only files whose path below the root holds this")
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--loops", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    wrong = 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        bench = Bench(folder)
        for name in bench.files(options.files):
            bench.counts.clear()
            wrong += _report(f"{name}: ", bench.counts, list(bench.run(name, options.stride)))
        if options.files in INDEX:
            indexed = IndexBench(folder)
            found = list(indexed.run(variants(indexed.data, indexed.data[::-1], options.stride)))
            wrong += _report(f"{INDEX}: ", indexed.counts, found)
        rounds = Counter({"rounds of random damage": options.loops})
        wrong += _report("", rounds, list(loop(folder, options.loops, options.seed)))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
