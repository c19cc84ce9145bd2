"""`carojournal audit`: finds what is there in every container, says where, and repeats nothing of it."""

import gzip
import io
import json
import tarfile

import pytest
from audit_samples import EVENT, SECRET, SEGMENT

from carojournal import Journal, codec, frame, zstd
from carojournal.audit import audit_paths
from carojournal.audit_sources import is_own_name, members
from carojournal.cli.audit import audit
from carojournal.packed_write import with_checksum
from carojournal.parity import parity_of


def segment(*payloads):
    header = codec.dumps({"record": "header", "segment": SEGMENT, "created": 1_770_000_000_000_000, "lane": 0})
    data = frame.LABEL + frame.encode_record(frame.NO_SEGMENT, 0, header)
    for seq, payload in enumerate(payloads, 1):
        data += frame.encode_record(SEGMENT, seq, payload if isinstance(payload, bytes) else codec.dumps(payload))
    return data


def zst(*parts):
    return b"".join(zstd.compress(part) for part in parts)


def sequence(*items):
    return b"".join(codec.dumps(item) for item in items)


def tar(files, kind=tarfile.REGTYPE):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.size = kind, len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def report(tmp_path, name, data, **keywords):
    path = tmp_path / name
    path.write_bytes(data)
    return audit_paths([str(path)], **keywords)


def with_secret(place):
    return {**EVENT, **place}


CONTAINERS = {
    "a.seg": lambda event: segment(EVENT, event),
    "b.cborseq.zst": lambda event: zst(
        sequence({"record": "header", "segment": SEGMENT}), sequence([1, EVENT], [2, event])
    ),
    "c.tar": lambda event: tar({f"bag/data/{SEGMENT.hex()}.cborseq.zst": zst(sequence([1, event]))}),
    "d.tar.zst": lambda event: zst(tar({f"bag/data/{SEGMENT.hex()}.seg": segment(event)})),
    "e.json": lambda event: json.dumps({"events": [_jsonable(EVENT), _jsonable(event)]}).encode(),
    "f.json.gz": lambda event: gzip.compress(json.dumps([_jsonable(event)]).encode()),
    "g.ndjson": lambda event: b"".join(json.dumps(_jsonable(item)).encode() + b"\n" for item in (EVENT, event)),
}


def _jsonable(event):
    own = {"run_id", "session_id", "timestamp"}
    kept = {key: value for key, value in event.items() if key not in own}
    return {**kept, "timestamp": "2026-02-02T02:40:00Z", "session_id": "8c3f2e1a-5b6d-4c7e-9f80-a1b2c3d4e5f6"}


@pytest.mark.parametrize("name", CONTAINERS)
def test_our_own_records_are_clean_in_every_container(tmp_path, name):
    found = report(tmp_path, name, CONTAINERS[name](EVENT))
    assert found.findings == []
    assert found.clean
    assert found.bytes > 50


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("place", [{"os": SECRET}, {SECRET: 1}, {"shell": ["bash", {"arch": SECRET}]}])
def test_a_secret_is_found_in_every_container_and_place_and_never_repeated(tmp_path, name, place):
    found = report(tmp_path, name, CONTAINERS[name](with_secret(place)))
    assert found.counts["email"] == 1
    assert not found.clean
    assert "jane" not in json.dumps(found.as_json())


def test_positions_name_record_and_known_keys(tmp_path):
    found = report(tmp_path, "a.seg", segment(EVENT, {**EVENT, "os": SECRET, "mine": SECRET}))
    assert {finding.position for finding in found.findings if finding.rule == "email"} == {
        "record 2/os",
        "record 2/<unknown>",
    }


def test_a_wrong_checksum_makes_a_record_no_less_audited(tmp_path):
    data = bytearray(segment({**EVENT, "os": SECRET}))
    data[-1 - data[::-1].index(0x84) + 3] ^= 0xFF
    assert report(tmp_path, "a.seg", bytes(data)).counts["email"] == 1


def test_a_torn_tail_is_no_finding(tmp_path):
    whole = segment(EVENT, EVENT)
    last = len(frame.encode_record(SEGMENT, 2, codec.dumps(EVENT)))
    for cut in range(1, last):
        assert report(tmp_path, "a.seg", whole[:-cut]).findings == []


