"""The counters of what was refused or could not be written."""

import fcntl
import os
import zlib

import pytest

from carojournal import drops, policy, redact, refusal
from carojournal.events import EVENTS
from carojournal.journal import POLICY_CHECK_MS


def test_every_line_is_128_bytes_of_text_with_its_crc(tmp_path):
    drops.create_drops(str(tmp_path))
    drops.add_counts(str(tmp_path), {"drop io": 3, "refuse session_start caro_version value": 1})
    data = (tmp_path / "drops").read_bytes()
    assert len(data) == 128 * (len(drops.DROP_REASONS) + 1)
    for at in range(0, len(data), 128):
        line = data[at : at + 128]
        assert line[118:126] == b"%08x" % zlib.crc32(line[:118])
        assert line.isascii()
        assert line.endswith(b" \n")


def test_counts_add_up_over_calls(tmp_path):
    for _ in range(3):
        assert drops.add_counts(str(tmp_path), {"drop io": 2, "refuse a b c": 1})
    assert drops.read_counts(str(tmp_path)) == ({"drop io": 6, "refuse a b c": 3}, 0)


def test_a_count_needs_no_new_block(tmp_path):
    drops.create_drops(str(tmp_path))
    before = os.stat(tmp_path / "drops").st_size
    assert drops.add_counts(str(tmp_path), {"drop disk_full": 1})
    assert os.stat(tmp_path / "drops").st_size == before


def test_a_held_file_is_not_waited_for(tmp_path):
    drops.create_drops(str(tmp_path))
    with open(tmp_path / "drops", "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not drops.add_counts(str(tmp_path), {"drop io": 1})
    assert drops.add_counts(str(tmp_path), {"drop io": 1})


def test_every_bit_flip_is_damage_of_one_line_and_never_a_wrong_count(tmp_path):
    drops.add_counts(str(tmp_path), {"drop io": 41, "refuse a b c": 7})
    good = (tmp_path / "drops").read_bytes()
    for bit in range(len(good) * 8):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / "drops").write_bytes(damaged)
        counts, lost = drops.read_counts(str(tmp_path))
        assert lost == 128
        assert counts in ({"drop io": 41}, {"refuse a b c": 7})
        assert drops.add_counts(str(tmp_path), {"drop io": 1})


@pytest.mark.parametrize("size", range(257))
def test_every_truncation_is_damage_and_the_next_count_is_kept(tmp_path, size):
    drops.add_counts(str(tmp_path), {"drop io": 41, "refuse a b c": 7})
    os.truncate(tmp_path / "drops", size)
    assert drops.read_counts(str(tmp_path))[1] == size % 128
    assert drops.add_counts(str(tmp_path), {"drop bug": 5})
    assert drops.read_counts(str(tmp_path))[0]["drop bug"] == 5


def test_the_longest_key_fits_and_all_keys_fit_the_file():
    keys = [
        f"refuse {event} {field} {reason}"
        for event, (_, fields) in EVENTS.items()
        for field in (*fields, "generation", redact.UNKNOWN)
        for reason in refusal.REASONS
    ]
    assert max(map(len, keys)) <= 96
    assert (len(keys) + len(drops.DROP_REASONS)) * 128 <= 262_144


def test_a_missing_directory_is_no_error(tmp_path):
    assert not drops.add_counts(str(tmp_path / "none"), {"drop io": 1})
    assert drops.read_counts(str(tmp_path / "none")) == ({}, 0)


def test_what_was_counted_before_the_disk_was_full_is_not_counted_again(tmp_path, monkeypatch):
    real, left = os.pwrite, [2]

    def full(descriptor, data, at):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return real(descriptor, data, at)

    waiting = {"drop io": 1, "drop bug": 2, "drop busy": 3}
    monkeypatch.setattr(os, "pwrite", full)
    assert not drops.add_counts(str(tmp_path), waiting)
    assert waiting == {"drop busy": 3}
    monkeypatch.undo()
    assert drops.add_counts(str(tmp_path), waiting)
    assert drops.read_counts(str(tmp_path)) == ({"drop io": 1, "drop bug": 2, "drop busy": 3}, 0)


