"""A file is there whole or not at all, never over something that nobody agreed to replace."""

import errno
import os

import pytest

from carojournal.durable import DurableFile, remove_abandoned, sync_directory, write_file
from carojournal.errors import JournalIOError, OutputError


def calls(monkeypatch, *names):
    """Record the order of calls to `os`."""
    made = []
    for name in names:
        real = getattr(os, name)

        def call(*args, _real=real, _name=name, **keywords):
            made.append(_name)
            return _real(*args, **keywords)

        monkeypatch.setattr(os, name, call)
    return made


def test_it_is_synced_before_it_gets_its_name_and_the_directory_after(tmp_path, monkeypatch):
    made = calls(monkeypatch, "write", "fsync", "link", "rename", "unlink")
    write_file(str(tmp_path / "new"), b"text")
    assert made == ["write", "fsync", "link", "unlink", "fsync"]
    made.clear()
    write_file(str(tmp_path / "new"), b"more", overwrite=True)
    assert made == ["write", "fsync", "rename", "fsync"]
    assert (tmp_path / "new").read_bytes() == b"more"
    assert os.stat(tmp_path / "new").st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["new"]


def test_what_exists_is_kept_unless_told_otherwise(tmp_path):
    path = tmp_path / "there"
    path.write_text("old")
    with pytest.raises(OutputError, match="exists already"):
        write_file(str(path), b"new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["there"]


def test_what_appears_meanwhile_is_kept_too(tmp_path):
    path = tmp_path / "there"
    with DurableFile(str(path)) as file:
        file.write(b"ours")
        path.write_text("theirs")
        with pytest.raises(OutputError, match="exists already"):
            file.commit()
    assert path.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["there"]


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_link_is_replaced_or_refused_but_never_followed(tmp_path, overwrite):
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "link").symlink_to(target)
    if overwrite:
        write_file(str(tmp_path / "link"), b"new", overwrite=True)
        assert not (tmp_path / "link").is_symlink()
    else:
        with pytest.raises(OutputError):
            write_file(str(tmp_path / "link"), b"new")
    assert target.read_text() == "precious"


@pytest.mark.parametrize("overwrite", [True, False])
def test_directories_and_devices_are_no_files(tmp_path, overwrite):
    for path in (str(tmp_path), "/dev/null", str(tmp_path) + "/", ""):
        with pytest.raises(OutputError):
            write_file(path, b"", overwrite=overwrite)


def test_a_missing_or_closed_directory_is_an_output_error(tmp_path):
    with pytest.raises(OutputError) as caught:
        write_file(str(tmp_path / "no" / "file"), b"")
    assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize("step", ["write", "fsync", "link", "rename"])
def test_an_error_at_any_step_leaves_nothing_behind(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    if step == "rename":
        path.write_text("old")

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OutputError) as caught:
        write_file(str(path), b"new", overwrite=step == "rename")
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert os.listdir(tmp_path) == (["file"] if step == "rename" else [])
    if step == "rename":
        assert path.read_text() == "old"


def test_after_an_fsync_error_the_descriptor_is_never_synced_again(tmp_path, monkeypatch):
    made = []

    def fail(descriptor):
        made.append(descriptor)
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError), DurableFile(str(tmp_path / "file")) as file:
        file.commit()
    assert len(made) == 1


def test_a_file_system_without_hard_links(tmp_path, monkeypatch):
    def no_links(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    write_file(str(tmp_path / "file"), b"text")
    assert (tmp_path / "file").read_bytes() == b"text"
    with pytest.raises(OutputError, match="exists already"):
        write_file(str(tmp_path / "file"), b"more")
    with DurableFile(str(tmp_path / "late")) as file:
        (tmp_path / "late").write_text("theirs")
        with pytest.raises(OutputError, match="exists already"):
            file.commit()
    assert (tmp_path / "late").read_text() == "theirs"


def test_short_writes_are_finished(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data[:3])))
    write_file(str(tmp_path / "file"), b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_what_is_kept_survives_an_abort(tmp_path):
    path = str(tmp_path / "file")
    with DurableFile(path, error=JournalIOError, temporary=f"{path}.tmp") as file:
        file.write(b"text")
        file.sync()
        file.keep()
    assert os.listdir(tmp_path) == ["file.tmp"]
    file.commit()
    assert os.listdir(tmp_path) == ["file"]


def test_a_directory_that_cannot_be_synced_is_good_enough(tmp_path, monkeypatch):
    def refuse(code):
        def fail(_):
            raise OSError(code, "")

        return fail

    monkeypatch.setattr(os, "fsync", refuse(errno.EINVAL))
    sync_directory(str(tmp_path))
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    with pytest.raises(OSError, match=str(errno.EIO)):
        sync_directory(str(tmp_path))


def test_what_nobody_has_touched_for_an_hour_is_removed_and_nothing_else(tmp_path):
    old = [".receipt-1.json.0123456789abcdef.tmp", ".bundle.0123456789abcdef.tmp"]
    kept = [".receipt-1.json", ".receipt-1.json.0123.tmp", "receipt-1.json.0123456789abcdef.tmp"]
    fresh = ".receipt-2.json.0123456789abcdef.tmp"
    for name in (*old, *kept, fresh):
        (tmp_path / name).write_bytes(b"")
        if name != fresh:
            os.utime(tmp_path / name, (1, 1))
    remove_abandoned(str(tmp_path), "receipt-")
    assert sorted(os.listdir(tmp_path)) == sorted([old[1], *kept, fresh])
    remove_abandoned(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, fresh])
    remove_abandoned(str(tmp_path), older_than_s=0)
    assert sorted(os.listdir(tmp_path)) == sorted(kept)
    remove_abandoned(str(tmp_path / "none"))
