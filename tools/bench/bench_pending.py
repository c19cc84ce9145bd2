"""Memory of an upload with ten million events pending: it must not grow with what is pending.

    python tools/bench/bench_pending.py [--packed] [--scratch DIR] [EVENTS]

The journal's spool is enlarged: closed segments of a mebibyte, written whole, with events as `batch_workload` draws
them (a few thousand, again and again at other times) ten a second, so that ten million span twelve days.  With
--packed, `carobatch compact` packs them first, and its memory is measured as well.  Then a process of its own uploads
all of it to a receiver on the loopback; its memory (resident, and the peak, in MB of 10^6 bytes) is looked at whenever
a tenth is accounted for.  Nothing is synced, which takes no memory and most of the time of a busy disk: the rates here
are no figures.  Needs 2.8 GB of disk for ten million, and minutes.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING
from unittest import mock

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), *up) for up in (("..", ".."), ("..",))]

from bench.batch_workload import drawn  # noqa: E402
from bench.bench_upload import DAY_MS, YES_MS, receiver, upload_all  # noqa: E402
from carojournal import redact  # noqa: E402
from carojournal.cbor import encode_map  # noqa: E402
from carojournal.closed import NO_LANE  # noqa: E402
from carojournal.frame import encode_record  # noqa: E402
from carojournal.identity import day_of, open_identity  # noqa: E402
from carojournal.rotation import closed_name, encode_header, encode_start  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["main", "make_journal", "measure"]

PEAK_MB_MAX = 80
EVENTS = 10_000_000
_SEGMENT_BYTES = 1_048_576
_STEP_MS = 100
_START_MS = 1_790_035_200_000  # A midnight UTC.
_CAP_BYTES = 100_000_000_000
_DRAWN = 4_000


def _accepted() -> "Iterator[tuple[redact.Accepted, bytes, int]]":
    """Yield (event, run id, ordinal) for good."""
    rng = random.Random(7)
    some = []
    run, ordinal = b"", 0
    for name, fields in drawn(rng, _DRAWN):
        found = redact.check(name, fields)
        assert isinstance(found, redact.Accepted)
        if name == "session_start":
            run, ordinal = rng.randbytes(16), 0
        ordinal += name == "command_generated"
        some.append((found, run, ordinal if name not in ("session_start", "session_end") else 0))
    while True:
        yield from some


def make_journal(root: str, events: int) -> int:
    """Write a journal with that many events, recorded under a yes, to *root*; return the bytes of its segments."""
    rng = random.Random(8)
    os.makedirs(os.path.join(root, "segments"), 0o700)
    identity = open_identity(root, _START_MS, os.urandom)
    source = _accepted()
    now_ms, written, size = _START_MS, 0, 0
    while written < events:
        segment, created_ms = rng.randbytes(16), now_ms
        day = now_ms // DAY_MS
        session = identity.session(day_of(now_ms))
        header = encode_header(segment, created_ms * 1_000, NO_LANE, YES_MS, None)
        parts = [encode_start(segment, header, ())]
        seq, held = 1, 0
        for accepted, run, ordinal in islice(source, events - written):
            record = encode_record(segment, seq, accepted.payload(now_ms, session, run, ordinal))
            parts.append(record)
            seq, held, now_ms = seq + 1, held + len(record), now_ms + _STEP_MS
            if held >= _SEGMENT_BYTES or now_ms // DAY_MS != day:
                break
        written += seq - 1
        body = b"".join(parts)
        seal = encode_map({"record": "seal", "count": seq, "bytes": len(body), "sha256": sha256(body).digest()})
        data = body + encode_record(segment, seq, seal)
        with open(os.path.join(root, "segments", closed_name(created_ms * 1_000, segment)), "wb") as file:
            file.write(data)
        size += len(data)
    return size


def _unsynced(_descriptor: int) -> None:
    """Stand for fsync; a mock would keep every call."""


def _resident_mb() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024 / 1e6


def _upload(root: str, url: str, events: int) -> dict[str, object]:
    """Upload everything in this process; return rate, peak and what was resident at each tenth."""
    from carobatch.outbox import Outbox

    settle, seen, marks = Outbox.settle, 0, []

    def watched(*arguments: object) -> None:
        nonlocal seen
        settle(*arguments)  # type: ignore[arg-type]
        seen += len(arguments[1].events())  # type: ignore[attr-defined]
        if seen * 10 >= events * (len(marks) + 1):
            marks.append(round(_resident_mb(), 1))

    started = time.perf_counter()
    with mock.patch.object(Outbox, "settle", watched), mock.patch.object(os, "fsync", _unsynced):
        accepted = upload_all(root, url)
    taken = time.perf_counter() - started
    assert accepted == events, accepted
    return {"rate": accepted / taken, "peak": _peak_mb(), "resident": marks}


def _compact(root: str) -> dict[str, object]:
    from carobatch.compact import compact
    from carobatch.store import PackedStore

    started = time.perf_counter()
    with mock.patch.object(os, "fsync", _unsynced):
        done = compact(root, PackedStore(root, _CAP_BYTES), _START_MS + 365 * DAY_MS)
    return {"rate": done.events / (time.perf_counter() - started), "peak": _peak_mb(), "files": done.files}


def _child(*words: str) -> dict[str, object]:
    """Run one step in a process of its own, so that its peak is its own."""
    command = [sys.executable, os.path.abspath(__file__), *words]
    found: dict[str, object] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def measure(root: str, events: int, *, packed: bool) -> list[tuple[str, float, float]]:
    """Make the journal at *root*, upload it, and print; return (step, events a second, peak in MB)."""
    size = make_journal(root, events)
    print(f"{events:,} events pending in {size:,} bytes of closed segments", flush=True)
    found = []
    if packed:
        done = _child("--do-compact", root)
        found.append(("compact", float(str(done["rate"])), float(str(done["peak"]))))
    with receiver() as url:
        done = _child("--do-upload", root, url, str(events))
    found.append(("upload", float(str(done["rate"])), float(str(done["peak"]))))
    for step, rate, peak in found:
        print(f"{step:<8} {rate:>9,.0f} events/s, peak {peak:.1f} MB (<= {PEAK_MB_MAX})", flush=True)
    print(f"resident after each tenth: {done['resident']}", flush=True)
    return found


def main(argv: "Sequence[str] | None" = None) -> int:
    """Measure and print; return 1 if an upload took more memory than it may."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["--do-upload"]:
        print(json.dumps(_upload(words[1], words[2], int(words[3]))))
        return 0
    if words[:1] == ["--do-compact"]:
        print(json.dumps(_compact(words[1])))
        return 0
    parser = argparse.ArgumentParser(description="Memory of an upload with many events pending.")
    parser.add_argument("events", nargs="?", type=int, default=EVENTS, metavar="EVENTS")
    parser.add_argument("--packed", action="store_true", help="pack the segments first")
    parser.add_argument("--scratch", metavar="DIR", help="where the journal is made (default: the temporary directory)")
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory(dir=given.scratch) as place:
        found = measure(os.path.join(place, "journal"), given.events, packed=given.packed)
    return int(max(peak for step, _, peak in found if step == "upload") > PEAK_MB_MAX)


if __name__ == "__main__":
    sys.exit(main())
