"""What the ledger knows of what was handed out and confirmed: it forgets what is oldest, and nothing else."""

import os

from carobatch_journals import fill, journal_at

from carobatch import ledger as ledgers
from carobatch.cli import main
from carobatch.ledger import Ledger


def handed_out(number, segment):
    zeros = {"chain": "0" * 32, "manifest_sha256": "0" * 64, "fingerprint": "0" * 64}
    return {"bundle": number, "events": 1, "previous": None, "segments": {segment: [[1, 9]]}, **zeros}


def test_what_the_newest_bundles_held_is_forgotten_last(root, monkeypatch):
    """The ledger is JSON with sorted keys: the order in which segments were confirmed does not survive it."""
    monkeypatch.setattr(ledgers, "ACKS_SEGMENTS_MAX", 10)
    ledger = Ledger(root)
    acks = {os.urandom(16).hex(): [[1, 5]] for _ in range(10)}
    for number, segment in enumerate(("00" * 16, "ff" * 16, "77" * 16), 1):
        ledger.write_bundle(handed_out(number, segment))
        ledger.write_acks({**acks, segment: [[1, 9]]})
        acks = ledger.acks()
        assert len(acks) == 10
    assert {"00" * 16, "ff" * 16, "77" * 16} < acks.keys()


def test_a_bundle_that_is_exported_again_stays_acknowledged(root, clock, tmp_path):
    with journal_at(root, clock) as journal:
        fill(journal, clock, 3)
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    assert main(["export", "-o", str(tmp_path / "a")]) == 0
    [bundle] = (tmp_path / "a").iterdir()
    assert main(["import", str(bundle), "--into", str(tmp_path / "c")]) == 0
    [receipt] = (tmp_path / "c").glob("*/received/*.json")
    assert main(["ack", str(receipt)]) == 0
    known = Ledger(root).bundles()
    assert "acknowledged" in known[0]
    main(["export", "-o", str(tmp_path / "b")])
    assert Ledger(root).bundles()[: len(known)] == known
