"""BagIt, strictly: the cases of the Library of Congress conformance suite, made here, valid and invalid."""

import hashlib
import os

import bagit as bagit_py
import pytest

from carobatch.bag_folder import BagFolder
from carobatch.bagit import check_bag
from carobatch.cli import main


def bag(folder, version="1.0", encoding="UTF-8", algorithms=("sha256",)):
    """A valid bag of two files; the tag manifest is left out so that tests may change any tag file."""
    (folder / "data" / "dir").mkdir(parents=True)
    (folder / "data" / "hello.txt").write_bytes(b"hello\n")
    (folder / "data" / "dir" / "with space").write_bytes(b"more\n")
    (folder / "bagit.txt").write_text(f"BagIt-Version: {version}\nTag-File-Character-Encoding: {encoding}\n")
    for algorithm in algorithms:
        lines = [
            f"{hashlib.new(algorithm, (folder / path).read_bytes()).hexdigest()}  {path}\n"
            for path in ("data/dir/with space", "data/hello.txt")
        ]
        (folder / f"manifest-{algorithm}.txt").write_bytes("".join(lines).encode(encoding))
    return folder


def check(folder):
    return check_bag(BagFolder(str(folder)))


def edit(folder, name, change):
    path = folder / name
    path.write_bytes(change(path.read_bytes()) if path.exists() else change(b""))


@pytest.mark.parametrize("version", ["0.93", "0.94", "0.95", "0.96", "0.97", "1.0"])
@pytest.mark.parametrize("encoding", ["UTF-8", "ISO-8859-1", "UTF-16"])
@pytest.mark.parametrize("algorithms", [("md5",), ("sha256", "sha512")])
def test_valid_bags_are_valid(tmp_path, version, encoding, algorithms):
    folder = bag(tmp_path / "bag", version, encoding, algorithms)
    assert check(folder).errors == []
    assert bagit_py.Bag(str(folder)).is_valid()
    assert main(["verify", str(folder)]) == 0


def test_a_valid_bag_made_by_another_program_is_valid(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "per%cent and\nnewline").write_text("y")
    made = bagit_py.make_bag(str(tmp_path), checksums=["sha256", "sha512"])
    assert made.is_valid()
    assert check(tmp_path).errors == []


def line(folder, path, version="sha256"):
    return next(row for row in (folder / f"manifest-{version}.txt").read_bytes().splitlines(True) if path in row)


