"""Whatever is wrong with a bundle is said, with bounded memory, and nothing is written anywhere."""

import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import cbor2
import pytest
from carobatch_bundles import changed, compressed, members, tar, write
from carobatch_journals import DAY_MS, fill, journal_at

from carobatch.cli import main
from carobatch.verify import verify_bundle
from carojournal import packed, zstd


def errors(path, **options):
    return verify_bundle(str(path), **options).errors


def top(files):
    return next(iter(files)).split("/")[0]


def test_a_good_bundle_is_valid_in_every_form(bundle, files, tmp_path, capsys):
    assert main(["verify", str(bundle)]) == 0
    assert "valid, bundle 1" in capsys.readouterr().out
    assert errors(write(tmp_path / "again", files)) == []
    assert errors(write(tmp_path / "again", changed(files))) == []
    subprocess.run(["tar", "--zstd", "-xf", str(bundle), "-C", str(tmp_path)], check=True)
    assert errors(tmp_path / top(files)) == []
    assert main(["verify", "--json", "--quick", str(bundle)]) == 0
    assert json.loads(capsys.readouterr().out)[0]["valid"] is True


@pytest.mark.parametrize("created", [10**16, 2**64 - 1])
def test_a_time_that_no_files_name_can_say_is_refused(files, tmp_path, capsys, created):
    """What is imported under such a name nothing would find again."""
    shas = {}

    def later(data):
        found = []
        for section in packed.iter_content(io.BytesIO(data).read, len(data), "x"):
            found.append(packed.Section({**section.header, "created": created}, section.body).encode())
            shas[section.segment.hex()] = hashlib.sha256(found[-1]).hexdigest()
        return b"".join(found)

    def listed(value):
        for row in (row for file in value["files"] for row in file["segments"]):
            row["sha256"] = shas[row["segment"]]

    path = write(tmp_path / "far.tar.zst", changed(files, payload=later, manifest=listed))
    assert "the section header's created is out of range (byte 0)" in str(errors(path))
    assert main(["import", path, "--into", str(tmp_path / "into")]) == 65
    assert not (tmp_path / "into").exists()


def test_cut_off_anywhere_it_is_invalid(bundle, tmp_path):
    data = bundle.read_bytes()
    edges = [frame.end for frame in zstd.walk_frames(lambda at, size: data[at : at + size], len(data), "x")]
    for size in sorted({*edges[:-1], *(edge - 1 for edge in edges), 0, 1, *range(7, len(data), 97)}):
        (tmp_path / "cut").write_bytes(data[:size])
        assert errors(tmp_path / "cut", quick=True), size


def test_every_flipped_bit_makes_it_invalid(bundle, files, tmp_path):
    data = bundle.read_bytes()
    for at in range(0, len(data) * 8, 61):
        (tmp_path / "flip").write_bytes(data[: at // 8] + bytes([data[at // 8] ^ 1 << at % 8]) + data[at // 8 + 1 :])
        # A zstd frame's head has a bit that no decoder looks at; nothing else may be the same.
        assert errors(tmp_path / "flip") or members(tmp_path / "flip") == files, at


def test_swapped_files_and_wrong_checksums_are_found(files, tmp_path):
    first, second = [name for name in files if "/data/" in name]
    swapped = {**files, first: files[second], second: files[first]}
    assert errors(write(tmp_path / "x", swapped))
    wrong = {
        **files,
        f"{top(files)}/manifest-sha256.txt": files[f"{top(files)}/manifest-sha256.txt"].replace(b"a", b"b"),
    }
    assert errors(write(tmp_path / "x", wrong))


@pytest.mark.parametrize("declared", [True, False])
def test_a_bomb_is_refused(files, tmp_path, declared):
    big = tar({**files, f"{top(files)}/data/bomb": bytes(200_000_000)})
    (tmp_path / "bomb").write_bytes(compressed(big, write_content_size=declared))
    assert any("compressed more" in error for error in errors(tmp_path / "bomb"))


def test_a_giant_window_many_frames_and_noise_are_refused(tmp_path, monkeypatch):
    for data in (
        bytes.fromhex("28b52ffde06c06060663636363"),
        b"\x28\xb5\x2f\xfd\x00\x88\x01\x00\x00",
        b"PK\x03\x04" + bytes(100),
        zstd.skippable(b"") * 10,
        b"",
    ):
        (tmp_path / "x").write_bytes(data)
        assert errors(tmp_path / "x")
    monkeypatch.setattr(zstd, "FRAMES_MAX", 100)
    (tmp_path / "x").write_bytes(compressed(b"") * 101)
    assert any("more zstd frames" in error for error in errors(tmp_path / "x"))


def with_member(files, tmp_path, form=tarfile.USTAR_FORMAT, **attributes):
    import io

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, raw in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
        info = tarfile.TarInfo(attributes.pop("name", f"{top(files)}/extra"))
        for key, value in attributes.items():
            setattr(info, key, value)
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    (tmp_path / "member").write_bytes(compressed(out.getvalue()))
    return tmp_path / "member"


@pytest.mark.parametrize(
    "member",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.LNKTYPE, "linkname": "bagit.txt"},
        {"type": tarfile.CHRTYPE},
        {"type": tarfile.BLKTYPE},
        {"type": tarfile.FIFOTYPE},
        {"type": tarfile.CONTTYPE},
        {"type": b"S"},
        {"name": "/absolute"},
        {"name": "../outside"},
        {"name": "bag/../../outside"},
        {"name": "bag/a\\b"},
        {"name": "bag/nul\n"},
        {"name": "other/file"},
        {"name": "x" * 60 + "/" + "y" * 60},
        {"form": tarfile.PAX_FORMAT, "pax_headers": {"path": "../x"}},
        {"form": tarfile.PAX_FORMAT, "pax_headers": {"GNU.sparse.size": "99"}},
        {"form": tarfile.GNU_FORMAT, "name": "n" * 150},
    ],
    ids=str,
)
def test_members_that_no_bundle_has_are_refused(files, tmp_path, member):
    assert errors(with_member(files, tmp_path, **member))


