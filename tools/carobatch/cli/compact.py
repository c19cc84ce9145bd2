"""`carobatch compact`: seal, pack and merge."""

import json as json_
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from carobatch.cli.common import DIR_OPTION, is_made, journal_root, open_store, refuse_off, say_compaction
from carobatch.compact import IDLE_MS
from carojournal import locks, zstd
from carojournal.cli.exits import DAMAGED
from carojournal.cli.output import bytes_text, count_text
from carojournal.errors import UsageError

if TYPE_CHECKING:
    from carobatch.compact import Compaction

__all__ = ["OPTIONS", "compact"]

_IDLE_S_MAX = 1_000_000_000  # 31 years; bounds what becomes milliseconds.
OPTIONS = {
    "dir": DIR_OPTION,
    "level": {"type": int, "help": f"zstd level, 1 to 19 (default {zstd.LEVEL_DEFAULT})"},
    "idle": {"type": float, "help": f"seal lanes that rest for that many seconds (default {IDLE_MS // 1000})"},
}


def compact(
    *,
    dir: str | None = None,  # noqa: A002 - the option's name
    level: int = zstd.LEVEL_DEFAULT,
    idle: float = IDLE_MS / 1000,
    json: bool = False,
) -> int:
    """Seal idle lanes, pack closed segments into zstd files, merge small ones.

    Every event is checked against the schema again, every packed file read back before its sources go.  A damaged
    packed file is written anew: as it was, where its parity can tell, else with what holds and a note of what is gone.

    Exit 65: something was damaged or refused and is accounted for in quarantine/; 75: another carobatch is at work; 77:
    telemetry is off, so nothing is written.
    """
    from carobatch.compact import compact as run

    if level not in zstd.LEVELS:
        raise UsageError(f"--level is a whole number from {zstd.LEVELS[0]} to {zstd.LEVELS[-1]}")
    if not 0 <= idle <= _IDLE_S_MAX:  # Not a number is neither.
        raise UsageError(f"--idle is a number of seconds from 0 to {_IDLE_S_MAX}")
    root = journal_root(dir)
    refuse_off(root)
    if not is_made(root):
        _report(None, 0.0, json=json)
        return 0
    with locks.batch_lock(root):
        start = time.perf_counter()
        done = run(root, open_store(root, level), time.time_ns() // 1_000_000, int(idle * 1000))
        seconds = time.perf_counter() - start
    _report(done, seconds, json=json)
    return DAMAGED if say_compaction(done) else 0


def _report(done: "Compaction | None", seconds: float, *, json: bool) -> None:
    if json:
        found = asdict(done) if done else {}
        ratio = done.source_bytes / done.packed_bytes if done and done.packed_bytes else None
        json_.dump({**found, "ratio": ratio, "seconds": round(seconds, 3)}, sys.stdout)
        print()
        return
    if done is None or not (done.segments or done.sealed or done.merged or done.mended):
        print("nothing to compact")
        return
    if done.segments or not done.mended:
        print(
            f"{count_text(done.segments, 'segment')} of {count_text(done.events, 'event')} packed into"
            f" {count_text(done.files, 'file')}"
        )
    if done.packed_bytes:
        print(
            f"{bytes_text(done.source_bytes)} to {bytes_text(done.packed_bytes)}"
            f" ({done.source_bytes / done.packed_bytes:.1f} to 1) in {seconds:.2f} s,"
            f" {done.events / max(seconds, 1e-6):,.0f} events/s"
        )
    if done.merged:
        print(f"{count_text(done.merged, 'small file')} merged")
    if done.mended:
        print(f"{count_text(done.mended, 'damaged file')} mended")
    if done.busy:
        print(f"{count_text(done.busy, 'lane')} busy, left for the next run")
