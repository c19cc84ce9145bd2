"""Every loss is told exactly once, whoever dies, renames, delivers or clears while somebody makes room."""

import dataclasses
import os
import shutil
import signal
from unittest import mock

import pytest
from carobatch_journals import fill, squeezed
from old_queues import old_event, queue, take
from told_losses import CAP_BYTES, die_once, lost, present, told

from carobatch import deliveries
from carobatch.compact import compact
from carobatch.noting import NotingReader
from carobatch.store import PackedStore
from carojournal import delivered, eviction, policy, rotation, sent, spool
from carojournal.cli import main
from carojournal.errors import JournalBusy
from carojournal.lanes import Lane
from carojournal.reader import JournalReader
from carojournal.unfinished import finish_evictions


def die_migrating(path, root, bound):
    """Migrate what is at *path* in a process that is killed between its ledger and its file."""
    child = os.fork()
    if not child:
        take(path, root, policy=bound, step=lambda name: name == "noted" and os.kill(os.getpid(), signal.SIGKILL))
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def told_and_standing(root):
    return next(
        path
        for path in sorted(info.path for info in JournalReader(root).segments())
        if os.path.basename(path)[17:49] in {segment.hex() for segment in told(root)}
    )


def test_what_a_death_left_is_finished_before_anything_is_packed(root, clock, telling):
    journal, made = telling
    made += die_once(journal, clock)
    assert present(root) + lost(root) == made, "as long as it stands, nothing of it is lost"
    segment = bytes.fromhex(os.path.basename(told_and_standing(root))[17:49])
    compact(root, PackedStore(root, CAP_BYTES), clock.now_ms, 0)
    assert segment not in {info.segment for info in JournalReader(root).segments()}
    assert present(root) + lost(root) == made


def test_a_batch_under_way_keeps_what_a_death_left(root, clock, telling):
    journal, _ = telling
    die_once(journal, clock)
    path = told_and_standing(root)
    os.makedirs(os.path.join(root, "outbox"))
    with open(os.path.join(root, "outbox", "batch"), "w") as file:
        file.write(os.path.basename(path)[17:49])
    assert finish_evictions(root) == 0
    os.unlink(os.path.join(root, "outbox", "batch"))
    assert finish_evictions(root) == 1
    assert finish_evictions(root) == 0


def test_what_an_import_tells_of_its_source_is_nothing_unfinished_here(root, clock, telling, tmp_path):
    """The source exports a segment, evicts it later, and exports the loss: whoever imports both keeps the segment."""
    journal, _ = telling
    die_once(journal, clock)
    kept = told_and_standing(root)
    there = str(tmp_path / "there")
    os.makedirs(os.path.join(there, "packed"))
    for bundle in ("first", "second"):
        place = str(tmp_path / bundle)
        os.makedirs(os.path.join(place, "segments"))
        for info in JournalReader(root).segments():
            if (info.path == kept) == (bundle == "first"):
                name = f"{info.created_us:016d}-{info.segment.hex()}.seg"
                shutil.copy(info.path, os.path.join(place, "segments", name))
        compact(place, PackedStore(place, 10_000_000), clock.now_ms, 0)
        (packed,) = os.listdir(os.path.join(place, "packed"))
        shutil.copy(os.path.join(place, "packed", packed), os.path.join(there, "packed"))
    before = present(there)
    assert told(there)
    assert finish_evictions(there) == 0
    assert present(there) == before == present(root)


def test_a_temporary_file_tells_nothing(root, clock, telling):
    """As a migration leaves it that was killed before it was noted: the next one removes it."""
    journal, _ = telling
    die_once(journal, clock)
    teller = next(
        info.path
        for info in JournalReader(root).segments()
        if os.path.basename(told_and_standing(root))[17:49]
        in {loss["segment"].hex() for loss in JournalReader(root)._losses_of(info)}
    )
    os.rename(teller, os.path.join(root, "segments", f"{9:016d}-{bytes(16).hex()}.seg.tmp"))
    assert finish_evictions(root) == 0


def test_a_file_of_which_only_itself_tells_is_not_unfinished(root, telling):
    before = present(root)
    assert finish_evictions(root) == 0
    assert present(root) == before


def test_what_a_death_left_is_cleared_once(root, clock, telling, tmp_path, monkeypatch):
    journal, made = telling
    made += die_once(journal, clock)
    made += len(fill(journal, clock, 1, 1))
    monkeypatch.setenv("CAROJOURNAL_DIR", root)
    assert main(["export", "-o", str(tmp_path / "e.json"), "--clear"]) == 0
    assert present(root) + lost(root) == made