def test_names_twice_or_in_another_case_are_refused(files, tmp_path):
    for name in (f"{top(files)}/bagit.txt", f"{top(files)}/BagIt.txt"):
        assert any("of one name" in error for error in errors(with_member(files, tmp_path, name=name)))


def test_a_million_members_end_soon(files, tmp_path, monkeypatch):
    from carobatch import ustar

    monkeypatch.setattr(ustar, "MEMBERS_MAX", 500)
    many = {**files, **{f"{top(files)}/data/{number}": b"" for number in range(600)}}
    assert any("more members" in error for error in errors(write(tmp_path / "x", many)))


HEADER_AND_MORE = [
    lambda raw: raw[:-1],
    lambda raw: raw + b"\x00",
    lambda raw: raw + b"\xa0",
    lambda raw: b"\x9f" + raw,
    lambda raw: b"\xc1" + raw,
    lambda raw: b"\x81" * 10_000 + raw,
    lambda raw: b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff" + raw,
    lambda raw: raw.replace(b"itimestamp\x1b", b"itimestamp\xfb", 1),
    lambda raw: raw.replace(b"gversion\x01", b"gversion\x02", 1),
    lambda raw: raw.replace(b"gversion\x01", b"gversion\x18\x01", 1),
    lambda raw: raw.replace(b"fevents\x18\x1e", b"fevents\x18\x1f", 1),
]


@pytest.mark.parametrize("number", range(len(HEADER_AND_MORE)))
def test_cbor_that_is_not_ours_is_refused_though_all_checksums_fit(files, tmp_path, number):
    found = errors(write(tmp_path / "x", changed(files, HEADER_AND_MORE[number])))
    assert any("data/" in error for error in found)


def replaced_event(raw, **fields):
    """The first event's payload with other fields, encoded deterministically."""
    at = raw.index(b"\xa6eevent")
    decoder = cbor2.CBORDecoder(__import__("io").BytesIO(raw[at:]))
    event = decoder.decode()
    old = cbor2.dumps(event, canonical=True)
    assert raw[at:].startswith(old)
    new = cbor2.dumps({**event, **fields}, canonical=True)
    size = cbor2.dumps(len(new) - len(old))
    assert size
    return raw, old, new


