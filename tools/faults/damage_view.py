"""What a journal says of itself, as values: the same journal before and after damage is compared by this.

Only what exists is looked at, and nothing is written.  An error of our own tree is an answer; any other is a bug.
"""

import os
from typing import TYPE_CHECKING

from carobatch import deliveries, timing
from carobatch.ledger import Ledger
from carobatch.outbox import standing_intents
from carobatch.store import PackedStore
from carobatch.survey import survey
from carojournal import deletion, drops, held, policy, sent, spool
from carojournal.errors import JournalError
from carojournal.reader import JournalReader
from carojournal.recovery import verify
from faults.fuzz_samples import CAP_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Answers", "events", "look"]

Answers = dict[str, object]
Event = tuple[bytes, int]


def events(root: str) -> dict[Event, bytes]:
    """Return (segment, seq) -> payload of every event that is read.  Raises ValueError if one is read twice."""
    found: dict[Event, bytes] = {}
    for record in JournalReader(root).records(events_only=True):
        key = (record.segment, record.seq)
        if key in found:
            raise ValueError("an event was read twice")
        found[key] = record.payload
    return found


def _runs(runs: "dict[bytes, list[list[int]]] | dict[str, list[list[int]]]") -> frozenset[object]:
    return frozenset(
        (name, seq) for name, inner in runs.items() for first, last in inner for seq in range(first, last + 1)
    )


def _identity(root: str) -> object:
    found = deletion.read_identity(root)
    if found is None:
        return frozenset()
    return frozenset(
        [("journal", found.journal), *found.history(), *(("sent", day) for day in deletion.sent_days(found))]
    )


def _losses(root: str) -> object:
    return frozenset(loss["segment"] for loss in JournalReader(root).losses() if isinstance(loss["segment"], bytes))


def _survey(root: str) -> object:
    found = survey(PackedStore(root, CAP_BYTES))
    return frozenset([("events", found.events), ("packed", found.packed_files)]) if not found.problems else frozenset()


def _described(root: str) -> object:
    rows = []
    for folder, name, _ in spool.usage(root):
        if folder in ("segments", "packed"):
            rows += held.describe(os.path.join(root, folder, name))
    for segment, first, last, count, carried in rows:
        held.encode_loss("evicted", segment, first, last, count, 1, carried)
    return frozenset()


_ASK: "dict[str, Callable[[str], object]]" = {
    "identity": _identity,
    "counters": lambda root: frozenset(drops.read_counts(root)[0].items()),
    "requests": lambda root: frozenset(deletion.requests(root)),
    "batches": lambda root: frozenset(
        (one.batch, one.at_ms, one.sink, one.url, one.sha256, one.status, one.events, one.refused, one.copy)
        for one in sent.sent_batches(root)
    ),
    "copies": lambda root: frozenset(filter(None, map(sent.copy_of, sent.sent_batches(root)))),
    "intents": lambda root: frozenset(
        (one.batch, one.request, one.sessions, *one.events()) for one in standing_intents(root)
    ),
    "accounted": lambda root: _runs(deliveries.accounted(root)),
    "explained": lambda root: frozenset(deliveries_explained(root)),
    "acks": lambda root: _runs(Ledger(root).acks()),
    "bundles": lambda root: frozenset(str(sorted(entry.items())) for entry in Ledger(root).bundles()),
    "tries": lambda root: frozenset([str(timing.load_tries(root))]),
    "losses": _losses,
    "survey": _survey,
    "described": _described,
    "mode": lambda root: frozenset(
        [policy.resolve(root, channel="beta", environ={"HOME": "/nonexistent"}, admin="/nonexistent").mode]
    ),
}


def deliveries_explained(root: str) -> frozenset[bytes]:
    """Return the segments that receipts account for, as `verify` sees them."""
    from carojournal.verify_files import explained_segments

    return explained_segments(root)


def look(root: str) -> tuple[Answers, dict[Event, bytes], int]:
    """Return (answers, events, exit code of verify).  An answer that is an error's class name says that it refused."""
    answers: Answers = {}
    for name, ask in _ASK.items():
        try:
            answers[name] = ask(root)
        except JournalError as error:
            answers[name] = type(error).__name__
    read = events(root)
    newest = [(record.segment, record.seq) for record in JournalReader(root).tail(4)]
    answers["newest are read"] = all(key in read for key in newest)
    return answers, read, verify(root).exit_code
