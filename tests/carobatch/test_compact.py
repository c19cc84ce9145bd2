"""Compaction packs everything once, accounts for what it cannot pack, and may be killed anywhere."""

import json
import os
import tracemalloc
from pathlib import Path

import pytest
from carobatch_journals import DAY_MS, close_lanes, events_of, fill, journal_at
from faults_by_hand import lives_beyond
from uploads import names

from carobatch.cli import main
from carobatch.compact import compact
from carobatch.seal import seal_idle_lanes
from carobatch.store import PackedStore
from carojournal import drops, held, locks, packed, spool, zstd
from carojournal.cbordecode import decode
from carojournal.errors import DamagedData
from carojournal.frame import encode_record
from carojournal.recovery import verify
from carojournal.segments import list_segments

CAP = 10_000_000


def run(root, clock, cap=CAP, idle_ms=0, level=9):
    # File times are the machine's, not the test clock's: "now" is far ahead of both.
    return compact(root, PackedStore(root, cap, level), clock.now_ms + 100 * DAY_MS, idle_ms)


def test_every_event_is_packed_once_under_its_identity(root, clock, filled):
    done = run(root, clock)
    assert (done.sealed, done.segments, done.events, done.problems) == (1, 3, 60, [])
    assert events_of(root) == filled
    assert names(root, "segments") == []
    assert not [name for name in names(root, "lanes") if name.endswith(".seg")]
    assert run(root, clock).segments == 0


