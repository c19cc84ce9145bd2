"""Whose events a bundle carries: those of sessions that the journal has issued and whose deletion nobody asked for."""

import io
import json

from carobatch_bundles import members
from carobatch_journals import DAY_MS, events_of, fill, journal_at

from carobatch import discards
from carobatch.cli import main
from carobatch.sessions import session_in
from carobatch.store import PackedStore
from carojournal import deletion, drops, packed, packed_write, policy
from carojournal.cli import main as carojournal

WHY = "their session is none that this journal has issued, or its deletion was asked for"
OLD = {"session_duration_ms": 5}


def read_back(bundle):
    """The session ids of the events in a bundle."""
    found = set()
    for data in (data for name, data in members(bundle).items() if "/data/" in name):
        for section in packed.iter_content(io.BytesIO(data).read, len(data), "x"):
            found |= {session_in(payload) for _, payload in packed.split_records(section, "x")}
    return found


def test_what_a_host_records_under_its_ids_of_before_a_clear_is_not_carried(root, clock, tmp_path, capsys):
    """It would tie the new pseudonym to the old one: bundles of both would hold the same session."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    with journal_at(root, clock) as journal:
        fill(journal, clock, 3, step_ms=20)
        assert main(["export", "-o", str(tmp_path / "a")]) == 0
        assert carojournal(["clear", "--force"]) == 0
        fill(journal, clock, 2, step_ms=20)
        capsys.readouterr()
        assert main(["export", "-o", str(tmp_path / "c")]) == 0
        assert capsys.readouterr() == ("", f"carobatch: 2 events left out: {WHY}\ncarobatch: nothing to export\n")
        clock.advance(1_000)
        fill(journal, clock, 4, step_ms=20)
    assert main(["export", "-o", str(tmp_path / "b")]) == 0
    told = capsys.readouterr()
    assert "4 events in" in told.err
    assert f"2 events left out: {WHY}\n" in told.err
    [before], [after] = ((tmp_path / name).iterdir() for name in ("a", "b"))
    assert read_back(before).isdisjoint(read_back(after))
    assert len(events_of(root)) == 6, "they stay where the user sees them"
    assert main(["verify", str(after)]) == 0


def test_events_whose_deletion_was_asked_for_are_not_carried(root, clock, tmp_path, capsys):
    with journal_at(root, clock) as journal:
        fill(journal, clock, 3)
        clock.advance(DAY_MS)
        fill(journal, clock, 4)
    [first, second] = deletion.read_identity(root).history()
    deletion.queue(root, [first], clock.now_ms)
    assert main(["export", "-o", str(tmp_path)]) == 0
    assert "4 events in" in capsys.readouterr().err
    [bundle] = tmp_path.glob("*.tar.zst")
    assert read_back(bundle) == {second[1]}


def test_what_the_journal_told_of_itself_in_a_session_that_is_to_be_deleted_is_not_carried(root, clock, tmp_path):
    with journal_at(root, clock) as journal:
        fill(journal, clock, 3)
    drops.add_counts(root, {"drop io": 5})
    assert discards.tell(root, policy.Policy("on", source="config", consent_ms=1), clock.now_ms)
    [first] = deletion.read_identity(root).history()
    deletion.queue(root, [first], clock.now_ms)
    clock.advance(DAY_MS)
    with journal_at(root, clock) as journal:
        fill(journal, clock, 4)
    drops.add_counts(root, {"drop io": 500})
    assert discards.tell(root, policy.Policy("on", source="config", consent_ms=1), clock.now_ms)
    assert main(["export", "-o", str(tmp_path)]) == 0
    [bundle] = tmp_path.glob("*.tar.zst")
    assert read_back(bundle) == {session for _, session in deletion.read_identity(root).history()} - {first[1]}
    told = [json.loads(data) for name, data in members(bundle).items() if name.endswith("carojournal.json")]
    assert sum(one["events"] for one in told) == 5, "what it told of the day after is carried"


def test_migrated_events_are_carried_under_the_ids_that_were_made_for_them(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CAROJOURNAL_DIR", root)
    old = tmp_path / "telemetry.json"
    old.write_text(json.dumps({"event": "session_end", "timestamp": "2026-01-01T00:00:00Z", "session_id": "x", **OLD}))
    assert carojournal(["migrate", str(old)]) == 0
    assert main(["export", "-o", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert "1 event in" in told.err
    assert "left out" not in told.err


def test_what_was_checked_and_is_the_journals_own_goes_as_it_is(root, clock, tmp_path, monkeypatch):
    """Nothing is decompressed, but where a file does not say whose events it holds."""
    with journal_at(root, clock) as journal:
        fill(journal, clock, 30)
        clock.advance(DAY_MS)
        fill(journal, clock, 30)
    read = []
    real = PackedStore.sections
    monkeypatch.setattr(PackedStore, "sections", lambda self, path: read.append(path) or real(self, path))
    assert main(["export", "-o", str(tmp_path / "a.tar.zst")]) == 0
    assert read == []
    monkeypatch.setattr(packed_write, "SESSIONS_MAX", 0)
    store = PackedStore(root, 10**9)
    for path in store.paths():
        sections = list(real(store, path))
        store.write(sections, store.encode(sections), path)
    assert main(["export", "-o", str(tmp_path / "b.tar.zst")]) == 0
    assert len(read) == 2
    a, b = (members(tmp_path / f"{name}.tar.zst") for name in "ab")
    assert {name: data for name, data in a.items() if "/data/" in name} == {
        name: data for name, data in b.items() if "/data/" in name
    }