@pytest.mark.parametrize(
    "fields",
    [
        {"session_duration_ms": 10**9},
        {"commands_generated": float("nan")},
        {"exit_reason": "rm -rf /home/alice"},
        {"prompt": "sk-live-0123456789abcdef"},
        {"event": "session_stop"},
        {"timestamp": 1 << 63},
        {"commands_generated": [[[[[[[[[[1]]]]]]]]]]},
        {"run_id": b"short"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_events_that_may_not_be_are_refused_and_never_shown(files, tmp_path, fields, capsys):
    def payload(raw):
        raw, old, new = replaced_event(raw, **fields)
        head_end = raw.index(b"\xa6eevent")
        header = cbor2.loads(raw[:head_end])
        header["size"] += len(new) - len(old)
        return cbor2.dumps(header, canonical=True) + raw[head_end:].replace(old, new, 1)

    path = write(tmp_path / "x", changed(files, payload))
    assert errors(path) or verify_bundle(path).refusals
    assert errors(path, quick=True) == []
    assert main(["verify", path]) == 65
    output = capsys.readouterr()
    for value in fields.values():
        if isinstance(value, str):
            assert value not in output.out + output.err


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(events=59),
        lambda value: value.update(types={"session_end": 61}),
        lambda value: value.update(version=2),
        lambda value: value["time"].update(first="2000-01-01T00:00:00.000Z"),
        lambda value: value["files"].pop(),
        lambda value: value["files"][0].update(path="data/../../etc/passwd"),
        lambda value: value["files"][0]["segments"][0].update(schema="0" * 64),
        lambda value: value["files"][0]["segments"][0].update(runs=[[1, 31]]),
        lambda value: value["files"][0]["segments"][0].update(sha256="0" * 64),
        lambda value: value["files"][0]["segments"].append(value["files"][1]["segments"][0]),
        lambda value: value.update(journal="x"),
        lambda value: value.update(events=10**30),
        lambda value: value.update(losses=[{}]),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(files, tmp_path, change):
    assert errors(write(tmp_path / "x", changed(files, manifest=change)))


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b'{"a":1,"a":2}', b"NaN", b"1" * 10_000, b"{}", b"\xff", b'{"a":1.5}']
)
def test_json_that_is_none_of_ours_is_refused(files, tmp_path, text):
    assert errors(write(tmp_path / "x", {**files, f"{top(files)}/carojournal.json": text}))


def test_signatures(bundle, root, clock, tmp_path, capsys):
    for name in ("id", "other"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(tmp_path / name)], check=True
        )
        public = (tmp_path / f"{name}.pub").read_text()
        (tmp_path / f"{name}.allowed").write_text(f'site namespaces="carojournal" {public}')
    out = tmp_path / "signed"
    out.mkdir()
    assert main(["export", "-o", str(out), "--sign", str(tmp_path / "id")]) == 0
    [path] = out.iterdir()
    assert main(["verify", "--allowed-signers", str(tmp_path / "id.allowed"), str(path)]) == 0
    assert "signed by site" in capsys.readouterr().out
    assert main(["verify", "--allowed-signers", str(tmp_path / "other.allowed"), str(path)]) == 65
    assert main(["verify", "--allowed-signers", str(tmp_path / "id.allowed"), str(bundle)]) == 65
    files = members(path)
    again = write(tmp_path / "forged", changed(files, manifest=lambda value: value.update(writer="x/1")))
    assert main(["verify", "--allowed-signers", str(tmp_path / "id.allowed"), again]) == 65


def test_parts_and_encrypted_bundles(bundle, tmp_path, capsys):
    for name in ("key", "other"):
        subprocess.run(["age-keygen", "-o", str(tmp_path / name)], check=True, capture_output=True)
    recipient = (tmp_path / "key").read_text().split("public key: ")[1].split()[0]
    out = tmp_path / "out"
    out.mkdir()
    words = ["export", "-o", str(out), "--split", "4096", "--encrypt", recipient]
    assert main(words) == 0
    listing = next(str(path) for path in out.iterdir() if path.name.endswith(".sha256"))
    first = next(str(path) for path in out.iterdir() if path.name.endswith(".001"))
    assert main(["verify", "-i", str(tmp_path / "key"), listing]) == 0
    assert main(["verify", "-i", str(tmp_path / "key"), first]) == 0
    assert main(["verify", listing]) == 69
    assert main(["verify", "-i", str(tmp_path / "other"), listing]) == 65
    data = bytearray(Path(first).read_bytes())
    data[100] ^= 1
    Path(first).write_bytes(data)
    assert main(["verify", "-i", str(tmp_path / "key"), listing]) == 65
    os.unlink(first)
    assert main(["verify", "-i", str(tmp_path / "key"), listing]) == 65


def test_bundles_given_together_must_follow_one_another(bundle, root, clock, tmp_path, capsys):
    with journal_at(root, clock) as journal:
        clock.advance(DAY_MS)
        fill(journal, clock, 3)
    assert main(["export", "-o", str(tmp_path)]) == 0
    second = capsys.readouterr().out.strip()
    assert main(["verify", second]) == 0
    assert "number 1, was not given" in capsys.readouterr().out
    assert main(["verify", second, str(bundle)]) == 0
    assert "not given" not in capsys.readouterr().out
    rewritten = changed(members(bundle), manifest=lambda value: value.update(writer="x/1"))
    assert main(["verify", second, write(tmp_path / "other", rewritten)]) == 65
