"""A bundle is a bag that stock programs check; it is the same bytes each time, and nothing at the source changes."""

import errno
import json
import os
import subprocess
from pathlib import Path

import bagit
import cbor2
import pytest
from carobatch_journals import DAY_MS, events_of, fill, journal_at, squeezed

from carobatch.cli import main
from carojournal import packed

AGE_KEY = "AGE-SECRET-KEY-1"


@pytest.fixture
def filled(root, clock):
    """A journal of two days; returns its events."""
    with journal_at(root, clock) as journal:
        fill(journal, clock, 30)
        clock.advance(DAY_MS)
        fill(journal, clock, 30)
    return events_of(root)


@pytest.fixture
def bundle(filled, tmp_path, capsys):
    """The path of a bundle of that journal."""
    assert main(["export", "-o", str(tmp_path)]) == 0
    return capsys.readouterr().out.strip()


def sh(*words, cwd=None, **options):
    return subprocess.run(words, cwd=cwd, check=True, capture_output=True, **options).stdout


def unpacked(bundle, into):
    into.mkdir()
    sh("tar", "--zstd", "-xf", bundle, "-C", str(into))
    [folder] = into.iterdir()
    return folder


def test_stock_programs_check_and_unpack_it(bundle, tmp_path, filled):
    sh("zstd", "-q", "-t", bundle)
    folder = unpacked(bundle, tmp_path / "out")
    sh("sha256sum", "-c", "manifest-sha256.txt", cwd=folder)
    sh("sha256sum", "-c", "tagmanifest-sha256.txt", cwd=folder)
    assert bagit.Bag(str(folder)).is_valid()
    found = {}
    for path in (folder / "data").iterdir():
        with path.open("rb") as file:
            for section in packed.iter_content(file.read, path.stat().st_size, str(path)):
                found |= {(section.segment, seq): raw for seq, raw in packed.split_records(section, "x")}
    assert found == filled


def test_the_same_content_gives_the_same_bytes_and_number(bundle, tmp_path):
    (tmp_path / "again").mkdir()
    assert main(["export", "-o", str(tmp_path / "again")]) == 0
    [again] = (tmp_path / "again").iterdir()
    assert again.read_bytes() == Path(bundle).read_bytes()
    assert again.name == Path(bundle).name


def test_members_carry_no_trace_of_the_machine(bundle, clock):
    listing = sh("tar", "--zstd", "--full-time", "--utc", "-tvf", bundle).decode().splitlines()
    day = {line.split()[3] for line in listing}
    assert all(line.startswith("-rw-r--r-- 0/0 ") for line in listing)
    assert len(day) == 1


def test_frames_of_packed_files_are_spliced_in_as_they_are(bundle, root):
    data = Path(bundle).read_bytes()
    for name in os.listdir(os.path.join(root, "packed")):
        frame = packed.read_frame(packed.read_inventory(os.path.join(root, "packed", name)))
        assert frame in data


def test_the_manifest_says_what_is_there_and_names_the_bundle_before(bundle, root, clock, tmp_path, capsys, filled):
    import hashlib

    first = manifest_of(bundle, tmp_path / "one")
    assert (first["bundle"], first["previous"], first["events"]) == (1, None, 60)
    assert first["types"] == {"session_end": 60}
    assert sum(row["events"] for file in first["files"] for row in file["segments"]) == 60
    with journal_at(root, clock) as journal:
        clock.advance(DAY_MS)
        fill(journal, clock, 1)
    assert main(["export", "-o", str(tmp_path)]) == 0
    second = manifest_of(capsys.readouterr().out.strip(), tmp_path / "two")
    raw = next((tmp_path / "one").glob("*/carojournal.json")).read_bytes()
    assert second["previous"] == {"bundle": 1, "manifest_sha256": hashlib.sha256(raw).hexdigest()}
    assert (second["bundle"], second["events"], second["chain"]) == (2, 61, first["chain"])


def manifest_of(bundle, into):
    return json.loads((unpacked(bundle, into) / "carojournal.json").read_text())


def test_exporting_removes_nothing(bundle, root, filled):
    assert events_of(root) == filled


