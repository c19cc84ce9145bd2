"""The check that all fault harnesses share: it must notice every way in which a journal can fail to add up."""

import os

import pytest
from carobatch_journals import close_lanes, fill, journal_at, squeezed

from carobatch.cli import main
from carojournal import held
from carojournal.rotation import closed_name, encode_header, encode_start
from faults import conservation

CAP_BYTES = 90_000  # Room for five of the smallest segments.


@pytest.fixture
def squeezed_journal(tmp_path, clock):
    """A journal that has evicted segments which themselves held loss records: (root, acknowledged)."""
    root = str(tmp_path / "journal")
    with squeezed(root, clock, CAP_BYTES) as journal:
        made = fill(journal, clock, 3_000, 1)
    return root, conservation.ranges(made)


def segments(root):
    folder = os.path.join(root, "segments")
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder))]


def test_a_bounded_journal_adds_up_with_losses_of_losses(squeezed_journal):
    root, acknowledged = squeezed_journal
    balance = conservation.check(root, acknowledged)
    assert balance.problems == []
    assert conservation.survey(root).carried
    assert balance.acknowledged == 3_000 == balance.present + sum(balance.lost.values())
    assert "lost (evicted)" in str(balance)


def test_a_segment_that_vanishes_without_a_word_is_noticed(squeezed_journal):
    root, acknowledged = squeezed_journal
    os.unlink(segments(root)[-1])
    assert conservation.check(root, acknowledged).problems


def test_what_was_delivered_or_cleared_need_not_be_there(tmp_path, clock):
    root = str(tmp_path / "journal")
    with journal_at(root, clock) as journal:
        acknowledged = conservation.ranges(fill(journal, clock, 9))
    close_lanes(root)
    os.unlink(segments(root)[0])
    segment = next(iter(acknowledged))
    parts = {"delivered": {segment: [[1, 4]]}, "cleared": {segment: [[5, 9]]}}
    assert conservation.check(root, acknowledged, outcomes=parts).problems == []
    assert conservation.check(root, acknowledged, outcomes={"delivered": {segment: [[1, 8]]}}).problems


def test_events_that_nobody_recorded_are_noticed(tmp_path, clock):
    root = str(tmp_path / "journal")
    with journal_at(root, clock) as journal:
        made = fill(journal, clock, 9)
    acknowledged = conservation.ranges(made[:-1])
    assert conservation.check(root, acknowledged).problems
    assert conservation.check(root, acknowledged, extra=1).problems == []


def test_a_loss_of_what_never_was_is_noticed(squeezed_journal):
    root, acknowledged = squeezed_journal
    segment = bytes(range(16))
    with open(os.path.join(root, "segments", closed_name(1, segment)), "wb") as file:
        made_up = held.encode_loss("evicted", bytes(16), 1, 5, 5, 500, {})
        file.write(encode_start(segment, header_of(segment), [made_up]))
    assert conservation.check(root, acknowledged).problems


def header_of(segment):
    return encode_header(segment, 1_000, 0, 0, None)


def test_packing_changes_no_sum(squeezed_journal):
    root, acknowledged = squeezed_journal
    before = conservation.check(root, acknowledged)
    assert main(["compact", "--dir", root, "--idle", "0"]) == 0
    assert conservation.check(root, acknowledged) == before


def test_ranges_are_sets():
    one, two = {b"a": [[1, 9]]}, {b"a": [[3, 4], [9, 12]], b"b": [[0, 0]]}
    assert conservation.joined(one, two) == {b"a": [[1, 12]], b"b": [[0, 0]]}
    assert conservation.without(one, two) == {b"a": [[1, 2], [5, 8]]}
    assert conservation.count(two) == 7
    assert conservation.ranges([(b"a", 3), (b"a", 1), (b"a", 2), (b"b", 7)]) == {b"a": [[1, 3]], b"b": [[7, 7]]}
