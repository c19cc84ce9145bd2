"""A damaged packed file and what stands around it: copies, receipts, archives, eviction, schemas, a disk that fails."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from unittest import mock

import cbor2
import pytest
from carobatch_journals import DAY_MS, close_lanes, events_of, fill, squeezed
from packed_files import CAP, beyond_parity, gaps_of, pack, rows_of, run
from told_losses import lost
from uploads import names

from carobatch import ack, deliveries
from carobatch.cli import main
from carobatch.ledger import Ledger
from carobatch.noting import NotingReader
from carobatch.receipt import difference
from carobatch.store import PackedStore
from carojournal import durable, packed, packed_salvage, packed_write, sent, zstd
from carojournal.errors import DamagedData
from carojournal.packed_header import is_emptied
from carojournal.packed_streams import PackedStreams
from carojournal.recovery import verify


def test_what_a_disk_writes_wrong_replaces_nothing(root, clock, monkeypatch):
    path, whole, events = pack(root, clock)
    path.write_bytes(whole[:-1])
    write = durable.DurableFile.write
    monkeypatch.setattr(durable.DurableFile, "write", lambda self, data: write(self, data[:-40] + bytes(40)))
    done = run(root, clock)
    assert done.mended == 0
    assert [where for where, _ in done.problems][:1] == [str(path)]
    assert path.read_bytes() == whole[:-1]
    assert events_of(root) == events
    assert names(root, "packed") == [path.name]


def test_the_level_of_compression_is_that_of_who_wrote_it(root, clock):
    path, whole, _ = pack(root, clock)
    path.write_bytes(whole[:-1])
    assert run(root, clock, level=3).mended == 1
    assert path.read_bytes() == whole


def test_a_segment_that_lies_elsewhere_is_not_given_up(root, clock):
    """A kill between packing and unlinking leaves it in both places."""
    path, _, _ = pack(root, clock)
    before = rows_of(path)
    os.makedirs(os.path.join(root, "segments"), exist_ok=True)
    store = PackedStore(root, CAP)
    sections = list(store.sections(str(path)))
    twin = store.free_path(sections[2])  # As a merge that was killed: the same segments in two packed files.
    store.write(sections[2:], store.encode(sections[2:]), twin)
    events = events_of(root)
    beyond_parity(path, 0.95)
    done = run(root, clock)
    assert done.mended == 1
    found = [row for name in names(root, "packed") for row in rows_of(Path(root, "packed", name))]
    assert sorted(row["segment"] for row in found) == sorted(row["segment"] for row in before)
    assert events_of(root) == events
    assert not any(row["gaps"] for row in found)
    assert verify(root).exit_code == 0
    assert run(root, clock).problems == []


def test_a_source_that_comes_back_fills_what_was_given_up(root, clock):
    """A power cut may bring back the closed segment that was unlinked last."""
    kept = {}
    unlink = os.unlink

    def remembering(path, **options):
        if str(path).endswith(".seg"):
            kept[path] = Path(path).read_bytes()
        unlink(path, **options)

    with mock.patch.object(os, "unlink", remembering):
        path, _, events = pack(root, clock)
    beyond_parity(path)
    run(root, clock)
    assert gaps_of(path)
    for source, data in kept.items():
        Path(source).write_bytes(data)
    done = run(root, clock)
    assert done.problems == []
    assert events_of(root) == events
    assert names(root, "segments") == []
    assert not gaps_of(path)
    assert verify(root).exit_code == 0


def consented_pack(root, clock):
    """As `pack`, of segments under a yes."""
    path, _, _ = pack(root, clock)
    store = PackedStore(root, CAP)
    old = store.sections(str(path))
    sections = [packed.Section({**one.header, "consent": clock.now_ms}, one.body) for one in old]
    store.write(sections, store.encode(sections), str(path))
    return path, rows_of(path)


def test_what_is_named_as_damaged_is_not_forgotten_with_a_delivery(root, clock):
    path, rows = consented_pack(root, clock)
    beyond_parity(path)
    run(root, clock)
    assert gaps_of(path)
    whole = [row for row in rows_of(path) if row["events"]]
    done = {row["segment"]: row["runs"] for row in whole}
    assert deliveries.reclaim(NotingReader(root), done) == (0, 0)
    Ledger(root).write_acks({row["segment"].hex(): row["runs"] for row in rows})
    assert ack.reclaim(PackedStore(root, CAP), Ledger(root)) == (0, 0)
    assert path.exists()


def test_what_receipts_account_for_is_not_damaged_as_well(root, clock):
    path, rows = consented_pack(root, clock)
    value = sent.uploads(root)
    value["ranges"] = [[rows[3]["segment"], rows[3]["runs"]]]
    deliveries._write(root, value)
    Ledger(root).write_acks({rows[2]["segment"].hex(): [[1, 400], [900, 950]]})
    beyond_parity(path, 0.1)
    run(root, clock)
    found = gaps_of(path)
    assert found[rows[1]["segment"]] == [(1, 1000, "damaged")]
    assert found[rows[2]["segment"]] == [
        (1, 400, "delivered"),
        (900, 950, "delivered"),
        (401, 899, "damaged"),
        (951, 1000, "damaged"),
    ]
    assert found[rows[3]["segment"]] == [(1, 1000, "delivered")]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([[1, 9]], [], [[1, 9]]),
        ([[1, 9]], [[1, 9]], []),
        ([[1, 9]], [[3, 4], [6, 6]], [[1, 2], [5, 5], [7, 9]]),
        ([[1, 3], [5, 9]], [[2, 6], [9, 12]], [[1, 1], [7, 8]]),
    ],
)
def test_difference_of_runs(left, right, expected):
    assert difference(left, right) == expected
    numbers = [{n for a, b in runs for n in range(a, b + 1)} for runs in (left, right, expected)]
    assert numbers[0] - numbers[1] == numbers[2]


def newer(path):
    """Make the packed file one of a schema that comes after this program's."""
    store = PackedStore(str(path.parent.parent), CAP)
    changed = []
    for section in store.sections(str(path)):
        events = [cbor2.loads(raw) for _, raw in packed.split_records(section, "x")]
        body = b"".join(cbor2.dumps({**event, "field_of_later": 1}, canonical=True) for event in events)
        changed.append(packed.Section({**section.header, "schema": hashlib.sha256(b"later").digest()}, body))
    path.write_bytes(packed_write.encode_packed(changed, zstd.compressor(9), bytes(32)))