def test_losses_of_reclaimed_files_are_spared_until_those_are_gone(root, clock, telling, monkeypatch):
    """Else a host could evict them, and leave what they tell to the files that are about to go."""
    journal, made = telling
    reader = JournalReader(root)
    first = next(info for info in reader.segments() if list(reader._losses_of(info)))
    runs = [record.seq for record in reader.of_segment(first) if record.is_event]
    first = dataclasses.replace(first, consent_ms=1)
    monkeypatch.setattr(NotingReader, "groups", lambda _: [[first]])
    listed, named = deliveries.list_removed, []

    def late(where, gone):
        listed(where, gone)
        new = {name[17:49] for name in os.listdir(os.path.join(root, "segments"))} - before
        named.extend(name.encode() in eviction.in_flight(root) for name in new)
        fill(journal, clock, 150, 1)

    before = {name[17:49] for name in os.listdir(os.path.join(root, "segments"))}
    monkeypatch.setattr(deliveries, "list_removed", late)
    assert deliveries.reclaim(NotingReader(root), {first.segment: [[runs[0], runs[-1]]]})[0] == 1
    assert named == [True]
    assert present(root) + lost(root) + len(runs) == made + 150


def test_a_migration_that_is_recovered_tells_no_loss_that_hosts_have_told_since(root, clock, telling, tmp_path):
    journal, made = telling
    small = policy.Policy("local", source="test", cap_bytes=CAP_BYTES - 20_000)  # So that it evicts.
    path = queue(tmp_path / "q", [old_event(number, clock.now_ms - 5) for number in range(20)])
    die_migrating(path, root, small)
    made += len(fill(journal, clock, 900, 1))
    assert present(root) + lost(root) == made
    report = take(path, root, policy=small)
    assert report.already > 0
    assert present(root) + lost(root) == made + report.taken + report.already


def test_a_migration_that_is_recovered_keeps_what_it_copied_out_of_a_file_that_still_stands(root, clock, tmp_path):
    """A lane that rests names its last segment, so the record of that one is copied when what tells it goes."""
    with squeezed(root, clock, CAP_BYTES) as journal:
        made = len(fill(journal, clock, 1, 1)) + 1
        other = Lane(root, 5, CAP_BYTES, os.urandom)
        asked, _ = other.append((b"\xa1eeventax",), clock.now_ms, 0, sync=False)
        other.acquire()
        rotation.close_segment(other)
        other.release()
        other.close()
        while asked not in told_by_the_oldest(root):
            made += len(fill(journal, clock, 1, 1))
        small = policy.Policy("local", source="test", cap_bytes=CAP_BYTES - 20_000)
        path = queue(tmp_path / "q", [old_event(number, clock.now_ms - 5) for number in range(4)])
        die_migrating(path, root, small)
        report = take(path, root, policy=small)
        made += report.taken + report.already
        assert finish_evictions(root) == 2
        assert present(root) + lost(root) == made


def told_by_the_oldest(root):
    reader = JournalReader(root)
    oldest = min(os.listdir(os.path.join(root, "segments")), default="")
    return [
        loss["segment"]
        for info in reader.segments()
        if os.path.basename(info.path) == oldest
        for loss in reader._losses_of(info)
    ]


def test_who_makes_room_looks_again_when_a_segment_was_closed_meanwhile(root, clock, telling):
    """What it tells would otherwise be in none of the files that were looked at."""
    other, looks = Lane(root, 5, CAP_BYTES, os.urandom), []
    assert other.append((b"\xa1eeventax",), clock.now_ms, 0, sync=False)
    choose = eviction.choose

    def meanwhile(*arguments):
        looks.append([name for _, name in arguments[4]])
        if len(looks) == 1:
            other.acquire()
            rotation.close_segment(other)
            other.release()
            with open(os.path.join(root, "lanes", "5.seg"), "xb"):
                pass  # Its next one, which tells nothing.
        return choose(*arguments)

    with mock.patch.object(eviction, "choose", meanwhile):
        assert spool.make_room(root, 70_000, 0)
    assert len(looks) == 2
    with mock.patch.object(eviction, "choose", side_effect=FileNotFoundError), pytest.raises(JournalBusy):
        spool.make_room(root, 70_000, 0)
    other.close()


def test_receipts_that_are_folded_while_they_are_read_are_read_again(root, telling, monkeypatch):
    folder = os.path.join(root, "receipts")
    os.makedirs(folder)
    segment = JournalReader(root).segments()[0].segment
    data = sent.encode_map({"ranges": [[segment, [[1, 2]]]], "refused": []})
    first = os.path.join(folder, "upload-1.cbor")
    with open(first, "wb") as file:
        file.write(data)
    listdir = os.listdir

    def meanwhile(path):
        names = listdir(path)
        if os.path.exists(first):
            os.rename(first, os.path.join(folder, "uploads.cbor"))
        return names

    monkeypatch.setattr(delivered.os, "listdir", meanwhile)
    assert delivered.Delivered(root).count(segment, 1, 9) == 2


def test_a_copy_that_a_batch_under_way_names_stays(root, telling):
    """As a killed compaction leaves it: the same segment in two files."""
    oldest = min(os.listdir(os.path.join(root, "segments")))
    segment = bytes.fromhex(oldest[17:49])
    path = os.path.join(root, "segments", oldest)
    size = os.path.getsize(path)
    left = [(oldest[:16], True, oldest, "segments", size)]
    assert [victim.path for victim in eviction._copies(root, left, {segment}, b"")] == [path]
    assert eviction._copies(root, left, {segment}, segment.hex().encode()) == []
    assert eviction._copies(root, left, {segment}, segment) == []
