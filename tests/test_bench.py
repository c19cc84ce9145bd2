"""The benchmarks run, count right, and say what the issue asks for.  How long anything takes decides nothing here."""

import json
import os
import subprocess

import pytest

from bench import (
    bench_append,
    bench_batch,
    bench_instructions,
    bench_processes,
    bench_scan,
    bench_startup,
    bench_upload,
    host,
    instructions,
    measure,
    run,
)
from bench.measure import Figure, Summary, Target
from carojournal import JournalReader, codec

TINY = host.Scale(
    cold_rounds=1,
    warm_rounds=2,
    appends=25,
    block_s=0.001,
    process_rounds=1,
    processes=3,
    process_appends=40,
    scan_rounds=1,
    spool_bytes=60_000,
    counted_appends=10,
    upload_events=250,
    upload_rounds=1,
    peer_rounds=1,
    peer_process_rounds=1,
    peer_processes=(1, 2),
    kills=1,
    kill_appends=20,
    batch_events=600,
)


@pytest.fixture
def here(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return host.find_host(str(scratch))


def by_name(figures):
    return {figure.name: figure for figure in figures}


def test_subjects_take_turns_and_the_first_round_is_thrown_away():
    calls = []
    times = iter(range(100))

    def subject(name):
        def call():
            calls.append(name)
            return next(times)

        return call

    samples = measure.paired({"a": subject("a"), "b": subject("b")}, 3)
    assert calls == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert samples == {"a": [2, 5, 6], "b": [3, 4, 7]}


def test_difference_and_ratio_are_medians_over_neighbours():
    """A disturbance that hits both of a pair moves neither figure, though it moves both medians."""
    figure = measure.compare("x", "ms", [3, 30, 5], "floor", [1, 28, 2], Target("difference", 2))
    assert (figure.difference, figure.ratio) == (2, 2.5)
    assert (figure.value.median, figure.value.best, figure.reference.median) == (5, 3, 2)


def test_the_best_of_rates_is_the_highest():
    assert measure.summarize([3, 1, 2], higher_is_better=True) == Summary(2, 3, 1, 3)
    assert measure.summarize([3, 1, 2]) == Summary(2, 1, 3, 3)


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (None, None),
        (Target("value", 4), True),
        (Target("value", 3.9), False),
        (Target("value", 5, at_least=True), False),
        (Target("difference", 2), True),
        (Target("difference", 1.9), False),
        (Target("ratio", 2), True),
        (Target("ratio", 2.1, at_least=True), False),
    ],
)
def test_a_target_is_met_or_not_by_the_quantity_it_names(target, met):
    assert measure.compare("x", "ms", [4, 4], "floor", [2, 2], target).met is met


def test_a_target_without_a_reference_to_hold_it_against_is_not_judged():
    assert Figure("x", "ms", Summary(1, 1, 1, 1), target=Target("ratio", 2)).met is None


def test_a_program_that_fails_is_not_measured(here):
    with pytest.raises(subprocess.CalledProcessError):
        here.run_ms(here.python, "-c", "raise SystemExit(3)")


def test_start_up_is_measured_against_a_bare_interpreter(here):
    figures = by_name(bench_startup.run(here, TINY))
    floors = {name: figures.pop(name) for name in list(figures) if "floor" in name}
    assert {name: figure.target.bound for name, figure in figures.items()} == {
        "first append, existing journal": 3,
        "first append, fresh journal": 3,
        "first append in a loaded host": 1.5,
        "carojournal append --event": 10,
        "carojournal --help": 80,
        "inspect -n 20, full spool, index": 150,
        "inspect -n 20, full spool, no index": 150,
    }
    assert {figure.target.quantity for figure in figures.values()} == {"difference"}
    assert all(figure.reference_name.startswith("python -c") for figure in figures.values())
    # What was measured is in the journals: three kinds of first append to the existing one, twice each, and two before.
    kept = JournalReader(f"{here.scratch}/existing").records(events_only=True)
    assert len(list(kept)) == 2 + 2 + 2 + 2
    # The floors read the modules that a first append loads, and wrote as often.
    assert [name.partition(" modules")[0] for name in floors] == ["floor: its 10", "loaded, floor: its 10"]
    assert [figure.target for figure in floors.values()] == [None, None]
    assert os.path.getsize(f"{here.scratch}/floor") == 165 * 2 * 2


