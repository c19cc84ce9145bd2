"""Figures of carobatch, each beside its peer: `run.py batch`, or this file by itself.

    python tools/bench/bench_batch.py [EVENTS]

Peers are stock programs on the same bytes: cp, sha256sum, zstd.  Ours and theirs take turns; ours without the start of
the interpreter, theirs with the start of the program.

Six times smaller than the source document's pretty JSON + gzip is out of reach with these events: that export takes
28.7 bytes an event, and no lossless coder can do with fewer than 5.4 (run ids, times and measured values that nothing
predicts; `source_document` says how that is counted), so 5.3 times is the most there could be.  A bundle takes 14.7.
"""

import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import islice
from typing import TYPE_CHECKING, Any
from unittest import mock

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), *up) for up in (("..", ".."), ("..",))]

from bench.batch_workload import Clock, drawn, fill  # noqa: E402
from bench.host import Host, Scale  # noqa: E402
from bench.measure import Figure, Target, compare, paired, single, summarize  # noqa: E402
from bench.source_document import gzipped, pretty_export, unavoidable_bytes  # noqa: E402
from carobatch import bundle as bundles  # noqa: E402
from carobatch.compact import compact  # noqa: E402
from carobatch.export import plan_export  # noqa: E402
from carobatch.importer import import_bundle  # noqa: E402
from carobatch.ledger import Ledger  # noqa: E402
from carobatch.media import write_media  # noqa: E402
from carobatch.sessions import Sessions  # noqa: E402
from carobatch.store import PackedStore  # noqa: E402
from carobatch.verify import verify_bundle  # noqa: E402
from carojournal import export, packed, policy, spool  # noqa: E402
from carojournal.packed import Section  # noqa: E402
from carojournal.reader import JournalReader  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["figures", "main", "run"]

SPOOL_BYTES = policy.CAP_BYTES_DEFAULT
GOAL_EVENTS = 250_000
CAP_BYTES = 1_000_000_000  # A bound that is not reached.
COPIES = 20
_ROUNDS = 3


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


def timed(work: "Callable[[], object]", before: "Callable[[], object]" = lambda: None) -> "Callable[[], float]":
    """Return what does *before*, then *work*, and returns the seconds of *work*."""

    def measured() -> float:
        before()
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return measured


def programs(*commands: "Sequence[str]") -> "Callable[[], object]":
    """Return what runs *commands* one after another."""
    return lambda: [subprocess.run(words, check=True, stdout=subprocess.DEVNULL) for words in commands]


def raced(
    name: str,
    unit: str,
    amount: float,
    work: "Callable[[], float]",
    peer_name: str,
    peer: "Callable[[], float]",
    target: Target | None,
    note: str = "",
) -> Figure:
    """Let *work* and *peer* take turns; return *amount* a second of both."""
    taken = paired({name: work, peer_name: peer}, _ROUNDS)
    ours, theirs = ([amount / seconds for seconds in taken[key]] for key in (name, peer_name))
    return compare(name, unit, ours, peer_name, theirs, target, note, higher_is_better=True)


def alone(name: str, unit: str, amount: float, work: "Callable[[], float]", at_least: float, note: str = "") -> Figure:
    """Return *amount* a second."""
    rates = [amount / seconds for seconds in paired({name: work}, _ROUNDS)[name]]
    value = summarize(rates, higher_is_better=True)
    return Figure(name, unit, value, target=Target("value", at_least, at_least=True), note=note)


def sizes(name: str, size: float, peer_name: str, peer: float, target: Target | None, note: str = "") -> Figure:
    """Return one size beside another, in bytes."""
    return compare(name, "B", [size], peer_name, [peer], target, note)


def bench_spool(place: str, clock: Clock, rng: random.Random, count: int) -> Figure:
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
    return single(
        "events in the default spool",
        "events",
        held,
        Target("value", GOAL_EVENTS, at_least=True) if count >= GOAL_EVENTS else None,
        f"of {kept:,} in {used:,} of {SPOOL_BYTES:,} B, {lost} losses; {per:.1f} B an event",
    )


