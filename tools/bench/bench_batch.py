"""Figures of carobatch, each beside its peer, in one run.

    python tools/bench/bench_batch.py [EVENTS]

Peers are stock programs on the same bytes: cp, sha256sum, zstd.  Times are the best of three, ours without the start of
the interpreter, theirs with the start of the program.
"""

import contextlib
import io
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar
from unittest import mock

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), *up) for up in (("..", ".."), ("..",))]

from bench.batch_workload import Clock, drawn, fill  # noqa: E402
from bench.source_document import gzipped, pretty_export, unavoidable_bytes  # noqa: E402
from carobatch import bundle as bundles  # noqa: E402
from carobatch.compact import compact  # noqa: E402
from carobatch.export import plan_export  # noqa: E402
from carobatch.importer import import_bundle  # noqa: E402
from carobatch.ledger import Ledger  # noqa: E402
from carobatch.media import write_media  # noqa: E402
from carobatch.store import PackedStore  # noqa: E402
from carobatch.verify import verify_bundle  # noqa: E402
from carojournal import export, packed, policy, spool  # noqa: E402
from carojournal.packed import Section  # noqa: E402
from carojournal.reader import JournalReader  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["main"]

T = TypeVar("T")
SPOOL_BYTES = policy.CAP_BYTES_DEFAULT
GOAL_EVENTS = 250_000
COPIES = 20


@contextlib.contextmanager
def bound(cap_bytes: int) -> "Iterator[None]":
    """Let every journal have that bound."""
    resolve = policy.resolve

    def bounded(*args: Any, **keywords: Any) -> policy.Policy:
        found = resolve(*args, **keywords)
        found.cap_bytes = cap_bytes
        return found

    with mock.patch.object(policy, "resolve", bounded):
        yield


def best(work: "Callable[[], T]", before: "Callable[[], object]" = lambda: None, times: int = 3) -> tuple[float, T]:
    """Return (the shortest time of *work* in seconds, its last result)."""
    found = []
    for _ in range(times):
        before()
        start = time.perf_counter()
        result = work()
        found.append(time.perf_counter() - start)
    return min(found), result


def program(*words: str) -> float:
    """Return the shortest time in seconds that a program took."""
    return best(lambda: subprocess.run(words, check=True, stdout=subprocess.DEVNULL))[0]


def say(name: str, ours: str, goal: str, peer: str = "") -> None:
    """Print one line of the table."""
    print(f"{name:<34} {ours:<44} {goal:<26} {peer}", flush=True)


def bench_spool(place: str, clock: Clock, rng: random.Random, count: int) -> None:
    """How many events the default spool holds when carobatch comes by now and then."""
    root = os.path.join(place, "spool")
    events = drawn(rng, count)
    kept = 0
    while batch := list(islice(events, 8_000)):
        kept += fill(root, clock, batch)
        compact(root, PackedStore(root, SPOOL_BYTES), clock.now_ms + 10**10, 0)
    used = sum(size for *_, size in spool.usage(root))
    reader = JournalReader(root)
    held = sum(int(row["events"]) for item in PackedStore(root, SPOOL_BYTES).inventories([]) for row in item.sections)
    lost = len(reader.losses()) if hasattr(reader, "losses") else 0
    per = used / held
    say(
        "events in the default spool",
        f"{held:,} of {kept:,} kept in {used:,} B, {lost} lost",
        f">= {GOAL_EVENTS:,} in {SPOOL_BYTES:,}",
        f"{per:.1f} B/event: {SPOOL_BYTES / per:,.0f} would fit",
    )


