"""The packed format: what was put in comes out, the same bytes each time, and nothing malformed passes."""

import hashlib
import subprocess

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carojournal import held, packed, packed_header, packed_write, zstd
from carojournal.errors import DamagedData
from carojournal.packed import Section

SEGMENT = bytes(range(16))
EVENT = {"event": "command_executed", "execution_mode": "confirmed", "timestamp": 1_790_000_000_000}
LOSS = {
    "record": "loss",
    "reason": "evicted",
    "segment": b"\x07" * 16,
    "first_seq": 1,
    "last_seq": 9,
    "events": 9,
    "bytes": 900,
    "carried": [{"reason": "cleared", "segments": 2, "events": 5, "bytes": 500}],
    "seq": 1,
}


def runs(seqs):
    found = []
    for seq in seqs:
        if found and found[-1][1] == seq - 1:
            found[-1][1] = seq
        else:
            found.append([seq, seq])
    return found


def section(seqs=(2, 3, 4), segment=SEGMENT, losses=(), **changed):
    body = b"".join(cbor2.dumps({**EVENT, "generation": seq + 1}, canonical=True) for seq in seqs)
    header = {
        "record": "section",
        "version": 1,
        "segment": segment,
        "created": 1_790_000_000_000_000,
        "lane": 0,
        "consent": 0,
        "previous": None,
        "schema": bytes(32),
        "writer": "caro/1.0",
        "records": max(seqs, default=0) + 1,
        "events": len(seqs),
        "runs": runs(seqs),
        "first_seq": min(seqs, default=0),
        "last_seq": max(seqs, default=0),
        "losses": list(losses),
        "gaps": [],
        "source": {"bytes": 1, "sha256": bytes(32), "sealed": False, "damaged": False},
    }
    return Section({**header, **changed}, body)


def write(path, *sections):
    data = packed_write.encode_packed(sections, zstd.compressor(9), bytes(32))
    path.write_bytes(data)
    return str(path)


def read(path):
    return [(header, list(records)) for header, records in packed.iter_sections(path)]


@given(st.lists(st.sets(st.integers(0, 2**64 - 2), max_size=5), max_size=4))
def test_records_keep_their_identity_and_payload(tmp_path_factory, groups):
    sections = [section(sorted(seqs), bytes([at]) * 16) for at, seqs in enumerate(groups)]
    path = write(tmp_path_factory.mktemp("packed") / "a", *sections)
    found = [
        (header["segment"], seq, cbor2.loads(payload)) for header, records in read(path) for seq, payload in records
    ]
    expected = [
        (bytes([at]) * 16, seq, {**EVENT, "generation": seq + 1})
        for at, seqs in enumerate(groups)
        for seq in sorted(seqs)
    ]
    assert found == expected


def test_the_same_sections_give_the_same_bytes():
    once, again = (packed_write.encode_packed([section()], zstd.compressor(9), bytes(32)) for _ in range(2))
    assert once == again


def test_the_zstd_program_sees_a_checked_frame_with_the_plain_cbor_sequence(tmp_path):
    path = write(tmp_path / "a.zst", section(), section(segment=b"\x01" * 16))
    subprocess.run(["zstd", "-q", "-t", path], check=True)
    content = subprocess.run(["zstd", "-q", "-d", "-c", path], check=True, capture_output=True).stdout
    assert content == section().encode() + section(segment=b"\x01" * 16).encode()
    assert hashlib.sha256(content).digest() == packed.read_inventory(path).content_sha256


def test_a_host_reads_the_inventory_without_libraries(tmp_path):
    path = write(tmp_path / f"{1:016d}-{SEGMENT.hex()}.cborseq.zst", section(losses=[LOSS]), section((), b"\x01" * 16))
    assert held.describe(path) == [
        (SEGMENT, 2, 4, 3, {"evicted": [1, 9, 900], "cleared": [2, 5, 500]}),
        (b"\x01" * 16, 0, 0, 0, {}),
    ]