def test_a_span_of_time_takes_exactly_its_events_and_says_what_it_leaves(filled, clock, tmp_path, capsys):
    from carojournal.times import utc_text

    start = clock.now_ms - 9_000
    assert main(["export", "-o", str(tmp_path), "--since", utc_text(start)]) == 0
    found = manifest_of(capsys.readouterr().out.strip(), tmp_path / "out")
    assert found["events"] == 10
    assert found["time"]["first"] == utc_text(start)
    [[segment]] = [file["segments"] for file in found["files"]]
    assert [gap["reason"] for gap in segment["gaps"]] == ["selection"]
    assert found["missing"] == [{"reason": "selection", "segment": segment["previous"][0]}]


def test_parts_are_listed_for_sha256sum_and_join_to_the_bundle(bundle, tmp_path, capsys):
    out = tmp_path / "parts"
    out.mkdir()
    assert main(["export", "-o", str(out), "--split", "4096"]) == 0
    names = sorted(path.name for path in out.iterdir())
    assert names[-1].endswith(".sha256")
    assert len(names) > 1
    sh("sha256sum", "-c", names[-1], cwd=out)
    assert b"".join((out / name).read_bytes() for name in names[:-1]) == Path(bundle).read_bytes()


def keypair(folder, name="id"):
    sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / name))
    return str(folder / name)


@pytest.mark.usefixtures("filled")
def test_ssh_keygen_accepts_the_signature_and_makes_the_same(tmp_path, capsys):
    key = keypair(tmp_path)
    assert main(["export", "-o", str(tmp_path), "--sign", key]) == 0
    folder = unpacked(capsys.readouterr().out.strip(), tmp_path / "out")
    allowed = tmp_path / "allowed"
    allowed.write_text("site@example.org " + Path(f"{key}.pub").read_text())
    words = ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", "site@example.org", "-n", "carojournal"]
    manifest = (folder / "carojournal.json").read_bytes()
    sh(*words, "-s", str(folder / "carojournal.json.sig"), input=manifest)
    with pytest.raises(subprocess.CalledProcessError):
        sh(*words, "-s", str(folder / "carojournal.json.sig"), input=manifest + b" ")
    copy = tmp_path / "copy.json"
    copy.write_bytes(manifest)
    sh("ssh-keygen", "-Y", "sign", "-f", key, "-n", "carojournal", str(copy))
    assert Path(f"{copy}.sig").read_bytes() == (folder / "carojournal.json.sig").read_bytes()
    assert bagit.Bag(str(folder)).is_valid()


def test_the_age_program_decrypts_it(bundle, tmp_path, capsys):
    key = tmp_path / "age.key"
    sh("age-keygen", "-o", str(key))
    recipient = sh("age-keygen", "-y", str(key)).decode().strip()
    out = tmp_path / "enc"
    out.mkdir()
    assert main(["export", "-o", str(out), "--encrypt", recipient]) == 0
    [path] = out.iterdir()
    assert path.name.endswith(".tar.zst.age")
    assert sh("age", "-d", "-i", str(key), str(path)) == Path(bundle).read_bytes()
    assert main(["export", "-o", str(out), "--encrypt", "age1nonsense"]) == 64


def test_nothing_is_overwritten_and_a_failure_leaves_nothing(bundle, root, tmp_path, capsys):
    before = Path(bundle).read_bytes()
    capsys.readouterr()
    assert main(["export", "-o", bundle]) == 73
    assert capsys.readouterr().err.endswith("exists already and was left as it is: name another, or move it away\n")
    assert main(["export", "-o", str(tmp_path)]) == 73
    assert f"{bundle}: exists already and holds the same events: carry that bundle" in capsys.readouterr().err
    assert main(["export", "-o", str(tmp_path / "none" / "x.tar.zst")]) == 73
    assert Path(bundle).read_bytes() == before
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []


def test_a_damaged_packed_file_is_left_out_said_and_no_success(filled, root, clock, tmp_path, capsys):
    assert main(["compact", "--idle", "0"]) == 0
    [first, _] = sorted(os.listdir(os.path.join(root, "packed")))
    path = Path(root, "packed", first)
    start = packed.read_inventory(str(path)).start
    path.write_bytes(path.read_bytes()[:start])  # More than parity puts right.
    capsys.readouterr()
    assert main(["export", "-o", str(tmp_path)]) == 65
    output = capsys.readouterr()
    found = manifest_of(output.out.strip(), tmp_path / "out")
    assert first in output.err
    assert found["events"] == 30
    gaps = [gap for file in found["files"] for row in file["segments"] for gap in row["gaps"]]
    assert [(gap["first_seq"], gap["last_seq"], gap["reason"]) for gap in gaps] == [(1, 30, "damaged")]