def test_bytes_between_records_are_searched(tmp_path):
    planted = codec.dumps({"os": SECRET})
    assert report(tmp_path, "a.seg", segment(EVENT) + b"\x00\xff" + planted + b"\x00").counts["email"] >= 1
    hidden = b"\x58\x40" + SECRET.encode() + bytes(64)
    assert report(tmp_path, "a.seg", segment(EVENT) + hidden).counts["email"] >= 1


def test_a_payload_that_is_no_record_of_ours_is_searched(tmp_path):
    """A tag is refused by the strict decoder; the text behind it is still seen."""
    assert report(tmp_path, "a.seg", segment(b"\xc1" + codec.dumps({"os": SECRET}))).counts["email"] >= 1


def test_a_secret_that_poses_as_an_identifier_is_none(tmp_path):
    """Only the exact form of what the recorder issues is exempt: 16 bytes there, hexadecimal digits here."""
    assert not report(tmp_path, "a.seg", segment({**EVENT, "run_id": SECRET.encode()})).clean
    assert not report(tmp_path, "e.json", json.dumps({"session_id": SECRET}).encode()).clean


@pytest.mark.parametrize("frames", [1, 3])
def test_every_frame_of_a_compressed_file_is_read(tmp_path, frames):
    parts = [sequence([1, EVENT])] * (frames - 1) + [sequence([1, {**EVENT, "os": SECRET}])]
    assert report(tmp_path, "b.zst", zst(*parts)).counts["email"] == 1


def test_a_decompression_bomb_is_unread_not_believed(tmp_path):
    found = report(tmp_path, "b.zst", zst(bytes(1 << 24)), limit=1 << 20)
    assert [(member, bool(reason)) for _, member, reason in found.unread] == [("", True)]
    assert not found.clean


@pytest.mark.parametrize("name", ["b.zst", "f.json.gz", "c.tar", "d.tar.zst"])
def test_garbage_is_unread_and_not_clean(tmp_path, name):
    found = report(tmp_path, name, b"\x28\xb5\x2f\xfd\xe0\x6c\x06\x06\x06\x63\x63\x63\x63" + b"x" * 600)
    assert found.unread
    assert not found.clean


def test_a_link_in_a_bundle_is_a_problem(tmp_path):
    found = report(tmp_path, "c.tar", tar({"bag/data/x": b""}, kind=tarfile.SYMTYPE))
    assert [reason for _, _, reason in found.unread] == ["not a regular file"]


def test_names_of_members_are_repeated_only_if_they_are_ours(tmp_path):
    bundle = tmp_path / "c.tar"
    bundle.write_bytes(tar({"bag/bagit.txt": b"BagIt-Version: 1.0\n", "bag/jane.doe.txt": b"x"}))
    named = [member.member for member in members(str(bundle))]
    assert named == [":bagit.txt#header", ":bagit.txt", ":<member 2>#header", ":<member 2>", "#rest"]
    assert is_own_name(f"packed/1770000000000000-{SEGMENT.hex()}.cborseq.zst")
    assert not is_own_name("packed/jane.seg")


