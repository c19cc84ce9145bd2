"""What a journal tells as lost, and hosts that die between telling it and doing it."""

from contextlib import contextmanager
from unittest import mock

from carobatch_journals import fill

from carojournal import spool
from carojournal.reader import JournalReader

CAP_BYTES = 90_000  # Room for five of the smallest segments.


def lost(root):
    """Return how many events are told as lost, without what was delivered."""
    return sum(
        loss["events"] * (loss["reason"] != "delivered")
        + sum(row["events"] for row in loss["carried"] if row["reason"] != "delivered")
        for loss in JournalReader(root).losses()
    )


def present(root):
    return sum(record.is_event for record in JournalReader(root).records())


@contextmanager
def dying_before_the_unlink():
    with mock.patch.object(spool, "remove", side_effect=KeyboardInterrupt):
        yield


def die_once(journal, clock):
    """Append until a loss record is written, and die before the file goes; return how many events were written."""
    made = 0
    with dying_before_the_unlink():
        while True:
            try:
                made += len(fill(journal, clock, 1, 1))
            except KeyboardInterrupt:
                return made


def told(root):
    reader = JournalReader(root)
    return {loss["segment"] for group in reader.groups() for info in group for loss in reader._losses_of(info)}
