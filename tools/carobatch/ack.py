"""Acknowledgement: what a receipt confirms becomes reclaimable, and nothing else.

A receipt counts for this journal only, only for a bundle that this journal has handed out (number, chain and SHA-256 of
the manifest agree with the ledger), and only for events that this bundle held.  Confirmed runs add up over receipts in
receipts/acks.json.  Reclaiming removes a packed file when every event in it is confirmed and every loss it records is
in a bundle that was; a file of which one event is not confirmed stays whole.  First the segments that go, and those
whose losses go with them, are listed in receipts/uploads.cbor, where `verify` looks for what is gone.
"""

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carobatch.deliveries import list_removed
from carobatch.receipt import RECEIPT_BYTES_MAX, intersect, parse_receipt, union
from carojournal.errors import DamagedData, JournalUnavailable
from carojournal.eviction import in_flight, is_named

if TYPE_CHECKING:
    from carobatch.ledger import Ledger, Runs
    from carobatch.store import PackedStore

__all__ = ["Acknowledged", "acknowledge", "is_confirmed", "reclaim"]


@dataclass(slots=True)
class Acknowledged:
    """What a receipt confirmed; `rejected` and `conflicts` are its rows, `signer` who signed it ("": not checked)."""

    bundle: int
    events: int
    rejected: list[dict[str, object]]
    conflicts: list[object]
    signer: str


def _count(runs: "Runs") -> int:
    return sum(last - first + 1 for first, last in runs)


def acknowledge(ledger: "Ledger", journal: bytes, path: str, allowed: dict[bytes, str] | None = None) -> Acknowledged:
    """Read the receipt at *path* and keep what it confirms; the caller holds batch.lock.

    Raises DamagedData for no receipt or a wrong signature, JournalUnavailable for one of another journal or of a bundle
    that was never handed out, JournalIOError, OSError.
    """
    with open(path, "rb") as file:
        data = file.read(RECEIPT_BYTES_MAX + 1)
    receipt = parse_receipt(data, path)
    signer = ""
    if allowed is not None:
        signer = _signer(path, data, allowed)
    if receipt["journal"] != journal.hex():
        raise JournalUnavailable(f"{path}: a receipt for another journal")
    known = [entry for entry in ledger.bundles() if entry["bundle"] == receipt["bundle"]]
    same = ("chain", "manifest_sha256")
    if not known or any(known[0][key] != receipt[key] for key in same):
        raise JournalUnavailable(f"{path}: a receipt for a bundle that was not exported here")
    entry = known[0]
    contents: dict[str, Runs] = entry["segments"]  # type: ignore[assignment]
    accepted: dict[str, Runs] = receipt["accepted"]  # type: ignore[assignment]
    acks = ledger.acks()
    events = 0
    for segment, runs in sorted(accepted.items()):
        confirmed = intersect(runs, contents.get(segment, []))
        if confirmed:
            events += _count(confirmed)
            acks[segment] = union(acks.pop(segment, []), confirmed)
    # Segments without an event carry losses only; that they arrived is all there is to confirm.
    for segment, runs in contents.items():
        if not runs and segment in accepted:
            acks.setdefault(segment, [])
    ledger.write_acks(acks)
    ledger.write_bundle({**entry, "acknowledged": hashlib.sha256(data).hexdigest()})
    rejected: list[dict[str, object]] = receipt["rejected"]  # type: ignore[assignment]
    conflicts: list[object] = receipt["conflicts"]  # type: ignore[assignment]
    return Acknowledged(int(entry["bundle"]), events, rejected, conflicts, signer)  # type: ignore[call-overload]


def _signer(path: str, data: bytes, allowed: dict[bytes, str]) -> str:
    from carobatch.sshsig import verify_signature

    signature = b""
    if os.path.exists(f"{path}.sig"):
        with open(f"{path}.sig", "rb") as file:
            signature = file.read(65_536)
    signer = verify_signature(data, signature, allowed)
    if not signer:
        raise DamagedData(path, 0, "not signed by an allowed signer" if signature else "not signed")
    return signer


def is_confirmed(row: dict[str, object], acks: "dict[str, Runs]") -> bool:
    """Tell whether every event of a packed section (its inventory row) is confirmed by *acks*, and none was damaged.

    Nobody else tells of what is damaged: such a section goes by eviction, which carries that on.
    """
    if any(gap["reason"] == "damaged" for gap in row["gaps"]):  # type: ignore[attr-defined]
        return False
    segment: bytes = row["segment"]  # type: ignore[assignment]
    runs: Runs = row["runs"]  # type: ignore[assignment]
    confirmed = acks.get(segment.hex())
    return confirmed is not None and intersect(runs, confirmed) == runs


def reclaim(store: "PackedStore", ledger: "Ledger") -> tuple[int, int]:
    """Remove packed files that are confirmed whole; return (files, bytes).  The caller holds batch.lock."""
    acks = ledger.acks()
    sending = in_flight(store.root)
    going = []
    for inventory in store.inventories([]):
        if is_named((row["segment"] for row in inventory.sections), sending):  # type: ignore[misc]
            continue  # A batch under way may have to send it again.
        if all(is_confirmed(row, acks) for row in inventory.sections):
            going.append(inventory)
    if not going:
        return 0, 0
    rows = [row for inventory in going for row in inventory.sections]
    losses = [loss for row in rows for loss in row["losses"]]  # type: ignore[attr-defined]
    list_removed(store.root, [named["segment"] for named in (*losses, *rows)])
    for inventory in going:
        store.remove(inventory.path)
    return len(going), sum(inventory.start + inventory.frame_bytes for inventory in going)