def test_the_inventory_lists_whose_events_they_are(tmp_path):
    """A batch tool asks it before every bundle: reading all content took two thirds of an export."""
    ids = [bytes([at]) * 16 for at in range(packed_header.SESSIONS_MAX + 1)]
    bodies = [
        b"".join(cbor2.dumps({**EVENT, "session_id": one}, canonical=True) for one in (*found, *found[:1]))
        for found in (ids[2::-1], ids[:-1], ids, [])
    ]
    sections = [section(range(1, 1 + body.count(b"jsession_id")), bytes([at]) * 16) for at, body in enumerate(bodies)]
    path = write(tmp_path / "a", *(Section(one.header, body) for one, body in zip(sections, bodies, strict=True)))
    assert [row["sessions"] for row in packed.read_inventory(path).sections] == [ids[:3], ids[:-1], None, []]


@pytest.mark.parametrize("sessions", [[b"b" * 16, b"a" * 16], [b"a" * 16] * 2, [b"a" * 15], ["a" * 16], b"a" * 16, 1])
def test_sessions_that_cannot_be_are_no_inventory(tmp_path, sessions):
    path = write(tmp_path / "a", section())
    with open(path, "rb") as file:
        inventory = cbor2.loads(held.read_inventory(file.fileno()))
    assert packed_header.inventory_misfit(inventory) == ""
    inventory["sections"][0]["sessions"] = sessions
    assert packed_header.inventory_misfit(inventory) == "the inventory's sections are not what they must be"
    inventory["sections"][0]["sessions"] = [bytes([at]) * 16 for at in range(packed_header.SESSIONS_MAX + 1)]
    assert packed_header.inventory_misfit(inventory) == "the inventory's sections are not what they must be"


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 40])
def test_a_file_without_its_frame_is_damage(tmp_path, cut):
    path = tmp_path / "a"
    write(path, section())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DamagedData):
        read(str(path))


@pytest.mark.parametrize(
    "changed",
    [
        {"events": 2},
        {"first_seq": 1},
        {"last_seq": 5},
        {"segment": b"\x01" * 15},
        {"version": 2},
        {"record": "header"},
        {"writer": "a b"},
        {"writer": "jane/1.0"},
        {"writer": "caro/jane"},
        {"lane": -1},
        {"losses": [{**LOSS, "more": 1}]},
        {"gaps": [{"first_seq": 1, "last_seq": 1, "bytes": 0, "reason": "torn", "more": 1}]},
        {"more": 1},
        {"previous": [b"", 1, 1]},
        {"runs": [[2, 3], [4, 4]]},
        {"runs": [[4, 2]]},
        {"runs": [[2, 2**64 - 1]], "events": 2**64 - 2, "last_seq": 2**64 - 1},
    ],
)
def test_a_header_that_is_none_is_refused(tmp_path, changed):
    with pytest.raises(DamagedData):
        read(write(tmp_path / "a", section(**changed)))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        cbor2.dumps([2, EVENT]),
        cbor2.dumps(1),
        b"\xbf\xff",
        b"\xc1\xa0",
        b"\xa2\x61a\x01\x61a\x01",
        b"\x81" * 5000 + b"\xa0",
        b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xa1\x61a\x7b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xa0\x00",
        b"\xa0\xa0",
    ],
)
def test_records_that_are_none_are_refused(tmp_path, body):
    bad = Section({**section((2,)).header}, body)
    with pytest.raises(DamagedData):
        read(write(tmp_path / "a", bad))


def test_bytes_after_the_last_section_are_refused():
    content = section().encode()
    chunks = iter([content, b"\0"])
    with pytest.raises(DamagedData, match="follow"):
        list(packed.iter_content(lambda _: next(chunks, b""), len(content), "x"))


def test_what_a_section_lacks_is_carried_on_when_it_is_evicted(tmp_path):
    gaps = [
        {"first_seq": 5, "last_seq": 6, "bytes": 90, "reason": "damaged"},
        {"first_seq": 9, "last_seq": 9, "bytes": 0, "reason": "refused"},
        {"first_seq": 10, "last_seq": 10, "bytes": 40, "reason": "torn"},
    ]
    path = write(tmp_path / f"{1:016d}-{SEGMENT.hex()}.cborseq.zst", section(gaps=gaps))
    assert held.describe(path)[0][4] == {"damaged": [0, 2, 90], "refused": [0, 1, 0]}
