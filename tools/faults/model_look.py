"""What must hold after every step of the model; each function returns what does not."""

import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from carojournal.policy import segment_limit
from carojournal.reader import Record
from carojournal.recovery import CLEAN, DAMAGED, GAPS, TORN, verify
from carojournal.spool import usage
from faults import conservation, model_files
from faults.model_batch import Batches, expanded
from faults.model_world import CAP_BYTES

__all__ = ["is_right", "look", "tally"]


def look(world: Batches) -> list[str]:
    """Return everything that does not hold."""
    return [*_balance(world), *_bound(world), *_verdict(world), *_uploads(world), *_imports(world)]


def is_right(world: Batches, record: Record) -> bool:
    """Tell whether an event has the value with which it was recorded."""
    event = world.known.events.get((record.segment, record.seq))
    value = record.value
    ids = (value.get("session_id"), value.get("run_id"))
    return (
        event is not None
        and value.keys() == {"event", "timestamp", "session_id", "run_id", "session_duration_ms"}
        and (value["event"], value["timestamp"]) == ("session_end", event.time_ms)
        and value["session_duration_ms"] == event.number
        and all(type(one) is bytes and len(one) == 16 for one in ids)
    )


def _balance(world: Batches) -> list[str]:
    known = world.known
    untold = known.events.keys() - known.acknowledged - known.cleared
    balance = conservation.check(
        world.root,
        world.acknowledged(),
        outcomes={
            "delivered": conservation.ranges(world.delivered()),
            "confirmed": conservation.ranges(known.confirmed),
            "cleared": conservation.ranges(known.cleared),
            "damaged": conservation.ranges(known.damaged),
        },
        extra=len(untold) + known.slack,
        judge=lambda record: is_right(world, record),
    )
    return balance.problems


def _bound(world: Batches) -> Iterator[str]:
    if os.path.isdir(world.root):
        rows = usage(world.root)
        total = sum(size for _, _, size in rows)
        if total > CAP_BYTES + segment_limit(CAP_BYTES, 0):
            sums: dict[str, int] = {}
            for folder, _, size in rows:
                sums[folder] = sums.get(folder, 0) + size
            yield f"the spool holds {total:,} bytes: {sums}"


def _verdict(world: Batches) -> Iterator[str]:
    """Compare `verify` with what this harness did to the files, as an own parser sees them."""
    expected, allowed = CLEAN, set()
    for path in model_files.segment_files(world.root):
        with open(path, "rb") as file:
            data = file.read()
        segment = model_files.uuid_of(path, data)
        if (data or os.path.basename(os.path.dirname(path)) != "lanes") and not model_files.is_whole(data, segment):
            expected = max(expected, DAMAGED if _is_struck(world, segment, data) else TORN)
            allowed |= {TORN, DAMAGED} if segment in world.known.cut else set()
    for path, (data, surely) in world.known.struck_files.items():
        if os.path.exists(path):
            with open(path, "rb") as file:
                same = file.read() == data
            expected = DAMAGED if same and surely else expected
            allowed |= {TORN, DAMAGED} if same else set()
    if expected == CLEAN and any(model_files.left_by_a_death(world.root)):
        allowed |= {TORN}  # Damage would outrank it.
    report = verify(world.root)
    allowed |= {expected} | ({GAPS} if world.known.blurred else set())
    if report.exit_code not in allowed:
        findings = [*report.damage, *report.torn, *report.gaps]
        yield f"verify says {report.exit_code}, not {expected}: {list(islice(findings, 3))}"


def _is_struck(world: Batches, segment: bytes, data: bytes) -> bool:
    """Tell whether *data* was damaged, perhaps as another segment than the one that its name says.

    A writer that found neither in the header nor in the lock file which segment it was closed it under a new uuid.
    """
    struck = world.known.struck
    if segment in struck or any(segment == one for one, _ in world.known.events):
        return segment in struck
    return any(model_files.records_in(data, one) for one in struck)


def _uploads(world: Batches) -> Iterator[str]:
    yield from world.receiver.problems
    consented = {one for one in world.delivered() if world.known.events[one].consent_ms == 0}
    if consented:
        yield f"{len(consented)} events left that no yes covers"


def _imports(world: Batches) -> Iterator[str]:
    for root, held in world.imported.items():
        present = expanded(conservation.survey(root, lambda record: is_right(world, record)).present)
        if not held.must <= present <= held.must | held.may:
            yield f"imported {len(present)}, must {len(held.must)}, may {len(held.may)}"


def tally(world: Batches) -> Counter[str]:
    """Return how many events met which fate."""
    known = world.known
    return Counter(
        {
            "events": len(known.events),
            "events written and never acknowledged": len(known.events.keys() - known.acknowledged),
            "events taken by the receiver": len(world.receiver.taken),
            "events refused by the receiver": len(world.receiver.refused),
            "events confirmed by an importer": len(known.confirmed),
            "events cleared": len(known.cleared),
            "events damaged": len(known.damaged),
            "bundles": len(world.bundles),
        }
    )