INVALID = {
    "corrupt data": lambda bag: edit(bag, "data/hello.txt", lambda raw: raw + b"x"),
    "extra file": lambda bag: edit(bag, "data/extra", lambda _: b"x"),
    "missing file": lambda bag: os.unlink(bag / "data" / "hello.txt"),
    "missing bagit.txt": lambda bag: os.unlink(bag / "bagit.txt"),
    "missing manifest": lambda bag: os.unlink(bag / "manifest-sha256.txt"),
    "byte order mark": lambda bag: edit(bag, "bagit.txt", lambda raw: b"\xef\xbb\xbf" + raw),
    "no encoding": lambda bag: edit(bag, "bagit.txt", lambda raw: raw.splitlines(True)[0]),
    "unknown encoding": lambda bag: edit(bag, "bagit.txt", lambda raw: raw.replace(b"UTF-8", b"UTF-9")),
    "bad version": lambda bag: edit(bag, "bagit.txt", lambda raw: raw.replace(b"1.0", b".97").replace(b"0.97", b".97")),
    "unknown version": lambda bag: edit(
        bag, "bagit.txt", lambda raw: raw.replace(b"1.0", b"2.0").replace(b"0.97", b"2.0")
    ),
    "three lines": lambda bag: edit(bag, "bagit.txt", lambda raw: raw + b"More: 1\n"),
    "corrupt tag file": lambda bag: edit(bag, "tagmanifest-sha256.txt", lambda _: b"0" * 64 + b"  bagit.txt\n"),
    "missing tag file": lambda bag: edit(bag, "tagmanifest-sha256.txt", lambda _: b"0" * 64 + b"  bag-info.txt\n"),
    "twice, two hashes": lambda bag: edit(
        bag, "manifest-sha256.txt", lambda raw: raw + b"0" * 64 + b"  data/hello.txt\n"
    ),
    "relative": lambda bag: edit(bag, "manifest-sha256.txt", lambda raw: raw + b"0" * 64 + b"  data/../../x\n"),
    "absolute": lambda bag: edit(bag, "manifest-sha256.txt", lambda raw: raw + b"0" * 64 + b"  /tmp/foo\n"),
    "home": lambda bag: edit(bag, "manifest-sha256.txt", lambda raw: raw + b"0" * 64 + b"  ~/foo\n"),
    "home of a user": lambda bag: edit(bag, "manifest-sha256.txt", lambda raw: raw + b"0" * 64 + b"  ~root/foo\n"),
    "drive": lambda bag: edit(bag, "manifest-sha256.txt", lambda raw: raw + b"0" * 64 + b"  C:\\foo\n"),
    "share": lambda bag: edit(bag, "manifest-sha256.txt", lambda raw: raw + b"0" * 64 + b"  \\\\host\\foo\n"),
    "fetch outside": lambda bag: edit(bag, "fetch.txt", lambda _: b"http://x/y - ../../x\n"),
    "fetch absolute": lambda bag: edit(bag, "fetch.txt", lambda _: b"http://x/y - /tmp/x\n"),
    "fetch incomplete": lambda bag: edit(bag, "fetch.txt", lambda _: b"http://x/y 5 data/not-here\n"),
    "fetch nonsense": lambda bag: edit(bag, "fetch.txt", lambda _: b"data/hello.txt\n"),
    "oxum": lambda bag: edit(bag, "bag-info.txt", lambda _: b"Payload-Oxum: 1.1\n"),
    "no label": lambda bag: edit(bag, "bag-info.txt", lambda _: b"nonsense\n"),
    "short hash": lambda bag: edit(bag, "manifest-sha256.txt", lambda raw: raw + b"00  data/hello.txt\n"),
    "tag file in manifest": lambda bag: edit(
        bag, "manifest-sha256.txt", lambda raw: raw + b"0" * 64 + b"  bagit.txt\n"
    ),
    "link": lambda bag: os.symlink("hello.txt", bag / "data" / "link"),
}


@pytest.mark.parametrize("version", ["0.97", "1.0"])
@pytest.mark.parametrize("kind", INVALID)
def test_invalid_bags_are_refused(tmp_path, version, kind):
    folder = bag(tmp_path / "bag", version)
    INVALID[kind](folder)
    assert main(["verify", str(folder)]) == 65


def test_what_only_version_1_forbids(tmp_path):
    for version, valid in (("0.97", True), ("1.0", False)):
        folder = bag(tmp_path / f"twice{version}", version)
        edit(folder, "manifest-sha256.txt", lambda raw: raw * 2)
        assert (check(folder).errors == []) is valid
        folder = bag(tmp_path / f"some{version}", version, algorithms=("sha256", "sha512"))
        edit(folder, "manifest-sha512.txt", lambda raw: raw.splitlines(True)[0])
        assert (check(folder).errors == []) is valid
    folder = bag(tmp_path / "blanks")
    edit(folder, "bagit.txt", lambda raw: raw.replace(b"Version:", b"Version :"))
    assert check(folder).errors


def test_what_is_odd_but_allowed_is_said(tmp_path):
    folder = bag(tmp_path / "bag", "0.97")
    edit(folder, "manifest-sha256.txt", lambda raw: raw.replace(b"  data", b" *./data"))
    found = check(folder)
    assert found.errors == []
    assert len(found.warnings) == 4


def test_a_complete_fetch_list_and_an_empty_payload_are_fine(tmp_path):
    folder = bag(tmp_path / "bag")
    edit(folder, "fetch.txt", lambda _: b"http://x/y - data/hello.txt\n")
    assert check(folder).errors == []
    empty = tmp_path / "empty"
    (empty / "data").mkdir(parents=True)
    (empty / "bagit.txt").write_text("BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")
    (empty / "manifest-sha256.txt").write_text("")
    assert check(empty).errors == []
