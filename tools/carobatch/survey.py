"""What there is to pack, carry and acknowledge: the facts behind `carobatch status` and `carobatch list`."""

import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from carobatch.ack import is_confirmed
from carobatch.importer import RECEIVED
from carobatch.ledger import Ledger
from carobatch.receipt import RECEIPT_BYTES_MAX, parse_receipt
from carojournal import spool
from carojournal.errors import DamagedData
from carojournal.root import open_file

if TYPE_CHECKING:
    from carobatch.store import PackedStore

__all__ = ["Survey", "list_batches", "list_bundles", "list_gaps", "list_received", "survey"]

_GAPS_SHOWN_MAX = 1_000_000  # A chain of one bundle a minute for two years; bounds what one number in a file costs.
Row = dict[str, object]


@dataclass(slots=True)
class Survey:
    """Counts of one journal; sizes in bytes.  `confirmed` events are in the hands of an importer."""

    open_lanes: int = 0
    closed: int = 0
    closed_bytes: int = 0
    packed_files: int = 0
    packed_bytes: int = 0
    segments: int = 0
    events: int = 0
    confirmed_events: int = 0
    reclaimable_bytes: int = 0
    batches: int = 0
    quarantined: int = 0
    quarantined_bytes: int = 0
    total_bytes: int = 0
    bundles: int = 0
    bundles_acknowledged: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)


def survey(store: "PackedStore") -> Survey:
    """Return the counts of the journal of *store*.  Raises OSError, DamagedData (ledger)."""
    found = Survey()
    ledger = Ledger(store.root)
    acks = ledger.acks()
    for folder, name, size in spool.usage(store.root):
        found.total_bytes += size
        if folder == "lanes" and name.endswith(".seg"):
            found.open_lanes += 1
        elif folder == "segments":
            found.closed += 1
            found.closed_bytes += size
        elif folder == "outbox":
            found.batches += 1
        elif folder == "quarantine":
            found.quarantined += 1
            found.quarantined_bytes += size
    for inventory in store.inventories(found.problems):
        size = inventory.start + inventory.frame_bytes
        confirmed = [is_confirmed(row, acks) for row in inventory.sections]
        counts = [int(row["events"]) for row in inventory.sections]  # type: ignore[call-overload]
        found.packed_files += 1
        found.packed_bytes += size
        found.segments += len(counts)
        found.events += sum(counts)
        found.confirmed_events += sum(count for count, is_done in zip(counts, confirmed, strict=True) if is_done)
        found.reclaimable_bytes += size if all(confirmed) else 0
    bundles = ledger.bundles()
    found.bundles = len(bundles)
    found.bundles_acknowledged = sum("acknowledged" in entry for entry in bundles)
    return found


def list_bundles(root: str) -> list[Row]:
    """Return the bundles that were exported here: bundle, events, acknowledged, manifest_sha256."""
    return [
        {
            "kind": "bundle",
            "bundle": entry["bundle"],
            "events": entry["events"],
            "acknowledged": "acknowledged" in entry,
            "manifest_sha256": entry["manifest_sha256"],
        }
        for entry in Ledger(root).bundles()
    ]


def list_batches(root: str) -> list[Row]:
    """Return what waits in the outbox: name and size in bytes."""
    rows: list[Row] = []
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(os.path.join(root, "outbox"))):
            size = os.path.getsize(os.path.join(root, "outbox", name))
            rows.append({"kind": "batch", "name": name, "bytes": size})
    return rows


def list_received(root: str) -> list[Row]:
    """Return the receipts that were written here for imported bundles, and which bundles of a chain never came."""
    rows: list[Row] = []
    folder = os.path.join(root, RECEIVED)
    chains: dict[str, set[int]] = {}
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(folder)):
            if not name.endswith(".json") or name.startswith("."):
                continue
            path = os.path.join(folder, name)
            with open(open_file(path), "rb") as file:
                try:
                    receipt: Any = parse_receipt(file.read(RECEIPT_BYTES_MAX), path)
                except DamagedData as error:
                    rows.append({"kind": "receipt", "name": name, "damaged": error.reason})
                    continue
            chains.setdefault(receipt["chain"], set()).add(receipt["bundle"])
            row = {key: receipt[key] for key in ("chain", "bundle", "events")}
            rows.append({"kind": "receipt", **row, "rejected": len(receipt["rejected"]), "name": name})
    for chain, numbers in sorted(chains.items()):
        rows += [
            {"kind": "gap", "chain": chain, "bundle": number, "reason": "this bundle was not imported"}
            for number in range(1, min(max(numbers), _GAPS_SHOWN_MAX))
            if number not in numbers
        ]
    return rows


def list_gaps(store: "PackedStore") -> list[Row]:
    """Return what packed segments know to be missing: segment, first_seq, last_seq, reason."""
    return [
        {"kind": "gap", "segment": row["segment"].hex(), **gap}  # type: ignore[attr-defined]
        for inventory in store.inventories([])
        for row in inventory.sections
        for gap in row["gaps"]  # type: ignore[attr-defined]
    ]
