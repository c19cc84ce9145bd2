"""Reading a full spool from its first byte to its last, against reading the same bytes and taking their CRC-32."""

from collections.abc import Callable
from time import perf_counter
from zlib import crc32

from bench.host import Host, Scale
from bench.measure import Figure, Target, compare, paired
from bench.workload import full_spool, tree_bytes
from carojournal import JournalReader
from carojournal.scan import scan

__all__ = ["run"]

_FLOOR = "read + crc32"


def run(host: Host, scale: Scale) -> list[Figure]:
    """Measure scanning, reading and decoding.  Raises AssertionError if a record is not met."""
    root = full_spool(host.scratch, host.environ["HOME"], scale.spool_bytes)
    segments = [(info.path, info.segment) for info in JournalReader(root).segments()]
    records = sum(1 for _ in JournalReader(root).records(decode=False))

    def read(path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    def floor() -> int:
        for path, _ in segments:
            crc32(read(path))
        return records

    def scanned() -> int:
        return sum(len(scan(read(path), segment).records) for path, segment in segments)

    def framed() -> int:
        return sum(1 for _ in JournalReader(root).records(decode=False))

    def decoded() -> int:
        return sum(1 for record in JournalReader(root).records(events_only=True) if record.value)

    subjects = {_FLOOR: floor, "scan": scanned, "framed": framed, "decoded": decoded}
    held = decoded()
    expected = {_FLOOR: records, "scan": records, "framed": records, "decoded": held}
    rates = paired({name: _rate(work, expected[name]) for name, work in subjects.items()}, scale.scan_rounds)
    note = f"{records:,} records in {len(segments)} segments, {tree_bytes(root) / 1e6:.1f} MB"

    def figure(name: str, unit: str, key: str, target: float | None) -> Figure:
        bound = None if target is None else Target("value", target, at_least=True)
        return compare(name, unit, rates[key], _FLOOR, rates[_FLOOR], bound, note, higher_is_better=True)

    return [
        figure("scan: framing and CRC", "records/s", "scan", 200_000),
        figure("JournalReader, not decoded", "records/s", "framed", None),
        figure("JournalReader, decoded", "events/s", "decoded", 100_000),
    ]


def _rate(work: Callable[[], int], expected: int) -> Callable[[], float]:
    """Return what runs *work*, which must meet *expected* records, and says how many that were per second."""

    def measured() -> float:
        started = perf_counter()
        met = work()
        taken = perf_counter() - started
        assert met == expected
        return met / taken

    return measured
