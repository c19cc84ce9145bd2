"""Following a journal: what is appended comes once, whatever happens to the files meanwhile."""

import fcntl
import os
import shutil

import forge
import pytest
from forged_trees import put_lane, put_packed

from carojournal import Journal
from carojournal.reader import Damage, JournalReader
from carojournal.segments import list_segments

A, B, C = (bytes([number]) * 16 for number in (0xA1, 0xB2, 0xC3))
ERROR = {"error_category": "config_error"}


class Script:
    """A `sleep` that runs one step of a story at each call, and `stop` that ends after the last one."""

    def __init__(self, *steps):
        self.steps = list(steps)
        self.ended = False

    def sleep(self, seconds):
        assert seconds == 0.5
        if self.steps:
            self.steps.pop(0)()
        else:
            self.ended = True

    def follow(self, reader):
        found = reader.follow(poll_s=0.5, sleep=self.sleep, stop=lambda: self.ended)
        return [(record.segment, record.seq) for record in found if record.is_event]


@pytest.fixture
def appended(journal):
    """Call it with a number: that many events are appended; their identities gather in `appended.all`."""

    def append(count=1):
        append.all += [journal.append("error_occurred", **ERROR) for _ in range(count)]

    append.all = []
    return append


def test_follow_yields_what_comes_not_what_was(journal, root, appended):
    journal.append("error_occurred", **ERROR)
    script = Script(lambda: appended(3), lambda: None, lambda: appended(2))
    assert script.follow(JournalReader(root)) == appended.all


def test_follow_loses_and_repeats_nothing_across_rotations(root, appended, clock):
    appended()
    appended.all.clear()

    def rotate():
        appended(2)
        clock.advance(7 * 3_600_000)
        appended(2)
        clock.advance(7 * 3_600_000)  # The segment between has come and gone before the next look.
        appended(2)

    reader = JournalReader(root)
    assert Script(rotate, lambda: appended(5), rotate).follow(reader) == appended.all
    assert reader.damage == []


def test_follow_sees_new_lanes(root, appended):
    appended()
    appended.all.clear()

    def contend():
        with open(os.path.join(root, "lanes", "0.lock")) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            appended(3)
        appended(1)

    found = Script(contend, lambda: appended(1)).follow(JournalReader(root))
    assert sorted(found) == sorted(appended.all)
    assert os.path.exists(os.path.join(root, "lanes", "1.seg"))


def test_follow_starts_before_there_is_a_journal(root, appended):
    assert Script(lambda: None, lambda: appended(2)).follow(JournalReader(root)) == appended.all


def test_follow_outlives_the_directory(root, appended):
    def remove():
        appended(2)
        shutil.rmtree(root)

    script = Script(lambda: appended(1), remove, lambda: appended(2), lambda: appended(1))
    assert script.follow(JournalReader(root)) == appended.all


def test_follow_goes_on_where_a_directory_that_was_moved_away_comes_back(root, appended):
    away = f"{root}.away"
    script = Script(
        lambda: appended(2), lambda: os.rename(root, away), lambda: os.rename(away, root), lambda: appended(2)
    )
    assert script.follow(JournalReader(root)) == appended.all


def test_follow_waits_for_the_rest_of_a_record(tree):
    path = put_lane(tree, A, [forge.event(1)])
    more = forge.record(A, 2, forge.event(2)) + forge.record(A, 3, forge.event(3))

    def grow(data):
        with path.open("ab") as file:
            file.write(data)

    reader = JournalReader(tree)
    script = Script(*(lambda start=start: grow(more[start : start + 40]) for start in range(0, len(more), 40)))
    assert script.follow(reader) == [(A, 2), (A, 3)]
    assert reader.damage == []


def test_follow_steps_over_damage_and_reports_it(tree):
    path = put_lane(tree, A, [forge.event(1)])
    reader = JournalReader(tree)
    size = path.stat().st_size

    def grow():
        with path.open("ab") as file:
            file.write(b"#" * 33 + forge.record(A, 2, forge.event(2)))

    assert Script(grow).follow(reader) == [(A, 2)]
    assert reader.damage == [Damage(str(path), size, 33, "mark")]


def test_follow_reads_a_segment_that_was_packed_between_two_looks(tree):
    def pack():
        put_packed(tree, B, [1, 2])

    assert Script(pack).follow(JournalReader(tree)) == [(B, 1), (B, 2)]


def test_follow_leaves_no_file_open(tree):
    put_lane(tree, A, [forge.event(1)])
    before = len(os.listdir("/dev/fd"))
    found = JournalReader(tree).follow(sleep=lambda _: None, stop=lambda: True)
    assert list(found) == []
    assert len(os.listdir("/dev/fd")) == before


# Beside a writer.


def test_reader_beside_a_writer_that_rotates_sees_each_acknowledged_record_once(root, clock):
    """Interleave listing, reading and appending at every yield of the reader."""
    with Journal.open(clock=clock, admin="/nonexistent") as journal:
        acked = {journal.append("error_occurred", **ERROR) for _ in range(40)}
        seen = []
        for record in JournalReader(root).records(events_only=True):
            seen.append((record.segment, record.seq))
            if len(seen) % 10 == 0:
                clock.advance(7 * 3_600_000)
            journal.append("error_occurred", **ERROR)
        assert acked <= set(seen)
        assert len(seen) == len(set(seen))
        assert {group[0].segment for group in list_segments(root).groups} >= {pair[0] for pair in seen}
