"""`carojournal verify` and `carojournal salvage`: exit codes, one line a finding, and nothing changed on the disk."""

import json
import os

import cbor2
import forge
import pytest
from terminals import on_terminal

import carojournal
from carojournal.cli import main
from carojournal.reader import derive_event_id

A = b"\xa1" * 16


@pytest.fixture
def written(journal, root):
    for number in range(5):
        journal.append("session_end", session_duration_ms=number)
    return root


def lane(root):
    return os.path.join(root, "lanes", "0.seg")


def change(path, at, data=None):
    with open(path, "r+b") as file:
        if data is None:
            file.truncate(os.path.getsize(path) + at)
        else:
            file.seek(at)
            file.write(data)


def snapshot(root):
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                found[path] = (os.stat(path).st_mtime_ns, file.read())
    return found


def test_no_journal_says_so_and_is_no_error(root, capsys):
    assert main(["verify"]) == 0
    assert capsys.readouterr().out == f"no journal at {root}\n"
    assert not os.path.exists(root)


def test_empty_journal_says_so_and_is_no_error(root, capsys):
    os.makedirs(root)
    assert main(["verify"]) == 0
    assert capsys.readouterr().out == "the journal is empty\n"


def test_clean_journal(written, capsys):
    before = snapshot(written)
    assert main(["verify"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("1 file, ")
    assert out.endswith(" 5 events: clean\n")
    assert snapshot(written) == before


def test_torn_tail_exits_1(written, capsys):
    change(lane(written), -4)
    assert main(["verify"]) == 1
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"torn: {lane(written)} at byte ")
    assert first.endswith("the file ends inside a record")
    assert last.endswith("4 events: 1 torn tail")


def test_damage_exits_2_and_names_file_offset_bytes_and_cause(written, capsys):
    with open(lane(written), "rb") as file:
        start, end = forge.places(file.read())[2]
    change(lane(written), start + 30, b"!")
    assert main(["verify"]) == 2
    out = capsys.readouterr().out
    assert f"damage: {lane(written)} at byte {start}, {end - start} bytes: a record's checksum does not match\n" in out


def test_gap_exits_3(written, capsys):
    with open(lane(written), "rb") as file:
        data = file.read()
    start, end = forge.places(data)[2]
    with open(lane(written), "wb") as file:
        file.write(data[:start] + data[end:])
    assert main(["verify"]) == 3
    assert ", records 2 to 2)\n" in capsys.readouterr().out


def test_json_holds_the_same(written, capsys):
    change(lane(written), -4)
    assert main(["verify", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["exit_code"], report["events"], report["damage"], report["gaps"]) == (1, 4, [], [])
    assert [(item["path"], item["reason"]) for item in report["torn"]] == [(lane(written), "cut")]


def test_single_files_can_be_named(written, capsys):
    assert main(["verify", lane(written)]) == 0
    assert main(["verify", f"{lane(written)}.none"]) == 74
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_salvage_copies_every_readable_event_as_a_cbor_sequence(written, tmp_path, capsys):
    with open(lane(written), "rb") as file:
        data = file.read()
    start, _ = forge.places(data)[2]
    change(lane(written), start + 30, b"!")
    before = snapshot(written)
    out = tmp_path / "out.cborseq"
    assert main(["salvage", "--out", str(out)]) == 65
    assert snapshot(written) == before
    segment = cbor2.loads(data[32:][: len(data)])["segment"]
    with out.open("rb") as file:
        found = []
        while file.tell() < out.stat().st_size:
            found.append(cbor2.load(file))
    assert [(uuid, seq) for uuid, seq, _ in found] == [(segment, seq) for seq in (1, 3, 4, 5)]
    assert [event["session_duration_ms"] for _, _, event in found] == [0, 2, 3, 4]
    printed = capsys.readouterr()
    assert printed.out.startswith("4 events, ")
    assert f"{lane(written)} at byte {start}" in printed.err


@pytest.mark.usefixtures("written")
def test_salvage_as_json_names_each_event(tmp_path):
    out = tmp_path / "out.ndjson"
    assert main(["salvage", "--out", str(out), "--format", "ndjson"]) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3, 4, 5]
    assert lines[0]["event_id"] == derive_event_id(bytes.fromhex(lines[0]["segment"]), 1)


def test_salvage_leaves_behind_what_the_schema_does_not_allow(written, tmp_path, capsys):
    path = forge.closed_path(tmp_path, A)
    name = os.path.join(written, "segments", path.name)
    with open(name, "wb") as file:
        file.write(forge.segment_bytes(A, [forge.event(1), forge.event(2, secret="hunter2")]))
    out = tmp_path / "out"
    assert main(["salvage", "--out", str(out)]) == 65
    assert b"hunter2" not in out.read_bytes()
    printed = capsys.readouterr()
    assert "1 event left behind" in printed.err
    assert "hunter2" not in printed.err + printed.out


@pytest.mark.parametrize("form", ["cborseq", "ndjson"])
@pytest.mark.usefixtures("written")
def test_salvage_to_standard_output_writes_the_same_and_makes_no_file(tmp_path, capfdbinary, monkeypatch, form):
    out = tmp_path / "out"
    assert main(["salvage", "--out", str(out), "--format", form]) == 0
    printed = capfdbinary.readouterr().out.decode()
    monkeypatch.chdir(tmp_path)
    assert main(["salvage", "--out", "-", "--format", form]) == 0
    written = capfdbinary.readouterr()
    assert written.out == out.read_bytes() != b""
    assert f"{written.err.decode().removeprefix('carojournal: ').rstrip()} to {out}\n" == printed
    assert not os.path.exists("-")


@pytest.mark.usefixtures("written")
def test_salvage_writes_nothing_binary_to_a_terminal():
    tree = os.path.dirname(os.path.dirname(carojournal.__file__))
    program = "import sys\nfrom carojournal.cli import main\nsys.exit(main(['salvage', '--out', '-'{}]))"
    environ = {**os.environ, "PYTHONPATH": tree}
    shown, code = on_terminal(program.format(""), [], environ)
    assert (code, b"binary" in shown) == (64, True)
    shown, code = on_terminal(program.format(", '--format', 'ndjson'"), [], environ)
    assert (code, b'{"event_id":' in shown) == (0, True)


@pytest.mark.usefixtures("written")
def test_salvage_never_overwrites(tmp_path, capsys):
    out = tmp_path / "out"
    out.write_text("precious")
    assert main(["salvage", "--out", str(out)]) == 73
    assert out.read_text() == "precious"
    assert main(["salvage"]) == 64
    assert os.listdir(tmp_path / "home") != []
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_salvage_of_no_journal_is_an_empty_file(root, tmp_path):
    out = tmp_path / "out"
    assert main(["salvage", "--out", str(out)]) == 0
    assert out.read_bytes() == b""
    assert not os.path.exists(root)