def test_warm_appends_stand_beside_the_floor(here):
    figures = by_name(bench_append.run(here, TINY))
    bounds = {"record()": 3, "record(), p99 of a block": 5, "record(), telemetry off": 1}
    assert {name: figure.target.bound for name, figure in figures.items()} == bounds


def test_the_floor_writes_the_very_event_that_record_wrote(here):
    bench_append.run(here, TINY)
    event = JournalReader(f"{here.scratch}/warm").tail(1)[0].value
    with open(f"{here.scratch}/floor", "rb") as file:
        data = file.read()
    written = codec.loads_fast(data[4:])
    own = ("timestamp", "generation")
    assert {key: written[key] for key in event if key not in own} == {
        key: event[key] for key in event if key not in own
    }
    assert len(data) % (4 + len(codec.dumps(written))) == 0


def test_processes_lose_and_double_nothing(here):
    figures = bench_processes.run(here, TINY)
    words = "3 processes x 40"
    assert [figure.name for figure in figures] == [
        f"{words}: {what}" for what in ("lost", "duplicated", "median", "p99", "p95")
    ]
    assert [figure.value.median for figure in figures[:2]] == [0, 0]
    assert [figure.target.bound for figure in figures[:-1]] == [0, 0, 4, 20]


def test_an_event_that_is_missing_or_there_twice_is_counted(here, monkeypatch):
    class Careless(JournalReader):
        def records(self, **options):
            found = [record for record in super().records(**options) if record.value["event"] == "command_generated"]
            return [*found[:-3], found[0]]

    monkeypatch.setattr(bench_processes, "JournalReader", Careless)
    outcome = bench_processes.append_together(here, f"{here.scratch}/careless", 1, 40)
    assert (outcome.lost, outcome.duplicated) == (3, 1)
    assert len(outcome.times_us) == 40


def test_scanning_is_a_rate_to_be_reached(here):
    figures = bench_scan.run(here, TINY)
    assert [(figure.unit, figure.target.bound if figure.target else None) for figure in figures] == [
        ("records/s", 200_000),
        ("records/s", None),
        ("events/s", 100_000),
    ]
    assert all(figure.target.at_least for figure in figures if figure.target)
    assert all(figure.value.median > 0 for figure in figures)


@pytest.fixture(scope="module")
def counted():
    return instructions.count_instructions()


def test_an_append_takes_no_more_instructions_than_a_tenth_over_its_reference(counted):
    """The guard itself.  Another build of the interpreter runs other instructions: there it only reports."""
    good, text = instructions.compare_count(counted, instructions.read_reference())
    print(text)
    assert good or "another build" in text, text


def test_the_instructions_of_an_append_are_counted_without_those_of_the_start(here, counted, monkeypatch):
    monkeypatch.setattr(bench_instructions, "count_instructions", lambda *_: counted)
    warm, first = bench_instructions.run(here, TINY)
    assert 1_000 < warm.value.median < 1_000_000  # An interpreter that starts takes tens of millions.
    assert 1_000_000 < first.value.median < 100_000_000