def figures(count: int) -> list[Figure]:
    """Return every figure with its goal and peer; *count* events are packed, carried and read."""
    rng = random.Random(7)
    clock = Clock(rng)
    with tempfile.TemporaryDirectory() as place:
        found = [bench_spool(place, clock, rng, max(count, 300_000) if count >= 100_000 else count)]
        root = os.path.join(place, "journal")
        with bound(CAP_BYTES):
            kept = fill(root, clock, drawn(rng, count))
        fresh = os.path.join(place, "fresh")
        os.rename(root, fresh)

        def restore() -> None:
            shutil.rmtree(root, ignore_errors=True)
            shutil.copytree(fresh, root)

        def pack() -> None:
            compact(root, PackedStore(root, CAP_BYTES), clock.now_ms + 10**10, 0)

        bare = os.path.join(place, "bare")
        restore()
        pack()
        store = PackedStore(root, CAP_BYTES)
        with open(bare, "wb") as file:
            for inventory in store.inventories([]):
                file.writelines(section.body for section in store.sections(inventory.path))
        squeeze = timed(programs(("zstd", "-q", "-9", "-f", "-k", bare)))
        goal = Target("value", 80_000, at_least=True)
        found.append(
            raced("compact, all checked again", "events/s", kept, timed(pack, restore), "zstd -9", squeeze, goal)
        )
        path = bench_export(place, store, "small", issued_sessions(store))
        size = os.path.getsize(path)
        found.append(
            sizes("bundle", size, "zstd -9 of the payloads", os.path.getsize(f"{bare}.zst"), Target("ratio", 1.05))
        )
        pretty = os.path.join(place, "pretty.json.gz")
        reader = JournalReader(root)
        export.export(reader, export.plan_export(reader), pretty, "json.gz", clock.now_ms)
        found.append(sizes("export --format json.gz", os.path.getsize(pretty), "the bundle", size, None))
        found += bench_source_document(JournalReader(root), size)
        found.append(alone("verify a bundle", "events/s", kept, timed(lambda: valid(path)), 80_000))
        into = os.path.join(place, "into")

        def take() -> None:
            assert import_bundle(path, into).new == kept

        empty = timed(take, lambda: shutil.rmtree(into, ignore_errors=True))
        found.append(alone("import a bundle", "events/s", kept, empty, 60_000))
        return [*found, *bench_large(place, store)]


def valid(path: str, *, quick: bool = False) -> None:
    """Verify a bundle.  Raises AssertionError if that finds anything."""
    verdict = verify_bundle(path, quick=quick)
    assert verdict.is_valid, verdict.errors


def bench_source_document(reader: JournalReader, size: int) -> list[Figure]:
    """Return how much smaller the bundle of *size* bytes is than the source document's export, and than could be."""
    events = [record.value for record in reader.records(events_only=True)]
    theirs = gzipped(pretty_export(events, random.Random(9)))
    same = gzipped(pretty_export(events, random.Random(9), nanos=False))
    least = unavoidable_bytes(events)
    note = (
        f"without nanoseconds and random ids {same / size:.2f} x; no coder can need less than {least:,} B, so at most"
        f" {theirs / least:.2f} x is possible"
    )
    goal = Target("ratio", 6, at_least=True)
    return [sizes("source document's pretty JSON + gzip", theirs, "the bundle", size, goal, note)]


def issued_sessions(store: PackedStore) -> Sessions:
    """Return every session in *store* as one that its journal has issued: so an export has to look at each."""
    rows = [row for inventory in store.inventories([]) for row in inventory.sections]
    return Sessions(frozenset(session for row in rows for session in row["sessions"]))  # type: ignore[attr-defined]


def bench_export(place: str, store: PackedStore, name: str, sessions: Sessions) -> str:
    """Export everything in *store*; return the bundle's path."""
    out = os.path.join(place, name)
    shutil.rmtree(out, ignore_errors=True)
    os.mkdir(out)
    plan = plan_export(store, Ledger(os.path.join(place, f"ledger-{name}")), bytes(16), sessions=sessions)
    [path], _ = write_media(plan.chunks(), os.path.join(out, plan.name + bundles.SUFFIX))
    return path


def bench_large(place: str, store: PackedStore) -> list[Figure]:
    """Return speeds on more data than one spool holds: the packed files again and again, under other segment uuids."""
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
    issued = issued_sessions(large)
    paths = [bench_export(place, large, "large-out", issued)]
    size = os.path.getsize(paths[0]) / 1e6
    half = Target("ratio", 0.5, at_least=True)
    copy, sync, check = ("cp", whole, f"{whole}.copy"), ("sync", f"{whole}.copy"), ("sha256sum", whole)
    # Ours syncs what it wrote; of the peers only the second does.
    exported = [
        raced(
            name,
            "MB/s",
            size,
            timed(lambda: paths.append(bench_export(place, large, "large-out", issued))),
            " + ".join(words[0] for words in commands),
            timed(programs(*commands)),
            goal,
            f"{size:,.1f} MB",
        )
        for name, commands, goal in (
            ("export of packed data", (copy, check), half),
            ("export, and the copy synced too", (copy, sync, check), None),
        )
    ]
    path = paths[-1]  # Each export may be another bundle of the chain; the one before is gone.
    subprocess.run(["sync"], check=True)
    unpacked = os.path.join(place, "unpacked")
    with open(unpacked, "wb") as file:
        subprocess.run(["zstd", "-q", "-d", "-c", path], check=True, stdout=file)
    checked = raced(
        "verify --quick",
        "MB/s",
        size,
        timed(lambda: valid(path, quick=True)),
        "zstd -t + sha256sum of the content",
        timed(programs(("zstd", "-q", "-t", path), ("sha256sum", unpacked))),
        half,
        f"{os.path.getsize(unpacked) / 1e6:,.1f} MB of content",
    )
    return [*exported, checked]


def run(_: Host, scale: Scale) -> list[Figure]:
    """Measure packing, carrying and checking."""
    return figures(scale.batch_events)


def main(count: int) -> None:
    """Print the table."""
    from bench.run import render

    print(render(figures(count)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
