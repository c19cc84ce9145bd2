"""A file is read whole, in a piece of its own size, also while it grows."""

import os

import pytest

from carojournal import segment_file
from carojournal.segment_file import read_all, read_file


@pytest.fixture
def asked(monkeypatch):
    """The sizes that `pread` was asked for."""
    sizes = []
    pread = os.pread

    def noted(descriptor, size, offset):
        sizes.append(size)
        return pread(descriptor, size, offset)

    monkeypatch.setattr(segment_file.os, "pread", noted)
    return sizes


@pytest.mark.parametrize("size", [0, 1, 4_096, 300_000])
def test_nothing_much_larger_than_the_file_is_asked_for(tmp_path, asked, size):
    """A mebibyte for each of many small files fragments the heap: reading them all took four times the memory."""
    path = tmp_path / "a.seg"
    path.write_bytes(os.urandom(size))
    assert read_file(str(path)) == path.read_bytes()
    assert max(asked) <= max(size + 1, 4_096)


def test_what_is_appended_meanwhile_is_read_too(tmp_path, monkeypatch):
    path = tmp_path / "a.seg"
    path.write_bytes(b"a" * 10_000)
    pread = os.pread
    left = [b"b" * 9_000, b"c"]

    def growing(descriptor, size, offset):
        data = pread(descriptor, size, offset)
        if left:
            with path.open("ab") as file:
                file.write(left.pop(0))
        return data

    monkeypatch.setattr(segment_file.os, "pread", growing)
    assert read_file(str(path)) == b"a" * 10_000 + b"b" * 9_000 + b"c"


@pytest.mark.parametrize("limit", [0, 1, 9_999, 10_000, 10_001])
def test_no_more_than_the_limit_is_read(tmp_path, limit):
    path = tmp_path / "a.seg"
    path.write_bytes(b"a" * 10_000)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert read_all(descriptor, limit) == b"a" * min(limit, 10_000)
    finally:
        os.close(descriptor)
