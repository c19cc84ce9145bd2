"""The identity file: text lines with a CRC, first good line counts, nothing is lost to a race or a torn line."""

import os
import zlib

import pytest

from carojournal import identity

DAY = 86_400_000


class Random:
    """Counts up, so that every id is another and none is by chance the same."""

    def __init__(self, start=0):
        self.next = start

    def __call__(self, size):
        self.next += 1
        return self.next.to_bytes(size, "big")


@pytest.fixture
def opened(tmp_path):
    return identity.open_identity(str(tmp_path), 0, Random())


def lines(tmp_path):
    return (tmp_path / "journal").read_bytes().split(b"\n")


def test_every_line_closes_with_the_crc_of_what_stands_before(tmp_path, opened):
    opened.session("1970-01-02")
    good = [line for line in lines(tmp_path) if line]
    assert len(good) == 6
    for line in good:
        text, _, crc = line.rpartition(b" ")
        assert crc == b"%08x" % zlib.crc32(text)


def test_the_file_is_the_owners_alone(tmp_path, opened):
    assert os.stat(tmp_path / "journal").st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["journal"]


def test_a_second_process_sees_the_same_journal_and_session(tmp_path, opened):
    other = identity.open_identity(str(tmp_path), 0, Random(1000))
    assert (other.journal, other.secret) == (opened.journal, opened.secret)
    assert other.session("1970-01-01") == opened.session("1970-01-01")


def test_a_new_day_has_a_new_session_and_the_old_one_stays_in_the_history(opened):
    first, second = opened.session("1970-01-01"), opened.session("1970-01-02")
    assert first != second
    assert opened.history() == [("1970-01-01", first), ("1970-01-02", second)]


def test_two_processes_racing_at_midnight_agree(tmp_path, opened):
    racing = identity.open_identity(str(tmp_path), 0, Random(1000))
    mine = opened.session("1970-01-02")
    racing.append(f"session 1970-01-02 {'ab' * 16}")  # it had not seen our line when it wrote its own
    assert racing.session("1970-01-02") == mine
    assert identity.open_identity(str(tmp_path), 0, Random(2000)).session("1970-01-02") == mine


def test_rotate_ends_the_ids_before_it(opened):
    before = opened.session("1970-01-01")
    opened.append("rotate 5")
    after = opened.session("1970-01-01")
    assert after != before
    assert opened.session("1970-01-01") == after


def test_a_torn_line_cannot_swallow_the_next(tmp_path, opened):
    with open(tmp_path / "journal", "ab") as file:
        file.write(b"\nsession 1970-01-02 00ff")
    fresh = identity.open_identity(str(tmp_path), 0, Random(1000))
    session = fresh.session("1970-01-02")
    assert identity.open_identity(str(tmp_path), 0, Random(2000)).session("1970-01-02") == session


def test_every_bit_flip_gives_a_whole_identity_and_never_a_wrong_id(tmp_path, opened):
    good = (tmp_path / "journal").read_bytes()
    known = {opened.journal, opened.secret, opened.session("1970-01-01")}
    for bit in range(len(good) * 8):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / "journal").write_bytes(damaged)
        found = identity.open_identity(str(tmp_path), 0, Random(10**6))
        for value in (found.journal, found.secret, found.session("1970-01-01")):
            assert value in known or int.from_bytes(value, "big") > 10**6  # a fresh one, never a flipped one


def test_a_run_id_is_recognised_by_its_own_journal_only(tmp_path, opened):
    run = identity.issue_run(opened.secret, "1970-01-01", os.urandom)
    assert identity.run_on(opened.secret, run, 5) == run
    assert identity.run_on(bytes(16), run, 5) is None
    assert identity.run_on(opened.secret, os.urandom(16), 5) is None
    assert identity.run_on(opened.secret, b"", 5) is None


def test_a_run_has_another_id_on_every_day_and_ends_after_a_month(opened):
    run = identity.issue_run(opened.secret, "1970-01-01", os.urandom)
    ids = {identity.run_on(opened.secret, run, day * DAY) for day in range(identity.RUN_DAYS_MAX)}
    assert len(ids) == identity.RUN_DAYS_MAX
    assert None not in ids
    assert identity.run_on(opened.secret, run, identity.RUN_DAYS_MAX * DAY) is None
    assert identity.run_on(opened.secret, run, -DAY) is None


def test_a_link_in_the_identitys_place_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_text("x")
    os.symlink(tmp_path / "elsewhere", tmp_path / "journal")
    with pytest.raises(OSError, match=r"symbolic|loop|Too many"):
        identity.open_identity(str(tmp_path), 0, Random())
    assert (tmp_path / "elsewhere").read_text() == "x"


@pytest.mark.parametrize(("ms", "day"), [(0, "1970-01-01"), (DAY - 1, "1970-01-01"), (2**31 * 1000, "2038-01-19")])
def test_days_are_utc(ms, day):
    assert identity.day_of(ms) == day


@pytest.mark.parametrize("name", ["write", "link"])
def test_an_identity_that_cannot_be_made_leaves_nothing(tmp_path, monkeypatch, name):
    """On a full disk a host left a file at every event, which nobody removed."""

    def fails(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, name, fails)
        if name == "link":
            patched.setattr(os, "rename", fails)
        with pytest.raises(OSError, match="No space"):
            identity.open_identity(str(tmp_path), 0, Random())
    assert os.listdir(tmp_path) == []


def test_a_file_system_without_hard_links_has_an_identity_too(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(1, "not permitted")))
    identity.open_identity(str(tmp_path), 0, Random())
    assert os.listdir(tmp_path) == ["journal"]
