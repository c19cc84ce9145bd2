"""`verify` looks at the small files too: identity, counters, snapshot, lock files."""

import os

import forge
import pytest
from forge import NOON_US
from forged_trees import put, put_identity, put_lane

from carojournal import JournalReader, verify_files
from carojournal.clear import clear
from carojournal.closed import close_lanes
from carojournal.identity import line
from carojournal.recovery import CLEAN, GAPS, TORN, verify

A, B = (bytes([number]) * 16 for number in (0xA1, 0xB2))
PAYLOADS = [forge.event(1), forge.event(2, generation=3), forge.event(99_000)]


@pytest.fixture
def tree(tree):
    """An empty journal: its folders and an identity file."""
    put_identity(tree, b"carojournal 1")
    return tree


def test_damaged_lines_of_the_small_files_are_named(journal, root):
    journal.append("error_occurred", error_category="config_error")
    expected = {}
    for name, at, start, reason in (
        ("journal", 60, len("carojournal 1 xxxxxxxx\n"), "line"),
        ("drops", 300, 256, "line"),
        ("lanes/0.lock", 5, 0, "lock"),
    ):
        path = os.path.join(root, name)
        with open(path, "r+b") as file:
            file.seek(at)
            old = file.read(1)
            file.seek(at)
            file.write(bytes([old[0] ^ 2]))
        expected[path] = (start, reason)
    report = verify(root)
    assert {item.path: (item.offset, item.reason) for item in report.damage} == expected


@pytest.mark.parametrize("rest", [b"", bytes(64), bytes(128)])
def test_half_written_line_of_the_counters_is_torn(journal, root, rest):
    """The next count begins at the next multiple of a line: what a crash left is followed by a hole."""
    journal.append("error_occurred", error_category="config_error")
    path = os.path.join(root, "drops")
    with open(path, "r+b") as file:
        file.truncate(128 * 6 + 64)
        file.seek(0, 2)
        file.write(rest)
    report = verify(root)
    assert (report.exit_code, [item.offset for item in report.torn][:1]) == (TORN, [128 * 6])


def test_half_written_line_of_the_identity_file_is_torn(tree):
    put_identity(tree, b"carojournal 1")
    with (tree / "journal").open("ab") as file:
        file.write(b"\nsession 2026-")
    report = verify(str(tree))
    assert (report.exit_code, [item.offset for item in report.torn]) == (TORN, [25])
    with (tree / "journal").open("ab") as file:
        file.write(b"\n" + line("rotate 1790000000000"))
    report = verify(str(tree))
    assert (report.exit_code, [item.offset for item in report.torn]) == (TORN, [25])


def test_snapshot_that_does_not_hold_is_named(tree):
    (tree / "policy").write_bytes(b"carojournal-policy 1\ncrc 00000000\n")
    assert [item.reason for item in verify(str(tree)).damage] == ["snapshot"]


def test_lock_file_that_names_another_segment_is_named(tree):
    path = put_lane(tree, A, PAYLOADS)
    path.with_suffix(".lock").write_bytes(forge.lock_text(B))
    assert [item.reason for item in verify(str(tree)).damage] == ["lock_names"]


@pytest.mark.parametrize(("previous", "text"), [(None, b""), ([B, 3, 700], forge.lock_text(B))])
def test_lock_file_that_says_what_it_said_before_the_segment_began_is_torn(tree, previous, text):
    """A crash between the segment's header and the lock file's text; the header says the same."""
    put(tree, B, PAYLOADS, created_us=NOON_US - 1)
    path = put_lane(tree, A, PAYLOADS, previous=previous)
    path.with_suffix(".lock").write_bytes(text)
    report = verify(str(tree))
    assert [item.reason for item in report.torn] == ["lock_names" if text else "lock"]
    assert (report.damage, report.gaps[1:]) == ([], [])


def test_identity_that_is_gone_beside_segments_is_named(tree):
    put_lane(tree, A, PAYLOADS)
    (tree / "journal").unlink()
    assert [item.reason for item in verify(str(tree)).damage] == ["missing"]


def test_lane_whose_last_segment_is_gone_is_a_gap(journal, root, clock, generated):
    """Nobody follows it yet, so only the lock file tells."""
    for _ in range(3):
        assert journal.record("command_generated", **generated)
    os.unlink(os.path.join(root, "lanes", "0.seg"))
    report = verify(root)
    assert (report.exit_code, [gap.reason for gap in report.gaps]) == (GAPS, ["lane"])
    assert report.gaps[0].path == os.path.join(root, "lanes", "0.lock")


def test_lane_whose_last_segment_was_cleared_or_closed_is_none(journal, root, clock, generated):
    assert journal.record("command_generated", **generated)
    close_lanes(root, clock.now_ms)
    assert verify(root).exit_code == CLEAN
    assert journal.record("command_generated", **generated)
    clear(root, clock.now_ms + 1, remove_root=False)
    assert verify(root).exit_code == CLEAN


def test_lane_that_has_gone_on_since_it_was_listed_is_not_damaged(journal, root, clock, generated):
    assert journal.record("command_generated", **generated)
    listed = JournalReader(root).groups()[0][0]
    assert listed.lane == 0
    clock.advance(86_400_000)
    assert journal.record("command_generated", **generated)
    assert verify_files.verify_files(root, {0: listed}) == []
