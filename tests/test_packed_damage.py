"""A damaged packed file: nothing is lost by a run no longer than a block, and beyond that only what does not hold."""

import contextlib
import hashlib
import io
import os
from dataclasses import replace
from pathlib import Path
from random import Random

import cbor2
import pytest
import zstandard

from carojournal import held, packed, packed_salvage, packed_write, segments, zstd
from carojournal.errors import DamagedData, JournalIOError
from carojournal.packed_streams import PackedStreams
from carojournal.recovery import verify_paths
from carojournal.verify_segment import verify_packed

NOON_MS = 1_790_000_000_000
SECTIONS = 6
EVENTS = 700
_LOSS = {
    "record": "loss",
    "reason": "evicted",
    "segment": b"\x77" * 16,
    "first_seq": 1,
    "last_seq": 1,
    "events": 1,
    "bytes": 1,
    "carried": [],
    "seq": 1,
}


def _section(number):
    """A section whose events compress no better than real ones."""
    random = Random(number)
    body = b"".join(
        cbor2.dumps(
            {
                "event": "session_end",
                "session_duration_ms": random.randrange(100_000),
                "run_id": random.randbytes(16),
                "session_id": random.randbytes(16),
                "timestamp": NOON_MS + random.randrange(10**6),
            },
            canonical=True,
        )
        for _ in range(EVENTS)
    )
    header = {
        "record": "section",
        "version": 1,
        "segment": bytes([number]) * 16,
        "created": NOON_MS * 1000 + number,
        "lane": 0,
        "consent": 0,
        "previous": None,
        "schema": bytes.fromhex("00") * 32,
        "writer": "caro/1.0",
        "records": EVENTS + 1,
        "events": EVENTS,
        "runs": [[1, EVENTS]],
        "first_seq": 1,
        "last_seq": EVENTS,
        "losses": [],
        "gaps": [],
        "source": {"bytes": 1, "sha256": bytes(32), "sealed": False, "damaged": False},
    }
    return packed.Section(header, body)


@pytest.fixture(scope="module")
def whole():
    sections = [_section(number) for number in range(SECTIONS)]
    return packed_write.encode_packed(sections, zstd.compressor(9), bytes(32))


@pytest.fixture
def path(tmp_path, whole):
    path = tmp_path / packed.packed_name(NOON_MS * 1000, bytes(16))
    path.write_bytes(whole)
    return str(path)


def put(path, data):
    with open(path, "wb") as file:
        file.write(data)


def read(path):
    """Return segment -> events of what can be read, and whether that was all."""
    found = {}
    try:
        for header, records in packed.iter_sections(path):
            found[header["segment"]] = list(records)
    except DamagedData:
        return found, False
    return found, True


def reasons(path):
    return [finding.reason for _, done in verify_packed(path) for finding in done.damage if finding.reason != "schema"]


def test_a_flipped_bit_anywhere_costs_nothing_and_is_said(path, whole):
    expected = read(path)
    assert expected[1]
    assert [len(events) for events in expected[0].values()] == [EVENTS] * SECTIONS
    assert reasons(path) == []
    start = packed.read_inventory(path).start
    for bit in [*range(0, start * 8, 501), *range(start * 8, len(whole) * 8, 25_013), len(whole) * 8 - 1]:
        put(path, whole[: bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1 :])
        assert read(path) == expected
        assert reasons(path) == (["head"] if bit < 64 else ["packed"] if bit < start * 8 else ["mended"])


def test_a_run_as_long_as_a_block_costs_nothing_wherever_it_begins(path, whole):
    expected = read(path)
    inventory = packed.read_inventory(path)
    block = inventory.parity["block"]
    assert block > 1_000
    for at in range(inventory.start, len(whole) - block, 9_973):
        put(path, whole[:at] + bytes(block) + whole[at + block :])
        assert read(path) == expected
        offset, size = packed.frame_damage(inventory)
        assert offset <= at
        assert offset + size >= at + block
        assert size <= 2 * block
    for cut in (1, 5, block):
        put(path, whole[:-cut])
        assert read(path) == expected
        assert reasons(path) == ["mended"]
    put(path, whole + b"and more")
    assert read(path) == expected
    assert reasons(path) == ["mended"]


