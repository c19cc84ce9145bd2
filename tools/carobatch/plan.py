"""Find work: what may be sent and was not yet, as batches, one after another.

Only events of closed and packed segments that were recorded under the yes that holds now: a segment's header names it,
and a writer starts a new segment when it changes, so no clock decides.  What was recorded under an earlier yes that was
taken back stays here.  Left out are events that a receipt accounts for, that the allowlist refuses today, and those of
sessions whose deletion was asked for, or that this journal has not issued, so that nobody could ask for it.

Memory holds one segment and one batch, whatever is pending.
"""

from typing import TYPE_CHECKING

from carobatch.batch import DAY_MS, Batch, batch_of, session_of
from carobatch.sections import control_of
from carojournal.packed_streams import PackedStreams
from carojournal.payload_pattern import parts_of
from carojournal.recheck import refusals
from carojournal.schema_registry import is_known_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from carojournal.reader import JournalReader
    from carojournal.recheck import Refusals
    from carojournal.record import Record
    from carojournal.segment_file import SegmentInfo

    Withhold = Callable[[tuple[bytes, int], Refusals], object]

__all__ = ["PAYLOAD_BYTES_MAX", "batches", "is_sendable", "pending"]

PAYLOAD_BYTES_MAX = 1_048_576  # Of one batch: three to four times that as JSON, below the 5 MiB that receivers take.
Runs = list[list[int]]


def is_sendable(info: "SegmentInfo", consent_ms: int | None) -> bool:
    """Tell whether events of this segment may be sent under the yes given at *consent_ms* (UTC ms, 0: none).

    None stands for a preview, which looks at every event.
    """
    known = not info.schema or is_known_schema(info.schema)
    return known and (consent_ms is None or (consent_ms != 0 and info.consent_ms == consent_ms))


def pending(
    reader: "JournalReader",
    consent_ms: int | None,
    accounted: "Mapping[bytes, Runs]",
    sessions: frozenset[bytes] | None,
    *,
    opened: bool = False,
    withhold: "Withhold" = lambda _identity, _refusals: None,
) -> "Iterator[Record]":
    """Yield the events to send, oldest segment first; those of open segments only if *opened*.

    *accounted* are the runs of sequence numbers that receipts name, *sessions* the ids that may be sent (None: any);
    *withhold* is called with the (segment, seq) of each event that the allowlist refuses, and why.

    Raises JournalIOError.
    """
    streams = PackedStreams()
    try:
        for group in reader.groups():
            if not all(is_sendable(info, consent_ms) and (opened or info.state != "open") for info in group):
                continue
            done = accounted.get(group[0].segment, [])
            for record in reader.of_group(group, streams):
                if done and _holds(done, record.seq):
                    continue
                record.parts = parts = parts_of(record.payload)  # Recognised is checked; others are looked at closely.
                if parts is None:
                    if b"frecord" in record.payload and control_of(record.payload):
                        continue
                    if bad := refusals(record.payload):
                        withhold((record.segment, record.seq), bad)
                        continue
                if sessions is not None and (parts[2] if parts else session_of(record)) not in sessions:
                    continue
                yield record
    finally:
        streams.close()


def _holds(runs: Runs, seq: int) -> bool:
    return any(first <= seq <= last for first, last in runs)


def batches(records: "Iterator[Record]", events_max: int) -> "Iterator[Batch]":
    """Yield *records* in batches of one UTC day, at most *events_max* events and PAYLOAD_BYTES_MAX bytes each."""
    held: list[Record] = []
    size, day = 0, -1
    for record in records:
        its_day = record.time_ms // DAY_MS
        if held and (its_day != day or len(held) >= events_max or size + len(record.payload) > PAYLOAD_BYTES_MAX):
            yield batch_of(held, day)
            held, size = [], 0
        day = its_day
        held.append(record)
        size += len(record.payload)
    if held:
        yield batch_of(held, day)
