"""Import and acknowledgement: every event once, contradictions are alarms, only what was accepted is reclaimable."""

import hashlib
import io
import json
import os
import subprocess
from pathlib import Path

import cbor2
import pytest
from carobatch_bundles import changed, members, write
from carobatch_journals import DAY_MS, events_of, fill, journal_at
from faults_by_hand import lives_beyond
from packed_files import gaps_of

from carobatch.cli import main
from carobatch.importer import import_bundle
from carobatch.receipt import intersect, union
from carojournal.cli.docs import read_topic
from carojournal.packed import iter_content, read_inventory
from carojournal.recovery import verify


def export(tmp_path, capsys, *words, name="out"):
    (tmp_path / name).mkdir(exist_ok=True)
    capsys.readouterr()
    assert main(["export", "-o", str(tmp_path / name), *words]) == 0
    return capsys.readouterr().out.split("\n")[0]


def test_what_was_left_out_and_is_lost_by_now_is_said(root, clock, tmp_path, capsys, into):
    """The first bundle left out what was before a time; at the second one the source has lost all of the segment."""
    with journal_at(root, clock) as journal:
        fill(journal, clock, 20)
    since = (clock.now_ms - 9_500) // 1000
    assert main(["import", export(tmp_path, capsys, "--since", f"@{since}", name="a"), "--into", into]) == 0
    [path] = Path(root, "packed").iterdir()
    inventory = read_inventory(str(path))
    path.write_bytes(path.read_bytes()[: inventory.start] + bytes(inventory.frame_bytes))
    main(["compact"])
    before = held(into)
    assert main(["import", export(tmp_path, capsys, name="b"), "--into", into]) == 0
    assert held(into) == before
    [kept] = Path(into).glob("*/packed/*.zst")
    [gaps] = gaps_of(str(kept)).values()
    assert {reason for *_, reason in gaps} == {"damaged"}
    assert sum(last - first + 1 for first, last, _ in gaps) == 20 - len(before)


@pytest.fixture
def bundle(filled, tmp_path, capsys):
    return export(tmp_path, capsys)


@pytest.fixture
def into(tmp_path):
    return str(tmp_path / "into")


def held(into):
    """Events of the one imported journal."""
    [journal] = os.listdir(into)
    return events_of(os.path.join(into, journal))


def receipt(into):
    [path] = Path(into).glob("*/received/*.json")
    return path


def test_every_event_arrives_once_however_often_it_is_imported(bundle, into, filled, tmp_path):
    assert main(["import", bundle, "--into", into]) == 0
    first = receipt(into).read_bytes()
    assert held(into) == filled
    assert main(["import", bundle, bundle, "--into", into]) == 0
    assert held(into) == filled
    assert receipt(into).read_bytes() == first
    subprocess.run(["tar", "--zstd", "-xf", bundle, "-C", str(tmp_path)], check=True)
    unpacked = str(tmp_path / os.path.basename(bundle).removesuffix(".tar.zst"))
    assert main(["import", unpacked, "--into", into]) == 0
    assert held(into) == filled


@pytest.mark.parametrize("option", ["--into", "--receipts"])
def test_an_empty_place_is_refused(bundle, home, tmp_path, capsys, option):
    """An unset variable of a script would have taken the events to the default place."""
    before = sorted(tmp_path.rglob("*"))
    for words in ([option, ""], [f"{option}="]):
        assert main(["import", bundle, *words]) == 64
        out, err = capsys.readouterr()
        assert (out, err) == ("", f"carobatch: {option} is empty: leave it out, or name a folder\n")
    assert sorted(tmp_path.rglob("*")) == before


def test_the_folders_that_are_made_are_ones_own_alone(bundle, home, folders, monkeypatch):
    before = set(folders())
    monkeypatch.chdir(home)
    assert main(["import", bundle, "--into", f"{home}/a/b", "--receipts", "c/d"]) == 0
    made = {name: mode for name, mode in folders().items() if name not in before}
    assert {"a", "a/b", "c", "c/d"} <= set(made)
    assert set(made.values()) == {0o700}


def test_others_bundles_are_imported_under_off_as_its_texts_say(bundle, root, monkeypatch, capsys):
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    before = sorted(Path(root).rglob("*"))
    assert main(["import", bundle]) == 0
    assert sorted(Path(root).rglob("*")) == before
    assert len(os.listdir(os.path.join(os.path.dirname(root), "imported"))) == 1
    capsys.readouterr()
    assert main(["import", "--help"]) == 0
    for text in (capsys.readouterr().out, read_topic("off")):
        assert "no telemetry of this machine" in " ".join(text.split())


