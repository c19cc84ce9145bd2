"""Every file of a journal damaged here and there; the whole of it is `tools/faults/damage.py`."""

import os
from random import Random

import pytest

from carojournal import snapshot
from carojournal.policy import Policy
from carojournal.recovery import Report
from carojournal.scan import Scan
from faults import damage, damage_index, damage_view, fuzz_files
from faults import fuzz_samples as samples

FILES = list(samples.names(samples.journal()))
SIGNATURES = "1790000000000000000:120:77 -"


def name_of(path):
    return path.partition("/")[0] + os.path.splitext(path)[1]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return damage.Bench(str(tmp_path_factory.mktemp("damage")))


@pytest.mark.parametrize("number", range(len(FILES)), ids=[f"{at}-{name_of(path)}" for at, path in enumerate(FILES)])
def test_damage_is_detected_and_costs_only_what_it_touches(bench, number):
    (name,) = bench.files(FILES[number])
    bench.counts.clear()
    stride = max(1, os.path.getsize(os.path.join(bench.root, name)) // 3) | 1
    assert list(bench.run(name, stride)) == []
    assert bench.counts.total() > 20
    assert damage_view.look(bench.root) == (bench.healthy, bench.events, 0)


def flipped(data, bit):
    return data[: bit >> 3] + bytes([data[bit >> 3] ^ 1 << (bit & 7)]) + data[(bit >> 3) + 1 :]


def test_a_damaged_index_changes_no_answer(tmp_path):
    bench = damage_index.IndexBench(str(tmp_path))
    tables = bench.data.index(b"CREATE TABLE file") * 8  # What sqlite believes about itself; hit closely.
    flips = [(f"bit {bit}", flipped(bench.data, bit)) for bit in range(tables, tables + 400, 3)]
    assert list(bench.run([*damage.variants(bench.data, bench.data[::-1], 1_009), *flips])) == []
    assert bench.counts["made anew"] > 10


def test_an_index_that_is_believed_is_noticed(tmp_path, monkeypatch):
    bench = damage_index.IndexBench(str(tmp_path))
    monkeypatch.setattr("carojournal.index_queries.Index.candidates", lambda *_: [])
    assert list(bench.run([("nothing", bench.data)])) == ["index.sqlite3: nothing: other events are found"]


def test_several_damages_at_once_with_appends_in_between_end_in_no_error(tmp_path):
    assert list(damage.loop(str(tmp_path), 12, 3)) == []


@pytest.mark.parametrize(
    ("place", "broken"),
    [
        ("faults.damage_view.verify", Report),
        ("carojournal.reader.scan", lambda *_: Scan([], [], [], 0)),
        ("carojournal.reader.read_segment", lambda *_: 1 // 0),
    ],
    ids=["nothing is reported", "no record is read", "an error of another kind"],
)
def test_the_harness_sees_what_it_is_for(bench, monkeypatch, place, broken):
    (name,) = [path for path in FILES if path.startswith("segments/")]
    monkeypatch.setattr(place, broken)
    assert list(bench.run(name, 1_001)) != []


def test_every_flipped_bit_of_the_policy_snapshot_is_noticed():
    data = snapshot.encode_snapshot(Policy("on", source="config", consent_ms=5), SIGNATURES)
    for bit in range(len(data) * 8):
        raw = bytearray(data)
        raw[bit >> 3] ^= 1 << (bit & 7)
        try:
            assert snapshot.parse_snapshot(bytes(raw), SIGNATURES, "beta") is None
        except (ValueError, KeyError):
            continue  # `from_files` reads the files again, as for None.
    assert snapshot.parse_snapshot(data, SIGNATURES, "beta") is not None


def test_a_damaged_index_answers_as_the_files_do():
    root, data = fuzz_files._indexed()
    random = Random(5)
    answers = set()
    for _ in range(40):
        at = random.randrange(len(data) * 8)
        answers.add(
            fuzz_files._run_index(data[: at >> 3] + bytes([data[at >> 3] ^ 1 << (at & 7)]) + data[(at >> 3) + 1 :])
        )
    for size in (0, 100, len(data) // 2, len(data) - 1):
        answers.add(fuzz_files._run_index(data[:size]))
    assert "made anew" in answers
    assert os.path.isdir(root)
