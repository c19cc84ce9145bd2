"""Receipts: what an importer has accepted, carried back to the source, where `ack` makes exactly that reclaimable.

The same bundle gives the same receipt, however often it is imported.

    receipt-<journal, 8 hex>-<bundle, 6 digits>-<manifest, 8 hex>.json   canonical JSON, see `manifest.canonical_json`
    ...json.sig                                                          optional: SSHSIG over it, as of a bundle

    format, version           "carojournal-receipt", 1
    journal, chain, bundle    of the bundle; manifest_sha256 names its content, previous its predecessor
    accepted                  {segment: runs}: events that the importer holds durably, [first seq, last seq] each
    rejected                  [{segment, seq, event, field, reason}]: events that it refused, and why, without a value
    conflicts                 [{segment, seq}]: events that it holds otherwise than the bundle has them; neither counts
    events                    how many are accepted
    writer                    program/version
"""

import hashlib
import os
from typing import TYPE_CHECKING

from carobatch.manifest import canonical_json
from carobatch.manifest_read import are_runs, is_hex, is_uint, parse_json
from carojournal.durable import write_file
from carojournal.errors import DamagedData, JournalIOError
from carojournal.rotation import WRITER

if TYPE_CHECKING:
    from carobatch.sshsig import Signer

__all__ = ["FORMAT", "PREFIX", "difference", "intersect", "parse_receipt", "receipt_name", "union", "write_receipt"]

FORMAT = "carojournal-receipt"
PREFIX = "receipt-"
RECEIPT_BYTES_MAX = 8_388_608
Runs = list[list[int]]


def union(left: Runs, right: Runs) -> Runs:
    """Return the runs that hold every number of either."""
    found: Runs = []
    for first, last in sorted([*left, *right]):
        if found and first <= found[-1][1] + 1:
            found[-1][1] = max(found[-1][1], last)
        else:
            found.append([first, last])
    return found


def intersect(left: Runs, right: Runs) -> Runs:
    """Return the runs that hold every number of both."""
    found = [[max(a, c), min(b, d)] for a, b in left for c, d in right if max(a, c) <= min(b, d)]
    return union(found, [])


def difference(left: Runs, right: Runs) -> Runs:
    """Return the runs that hold every number of *left* that is not in *right*."""
    found: Runs = []
    for first, last in left:
        at = first
        for begin, end in intersect([[first, last]], right):
            if begin > at:
                found.append([at, begin - 1])
            at = end + 1
        if at <= last:
            found.append([at, last])
    return found


def receipt_name(manifest: dict[str, object], manifest_sha256: str) -> str:
    """Return the file name of the receipt for a bundle."""
    return f"{PREFIX}{str(manifest['journal'])[:8]}-{manifest['bundle']:06d}-{manifest_sha256[:8]}.json"


def write_receipt(folder: str, value: dict[str, object], signer: "Signer | None") -> str:
    """Write a receipt (keys as above, without format, version, writer) durably into *folder*; return its path.

    The signature is in place before the receipt, so that a receipt is never taken for an unsigned one.
    """
    data = canonical_json({"format": FORMAT, "version": 1, "writer": WRITER, **value})
    os.makedirs(folder, 0o700, exist_ok=True)
    path = os.path.join(folder, receipt_name(value, str(value["manifest_sha256"])))
    if signer is not None:
        write_file(f"{path}.sig", signer.sign(data), overwrite=True, error=JournalIOError)
    write_file(path, data, overwrite=True, error=JournalIOError)
    return path


def parse_receipt(data: bytes, name: str) -> dict[str, object]:
    """Return the receipt in *data*.  Raises DamagedData (*name* is its path) for bytes that are none."""
    if len(data) > RECEIPT_BYTES_MAX:
        raise DamagedData(name, 0, "larger than any receipt")
    found = parse_json(data, name)
    accepted, rejected = found.get("accepted"), found.get("rejected")
    good = (
        found.get("format") == FORMAT
        and type(found.get("version")) is int
        and found.get("version") == 1
        and is_hex(16)(found.get("journal"))
        and is_hex(16)(found.get("chain"))
        and is_hex(32)(found.get("manifest_sha256"))
        and is_uint(found.get("bundle"))
        and type(accepted) is dict
        and all(is_hex(16)(segment) and are_runs(runs) for segment, runs in accepted.items())
        and type(rejected) is list
        and all(type(row) is dict and _is_rejection(row) for row in rejected)
        and type(found.get("conflicts")) is list
        and is_uint(found.get("events"))
    )
    if not good:
        raise DamagedData(name, 0, "not a receipt")
    return {**found, "sha256": hashlib.sha256(data).hexdigest()}


def _is_rejection(row: dict[str, object]) -> bool:
    words = (row.get("event"), row.get("field"), row.get("reason"))
    return is_uint(row.get("seq")) and all(type(word) is str and word.isprintable() for word in words)