def test_a_count_that_arrives_while_the_file_is_being_made_is_kept(tmp_path, monkeypatch):
    real = os.open

    def slow(path, flags, *rest):
        descriptor = real(path, flags, *rest)
        if flags & os.O_EXCL:
            monkeypatch.undo()
            assert drops.add_counts(str(tmp_path), {"drop io": 5})
        return descriptor

    monkeypatch.setattr(os, "open", slow)
    drops.create_drops(str(tmp_path))
    assert drops.read_counts(str(tmp_path))[0]["drop io"] == 5


def test_hosts_that_end_while_the_file_is_busy_wait_for_their_turn(root, journal, monkeypatch):
    """Whoever ends has no later try: what it had counted was lost."""
    assert journal.record("session_end", session_duration_ms=1)
    held = os.open(f"{root}/drops", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert not journal.record("session_end", session_duration_ms=-1)
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            os.close(held)

    monkeypatch.setattr("time.sleep", sleep)
    journal.close()
    assert len(waited) == 3
    assert drops.read_counts(root)[0]["refuse session_end session_duration_ms range"] == 1


def test_a_disk_that_fills_up_leaves_whole_lines(tmp_path, monkeypatch):
    write = os.write

    def full(descriptor, data):
        if os.fstat(descriptor).st_size >= 300:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:300])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            drops.create_drops(str(tmp_path))
    assert drops.add_counts(str(tmp_path), {"drop io": 1})
    assert (drops.read_counts(str(tmp_path))[0]["drop io"], drops.read_counts(str(tmp_path))[1]) == (1, 0)


@pytest.mark.parametrize("place", ["a link", "writable by others", "a file", "nothing"])
def test_what_is_counted_after_the_root_was_replaced_waits(root, journal, tmp_path, place):
    """A host looked at the root once a second at most, and made `drops` wherever the path led by then."""
    assert journal.record("session_end", session_duration_ms=1)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    os.rename(root, f"{root}-away")
    if place == "a link":
        os.symlink(foreign, root)
    elif place == "writable by others":
        os.mkdir(root)
        os.chmod(root, 0o777)
    elif place == "a file":
        with open(root, "wb"):
            pass
    assert not journal.record("session_end")
    assert list(foreign.iterdir()) == []
    if place == "writable by others":
        assert os.listdir(root) == []
        os.rmdir(root)
    elif place != "nothing":
        os.unlink(root)
    os.rename(f"{root}-away", root)
    before = drops.read_counts(root)[0].get("refuse session_end session_duration_ms missing", 0)
    assert before == 0
    journal.close()
    assert drops.read_counts(root)[0]["refuse session_end session_duration_ms missing"] == 1


def test_nothing_is_counted_in_the_file_once_telemetry_is_off(root, journal, monkeypatch, clock):
    """A host of whose events none was accepted, behind a `Collector`, counted on for as long as it ran."""
    assert journal.record("session_end", session_duration_ms=1)
    os.unlink(f"{root}/drops")
    monkeypatch.setenv("CARO_TELEMETRY_ENABLED", "0")
    clock.advance(POLICY_CHECK_MS)
    journal.count({"drop queue_full": 1})
    assert journal.mode == "off"
    assert journal.stats["reasons"] == {"drop queue_full": 1}
    journal.count({"drop queue_full": 1})
    journal.close()
    assert not os.path.exists(f"{root}/drops")


def test_counts_that_wait_are_not_written_at_the_end_if_telemetry_is_off_by_then(root, journal, monkeypatch):
    assert journal.record("session_end", session_duration_ms=1)
    with open(f"{root}/drops", "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not journal.record("session_end", session_duration_ms=-1)
    os.unlink(f"{root}/drops")
    monkeypatch.setenv("CARO_TELEMETRY_ENABLED", "0")
    journal.close()
    assert not os.path.exists(f"{root}/drops")


def test_a_second_look_that_fails_costs_no_count(root, journal, monkeypatch, clock):
    assert journal.record("session_end", session_duration_ms=1)
    clock.advance(POLICY_CHECK_MS)
    with monkeypatch.context() as patched:
        patched.setattr(policy, "resolve", lambda *_, **__: (_ for _ in ()).throw(OSError(5, "no answer")))
        journal.count({"drop queue_full": 1})
    assert drops.read_counts(root)[0]["drop queue_full"] == 1