@pytest.mark.parametrize(
    ("count", "first", "code"),
    [(1_000, 5_000, 0), (1_100, 5_500, 0), (1_101, 5_000, 1), (1_000, 5_501, 1), (10, 10, 0)],
)
def test_growth_over_a_tenth_is_refused(count, first, code, monkeypatch, capsys, tmp_path):
    reference = instructions.Count(1_000, "other build", 1, 5_000)
    instructions.write_reference(reference, str(tmp_path / "references"))
    assert instructions.read_reference(str(tmp_path / "references")) == reference
    monkeypatch.setattr(instructions, "count_instructions", lambda: instructions.Count(count, "this build", 1, first))
    monkeypatch.setattr(instructions, "read_reference", lambda: reference)
    assert instructions.main(["--check"]) == code
    assert "another build" in capsys.readouterr().out
    assert instructions.main([]) == 0


def test_another_interpreter_only_reports(monkeypatch, tmp_path):
    assert instructions.read_reference(str(tmp_path / "none")) is None
    assert instructions.compare_count(instructions.Count(10**9, "", 1, 1), None)[0]
    references = str(tmp_path / "references")
    instructions.write_reference(instructions.Count(1, "", 1, 1), references)
    monkeypatch.setattr(instructions, "interpreter", lambda: "cpython-999 other")
    assert instructions.read_reference(references) is None
    instructions.write_reference(instructions.Count(2, "", 1, 1), references)
    assert len(json.loads((tmp_path / "references").read_text())) == 2


def test_the_command_prints_one_table_and_writes_json(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(host, "QUICK", TINY)
    path = tmp_path / "figures.json"
    assert run.main(["--here", "--quick", "--json", str(path), "scan", "append"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split()[0] == "figure"
    assert set(table[1]) == {"-", " "}
    result = json.loads(path.read_text())
    assert set(result) == {"date", "quick", "machine", "figures"}
    assert result["quick"] is True
    for row, line in zip(result["figures"], table[2:], strict=False):
        assert line.startswith(row["name"])
        assert set(row) == {*Figure.__dataclass_fields__, "met"}
        assert set(row["value"]) == set(row["reference"]) == {"median", "best", "p99", "count"}
        assert row["met"] in ((True, False) if row["target"] else (None,))


def test_a_missed_target_is_no_failure(monkeypatch, capsys):
    missed = measure.single("x", "ms", 2, Target("value", 1))
    monkeypatch.setattr(bench_scan, "run", lambda *_: [missed])
    assert run.main(["--here", "scan"]) == 0
    assert "NO" in capsys.readouterr().out


def test_an_unknown_name_is_a_usage_error(capsys):
    with pytest.raises(SystemExit):
        run.main(["--here", "nothing"])
    assert "no such benchmark: nothing" in capsys.readouterr().err


def test_uploads_are_real_and_their_time_is_told_by_step(here):
    figures = by_name(bench_upload.run(here, TINY))
    assert {name: (figure.target.quantity, figure.target.bound) for name, figure in figures.items()} == {
        "upload, end to end": ("value", 25_000),
        "carobatch run, nothing to do": ("difference", 80),
        "upload, peak memory": ("value", 80),
    }
    note = figures["upload, end to end"].note
    assert note.startswith("250 events; ")
    for step in ("read", "validate", "encode", "compress", "wait"):
        assert step in note


def test_packing_and_carrying_stand_beside_stock_programs(here):
    figures = by_name(bench_batch.run(here, TINY))
    assert {
        name: figure.target and (figure.target.quantity, figure.target.bound) for name, figure in figures.items()
    } == {
        "events in the default spool": None,  # Too few to say.
        "compact, all checked again": ("value", 80_000),
        "bundle": ("ratio", 1.05),
        "export --format json.gz": None,
        "source document's pretty JSON + gzip": ("ratio", 6),
        "verify a bundle": ("value", 80_000),
        "import a bundle": ("value", 60_000),
        "export of packed data": ("ratio", 0.5),
        "export, and the copy synced too": None,
        "verify --quick": ("ratio", 0.5),
    }
    assert figures["events in the default spool"].value.median >= 600
    assert figures["bundle"].reference_name == "zstd -9 of the payloads"
    assert all(figure.value.median > 0 for figure in figures.values())