def test_what_a_tar_says_besides_its_content_is_looked_at(tmp_path):
    """GNU tar writes who packed it into every header."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo("bag/bagit.txt")
        entry.uname = "jane"
        archive.addfile(entry)
    assert not report(tmp_path, "c.tar", stream.getvalue()).clean
    assert not report(tmp_path, "d.tar", tar({"bag/bagit.txt": b""}) + b"jane.doe@example.com").clean


def test_a_skippable_frame_is_looked_at(tmp_path):
    """zstd steps over it; a packed segment keeps its inventory there."""
    assert report(tmp_path, "b.zst", zstd.skippable(codec.dumps({"os": SECRET})) + zst(b"")).counts["email"] == 1


def test_parity_is_passed_over_only_where_it_is_that_of_the_frame(tmp_path):
    content = zstd.compress(sequence(EVENT))
    inventory = {"version": 1, "sections": [], "content": {}, "frame": {}, "checked": bytes(32)}
    inventory["parity"] = parity_of(content)
    assert report(tmp_path, "a.zst", zstd.skippable(with_checksum(inventory)) + content).clean
    inventory["parity"]["odd"] = SECRET.encode().ljust(64, b"\0")
    assert report(tmp_path, "a.zst", zstd.skippable(with_checksum(inventory)) + content).counts


def test_damage_before_the_inventory_hides_nothing(tmp_path):
    content = zstd.compress(sequence(EVENT, {"os": SECRET}))
    sizes = {"bytes": len(content), "sha256": bytes(32)}
    inventory = {"version": 1, "sections": [], "content": sizes, "frame": sizes, "checked": bytes(32)}
    data = zstd.skippable(with_checksum({**inventory, "parity": parity_of(content)})) + content
    assert report(tmp_path, "a.zst", data).counts["email"] == 1
    assert report(tmp_path, "a.zst", bytes(8) + data[8:]).counts["email"] == 1


def test_a_cut_off_frame_is_unread(tmp_path):
    whole = zst(sequence([1, EVENT]))
    assert report(tmp_path, "b.zst", whole).clean
    assert not report(tmp_path, "b.zst", whole[:-3]).clean


def test_containers_are_known_by_their_bytes(tmp_path):
    assert report(tmp_path, "notes.txt", gzip.compress(zst(tar({"x/y": SECRET.encode()})))).counts["email"] == 1


def test_packing_in_itself_ends(tmp_path):
    data = b"x"
    for _ in range(10):
        data = gzip.compress(data)
    assert [reason for _, _, reason in report(tmp_path, "x", data).unread] == ["packed in itself too often"]


def test_bagit_lines_are_clean_and_others_in_the_same_file_are_not(tmp_path):
    ours = f"{'0' * 64}  data/{SEGMENT.hex()}.cborseq.zst\n"
    assert report(tmp_path, "manifest-sha256.txt", ours.encode()).clean
    assert not report(tmp_path, "manifest-sha256.txt", (ours + f"{'0' * 64}  data/jane.doe\n").encode()).clean


def test_any_other_file_is_judged_line_by_line(tmp_path):
    found = report(tmp_path, "x.log", f"linux\n\nsent to {SECRET}\n".encode())
    assert {finding.position for finding in found.findings} == {"line 3"}


def make_journal(tmp_path):
    root = tmp_path / "journal"
    with Journal.open(root, environ={"HOME": str(tmp_path)}, admin=str(tmp_path / "none")) as journal:
        assert journal.record("session_start", caro_version="1.1.0", os="linux")
        assert not journal.record("session_start", caro_version=SECRET, os="linux")
        assert journal.record("session_end", session_duration_ms=5, exit_reason="timeout", retries=SECRET)
    return root


def test_a_real_journal_is_clean_and_every_file_in_it_is_looked_at(tmp_path):
    root = make_journal(tmp_path)
    found = audit_paths([str(root)])
    assert found.findings == []
    assert found.clean
    assert found.members == sum(path.is_file() for path in root.rglob("*"))


def test_a_file_planted_in_a_journal_is_found(tmp_path):
    root = make_journal(tmp_path)
    (root / "jane.doe.txt").write_text(SECRET)
    found = audit_paths([str(root)])
    assert found.counts["email"] == 1
    assert "jane" not in json.dumps(found.as_json())


def test_the_verb_exits_65_on_a_hit_and_0_without(tmp_path, capsys):
    root = make_journal(tmp_path)
    assert audit(str(root)) == 0
    assert "nothing sensitive found" in capsys.readouterr().out
    (root / "drops").open("a").write(f"{SECRET}\n")
    assert audit(str(root)) == 65
    table = capsys.readouterr().out
    assert "email" in table
    assert "jane" not in table
    assert audit(str(root), json=True) == 65
    assert json.loads(capsys.readouterr().out)["counts"]["email"] == 1


def test_rows_tell_the_first_position_and_how_many_are_like_it(tmp_path, capsys):
    path = tmp_path / "notes.txt"
    path.write_text("fine\nmail hunter2@example.org\nfine\nmail hunter3@example.org\nmail hunter4@example.org\n")
    assert audit(str(path)) == 65
    table = capsys.readouterr().out
    assert f"     3  email              {path} at line 2 and 2 more like it\n" in table
    assert "*" not in table
    assert "hunter" not in table
    path.write_text("fine\nmail hunter2@example.org\n")
    assert audit(str(path)) == 65
    assert f"     1  email              {path} at line 2\n" in capsys.readouterr().out


def test_no_journal_is_nothing_to_find(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CAROJOURNAL_DIR", str(tmp_path / "absent"))
    assert audit() == 0
    assert "0 files" in capsys.readouterr().out


def test_a_path_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        audit(str(tmp_path / "absent"))