def test_of_a_schema_that_is_not_known_nothing_is_taken_away(root, clock):
    path, _, _ = pack(root, clock)
    newer(path)
    whole, events = path.read_bytes(), events_of(root)
    path.write_bytes(whole[:-30] + bytes([whole[-30] ^ 1]) + whole[-29:])
    assert run(root, clock).mended == 1
    assert path.read_bytes() == whole
    for damage in (lambda: beyond_parity(path), lambda: path.write_bytes(whole[:100] + b"\xff" + whole[101:])):
        damage()
        damaged = path.read_bytes()
        done = run(root, clock)
        assert (done.mended, done.refused) == (0, 0)
        assert any("schema" in reason for where, reason in done.problems if where == str(path))
        assert path.read_bytes() == damaged
        path.write_bytes(whole)
    assert events_of(root) == events


def test_a_section_of_losses_alone_leaves_no_gap_in_the_chain(root, clock):
    path, _, _ = pack(root, clock)
    store = PackedStore(root, CAP)
    first, *_, last = store.sections(str(path))
    loss = {
        "record": "loss",
        "reason": "evicted",
        "segment": b"w" * 16,
        "first_seq": 1,
        "last_seq": 9,
        "events": 9,
        "bytes": 1,
        "carried": [],
        "seq": 1,
    }
    source = {"bytes": 400, "sha256": b"s" * 32, "sealed": True, "damaged": False}
    header = {**last.header, "segment": b"3" * 16, "records": 3, "events": 0, "runs": [], "first_seq": 0, "last_seq": 0}
    told = packed.Section({**header, "losses": [loss], "gaps": [], "source": source, "previous": None}, b"")
    after = packed.Section({**last.header, "previous": [b"3" * 16, 2, 400]}, last.body)
    sections = [packed.Section({**first.header, "previous": None}, first.body), told, after]
    store.write(sections, store.encode(sections), str(path))
    assert verify(root).exit_code == 0
    beyond_parity(path, 0.02)
    run(root, clock)
    [emptied] = [one.header for one in store.sections(str(path)) if one.segment == b"3" * 16]
    assert is_emptied(emptied)
    assert emptied["losses"] == [loss]
    assert verify(root).exit_code == 0