@pytest.mark.usefixtures("filled")
def test_no_packed_file_mixes_days_or_states_of_consent(root, clock, monkeypatch):
    with journal_at(root, clock) as journal:
        monkeypatch.setattr(journal, "_consent_ms", 1_000)
        fill(journal, clock)
    run(root, clock)
    keys = [
        {(row["created"] // 86_400_000_000, row["consent"]) for row in packed.read_inventory(path).sections}
        for path in (os.path.join(root, "packed", name) for name in names(root, "packed"))
    ]
    assert all(len(key) == 1 for key in keys)
    assert len(keys) == 4


def test_a_lane_of_the_future_is_sealed(root, clock):
    """It was written before the clock was set back."""
    with journal_at(root, clock) as journal:
        fill(journal, clock, 3)
    written_ms = os.lstat(os.path.join(root, "lanes", "0.seg")).st_mtime_ns // 1_000_000
    assert seal_idle_lanes(root, written_ms - 30_000, 60_000) == (0, 0)
    assert seal_idle_lanes(root, written_ms - DAY_MS, 60_000) == (1, 0)


def test_a_lane_that_a_kill_left_sealed_gets_no_second_seal(root, clock, monkeypatch):
    with journal_at(root, clock) as journal:
        fill(journal, clock, 3)
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            seal_idle_lanes(root, clock.now_ms + 100 * DAY_MS, 0)
    assert names(root, "lanes") == ["0.lock", "0.seg"]
    assert seal_idle_lanes(root, clock.now_ms + 100 * DAY_MS, 0) == (1, 0)
    assert verify(root).exit_code == 0


def test_a_sealed_lane_ends_in_a_seal_of_all_before_it(root, clock):
    import hashlib

    from carobatch.seal import seal_idle_lanes

    with journal_at(root, clock) as journal:
        fill(journal, clock)
        assert seal_idle_lanes(root, clock.now_ms + 100 * DAY_MS, 0) == (1, 0)
        [name] = names(root, "segments")
        with open(os.path.join(root, "segments", name), "rb") as file:
            data = file.read()
        at = held.last_record_offset(data)
        seal = decode(data[at + 20 : -5])
        assert seal == {"record": "seal", "count": 11, "bytes": at, "sha256": hashlib.sha256(data[:at]).digest()}
        # The writer goes on with a new segment.
        assert journal.append("session_end", session_duration_ms=1)[0].hex() not in name
    run(root, clock)
    sealed = [header["source"]["sealed"] for header, _ in read_packed(root)]
    assert sealed == [True, True]


def read_packed(root):
    for name in names(root, "packed"):
        yield from packed.iter_sections(os.path.join(root, "packed", name))


def test_a_lane_in_use_is_left_alone(root, clock):
    with journal_at(root, clock) as journal:
        fill(journal, clock)
        written_ms = os.lstat(os.path.join(root, "lanes", "0.seg")).st_mtime_ns // 1_000_000
        compact(root, PackedStore(root, CAP), written_ms + 1, 60_000)
        assert "0.seg" in names(root, "lanes")
        with locks.lane_lock(root, 0):
            child = os.fork()
            if not child:
                locks.LANE_LOCK_TIMEOUT_S = 0
                os._exit(run_busy(root, clock))
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        assert "0.seg" in names(root, "lanes")


def run_busy(root, clock):
    try:
        return run(root, clock).busy
    except BaseException:  # noqa: BLE001 - the child of a fork reports by its exit code alone
        return 99


def test_small_files_of_a_day_are_merged_and_large_ones_stay_below_a_tenth_of_the_cap(root, clock):
    events = {}
    with journal_at(root, clock) as journal:
        for _ in range(5):
            fill(journal, clock, 50, 10)
            close_lanes(root)
            run(root, clock)
            events = events_of(root)
    assert len(names(root, "packed")) == 1
    assert len(events) == 250
    with journal_at(root, clock) as journal:
        for _ in range(30):
            fill(journal, clock, 400, 10)
            close_lanes(root)
    before = events_of(root)
    run(root, clock, cap=100_000, level=1)
    sizes = [os.path.getsize(os.path.join(root, "packed", name)) for name in names(root, "packed")]
    assert len(sizes) > 1
    assert max(sizes) <= 10_000
    assert events_of(root) == before


def test_packing_never_takes_the_spool_beyond_cap_and_a_segment(root, clock, monkeypatch):
    with journal_at(root, clock) as journal:
        for _ in range(12):
            fill(journal, clock, 150, 10)
            close_lanes(root)
    cap = sum(size for *_, size in spool.usage(root)) + 2_000
    largest = max(size for folder, _, size in spool.usage(root) if folder == "segments")
    seen = []
    write = PackedStore.write

    def watched(store, sections, data, place=""):
        path = write(store, sections, data, place)
        seen.append(sum(size for *_, size in spool.usage(root)))
        return path

    monkeypatch.setattr(PackedStore, "write", watched)
    run(root, clock, cap=cap)
    assert seen
    assert max(seen) <= cap + largest


def test_refused_events_stay_behind_as_reasons_and_numbers_only(root, clock, filled):
    secret = b"lsecret-value"
    payload = next(iter(filled.values()))
    bad = bytes([payload[0] + 1]) + payload[1:] + b"jzz_unknown" + secret
    info = next(group[0] for group in list_segments(root).groups if group[0].state == "closed")
    with open(info.path, "ab") as file:
        file.write(encode_record(info.segment, 21, bad))
    done = run(root, clock)
    assert (done.refused, done.events) == (1, 60)
    header = next(header for header, _ in read_packed(root) if header["segment"] == info.segment)
    assert header["gaps"] == [{"first_seq": 21, "last_seq": 21, "bytes": 0, "reason": "refused"}]
    kept = b"".join(Path(base, name).read_bytes() for base, _, files in os.walk(root) for name in files)
    assert b"secret-value" not in kept
    assert decode_quarantine(root)["refused"][0]["seq"] == 21
    assert any(key.startswith("refuse ") for key in drops.read_counts(root)[0])


def decode_quarantine(root):
    [name] = names(root, "quarantine")
    with open(os.path.join(root, "quarantine", name), "rb") as file:
        return decode(file.read())


@pytest.mark.usefixtures("filled")
def test_damage_goes_to_quarantine_and_is_named_with_what_it_hides(root, clock):
    info = next(group[0] for group in list_segments(root).groups if group[0].state == "closed")
    with open(info.path, "r+b") as file:
        file.seek(os.path.getsize(info.path) // 2)
        file.write(b"\xff\xff\xff")
    intact = events_of(root)
    assert len(intact) == 59
    done = run(root, clock)
    assert done.events == 59
    assert events_of(root) == intact
    [lost] = decode_quarantine(root)["damaged"]
    assert len(lost["data"]) == done.damaged_bytes
    header = next(header for header, _ in read_packed(root) if header["segment"] == info.segment)
    [gap] = header["gaps"]
    assert (gap["reason"], gap["bytes"], gap["last_seq"] - gap["first_seq"]) == ("damaged", done.damaged_bytes, 0)
    assert not header["source"]["sealed"]


def test_a_torn_tail_is_named_and_nothing_else_is_lost(root, clock, filled):
    info = next(group[0] for group in list_segments(root).groups if group[0].state == "closed")
    with open(info.path, "ab") as file:
        file.write(encode_record(info.segment, 21, b"\xa0" * 50)[:40])
    os.rename(info.path, f"{info.path}~")
    done = run(root, clock)
    assert (done.damaged_bytes, events_of(root)) == (0, filled)
    header = next(header for header, _ in read_packed(root) if header["segment"] == info.segment)
    assert header["gaps"] == [{"first_seq": 21, "last_seq": 21, "bytes": 40, "reason": "torn"}]
    assert header["source"]["damaged"]


def test_losses_travel_with_the_segment_that_records_them(root, clock):
    with journal_at(root, clock) as journal:
        fill(journal, clock)
        journal.policy.cap_bytes = 10_000
    loss = {"record": "loss", "reason": "evicted", "segment": bytes(16), "first_seq": 1, "last_seq": 4}
    loss |= {"events": 4, "bytes": 400, "carried": []}
    from carojournal.cbor import encode_map
    from carojournal.frame import FIRST_RECORD_OFFSET, LABEL, NO_SEGMENT, decode_record

    path = os.path.join(root, "lanes", "0.seg")
    with open(path, "rb") as file:
        data = file.read()
    [[info]] = list_segments(root).groups
    _, start, end = decode_record(NO_SEGMENT, data, FIRST_RECORD_OFFSET)
    with open(path, "wb") as file:
        file.write(LABEL + encode_record(NO_SEGMENT, 0, data[start:end]))
        file.write(encode_record(info.segment, 1, encode_map(loss)))
    run(root, clock)
    [(header, records)] = read_packed(root)
    assert header["losses"] == [{**loss, "seq": 1}]
    assert list(records) == []
    [name] = names(root, "packed")
    assert held.describe(os.path.join(root, "packed", name))[0][4] == {"evicted": [1, 4, 400]}


def test_a_kill_at_any_step_loses_and_duplicates_nothing(root, clock, tmp_path):
    """Each child dies at its k-th call that changes the disk; then a whole run finishes the work."""
    import shutil

    with journal_at(root, clock) as journal:
        for _ in range(3):
            fill(journal, clock, 6)
            close_lanes(root)
        run(root, clock)  # something to merge with
        for _ in range(2):
            fill(journal, clock, 6)
            close_lanes(root)
        fill(journal, clock, 6)
    before = events_of(root)
    assert len(before) == 36
    for step in range(1, 1_000):
        copy = str(tmp_path / f"{step}")
        shutil.copytree(root, copy)
        lived = lives_beyond(step, lambda copy=copy: run(copy, clock))
        assert events_of(copy) == before
        done = run(copy, clock)
        assert done.problems == []
        assert events_of(copy) == before
        assert len(names(copy, "packed")) == 1
        assert names(copy, "segments") == []
        if lived:
            break
    assert lived
    assert step > 15


@pytest.mark.usefixtures("filled")
def test_a_copy_that_differs_from_its_source_is_kept_beside_it(root, clock):
    info = next(group[0] for group in list_segments(root).groups if group[0].state == "closed")
    with open(info.path, "rb") as file:
        data = file.read()
    run(root, clock)
    with open(info.path, "wb") as file:
        file.write(data[:-1])
    done = run(root, clock)
    assert [reason for _, reason in done.problems] == ["differs from its packed copy; both are kept"]
    assert os.path.exists(info.path)


@pytest.mark.parametrize(
    "lie",
    [
        lambda _: b"something else",
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    ],
    ids=["other", "shorter", "longer", "one bit"],
)
def test_a_disk_that_lies_is_noticed_before_the_source_goes(root, clock, filled, monkeypatch, lie):
    read_frame = packed._frame_as_it_is

    def lying(inventory):
        frame, holds = read_frame(inventory)
        return zstd.compress(lie(zstd.decompress(frame, 1 << 28, "frame"))), holds

    with monkeypatch.context() as patch:
        patch.setattr(packed, "_frame_as_it_is", lying)
        with pytest.raises(DamagedData):
            run(root, clock)
    assert names(root, "packed") == []
    assert events_of(root) == filled


def test_memory_does_not_grow_with_the_journal(tmp_path, clock):
    """Neither with a day's events, nor with the days: one file's content is held, a few times."""
    peaks = []
    for days, segments in ((3, 2), (3, 2), (20, 2), (1, 24)):  # The first one also makes what is made once.
        root = str(tmp_path / f"journal-{len(peaks)}")
        with journal_at(root, clock) as journal:
            for _ in range(days):
                for _ in range(segments):
                    fill(journal, clock, 400, 10)
                    close_lanes(root)
                clock.advance(DAY_MS)
        before = events_of(root)
        store = PackedStore(root, 10**9, 1)
        store.content_bytes_max = 120_000
        tracemalloc.start()
        try:
            compact(root, store, clock.now_ms + 100 * DAY_MS)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert events_of(root) == before
        assert max(inventory.content_bytes for inventory in store.inventories([])) < 170_000
    assert max(peaks[2:]) < 2.2 * peaks[1]  # Whether two batches meet is up to the threads.


@pytest.mark.usefixtures("filled")
def test_the_verb_reports_and_answers_honestly(root, capsys):
    assert main(["compact", "--idle", "0"]) == 0
    assert "of 60 events packed into 3 files" in capsys.readouterr().out
    assert main(["compact", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["segments"] == 0
    with locks.batch_lock(root):
        assert os.waitstatus_to_exitcode(os.waitpid(in_child(["compact"]), 0)[1]) == 75


def in_child(words):
    child = os.fork()
    if not child:
        os._exit(main(words))
    return child


def test_a_journal_that_does_not_exist_is_not_made(root, capsys):
    assert main(["compact"]) == 0
    assert "nothing" in capsys.readouterr().out
    assert not os.path.exists(root)


def test_merging_checks_again_what_older_rules_let_through(root, clock, monkeypatch):
    from carobatch import merge
    from carobatch.sections import Sectioned, gaps_of, with_events
    from carojournal import packed_write
    from carojournal.packed import split_records

    with journal_at(root, clock) as journal:
        for _ in range(2):
            fill(journal, clock, 4, 10)
            close_lanes(root)
            with monkeypatch.context() as old:
                old.setattr(packed_write, "rules_hash", lambda: bytes(32))
                old.setattr("carobatch.compact.merge_small", lambda *_: 0)
                run(root, clock)
    refusal = (("session_end", "retries", "value"),)

    def stricter(section, name):
        records = list(split_records(section, name))
        return Sectioned(
            with_events(section, records[1:], gaps_of([records[0][0]], "refused")), [(records[0][0], refusal)]
        )

    monkeypatch.setattr(merge, "recheck_section", stricter)
    assert run(root, clock).merged == 1
    assert len(events_of(root)) == 6
    assert len(names(root, "quarantine")) == 2
    assert drops.read_counts(root)[0]["refuse session_end retries value"] == 2