def test_slices_overlap_and_arrive_in_any_order(filled, into, clock, tmp_path, capsys):
    times = [clock.now_ms - days * DAY_MS - 10_000 for days in (3, 2, 1)]
    bundles = [
        export(tmp_path, capsys, "--until", f"@{times[1] // 1000}", name="a"),
        export(tmp_path, capsys, "--since", f"@{times[0] // 1000}", name="b"),
        export(tmp_path, capsys, "--since", f"@{times[2] // 1000}", name="c"),
    ]
    assert main(["import", *reversed(bundles), "--into", into]) == 0
    assert held(into) == filled
    [root] = Path(into).iterdir()
    from carojournal import packed

    for path in (root / "packed").iterdir():
        assert all(row["gaps"] == [] for row in packed.read_inventory(str(path)).sections)


def forged(files, payload):
    """Return a bundle's files with *payload* applied to each payload file, and a manifest that says so."""
    files = changed(files, payload)
    top = next(iter(files)).split("/")[0]

    def manifest(value):
        for file in value["files"]:
            raw = files[f"{top}/{file['path']}"]
            for row, section in zip(file["segments"], iter_content(io.BytesIO(raw).read, len(raw), "x"), strict=True):
                row["sha256"] = hashlib.sha256(section.encode()).hexdigest()

    return changed(files, manifest=manifest)


def test_a_contradiction_is_an_alarm_and_changes_nothing(bundle, into, filled, tmp_path, capsys):
    assert main(["import", bundle, "--into", into]) == 0

    def payload(raw):
        return raw.replace(b"ssession_duration_ms\x05", b"ssession_duration_ms\x06")

    path = write(tmp_path / "forged", forged(members(bundle), payload))
    assert main(["verify", path]) == 0
    capsys.readouterr()
    assert main(["import", path, "--into", into]) == 65
    assert "ALARM" in capsys.readouterr().err
    assert held(into) == filled
    receipts = [json.loads(found.read_text()) for found in Path(into).glob("*/received/*.json")]
    assert sorted(len(found["conflicts"]) for found in receipts) == [0, 3]
    assert sorted(found["events"] for found in receipts) == [57, 60]


def test_single_refused_events_are_left_out_and_named(bundle, into, filled, root, tmp_path, capsys):
    mark = b"ssession_duration_ms\x05"

    def payload(raw):
        # One digit more in one event of each file, beyond the field's range; the header's size follows.
        big = b"ssession_duration_ms\x1a\x7f\xff\xff\xff"
        head = raw.index(b"\xa6eevent")
        header = cbor2.loads(raw[:head])
        header["size"] += len(big) - len(mark)
        return cbor2.dumps(header, canonical=True) + raw[head:].replace(mark, big, 1)

    path = write(tmp_path / "forged", forged(members(bundle), payload))
    assert main(["import", path, "--into", into]) == 65
    expected = {key: raw for key, raw in filled.items() if mark not in raw}
    assert held(into) == expected
    assert len(expected) == 57
    found = json.loads(receipt(into).read_text())
    assert {(row["event"], row["field"], row["reason"]) for row in found["rejected"]} == {
        ("session_end", "session_duration_ms", "range")
    }
    # At the source such a receipt confirms nothing: it is for another content.
    assert main(["ack", str(receipt(into))]) == 69


def test_an_unusable_bundle_changes_nothing(bundle, into, tmp_path, capsys):
    data = bytearray(Path(bundle).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "bad").write_bytes(data)
    assert main(["import", str(tmp_path / "bad"), "--into", into]) == 65
    assert not os.path.exists(into)
    assert main(["import", str(tmp_path / "none"), "--into", into]) == 74
    assert not os.path.exists(into)


def test_killed_anywhere_the_next_run_finishes(bundle, into, filled, tmp_path):
    for step in range(1, 1_000):
        place = f"{into}{step}"
        lived = lives_beyond(step, lambda place=place: import_bundle(bundle, place))
        assert main(["import", bundle, "--into", place]) == 0
        assert held(place) == filled
        if lived:
            break
    assert lived
    assert step > 8