def main(count: int) -> None:
    """Print every figure with its goal and peer; *count* events are packed, carried and read."""
    rng = random.Random(7)
    clock = Clock(rng)
    with tempfile.TemporaryDirectory() as place:
        bench_spool(place, clock, rng, max(count, 300_000) if count >= 100_000 else count)
        root = os.path.join(place, "journal")
        cap = 1_000_000_000
        with bound(cap):
            kept = fill(root, clock, drawn(rng, count))
        fresh = os.path.join(place, "fresh")
        os.rename(root, fresh)

        def restore() -> None:
            shutil.rmtree(root, ignore_errors=True)
            shutil.copytree(fresh, root)

        seconds, done = best(lambda: compact(root, PackedStore(root, cap), clock.now_ms + 10**10, 0), restore)
        store = PackedStore(root, cap)
        bare = os.path.join(place, "bare")
        with open(bare, "wb") as file:
            for inventory in store.inventories([]):
                file.writelines(section.body for section in store.sections(inventory.path))
        peer = program("zstd", "-q", "-9", "-f", "-k", bare)
        bare_size, zstd_size = os.path.getsize(bare), os.path.getsize(f"{bare}.zst")
        say(
            "compact (all rechecked)",
            f"{done.events / seconds:,.0f} events/s, {done.source_bytes / done.packed_bytes:.1f} to 1",
            ">= 80,000 events/s",
            f"{peer / seconds:.2f} x the speed of zstd -9 on the {bare_size:,} B payloads",
        )
        path = bench_export(place, store, "small")
        size = os.path.getsize(path)
        pretty = os.path.join(place, "pretty.json.gz")
        reader = JournalReader(root)
        export.export(reader, export.plan_export(reader), pretty, "json.gz", clock.now_ms)
        say("bundle size", f"{size:,} B, {size / kept:.1f} B/event", "<= 1.05 x zstd -9", f"{size / zstd_size:.3f} x")
        say("", "", "", f"our export --format json.gz is {os.path.getsize(pretty) / size:.2f} x as large")
        bench_source_document(JournalReader(root), size, kept)
        seconds, verdict = best(lambda: verify_bundle(path))
        assert verdict.is_valid, verdict.errors
        say("verify (full)", f"{kept / seconds:,.0f} events/s", ">= 80,000 events/s")
        into = os.path.join(place, "into")
        seconds, taken = best(lambda: import_bundle(path, into), lambda: shutil.rmtree(into, ignore_errors=True))
        assert taken.new == kept
        say("import", f"{kept / seconds:,.0f} events/s", ">= 60,000 events/s")
        bench_large(place, store)


def bench_source_document(reader: JournalReader, size: int, kept: int) -> None:
    """How much smaller the bundle of *size* bytes is than the source document's export, and than could be."""
    events = [record.value for record in reader.records(events_only=True)]
    theirs = gzipped(pretty_export(events, random.Random(9)))
    same = gzipped(pretty_export(events, random.Random(9), nanos=False))
    least = unavoidable_bytes(events)
    say(
        "source document's pretty JSON + gzip",
        f"{theirs:,} B, {theirs / kept:.1f} B/event",
        ">= 6 x the bundle",
        f"{theirs / size:.2f} x; without nanoseconds and random ids {same / size:.2f} x",
    )
    say(
        "no coder can need less than",
        f"{least:,} B, {least / kept:.1f} B/event",
        "",
        f"so at most {theirs / least:.2f} x is possible; the bundle is {size / least:.2f} x that",
    )


def bench_export(place: str, store: PackedStore, name: str) -> str:
    """Export everything in *store*; return the bundle's path."""
    out = os.path.join(place, name)
    shutil.rmtree(out, ignore_errors=True)
    os.mkdir(out)
    plan = plan_export(store, Ledger(os.path.join(place, f"ledger-{name}")), bytes(16))
    [path], _ = write_media(plan.chunks(), os.path.join(out, plan.name + bundles.SUFFIX))
    return path


def bench_large(place: str, store: PackedStore) -> None:
    """Speeds on more data than one spool holds: the packed files again and again, under other segment uuids."""
    large = PackedStore(os.path.join(place, "large"), 10**12, 1)
    for number in range(COPIES):
        for inventory in store.inventories([]):
            sections = [
                Section({**section.header, "segment": bytes([number]) + section.segment[1:]}, section.body)
                for section in store.sections(inventory.path)
            ]
            large.write(sections, large.encode(sections))
    whole = os.path.join(place, "whole")
    with open(whole, "wb") as file:
        for inventory in large.inventories([]):
            file.write(packed.read_frame(inventory))
    seconds, path = best(lambda: bench_export(place, large, "large-out"))
    peer = program("cp", whole, f"{whole}.copy") + program("sha256sum", whole)
    size = os.path.getsize(path)
    say(
        "export of packed data",
        f"{size / seconds / 1e6:,.0f} MB/s of {size:,} B",
        ">= 0.5 x cp + sha256sum",
        f"{peer / seconds:.2f} x",
    )
    subprocess.run(["sync"], check=True)
    unpacked = os.path.join(place, "unpacked")
    with open(unpacked, "wb") as file:
        subprocess.run(["zstd", "-q", "-d", "-c", path], check=True, stdout=file)
    seconds, verdict = best(lambda: verify_bundle(path, quick=True))
    assert verdict.is_valid
    test = program("zstd", "-q", "-t", path)
    say(
        "verify --quick",
        f"{size / seconds / 1e6:,.0f} MB/s of {size:,} B",
        ">= 0.5 x zstd -t + sha256sum",
        f"{(test + program('sha256sum', unpacked)) / seconds:.2f} x (hashing {os.path.getsize(unpacked):,} B within), "
        f"{(test + program('sha256sum', path)) / seconds:.2f} x (hashing the bundle)",
    )


if __name__ == "__main__":
    sys.stdout = io.TextIOWrapper(sys.stdout.buffer, line_buffering=True)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