def test_a_run_from_the_inventory_into_the_frame_costs_nothing_either(path, whole):
    """The parity stands in front of the inventory, so a run at its end leaves it whole."""
    expected = read(path)
    inventory = packed.read_inventory(path)
    block = inventory.parity["block"]
    for inside in (1, 7, 40, block // 2, block - 1):
        at = inventory.start - block + inside
        put(path, whole[:at] + bytes(byte ^ 0x55 for byte in whole[at : at + block]) + whole[at + block :])
        assert read(path) == expected
        assert reasons(path) == ["packed"]
    at = inventory.start - 40  # And damage in two places, one of each kind.
    put(path, whole[:at] + bytes(20) + whole[at + 20 : -30] + bytes(10) + whole[-20:])
    assert read(path) == expected
    put(path, whole[:150] + bytes(20) + whole[170:-30] + bytes(10) + whole[-20:])  # But not where one is the parity.
    assert read(path) == ({}, False)
    for at in range(8, 300):  # Whatever is left of it, nothing but damage comes of it.
        put(path, whole[:at] + b"\xff" * 9 + whole[at + 9 : -1])
        assert read(path) in (({}, False), expected)


def test_beyond_that_what_holds_is_read_and_nothing_else(path, whole):
    expected, _ = read(path)
    inventory = packed.read_inventory(path)
    block = inventory.parity["block"]
    kept = []
    for at in range(inventory.start, len(whole) - 4 * block, 7 * block):
        put(path, whole[:at] + Random(at).randbytes(3 * block) + whole[at + 3 * block :])
        found, is_all = read(path)
        assert not is_all
        assert found.items() <= expected.items()
        assert reasons(path) == ["packed"]
        kept.append(len(found))
    assert kept[0] < SECTIONS
    assert max(kept) == SECTIONS - 1  # Damage near the end leaves all that lies before it.
    for cut in range(3 * block, len(whole) - inventory.start, 11 * block):
        put(path, whole[:-cut])
        found, is_all = read(path)
        assert not is_all
        # What lies before a cut is there: zstd holds back no more than a block of 128 KiB.
        share = (len(whole) - inventory.start - cut) / (len(whole) - inventory.start)
        missing = (1 - share) * inventory.content_bytes + 131_072 + inventory.content_bytes / SECTIONS
        assert len(found) >= SECTIONS * (1 - missing / inventory.content_bytes) - 1
        assert found.items() <= expected.items()


def straightforward(frame, inventory):
    """The segments that a plain reader finds: zstd fed byte by byte, then each place where a header may begin."""
    stream = zstandard.ZstdDecompressor().decompressobj()
    parts = []
    with contextlib.suppress(zstandard.ZstdError):
        parts += (stream.decompress(frame[at : at + 1]) for at in range(len(frame)))
    content = b"".join(parts)
    hashes = {row["sha256"]: row["segment"] for row in inventory.sections}
    found = set()
    at = -1
    while (at := content.find(b"\xb2\x64gaps", at + 1)) >= 0:
        rest = io.BytesIO(content[at : at + 10_000])
        with contextlib.suppress(cbor2.CBORDecodeError, KeyError):
            size = cbor2.load(rest)["size"] + rest.tell()
            found.add(hashes.get(hashlib.sha256(content[at : at + size]).digest()))
    return found - {None}


def test_no_section_is_missing_that_a_plain_reader_finds(path, whole):
    """Two places of one kind of blocks, all over the frame: each makes zstd fail, at its checksum at least."""
    inventory = packed.read_inventory(path)
    block = inventory.parity["block"]
    expected, _ = read(path)
    counts = []
    for at in range(inventory.start, len(whole) - 2 * block, 10 * block + 211):
        for size in (1, 1_866):
            damaged = bytearray(whole)
            for place in (at, min(at + 2 * block, len(whole) - size)):
                damaged[place : place + size] = (byte ^ 0x55 for byte in damaged[place : place + size])
            put(path, bytes(damaged))
            found, is_all = read(path)
            assert not is_all
            assert found.items() <= expected.items()
            assert found.keys() >= straightforward(bytes(damaged[inventory.start :]), inventory)
            counts.append(len(found))
    assert max(counts) == SECTIONS - 1
    assert min(counts) == 0


def test_as_many_damaged_sections_as_a_file_has_are_stepped_over(path):
    """However many headers do not hold, the sections behind them are found."""
    header = {**_section(0).header, "events": 0, "runs": [], "first_seq": 0, "last_seq": 0}
    sections = [packed.Section({**header, "segment": bytes([number]) * 16}, b"") for number in range(200)]
    put(path, packed_write.encode_packed(sections, zstd.compressor(1), bytes(32)))
    inventory = packed.read_inventory(path)
    parts = [one.encode() for one in sections]
    content = b"".join(part.replace(b"section", b"sectiom") for part in parts[:190]) + b"".join(parts[190:])
    put(path, Path(path).read_bytes()[: inventory.start] + zstd.compress(content))
    assert [one.segment for one in packed_salvage.sections_that_hold(inventory)] == [
        one.segment for one in sections[190:]
    ]


def test_sections_that_hold_are_found_after_one_that_does_not(path, whole):
    inventory = packed.read_inventory(path)
    block = inventory.parity["block"]
    at = len(whole) - 20 * block
    put(path, whole[:at] + bytes(3 * block) + whole[at + 3 * block :])
    kept, _ = read(path)
    lost = [bytes([number]) * 16 for number in range(SECTIONS) if bytes([number]) * 16 not in kept]
    assert lost
    assert kept
    streams = PackedStreams()
    for segment in [*kept, *lost, *kept, *lost]:  # In another order than they lie.
        if segment in kept:
            assert list(streams.section(path, segment)) == kept[segment]
        else:
            with pytest.raises(DamagedData):
                streams.section(path, segment)
    streams.close()


def test_a_file_alone_is_verified(path, whole):
    put(path, whole[:-1])
    report = verify_paths([path])
    assert report.exit_code == 2
    assert {(finding.reason, finding.path) for finding in report.damage} >= {("mended", path)}
    assert report.events == EVENTS * SECTIONS
    assert os.path.getsize(path) == len(whole) - 1  # Nothing is repaired by reading.


@pytest.mark.parametrize("head", [b"\0" * 8, b"\xff" * 8, b"P*M\x18\x10\0\0\0", b"P*M\x18\xff\xff\xff\xff", b"Q*M\x18"])
def test_of_damage_before_the_inventory_its_eight_bytes_are_all_that_is_said(path, whole, head):
    expected = read(path)
    inventory = packed.read_inventory(path)
    losses = held.describe(path)
    put(path, head + whole[len(head) :])
    assert read(path) == expected
    assert packed.read_inventory(path) == replace(inventory, head_holds=False)
    assert held.describe(path) == losses
    assert [info.segment for info in segments.packed_infos(path)] == [
        bytes([number]) * 16 for number in range(SECTIONS)
    ]
    report = verify_paths([path])
    found = [(one.offset, one.size, one.reason) for one in report.damage if one.reason != "schema"]
    assert (found, report.events) == ([(0, 8, "head")], EVENTS * SECTIONS)
    put(path, bytes(8) + whole[8:-1])
    assert reasons(path) == ["head", "mended"]
    assert read(path) == expected


def test_a_file_with_the_name_of_a_packed_one_is_read_as_one(path, whole):
    start = packed.read_inventory(path).start
    put(path, bytes(start) + whole[start:])
    report = verify_paths([path])
    assert report.events == EVENTS * SECTIONS
    assert "packed" in {one.reason for one in report.damage}
    os.unlink(path)
    with pytest.raises(JournalIOError):
        verify_paths([path])


@pytest.mark.parametrize("key", ["segment", "events", "runs", "losses", "created"])
def test_an_inventory_that_lists_something_else_is_said(path, whole, key):
    size = int.from_bytes(whole[4:8], "little")
    inventory = cbor2.loads(whole[8 : 8 + size])
    del inventory["crc"]
    other = {"segment": bytes(16)[:15] + b"\1", "events": 1, "runs": [[1, 2]], "losses": [], "created": 7}
    inventory["sections"][1][key] = [_LOSS] if key == "losses" else other[key]
    put(path, zstd.skippable(packed_write.with_checksum(inventory)) + whole[8 + size :])
    assert set(reasons(path)) == {"packed" if key in ("events", "runs") else "inventory"}
    assert verify_paths([path]).exit_code == 2


@pytest.mark.parametrize("change", [lambda ids: ids[1:], lambda ids: [bytes(16), *ids], lambda _: None])
def test_an_inventory_that_lists_other_sessions_is_said(tmp_path, change):
    """An export goes by that list: it would carry what must not leave."""
    section = _section(1)
    one = next(iter(packed.split_records(section, "x")))[1]
    header = {**section.header, "runs": [[1, 1]], "events": 1, "first_seq": 1, "last_seq": 1}
    whole = packed_write.encode_packed([packed.Section(header, one)], zstd.compressor(3), bytes(32))
    path = str(tmp_path / os.path.basename(packed.packed_name(header["created"], header["segment"])))
    put(path, whole)
    assert reasons(path) == []
    size = int.from_bytes(whole[4:8], "little")
    inventory = cbor2.loads(whole[8 : 8 + size])
    del inventory["crc"]
    [row] = inventory["sections"]
    assert len(row["sessions"]) == 1
    row["sessions"] = change(row["sessions"])
    put(path, zstd.skippable(packed_write.with_checksum(inventory)) + whole[8 + size :])
    assert reasons(path) == ["inventory"]
    assert verify_paths([path]).exit_code == 2
