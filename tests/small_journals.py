"""A journal with a bound so small that a few hundred events fill it."""

from carojournal import spool

CAP = 700_000  # 40 segments would be below the minimum: segments of 17,500 bytes, quick to fill.


def fill(journal, clock, events, generated):
    for _ in range(events):
        clock.advance(1)
        assert journal.record("command_generated", **generated)


def used(root):
    return sum(size for *_, size in spool.usage(root))
