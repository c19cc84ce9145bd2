"""Verification of bundles: structure, checksums, signature and, unless quick, every event against the allowlist.

A verdict's `errors` make a bundle unusable, `refusals` are events that must not go further.  `notes` are what a reader
should know and what no bundle can prove: that it is unsigned, that sequence numbers are missing and why, that its
predecessor was not given.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carobatch.archive import BagArchive
from carobatch.bag_folder import BagFolder
from carobatch.bagit import check_bag
from carobatch.bundle import MANIFEST, SIGNATURE
from carobatch.contents import Contents, compare, read_contents
from carobatch.manifest_read import parse_manifest
from carobatch.source import open_bundle
from carojournal.errors import DamagedData
from carojournal.named import named
from carojournal.recheck import Refusals

if TYPE_CHECKING:
    from collections.abc import Callable

    from carobatch.bagit import BagFiles

__all__ = ["Verdict", "check_chain", "verify_bundle"]


@dataclass(slots=True)
class Verdict:
    """What is known of one bundle.  `manifest` is None where it cannot be trusted to be one, or the bag is not ours."""

    path: str
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    manifest: dict[str, object] | None = None
    manifest_sha256: str = ""
    signer: str = ""
    events: int = 0
    refused: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    refusals: list[tuple[bytes, int, Refusals]] = field(default_factory=list)
    gaps: Counter[str] = field(default_factory=Counter)

    @property
    def is_valid(self) -> bool:
        """Whether nothing is wrong: neither with the bundle nor with an event in it."""
        return not self.errors and not self.refusals


def verify_bundle(
    path: str, *, quick: bool = False, identity: str = "", allowed: dict[bytes, str] | None = None
) -> Verdict:
    """Return the verdict on the bundle at *path*.

    *quick* checks structure, checksums and signature only; *identity* is a file with age identities; *allowed* are the
    keys (`sshsig.read_allowed_signers`) of which one must have signed.  Raises what `source.open_bundle` raises except
    DamagedData, and OSError.
    """
    verdict = Verdict(path)
    contents: dict[str, Contents] = {}

    def payload(name: str, size: int, read: "Callable[[int], bytes]") -> None:
        contents[name] = read_contents(read, size, name)

    try:
        with named(path), open_bundle(path, identity) as opened:
            files: BagFiles
            if isinstance(opened, str):
                files = folder = BagFolder(opened)
                ours = MANIFEST in folder.paths()
                for name in folder.paths() if ours and not quick else ():
                    if name.startswith("data/"):
                        with folder.open(name) as file:
                            payload(name, folder.size(name), file.read)
            else:
                files = BagArchive(opened, path, None if quick else payload)
                ours = True
            _judge(files, verdict, contents, allowed, ours=ours, quick=quick)
    except DamagedData as error:
        verdict.errors.append(error.reason if error.path == path else f"{error.path}: {error.reason}")
    return verdict


def _judge(
    files: "BagFiles",
    verdict: Verdict,
    contents: dict[str, Contents],
    allowed: dict[bytes, str] | None,
    *,
    ours: bool,
    quick: bool,
) -> None:
    bag = check_bag(files)
    verdict.errors += bag.errors
    verdict.notes += bag.warnings
    if not ours:
        if allowed is not None:
            verdict.errors.append("not a bundle of carojournal: nothing is signed")
        return
    if MANIFEST not in files.paths():
        verdict.errors.append(f"no {MANIFEST}")
        return
    raw = files.read(MANIFEST)
    verdict.manifest_sha256 = hashlib.sha256(raw).hexdigest()
    _check_signature(files, verdict, raw, allowed)
    manifest, errors = parse_manifest(raw)
    verdict.errors += errors
    verdict.errors += _files_errors(files, manifest)
    for name, found in contents.items():
        verdict.refusals += found.refused
        for _, _, bad in found.refused:
            verdict.refused.update(bad)
        if found.refused:
            verdict.notes.append(f"{name}: {len(found.refused)} events that the allowlist refuses")
    if not quick:
        verdict.errors += compare(manifest, contents)
    verdict.manifest = manifest
    verdict.events = int(manifest["events"])  # type: ignore[call-overload]
    _note_gaps(verdict, manifest)


def _check_signature(files: "BagFiles", verdict: Verdict, raw: bytes, allowed: dict[bytes, str] | None) -> None:
    from carobatch.sshsig import verify_signature

    is_signed = SIGNATURE in files.paths()
    if allowed is None:
        verdict.notes.append("signed, but not checked (--allowed-signers)" if is_signed else "not signed")
        return
    verdict.signer = verify_signature(raw, files.read(SIGNATURE), allowed) if is_signed else ""
    if not verdict.signer:
        verdict.errors.append("not signed by an allowed signer" if is_signed else "not signed")


def _files_errors(files: "BagFiles", manifest: dict[str, object]) -> list[str]:
    rows: list[dict[str, object]] = manifest["files"]  # type: ignore[assignment]
    named = {str(row["path"]): row for row in rows}
    here = {path for path in files.paths() if path.startswith("data/")}
    errors = [] if here == set(named) else [f"{MANIFEST}: names other files than data/ holds"]
    for path in sorted(here & set(named)):
        is_it = (files.size(path), files.digest(path, "sha256")) == (named[path]["bytes"], named[path]["sha256"])
        errors += [] if is_it else [f"{path}: not the file that {MANIFEST} names"]
    return errors


def _note_gaps(verdict: Verdict, manifest: dict[str, object]) -> None:
    files: list[dict[str, object]] = manifest["files"]  # type: ignore[assignment]
    for file in files:
        for row in file["segments"]:  # type: ignore[attr-defined]
            for gap in row["gaps"]:
                verdict.gaps[gap["reason"]] += gap["last_seq"] - gap["first_seq"] + 1
    missing: list[dict[str, str]] = manifest["missing"]  # type: ignore[assignment]
    losses: list[dict[str, int]] = manifest["losses"]  # type: ignore[assignment]
    for reason, count in sorted(verdict.gaps.items()):
        verdict.notes.append(f"{count} sequence numbers missing: {reason}")
    for reason, count in sorted(Counter(row["reason"] for row in missing).items()):
        verdict.notes.append(f"{count} earlier segments not here: {reason}")
    if losses:
        events = sum(loss["events"] for loss in losses)
        verdict.notes.append(f"{events} events in {len(losses)} segments were lost before and are named")


def check_chain(verdicts: list[Verdict]) -> None:
    """Add to *verdicts* where the bundles given together do not follow one another."""
    known: dict[tuple[object, object, object], Verdict] = {}
    for verdict in verdicts:
        manifest = verdict.manifest
        if manifest is None:
            continue
        key = (manifest["journal"], manifest["chain"], manifest["bundle"])
        if key in known and known[key].manifest_sha256 != verdict.manifest_sha256:
            verdict.errors.append(f"says something else than {known[key].path}, under the same number")
        known[key] = verdict
    for verdict in verdicts:
        previous = verdict.manifest["previous"] if verdict.manifest else None
        if not isinstance(previous, dict) or verdict.manifest is None:
            continue
        before = known.get((verdict.manifest["journal"], verdict.manifest["chain"], previous["bundle"]))
        if before is None:
            verdict.notes.append(f"the bundle before it, number {previous['bundle']}, was not given")
        elif before.manifest_sha256 != previous["manifest_sha256"]:
            verdict.errors.append(f"does not follow {before.path}, whose number it names")