def test_ack_makes_reclaimable_exactly_what_was_accepted(bundle, into, filled, root, clock, capsys):
    assert main(["import", bundle, "--into", into]) == 0
    with journal_at(root, clock) as journal:
        clock.advance(DAY_MS)
        fill(journal, clock, 5)
    assert main(["compact", "--idle", "0"]) == 0
    everything = events_of(root)
    path = str(receipt(into))
    assert main(["ack", path]) == 0
    assert "60 events confirmed" in capsys.readouterr().out
    assert events_of(root) == everything
    assert main(["ack", path, "--reclaim"]) == 0
    assert "3 files removed" in capsys.readouterr().out
    left = events_of(root)
    assert left == {key: raw for key, raw in everything.items() if key not in filled}
    assert len(left) == 5
    assert main(["status", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["events"], found["bundles"], found["bundles_acknowledged"]) == (5, 1, 1)


def test_what_was_confirmed_and_removed_is_no_gap(bundle, into, filled, root, clock):
    assert main(["import", bundle, "--into", into]) == 0
    with journal_at(root, clock) as journal:
        fill(journal, clock, 5)
    assert main(["ack", str(receipt(into)), "--reclaim"]) == 0
    found = verify(root)
    assert found.events == 5
    assert (found.exit_code, found.gaps) == (0, [])


def test_a_partly_accepted_file_stays_whole(bundle, into, filled, root, capsys):
    assert main(["import", bundle, "--into", into]) == 0
    path = receipt(into)
    value = json.loads(path.read_text())
    segment = min(value["accepted"])
    value["accepted"][segment] = [[1, 19]]
    path.write_text(json.dumps(value))
    assert main(["ack", str(path), "--reclaim"]) == 0
    assert "59 events confirmed" in capsys.readouterr().out
    assert {key[0].hex() for key in events_of(root)} == {segment}
    assert len(events_of(root)) == 20


def test_receipts_that_do_not_belong_here_confirm_nothing(bundle, into, filled, root, tmp_path):
    assert main(["import", bundle, "--into", into]) == 0
    good = json.loads(receipt(into).read_text())
    for code, change in (
        (69, {"journal": "0" * 32}),
        (69, {"bundle": 7}),
        (69, {"chain": "0" * 32}),
        (69, {"manifest_sha256": "0" * 64}),
        (65, {"accepted": {"x": [[1, 2]]}}),
        (65, {"accepted": {"0" * 32: [[2, 1]]}}),
        (65, {"format": "other"}),
        (65, {"rejected": [1]}),
    ):
        (tmp_path / "bad.json").write_text(json.dumps({**good, **change}))
        assert main(["ack", str(tmp_path / "bad.json"), "--reclaim"]) == code, change
    (tmp_path / "bad.json").write_text(json.dumps({**good, "accepted": {"f" * 32: [[0, 99]]}}))
    assert main(["ack", str(tmp_path / "bad.json"), "--reclaim"]) == 0
    (tmp_path / "bad.json").write_text("[" * 100_000)
    assert main(["ack", str(tmp_path / "bad.json"), "--reclaim"]) == 65
    assert events_of(root) == filled


def test_signed_receipts(bundle, into, filled, tmp_path, capsys):
    for name in ("id", "other"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(tmp_path / name)], check=True
        )
        (tmp_path / f"{name}.allowed").write_text("importer " + (tmp_path / f"{name}.pub").read_text())
    back = str(tmp_path / "back")
    assert main(["import", bundle, "--into", into, "--sign", str(tmp_path / "id"), "--receipts", back]) == 0
    [path] = [os.path.join(back, name) for name in os.listdir(back) if name.endswith(".json")]
    allowed = str(tmp_path / "id.allowed")
    words = ["ssh-keygen", "-Y", "verify", "-f", allowed, "-I", "importer", "-n", "carojournal", "-s", f"{path}.sig"]
    subprocess.run(words, input=Path(path).read_bytes(), check=True, capture_output=True)
    assert main(["ack", path, "--allowed-signers", str(tmp_path / "other.allowed")]) == 65
    assert main(["ack", path, "--allowed-signers", allowed]) == 0
    assert "signed by importer" in capsys.readouterr().out
    os.unlink(f"{path}.sig")
    assert main(["ack", path, "--allowed-signers", allowed]) == 65


