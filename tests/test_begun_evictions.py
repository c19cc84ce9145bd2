"""Who makes room finishes what somebody began who died: a segment has one record, and what it carries is told once."""

import os
import signal
from unittest import mock

import forge
import pytest
from forge import NOON_US
from forged_trees import put, put_identity
from told_losses import lost, present

from carojournal import spool
from carojournal.lanes import Lane
from carojournal.reader import JournalReader

ONE_GOES, ONE_STAYS, BOTH_GO = (
    36_000,
    30_000,
    22_000,
)  # A segment that is begun takes 16,384 bytes, each of the two files about 11,000.
X, S, T = (bytes([number]) * 16 for number in (0xA1, 0xB2, 0xC3))
EVENT = forge.event(1)


def put_loser(tree, segment, second):
    """A closed segment that tells of the loss of X: 9 events."""
    return put(tree, segment, [forge.loss(X), *[EVENT] * 80], created_us=NOON_US + second * 1_000_000)


def append(root, number, clock, cap_bytes, *, dies):
    """Append an event to lane *number*, in a process that is killed before it removes anything if it *dies*."""
    clock.advance(1)
    child = os.fork()
    if not child:
        try:
            if dies:
                spool.remove = lambda _: os.kill(os.getpid(), signal.SIGKILL)
            Lane(root, number, cap_bytes, os.urandom).append((EVENT,), clock.now_ms, 0, sync=False)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == (signal.SIGKILL if dies else 0)


def spare(tree, segment):
    (tree / "outbox").mkdir(exist_ok=True)
    (tree / "outbox" / "batch").write_bytes(segment)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("spared_is_older", [True, False])
def test_a_loss_that_two_files_tell_survives_whoever_dies_while_they_go(tree, clock, times, spared_is_older):
    """The first record of S leaves X to T; a second one, of who takes both, would carry it, and not be counted."""
    put_identity(tree, b"carojournal 1")
    put_loser(tree, S, 1 if spared_is_older else 0)
    put_loser(tree, T, 0 if spared_is_older else 1)
    root, made = str(tree), 160 + 9
    assert present(root) + lost(root) == made
    clock.advance(3_600_000)
    spare(tree, T)
    append(root, 0, clock, ONE_GOES, dies=True)
    assert present(root) + lost(root) == made
    assert {loss["segment"] for loss in tells(root, 0)} == {S}
    (tree / "outbox" / "batch").unlink()
    for number in range(1, times):
        append(root, number, clock, BOTH_GO, dies=True)
        assert present(root) + lost(root) == made
    append(root, times, clock, BOTH_GO, dies=False)
    assert present(root) + lost(root) == made + 1
    for number in range(20):
        append(root, 10 + number % 3, clock, BOTH_GO, dies=False)
        assert present(root) + lost(root) == made + 2 + number
    assert not list((tree / "segments").glob(f"*{S.hex()}*"))


def tells(root, lane):
    reader = JournalReader(root)
    return [
        loss
        for info in reader.segments()
        if info.lane == lane and info.state == "open"
        for loss in reader._losses_of(info)
    ]


def test_a_file_that_was_told_of_gets_no_second_record_where_it_cannot_be_unlinked(tree, clock):
    put_identity(tree, b"carojournal 1")
    kept = put_loser(tree, S, 0)
    put_loser(tree, T, 1)
    clock.advance(3_600_000)
    root = str(tree)
    append(root, 0, clock, ONE_GOES, dies=True)
    unlink = os.unlink

    def refused(path, **options):
        if path == str(kept):
            raise PermissionError(1, "Operation not permitted", path)
        unlink(path, **options)

    with mock.patch.object(os, "unlink", refused):
        append(root, 1, clock, ONE_STAYS, dies=False)
    assert {loss["segment"] for loss in tells(root, 1)} == {T}
    assert present(root) + lost(root) == 160 + 9 + 1
