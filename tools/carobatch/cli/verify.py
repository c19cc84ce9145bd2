"""`carobatch verify`: check bundles, and any BagIt directory."""

import json as json_
import sys
from typing import TYPE_CHECKING

from carojournal.cli.exits import DAMAGED
from carojournal.cli.output import count_text, escape

if TYPE_CHECKING:
    from carobatch.verify import Verdict

__all__ = ["OPTIONS", "verify"]

OPTIONS = {
    "bundles": {
        "flags": ("bundles",),
        "metavar": "BUNDLE",
        "nargs": "+",
        "help": "a .tar.zst, .age, .sha256 list of parts, or a directory",
    },
    "quick": {"flags": ("--quick",), "action": "store_true", "help": "structure, checksums and signature only"},
    "allowed_signers": {"metavar": "FILE", "help": "require a signature of one of these keys (ssh-keygen's format)"},
    "identity": {"flags": ("-i", "--identity"), "metavar": "FILE", "help": "age identities for encrypted bundles"},
}


def verify(
    *bundles: str, quick: bool = False, allowed_signers: str = "", identity: str = "", json: bool = False
) -> int:
    """Check bundles: structure, checksums, chain, signature, and every event against schema and redaction.

    Nothing is unpacked.  A directory may be any BagIt bag (versions 0.93 to 1.0).  Exit 0: valid; what is missing and
    why is said.  Exit 65: something does not hold.
    """
    from carobatch.sshsig import read_allowed_signers
    from carobatch.verify import check_chain, verify_bundle

    allowed = read_allowed_signers(allowed_signers) if allowed_signers else None
    verdicts = [verify_bundle(path, quick=quick, identity=identity, allowed=allowed) for path in bundles]
    check_chain(verdicts)
    if json:
        json_.dump([_value(verdict) for verdict in verdicts], sys.stdout)
        print()
    else:
        for verdict in verdicts:
            _print(verdict)
    return 0 if all(verdict.is_valid for verdict in verdicts) else DAMAGED


def _value(verdict: "Verdict") -> dict[str, object]:
    manifest = verdict.manifest or {}
    refused = [
        {"event": event, "field": field, "reason": reason, "count": count}
        for (event, field, reason), count in sorted(verdict.refused.items())
    ]
    return {
        "path": verdict.path,
        "valid": verdict.is_valid,
        "errors": verdict.errors,
        "notes": verdict.notes,
        "manifest_sha256": verdict.manifest_sha256 or None,
        "signer": verdict.signer or None,
        "refused": refused,
        "gaps": dict(verdict.gaps),
        **{key: manifest.get(key) for key in ("journal", "chain", "bundle", "previous", "events", "time")},
    }


def _print(verdict: "Verdict") -> None:
    state = "valid" if verdict.is_valid else "invalid"
    line = f"{escape(verdict.path)}: {state}"
    if verdict.manifest is not None:
        line += f", bundle {verdict.manifest['bundle']} of journal {str(verdict.manifest['journal'])[:8]}"
        line += f", {count_text(verdict.events, 'event')}"
    if verdict.signer:
        line += f", signed by {escape(verdict.signer)}"
    print(line)
    for error in verdict.errors:
        print(f"  error: {escape(error)}")
    for (event, field, reason), count in sorted(verdict.refused.items()):
        print(f"  error: {count_text(count)} x {event}.{field}: {reason}")
    for note in verdict.notes:
        print(f"  note: {escape(note)}")