def test_encrypted_parts_are_imported_and_an_unsigned_bundle_is_not_where_signers_are_required(
    filled, into, tmp_path, capsys
):
    subprocess.run(["age-keygen", "-o", str(tmp_path / "key")], check=True, capture_output=True)
    recipient = (tmp_path / "key").read_text().split("public key: ")[1].split()[0]
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(tmp_path / "id")], check=True)
    (tmp_path / "allowed").write_text("a " + (tmp_path / "id.pub").read_text())
    part = export(tmp_path, capsys, "--encrypt", recipient, "--split", "4096")
    words = ["import", part, "--into", into, "-i", str(tmp_path / "key")]
    assert main([*words, "--allowed-signers", str(tmp_path / "allowed")]) == 65
    assert not os.path.exists(into)
    assert main(words) == 0
    assert held(into) == filled


def test_many_journals_interleaved_keep_apart_and_a_relay_keeps_identities(into, clock, tmp_path, capsys):
    expected = {}
    bundles = []
    for name in ("one", "two"):
        root = str(tmp_path / name)
        with journal_at(root, clock) as journal:
            fill(journal, clock, 15)
        expected |= events_of(root)
        bundles.append(export(tmp_path, capsys, "--dir", root, name=f"out-{name}"))
    assert main(["import", *bundles, *bundles, "--into", into]) == 0
    found = {}
    for journal in os.listdir(into):
        found |= events_of(os.path.join(into, journal))
    assert found == expected
    relayed = [export(tmp_path, capsys, "--dir", os.path.join(into, name), name="relay") for name in os.listdir(into)]
    again = str(tmp_path / "again")
    assert main(["import", *relayed, "--into", again]) == 0
    assert sorted(os.listdir(again)) == sorted(os.listdir(into))
    found = {}
    for journal in os.listdir(again):
        found |= events_of(os.path.join(again, journal))
    assert found == expected


def test_list_names_bundles_receipts_and_bundles_that_never_came(filled, into, root, clock, tmp_path, capsys):
    first = export(tmp_path, capsys, name="a")
    bundles = [first]
    for number in range(2):
        with journal_at(root, clock) as journal:
            fill(journal, clock, 2)
        bundles.append(export(tmp_path, capsys, name=f"b{number}"))
    assert main(["import", bundles[0], bundles[2], "--into", into]) == 0
    capsys.readouterr()
    [journal] = Path(into).iterdir()
    assert main(["list", "--dir", str(journal), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["bundle"] for row in rows if row["kind"] == "receipt"] == [1, 3]
    assert [row["bundle"] for row in rows if row["kind"] == "gap"] == [2]
    assert main(["list", "bundles"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["list", "bundles", "bundles"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["list", "nonsense"]) == 64
    assert main(["status"]) == 0


def test_runs():
    assert union([[1, 3], [7, 9]], [[4, 5], [9, 12]]) == [[1, 5], [7, 12]]
    assert intersect([[1, 5], [7, 12]], [[3, 8], [12, 20]]) == [[3, 5], [7, 8], [12, 12]]
    assert intersect([], [[1, 2]]) == []


def test_what_a_batch_under_way_names_is_not_reclaimed(bundle, into, filled, root, capsys):
    assert main(["import", bundle, "--into", into]) == 0
    os.makedirs(os.path.join(root, "outbox"), 0o700, exist_ok=True)
    segment = min(key[0] for key in filled)
    Path(root, "outbox", "batch").write_text(segment.hex())
    assert main(["ack", str(receipt(into)), "--reclaim"]) == 0
    assert {key[0] for key in events_of(root)} == {segment}
    os.unlink(os.path.join(root, "outbox", "batch"))
    assert main(["ack", str(receipt(into)), "--reclaim"]) == 0
    assert events_of(root) == {}


def test_a_root_that_others_may_write_to_is_refused(filled, root, tmp_path):
    os.chmod(root, 0o777)
    for words in (["compact"], ["export", "-o", str(tmp_path)], ["status"], ["list"]):
        assert main(words) == 69


def test_a_live_journal_is_no_place_for_imported_ones(bundle, into, root, capsys):
    """Their folders made it "not a journal" as soon as it was cleared."""
    before = sorted(os.listdir(root))
    assert main(["import", bundle, "--into", root]) == 69
    assert capsys.readouterr().err == f"carobatch: {root} is a journal: name a folder beside it with --into\n"
    assert sorted(os.listdir(root)) == before
    for _ in range(2):  # What an import has made is taken again.
        assert main(["import", bundle, "--into", into]) == 0
    [taken] = Path(into).iterdir()
    assert main(["import", bundle, "--into", str(taken)]) == 69
