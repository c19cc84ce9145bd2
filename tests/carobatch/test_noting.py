"""An upload reads a segment once; what changed since is read again before it is removed."""

import os

from receivers import Receiver
from uploads import DAY_MS, ids, record, upload

from carobatch import deliveries
from carobatch.compact import compact
from carobatch.noting import NotingReader
from carobatch.store import PackedStore
from carojournal.packed_streams import PackedStreams


def closed(root):
    folder = os.path.join(root, "segments")
    return [os.path.join(folder, name) for name in os.listdir(folder)]


def everything(root):
    """A reader that has read all events, and what a receipt for all of them would say."""
    reader = NotingReader(root)
    done = {}
    for found in reader.records(events_only=True):
        deliveries.add(done, [(found.segment, [[found.seq, found.seq]])])
    return reader, done


def test_what_was_read_is_not_read_again(root, clock, monkeypatch):
    record(root, clock, 5)
    monkeypatch.setattr(deliveries, "read_file", None)
    with Receiver() as receiver:
        assert upload(root, receiver.url, clock).reclaimed_files == 1
    assert closed(root) == []


def test_what_was_not_read_is_read_before_it_goes(root, clock):
    record(root, clock, 5)
    _, done = everything(root)
    assert deliveries.reclaim(NotingReader(root), done, whole=False) == (0, 0)
    assert deliveries.reclaim(NotingReader(root), done)[0] == 1


def test_a_file_that_changed_since_is_judged_anew(root, clock):
    record(root, clock, 5)
    reader, done = everything(root)
    [path] = closed(root)
    with open(path, "r+b") as file:
        file.seek(-60, os.SEEK_END)
        file.write(b"damage")
    assert deliveries.reclaim(reader, done) == (0, 0)
    assert closed(root) == [path]


def test_an_event_that_no_receipt_names_keeps_its_file(root, clock):
    record(root, clock, 5)
    reader, done = everything(root)
    [segment] = done
    done[segment] = [[1, 2], [4, 5]]
    assert deliveries.reclaim(reader, done) == (0, 0)
    assert len(ids(root)) == 5


def test_few_packed_files_are_open_at_a_time(root, clock):
    wanted = []
    for _ in range(6):
        record(root, clock, 3)
        clock.advance(DAY_MS)
        compact(root, PackedStore(root, 10_000_000, 3), clock.now_ms + 100 * DAY_MS, 0)
        wanted = ids(root)
    streams = PackedStreams()
    groups = NotingReader(root).groups()
    assert len({group[0].path for group in groups}) == 6
    found = []
    for info in (*(group[0] for group in groups), groups[0][0]):
        found += [seq for seq, _ in streams.section(info.path, info.segment)]
        assert len(streams._open) <= 3
    assert found == [1, 2, 3] * 7
    assert len(wanted) == 18
