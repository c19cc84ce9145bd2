"""An intent of an earlier run, looked at again before it is sent: it counts only if it would be made anew today.

The copy in outbox/ may be older than this release and its allowlist, and nothing in it is believed.  The events that it
names are read from the journal, each is checked under the allowlist that holds now, and the request is rendered again:

    same in everything          the intent is sent as it stands
    an event is refused         the intent is not sent; which event, and why, is kept in quarantine/
    other bytes, or no events   the intent is not sent: another release renders otherwise, or somebody was at the file

What is allowed of an intent that is not sent is planned anew, under the same event ids.

    quarantine/withheld-<batch, 64 hex>.cbor    one deterministic CBOR map
        record "withheld", version 1, batch (32 bytes), refused [{segment, seq, refusals: [[event, field, reason]]}]

Of a refused event the file holds the reasons alone: what it held must not be kept in one more place.
"""

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carobatch.batch import DAY_MS, batch_of
from carobatch.plan import is_sendable
from carobatch.quarantine import FOLDER
from carojournal.codec import dumps
from carojournal.durable import write_file
from carojournal.errors import JournalIOError
from carojournal.packed_streams import PackedStreams
from carojournal.recheck import Refusals, refusals
from carojournal.record import event_time_ms

if TYPE_CHECKING:
    from carobatch.outbox import Intent
    from carobatch.sinks import Sink
    from carojournal.reader import JournalReader
    from carojournal.record import Record

__all__ = ["Looked", "keep_refused", "look_again"]


@dataclass(frozen=True, slots=True)
class Looked:
    """What came of it: whether the intent `stands`, and (segment, seq, refusals) of events that are not allowed."""

    stands: bool
    refused: list[tuple[bytes, int, Refusals]] = field(default_factory=list)


def look_again(reader: "JournalReader", intent: "Intent", sink: "Sink") -> Looked:
    """Check the events that *intent* names, and that its request is what *sink* makes of them.

    Raises JournalIOError.
    """
    wanted: dict[bytes, set[int]] = {}
    for segment, seq in intent.events().values():
        wanted.setdefault(segment, set()).add(seq)
    records: list[Record] = []
    refused: list[tuple[bytes, int, Refusals]] = []
    consent_ms = int(intent.value["consent"])  # type: ignore[call-overload]
    streams = PackedStreams()
    try:
        for group in reader.groups():
            seqs = wanted.get(group[0].segment, ())
            if not seqs or not all(is_sendable(info, consent_ms) for info in group):
                continue
            for record in reader.of_group(group, streams):
                if record.seq not in seqs:
                    continue
                bad = refusals(record.payload)
                if bad:
                    refused.append((record.segment, record.seq, bad))
                else:
                    records.append(record)
    finally:
        streams.close()
    if refused or not records or len(records) != len(intent.events()):
        return Looked(stands=False, refused=refused)
    days = {event_time_ms(record.payload) // DAY_MS for record in records}
    batch = batch_of(records, max(days))
    said = (intent.batch, intent.value["sessions"], {intent.value["day"]}, intent.request)
    return Looked(stands=said == (batch.id, batch.sessions(), days, sink.render(batch)))


def keep_refused(root: str, batch: bytes, refused: list[tuple[bytes, int, Refusals]]) -> None:
    """Name in quarantine/ the events of *batch* that are not allowed any more.  Raises JournalIOError, OSError."""
    rows = [
        {"segment": segment, "seq": seq, "refusals": [list(row) for row in bad]}
        for segment, seq, bad in sorted(refused)
    ]
    folder = os.path.join(root, FOLDER)
    os.makedirs(folder, 0o700, exist_ok=True)
    data = dumps({"record": "withheld", "version": 1, "batch": batch, "refused": rows})
    write_file(os.path.join(folder, f"withheld-{batch.hex()}.cbor"), data, overwrite=True, error=JournalIOError)