@pytest.mark.parametrize("damage", [lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:], lambda data: data])
def test_an_import_never_takes_the_place_of_what_it_does_not_see(root, clock, tmp_path, capsys, damage):
    """Of an archive's file whose inventory cannot be read, or is of a version before, nothing may be lost."""
    bundles = []
    for number in (1, 2):
        with squeezed(root, clock, CAP) as journal:
            fill(journal, clock, 300)
            close_lanes(root)
        folder = tmp_path / f"out{number}"
        folder.mkdir()
        assert main(["export", "-o", str(folder)]) == 0
        bundles.append(capsys.readouterr().out.strip())
    into = tmp_path / "archive"
    for bundle in bundles:
        assert main(["import", bundle, "--into", str(into)]) == 0
    [archive] = (str(path) for path in into.iterdir())
    [path] = (Path(archive, "packed", name) for name in names(archive, "packed"))
    events, whole = events_of(archive), path.read_bytes()
    assert len(events) == 600
    inventory = packed.read_inventory(str(path))
    before = cbor2.loads(whole[8 : inventory.start])
    del before["parity"], before["crc"]
    old = zstd.skippable(cbor2.dumps(before, canonical=True)) + whole[inventory.start :]
    path.write_bytes(damage(whole) if damage(whole) != whole else old)
    assert main(["import", bundles[0], "--into", str(into)]) == 0
    assert events_of(archive) == events
    assert verify(archive).exit_code == 0
    # Where nothing can be read at all, what comes in stands beside it.
    garbage = whole[:50] + bytes(len(whole) - 50)
    [path] = (Path(archive, "packed", name) for name in names(archive, "packed"))
    path.write_bytes(garbage)
    main(["import", bundles[0], "--into", str(into)])
    assert path.read_bytes() == garbage
    assert len(events_of(archive)) == 300


def test_a_file_that_cannot_be_read_keeps_nothing_else_from_being_packed(root, clock, tmp_path):
    path, _, _ = pack(root, clock)
    with squeezed(root, clock, CAP) as journal:
        fill(journal, clock, 30)
        close_lanes(root)
    (path.parent / f"{1:016d}-{b'k'.hex() * 16}.cborseq.zst").symlink_to(tmp_path)
    with pytest.raises(OSError, match="symbolic"):
        run(root, clock)
    assert names(root, "segments") == []


def test_what_does_not_hold_is_looked_for_once(root, clock, monkeypatch):
    path, _, _ = pack(root, clock)
    rows = rows_of(path)
    beyond_parity(path, 0.1)
    looks = []
    iter_sections = packed.iter_sections
    monkeypatch.setattr(packed, "iter_sections", lambda place: looks.append(place) or iter_sections(place))
    streams = PackedStreams()
    held = 0
    for row in rows * 3:
        try:
            held += len(list(streams.section(str(path), row["segment"])))
        except DamagedData:
            continue
    assert held == 0
    assert len(looks) == 1


@pytest.mark.parametrize(("planted", "found"), [(40, 4), (70, 0)])
def test_headers_in_front_of_nothing_are_stepped_over_and_counted(root, clock, monkeypatch, planted, found):
    path, _, _ = pack(root, clock)
    sections = list(PackedStore(root, CAP).sections(str(path)))
    inventory = packed.read_inventory(str(path))
    bare = packed.Section({**sections[0].header, "segment": b"?" * 16}, b"").encode()
    content = bare * planted + b"".join(section.encode() for section in sections)
    path.write_bytes(path.read_bytes()[: inventory.start] + zstd.compress(content))
    inventory = replace(inventory, content_bytes=len(content))
    decoded = []
    first_header = packed_salvage.first_header
    monkeypatch.setattr(packed_salvage, "first_header", lambda data: decoded.append(len(data)) or first_header(data))
    held = list(packed_salvage.sections_that_hold(inventory))
    assert held == sections[:found]
    assert len(decoded) == min(planted, 64) + found


def test_a_file_that_cannot_say_what_it_holds_is_evicted_last(tmp_path, clock):
    """Its events would be gone and no record could say how many; mended, it says so."""
    root, cap = str(tmp_path / "journal"), 100_000
    with squeezed(root, clock, cap) as journal:
        made = []
        for _ in range(2):
            made += fill(journal, clock, 150, 10)
            close_lanes(root)
            run(root, clock, cap)
            clock.advance(DAY_MS)
        made += fill(journal, clock, 10)
        oldest, other = (Path(root, "packed", name) for name in names(root, "packed"))
        whole = oldest.read_bytes()
        oldest.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
        while other.exists():
            made += fill(journal, clock, 50, 10)
        assert oldest.exists()
        assert run(root, clock, cap).mended == 1
        assert oldest.read_bytes() == whole
        while oldest.exists():
            made += fill(journal, clock, 50, 10)
    assert lost(root) + len(events_of(root)) == len(made)
    assert verify(root).exit_code == 0


def test_it_goes_all_the_same_where_nothing_else_can(tmp_path, clock):
    root, cap = str(tmp_path / "journal"), 100_000
    with squeezed(root, clock, cap) as journal:
        fill(journal, clock, 600, 10)
        close_lanes(root)
        run(root, clock, cap)
        [path] = (Path(root, "packed", name) for name in names(root, "packed"))
        data = path.read_bytes()
        path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:] + bytes(cap))
        fill(journal, clock, 600, 10)
        assert not path.exists()
        assert journal.stats["dropped"] == 0
