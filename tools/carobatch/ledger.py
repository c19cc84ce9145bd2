"""What this journal has handed out and got back: the folder receipts/, all canonical JSON, one file a fact.

    receipts/bundle-<number, 6 digits>.json   {bundle, chain, previous, manifest_sha256, fingerprint, events, segments}
    receipts/acks.json                        {segment: runs} of events that importers have confirmed

Each also has `crc`, the CRC-32 of its canonical JSON without it.  A bundle's file is written before the bundle appears
under its name: a number is never used for two contents.  Equal content again has the same fingerprint, and with it
number, predecessor and bytes.  `segments` (segment -> runs) bounds what an acknowledgement of that bundle can confirm.
"""

import contextlib
import json
import os
from typing import TYPE_CHECKING
from zlib import crc32

from carobatch.manifest import canonical_json
from carobatch.manifest_read import are_runs, is_hex, is_uint
from carojournal.durable import write_file
from carojournal.errors import DamagedData, JournalIOError
from carojournal.root import open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ACKS_SEGMENTS_MAX", "Ledger", "Runs"]

ACKS_SEGMENTS_MAX = 10_000  # Half a megabyte: years of segments; the oldest are forgotten first.
_FILE_BYTES_MAX = 16_777_216
Runs = list[list[int]]


def _crc(value: "Mapping[str, object]") -> int:
    return crc32(canonical_json(value))


def _are_segments(value: object) -> bool:
    return type(value) is dict and all(is_hex(16)(segment) and are_runs(runs) for segment, runs in value.items())


def _is_entry(entry: dict[str, object]) -> bool:
    previous = entry.get("previous")
    return (
        is_uint(entry.get("bundle"))
        and is_uint(entry.get("events"))
        and is_hex(16)(entry.get("chain"))
        and is_hex(32)(entry.get("manifest_sha256"))
        and is_hex(32)(entry.get("fingerprint"))
        and (previous is None or type(previous) is dict)
        and _are_segments(entry.get("segments"))
    )


class Ledger:
    """The folder receipts/ of the journal at *root*; *random* yields the chain's pseudonym.  Errors: JournalIOError."""

    def __init__(self, root: str, random: "Callable[[int], bytes]" = os.urandom) -> None:
        self.folder = os.path.join(root, "receipts")
        self._random = random

    def bundles(self) -> list[dict[str, object]]:
        """Return every bundle that was handed out, oldest first.  Raises DamagedData."""
        names = []
        with contextlib.suppress(FileNotFoundError):
            names = sorted(os.listdir(self.folder))
        return [self._read(name, _is_entry) for name in names if name.startswith("bundle-") and name.endswith(".json")]

    def place(self, fingerprint: str) -> dict[str, object]:
        """Return {chain, bundle, previous} for a bundle of this *fingerprint*."""
        known = self.bundles()
        if not known:
            return {"chain": self._random(16).hex(), "bundle": 1, "previous": None}
        last = known[-1]
        if last["fingerprint"] == fingerprint:
            return {key: last[key] for key in ("chain", "bundle", "previous")}
        previous = {"bundle": last["bundle"], "manifest_sha256": last["manifest_sha256"]}
        return {"chain": last["chain"], "bundle": int(last["bundle"]) + 1, "previous": previous}  # type: ignore[call-overload]

    def write_bundle(self, entry: dict[str, object]) -> None:
        """Keep a bundle's entry durably; what is known of the same bundle already stays.  Raises DamagedData."""
        name, known = f"bundle-{entry['bundle']:06d}.json", dict[str, object]()
        with contextlib.suppress(FileNotFoundError):
            known = self._read(name, _is_entry)
        same = known.get("manifest_sha256") == entry["manifest_sha256"]
        self._write(name, {**known, **entry} if same else entry)

    def acks(self) -> dict[str, Runs]:
        """Return segment (hex) -> runs of sequence numbers that importers have confirmed."""
        try:
            return self._read("acks.json", _are_segments)  # type: ignore[return-value]
        except FileNotFoundError:
            return {}

    def write_acks(self, acks: dict[str, Runs]) -> None:
        """Keep *acks*, durably; of more than ACKS_SEGMENTS_MAX those of the newest bundles.  Raises DamagedData."""
        if len(acks) > ACKS_SEGMENTS_MAX:
            numbers = {name: at for at, entry in enumerate(self.bundles()) for name in entry["segments"]}  # type: ignore[attr-defined]
            newest = sorted(acks, key=lambda name: numbers.get(name, -1))[-ACKS_SEGMENTS_MAX:]
            acks = {name: acks[name] for name in newest}
        self._write("acks.json", acks)

    def _read(self, name: str, check: "Callable[[dict[str, object]], bool]") -> dict[str, object]:
        path = os.path.join(self.folder, name)
        with open(open_file(path), "rb") as file:
            data = file.read(_FILE_BYTES_MAX)
        try:
            found = json.loads(data)
            whole = type(found) is dict and found.pop("crc", None) == _crc(found) and check(found)
        except (ValueError, RecursionError):
            whole = False
        if not whole:
            raise DamagedData(path, 0, "not the JSON that was written")
        return found  # type: ignore[no-any-return]

    def _write(self, name: str, value: "Mapping[str, object]") -> None:
        os.makedirs(self.folder, 0o700, exist_ok=True)
        write_file(
            os.path.join(self.folder, name),
            canonical_json({**value, "crc": _crc(value)}),
            overwrite=True,
            error=JournalIOError,
        )