def test_a_bundle_is_no_output_for_a_pipe(filled, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = os.listdir(tmp_path)
    assert main(["export", "-o", "-"]) == 64
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "--format json" in err
    assert os.listdir(tmp_path) == before
    assert main(["export", "-o", "-", "--format", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["events"]) == len(filled)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("verb", [["export", "-o"], ["compact", "--idle", "0", "--dir"]])
def test_what_went_into_quarantine_on_the_way_is_said(verb, root, tmp_path, capsys):
    folder = Path(root, "segments")
    [path] = [folder / name for name in sorted(os.listdir(folder))[:1]]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert main([*verb, str(tmp_path) if verb[0] == "export" else root]) == 65
    said = capsys.readouterr().err
    [kept] = os.listdir(os.path.join(root, "quarantine"))
    [lost] = cbor2.loads(Path(root, "quarantine", kept).read_bytes())["damaged"]
    assert f"0 events refused, {len(lost['data'])} B damaged" in said
    assert "quarantine" in said


def test_what_older_rules_let_through_is_checked_again(filled, root, tmp_path, capsys, monkeypatch):
    from carojournal import packed_write

    with monkeypatch.context() as old:
        old.setattr(packed_write, "rules_hash", lambda: bytes(32))
        assert main(["compact", "--idle", "0"]) == 0
    calls = []
    from carobatch import export

    real = export.recheck_section
    monkeypatch.setattr(export, "recheck_section", lambda *args: calls.append(1) or real(*args))
    assert main(["export", "-o", str(tmp_path)]) == 0
    assert len(calls) == 2


def test_json_and_ndjson_are_caros_own_shape(filled, tmp_path, capsys):
    assert main(["export", "--format", "ndjson", "-o", str(tmp_path / "x.ndjson")]) == 0
    assert len((tmp_path / "x.ndjson").read_text().splitlines()) == 60
    assert main(["export", "--format", "json", "-o", str(tmp_path / "x.json")]) == 0
    assert json.loads((tmp_path / "x.json").read_text())["event_count"] == 60
    assert main(["export", "--format", "json", "--split", "1M"]) == 64


@pytest.mark.parametrize(
    ("options", "code"),
    [(["--split", "1Q"], 64), (["-o", "none/"], 73), (["--sign", "/none"], 74), (["--encrypt", "x"], 64)],
)
def test_wrong_options_are_wrong_of_an_empty_journal_too(root, tmp_path, monkeypatch, capsys, options, code):
    monkeypatch.chdir(tmp_path)
    assert main(["export", *options]) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert "nothing to export" not in told.err
    assert not os.path.exists(root)


def test_an_empty_journal_makes_no_bundle(root, tmp_path, capsys):
    assert main(["export", "-o", str(tmp_path)]) == 0
    assert "nothing to export" in capsys.readouterr().err
    assert not os.path.exists(root)


def test_a_missing_extra_is_said_in_words(filled, tmp_path, capsys, monkeypatch):
    import sys

    key = keypair(tmp_path)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    monkeypatch.setitem(sys.modules, "pyrage", None)
    assert main(["export", "-o", str(tmp_path), "--sign", key]) == 69
    assert "carojournal[sign]" in capsys.readouterr().err
    assert main(["export", "-o", str(tmp_path), "--encrypt", "age1x"]) == 69
    assert "carojournal[encrypt]" in capsys.readouterr().err


def test_losses_and_their_reasons_are_in_the_manifest(root, clock, tmp_path, capsys):
    for _ in range(8):
        with squeezed(root, clock, 100_000) as journal:
            fill(journal, clock, 900, 1)
    assert main(["export", "-o", str(tmp_path)]) == 0
    found = manifest_of(capsys.readouterr().out.strip(), tmp_path / "out")
    assert {loss["reason"] for loss in found["losses"]} == {"evicted"}
    lost = sum(loss["events"] + sum(row["events"] for row in loss["carried"]) for loss in found["losses"])
    assert lost + found["events"] == 8 * 900
    assert {row["reason"] for row in found["missing"]} <= {"lost"}


def test_progress_is_shown_on_a_terminal_only(monkeypatch, capsys):
    from carobatch.cli import export

    export._progress(10)(10)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(export, "is_terminal", lambda _: True)
    monkeypatch.setattr(export, "_PROGRESS_S", 0)
    told = export._progress(5_000)
    told(1_000)
    told(5_000)
    assert capsys.readouterr().err == "\r1.0 kB of about 5.0 kB\033[K\r5.0 kB of about 5.0 kB\033[K\r\033[K"


def test_a_file_evicted_meanwhile_is_left_out(filled, root, tmp_path, capsys, monkeypatch):
    from carobatch.cli import export  # noqa: F401 - the verb is imported before anything is patched

    assert main(["compact", "--idle", "0"]) == 0
    victim = min(Path(root, "packed").iterdir())
    real = packed.read_frame

    def read_frame(inventory):
        if inventory.path == str(victim):
            victim.unlink()
        return real(inventory)

    monkeypatch.setattr(packed, "read_frame", read_frame)
    capsys.readouterr()
    assert main(["export", "-o", str(tmp_path)]) == 0
    assert manifest_of(capsys.readouterr().out.strip(), tmp_path / "out")["events"] == 30


@pytest.mark.parametrize("options", [[], ["--split", "4096"], ["--format", "json"]])
def test_a_folder_that_cannot_be_looked_at_is_not_taken_for_a_file(filled, tmp_path, monkeypatch, options):
    folder = tmp_path / "stick"
    folder.mkdir()
    stat = os.stat

    def refuse(path, **keywords):
        if path == str(folder):
            raise OSError(errno.EIO, "Input/output error")
        return stat(path, **keywords)

    monkeypatch.setattr(os, "stat", refuse)
    assert main(["export", "-o", str(folder), *options]) == 74
    assert os.listdir(folder) == []
    assert [name for name in os.listdir(tmp_path) if name.startswith("stick")] == ["stick"]


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("name", ["stick", "stick/", "x.tar.zst/", "x.json", "x.tar.zst.age"])
def test_a_medium_that_is_not_mounted_is_no_name_of_a_file(root, tmp_path, capsys, name):
    """The bundle went into a file of the folder's name, and the next one nowhere."""
    where = f"{tmp_path}/media/{name}"
    os.mkdir(tmp_path / "media")
    before = sorted(os.listdir(f"{root}/segments"))
    assert main(["export", "-o", where]) == 73
    why = "no such folder, and no name of a bundle (.tar.zst): is the medium mounted?"
    assert capsys.readouterr().err == f"carobatch: write {where}: {why}\n"
    assert os.listdir(tmp_path / "media") == []
    assert sorted(os.listdir(f"{root}/segments")) == before, "nothing was packed for it"
    os.mkdir(where)
    assert main(["export", "-o", where]) == 0
    assert len(os.listdir(where)) == 1


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("form", ["json", "ndjson"])
def test_so_it_is_with_plain_exports(tmp_path, capsys, form):
    for name in ("stick", "stick/", "x.tar.zst"):
        assert main(["export", "-o", str(tmp_path / "") + "/" + name, "--format", form]) == 73
        assert f"no such folder, and no name of a file of {form} (.{form}): is the medium" in capsys.readouterr().err
    assert list(tmp_path.glob("[sx]*")) == []
    assert main(["export", "-o", str(tmp_path / f"x.{form}"), "--format", form]) == 0


@pytest.mark.usefixtures("filled")
def test_an_encrypted_bundle_has_either_name(tmp_path, capsys):
    pyrage = pytest.importorskip("pyrage")
    key = str(pyrage.x25519.Identity.generate().to_public())
    assert main(["export", "-o", str(tmp_path / "stick"), "--encrypt", key]) == 73
    assert "(.tar.zst, .tar.zst.age): is the medium mounted?" in capsys.readouterr().err
    for name in ("a.tar.zst", "b.tar.zst.age"):
        assert main(["export", "-o", str(tmp_path / name), "--encrypt", key]) == 0
    assert sorted(one.name for one in tmp_path.glob("?.tar*")) == ["a.tar.zst.age", "b.tar.zst.age"]
