"""The whole loop, for any journal: every event arrives exactly once, every loss is named, nothing else is reclaimed."""

import json
import os
import tempfile
from itertools import pairwise
from pathlib import Path

from carobatch_bundles import members
from carobatch_journals import DAY_MS, close_lanes, events_of, fill, journal_at, squeezed
from conftest import Clock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carobatch.cli import main
from carojournal.lanes import Lane

SQUEEZED_CAP_BYTES = 90_000  # Room for five of the smallest segments.
STEPS = st.sampled_from(["write", "write", "other lane", "close", "next day", "squeeze", "damage", "compact"])


def take_step(step, root, clock, journal, recorded):
    if step == "write":
        recorded += fill(journal, clock, 9, 1)
    elif step == "other lane":
        # Somebody else holds lane 0: the writer takes the next one.
        other = Lane(root, 0, 10_000_000, os.urandom)
        assert other.acquire()
        recorded += fill(journal, clock, 5, 1)
        other.close()
    elif step == "close":
        close_lanes(root)
    elif step == "next day":
        clock.advance(DAY_MS)
    elif step == "squeeze":
        with squeezed(root, clock, SQUEEZED_CAP_BYTES) as other:
            recorded += fill(other, clock, 700, 1)
    elif step == "compact":
        assert main(["compact", "--dir", root, "--idle", "0"]) in (0, 65)
    elif step == "damage":
        damage(root)


def damage(root):
    """Break one byte in the middle of the newest closed segment that has a middle."""
    for path in sorted(Path(root, "segments").iterdir(), reverse=True):
        data = bytearray(path.read_bytes())
        if len(data) > 1_200:
            data[len(data) // 2] ^= 0xFF
            path.write_bytes(data)
            return


def export_all(root, out, cuts):
    """Export the spans between *cuts* (UTC ms), which cover all time; returns paths of what was written."""
    edges = [None, *sorted(cuts), None]
    for number, (since, until) in enumerate(pairwise(edges)):
        folder = os.path.join(out, str(number))
        os.mkdir(folder)
        words = ["export", "--dir", root, "-o", folder, "--split", "4096"]
        words += ["--since", f"@{since / 1000:.3f}"] if since is not None else []
        words += ["--until", f"@{until / 1000:.3f}"] if until is not None else []
        assert main(words) == 0
    return sorted(str(path) for path in Path(out).glob("*/*.sha256"))


def joined(listing):
    whole = Path(listing.removesuffix(".sha256"))
    whole.write_bytes(b"".join(path.read_bytes() for path in sorted(whole.parent.glob(f"{whole.name}.[0-9]*"))))
    return str(whole)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_round_trip(home, data):
    clock = Clock()
    recorded = []
    with tempfile.TemporaryDirectory(dir=home) as place:
        root, out, into = (os.path.join(place, name) for name in ("journal", "out", "into"))
        os.mkdir(out)
        start = clock.now_ms
        with journal_at(root, clock) as journal:
            recorded += fill(journal, clock, 3, 1)
            for step in data.draw(st.lists(STEPS, min_size=2, max_size=10)):
                take_step(step, root, clock, journal, recorded)
        assert main(["compact", "--dir", root, "--idle", "0"]) in (0, 65)
        present = events_of(root)
        assert set(present) <= set(recorded)

        cuts = data.draw(st.lists(st.integers(start, clock.now_ms + 1), max_size=3, unique=True))
        bundles = data.draw(st.permutations(export_all(root, out, cuts)))
        assert events_of(root) == present
        assert main(["import", *bundles, *bundles, "--into", into]) == 0
        held = {}
        for journal_id in os.listdir(into):
            held |= events_of(os.path.join(into, journal_id))
        assert held == present

        check_losses(bundles, recorded, present)

        with journal_at(root, clock) as journal:
            late = set(fill(journal, clock, 2, 1))
        assert main(["compact", "--dir", root, "--idle", "0"]) in (0, 65)
        receipts = sorted(str(path) for path in Path(into).glob("*/received/*.json"))
        assert main(["ack", *receipts, "--dir", root, "--reclaim"]) == 0
        left = set(events_of(root))
        assert late <= left
        assert left <= set(present) | late
        assert set(present) - left <= set(held)


def check_losses(bundles, recorded, present):
    """Every recorded event is present, or lies in a gap or loss that the bundles name, and they name no more."""
    losses, gaps = {}, {}
    for listing in bundles:
        files = members(joined(listing))
        manifest = json.loads(next(raw for name, raw in files.items() if name.endswith("carojournal.json")))
        losses |= {loss["segment"]: loss for loss in manifest["losses"]}
        for file in manifest["files"]:
            for row in file["segments"]:
                for gap in row["gaps"]:
                    if gap["reason"] == "damaged":
                        gaps[row["segment"], gap["first_seq"]] = gap
    named = sum(loss["events"] + sum(sums["events"] for sums in loss["carried"]) for loss in losses.values())
    damaged = sum(gap["last_seq"] - gap["first_seq"] + 1 for gap in gaps.values())
    assert len(recorded) == len(present) + named + damaged
