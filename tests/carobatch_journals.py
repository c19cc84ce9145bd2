"""Journals to pack and carry in tests, and what they hold, by identity."""

import contextlib
import os
from unittest import mock

from carojournal import Journal, packed, policy
from carojournal.scan import scan
from carojournal.segment_file import read_file
from carojournal.segments import list_segments

DAY_MS = 86_400_000


def journal_at(root, clock, **options):
    environ = {"HOME": "/nonexistent"}
    return Journal.open(root, clock=clock, environ=environ, admin="/nonexistent", level="detailed", **options)


def bounded(cap_bytes):
    """Return what resolves policies with the bound *cap_bytes*, also below the smallest that users may set."""
    resolve = policy.resolve

    def narrowed(*args, **keywords):
        found = resolve(*args, **keywords)
        found.cap_bytes = cap_bytes
        return found

    return narrowed


@contextlib.contextmanager
def squeezed(root, clock, cap_bytes):
    """A writer for whom the spool's bound is *cap_bytes*."""
    with mock.patch.object(policy, "resolve", bounded(cap_bytes)), journal_at(root, clock) as journal:
        yield journal


def fill(journal, clock, events=10, step_ms=1_000):
    """Record *events* events; returns their identities."""
    made = []
    for number in range(events):
        clock.advance(step_ms)
        made.append(journal.append("session_end", session_duration_ms=number, commands_generated=number % 7))
    return made


def close_lanes(root):
    """Rename every open segment away, as a writer does when it rotates."""
    for name in os.listdir(os.path.join(root, "lanes")):
        if not name.endswith(".seg"):
            continue
        with open(os.path.join(root, "lanes", f"{name[:-4]}.lock"), "rb") as file:
            segment, created = file.read().split()[:2]
        os.rename(
            os.path.join(root, "lanes", name),
            os.path.join(root, "segments", f"{created.decode()}-{segment.decode()}.seg"),
        )


def events_of(root):
    """(segment, seq) -> payload of every event in the journal; fails where two places disagree."""
    found = {}
    for group in list_segments(root).groups:
        for info in group:
            for seq, payload in _records(info):
                if b"frecord" not in payload:
                    assert found.setdefault((info.segment, seq), payload) == payload
    return found


def _records(info):
    if info.state == "packed":
        for header, records in packed.iter_sections(info.path):
            if header["segment"] == info.segment:
                yield from records
        return
    data = read_file(info.path)
    for _, seq, start, end in scan(data, info.segment).records:
        yield seq, data[start:end]
