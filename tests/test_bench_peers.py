"""The peers are real, keep what they are given, and what is said of them was tried."""
# ruff: noqa: RUF001 - a multiplication sign is one

import json
import os
import xml.etree.ElementTree as ET

import pytest
from test_bench import TINY, by_name

from bench import bench_peers, host, peer_facts, peers, plot, readme_table, run
from bench.peer_worker import OURS, OURS_SYNCED
from bench.workload import packed_event, sample_event

INSTALLED = [peer for peer in peers.PEERS if not peer.module]


@pytest.fixture
def here(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return host.find_host(str(scratch))


@pytest.fixture
def few(monkeypatch):
    """Of the peers: one that waits for the disk, one that does not, and a floor."""
    names = ("bare write", "sqlite3 WAL", "sqlite3 autocommit")
    monkeypatch.setattr(bench_peers, "PEERS", [peers.by_name(name) for name in names])


@pytest.mark.parametrize("peer", INSTALLED, ids=lambda peer: peer.name)
def test_a_peer_keeps_what_it_is_given(peer, tmp_path):
    append = peer.open(str(tmp_path), sample_event())
    for number in range(3):
        assert peer.count(str(tmp_path)) == number
        append()
    peer.open(str(tmp_path), sample_event())()
    assert peer.count(str(tmp_path)) == 4


def test_the_same_work_is_what_record_writes(tmp_path):
    peers.by_name("same work: bare write").open(str(tmp_path), sample_event())()
    assert (tmp_path / "file").read_bytes() == packed_event()


def test_peers_are_measured_in_every_way(here, few):
    figures = by_name(bench_peers.run(here, TINY))
    several = {"1 process": 1, "2 processes": 2}
    names = ("bare write", "sqlite3 WAL", "sqlite3 autocommit")
    assert {name for name in figures if name.startswith("warm: ")} == {f"warm: {name}" for name in names}
    assert {name for name in figures if name.startswith("cold process: ")} == {
        f"cold process: {name}" for name in (OURS, *names[1:])
    }
    assert {name for name in figures if name.partition(": ")[0] in several} == {
        f"{words}: {name}" for words in several for name in (OURS, OURS_SYNCED, *names)
    }
    killed = {name: figure for name, figure in figures.items() if name.startswith("kill -9")}
    assert len(killed) == 5
    assert all(figure.value.median == 0 and "in 1 kills" in figure.note for figure in killed.values())
    assert figures["warm: sqlite3 WAL"].target.text("us") == ">= 3 x"
    assert figures["warm: bare write"].target is None
    assert figures["warm: sqlite3 autocommit"].reference_name == OURS_SYNCED


def test_who_waits_for_the_disk_is_seen(here):
    assert peer_facts.waits_per_append(here, OURS) == 0
    assert peer_facts.waits_per_append(here, OURS_SYNCED) == 1
    assert peer_facts.waits_per_append(here, "sqlite3 WAL, sync off") == 0
    assert peer_facts.waits_per_append(here, "sqlite3 autocommit") >= 1


def test_a_peer_that_loses_is_seen_and_one_that_should_not_fails(here, monkeypatch):
    monkeypatch.setattr(peer_facts, "_held", lambda *_: 1)
    facts = peer_facts.kill_and_count(here, "bare write", 2, 20)
    assert facts.kills == facts.bad_kills == 2
    assert facts.lost == facts.acknowledged - 2 > 0
    with pytest.raises(AssertionError, match="bare write is listed as surviving"):
        bench_peers._facts(here, TINY, ["bare write"])


def test_the_journal_too_is_killed_and_counted(here):
    facts = peer_facts.kill_and_count(here, OURS, 2, 20)
    assert facts.lost == 0 < facts.acknowledged


def row(name, value, unit="us", reference=("record()", 20.0), target=None, met=None):
    return {
        "name": name,
        "unit": unit,
        "value": {"median": value},
        "reference_name": reference[0],
        "reference": {"median": reference[1]},
        "difference": value - reference[1],
        "ratio": value / reference[1],
        "target": target,
        "met": met,
    }


RESULT = {
    "date": "2026-11-22T00:00:00+00:00",
    "machine": {"cpus": 2, "python": "3.11.7 (main)", "load": [1.5]},
    "figures": [
        row("first append", 23.0, "ms", ("python -c", 20.0), {"quantity": "difference", "text": "<= +3 ms"}, True),
        row("warm: slow <one>", 200.0, target={"quantity": "ratio", "text": ">= 30 x"}, met=False),
        row("warm: lossy", 5.0),
        row("kill -9, acknowledged and lost: lossy", 7, "events"),
        row("1 process: record()", 20_000.0, "events/s"),
        row("16 processes: record()", 9_000.0, "events/s"),
        row("1 process: slow <one>", 1_000.0, "events/s"),
        row("16 processes: slow <one>", 300.0, "events/s"),
    ],
}


def test_the_plot_is_well_formed_and_has_every_store():
    text = plot.render_svg(RESULT)
    words = [element.text for element in ET.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]
    assert words.count("record()") == 2
    assert words.count("slow <one>") == 2
    assert words.count("lossy") == 1
    assert {"200", "20", "5.0", "16"} <= set(words)
    assert text.count('fill="url(#hatch)"') == 1
    assert text == plot.render_svg(RESULT)


def test_a_plot_needs_the_peers():
    with pytest.raises(ValueError, match="peers"):
        plot.render_svg({**RESULT, "figures": RESULT["figures"][:1]})


def test_the_table_says_what_was_missed():
    lines = readme_table.render_table(RESULT).splitlines()
    assert lines[0].startswith("On 2026-11-22, 2 processors, load 1.50, Python 3.11.7;")
    assert lines[4:] == [
        "| first append | +3.0 ms | python -c | ≤ +3 ms |",
        "| warm: slow <one> | 200 us, 10 × | record() | ≥ 30 ×: not met here |",
        "| warm: lossy | 5 us, 0.25 × | record() |  |",
    ]


def test_the_block_is_replaced_and_nothing_else():
    old = f"before\n{readme_table.BEGIN}\nold\n{readme_table.END}\nafter\n"
    new = readme_table.replace_block(old, "| table |\n")
    assert new == f"before\n{readme_table.BEGIN}\n| table |\n{readme_table.END}\nafter\n"
    assert readme_table.replace_block(new, "| table |\n") == new
    for text in ("no block", old + old):
        with pytest.raises(ValueError, match="single block"):
            readme_table.replace_block(text, "")


def test_past_figures_are_shown_again_without_measuring(tmp_path):
    past, svg, readme = (str(tmp_path / name) for name in ("figures.json", "plot.svg", "README.md"))
    with open(past, "w") as file:
        json.dump(RESULT, file)
    with open(readme, "w") as file:
        file.write(f"{readme_table.BEGIN}\n{readme_table.END}\n")
    assert run.main(["--from", past, "--svg", svg, "--readme", readme]) == 0
    with open(svg) as file:
        assert file.read() == plot.render_svg(RESULT)
    with open(readme) as file:
        assert "| first append |" in file.read()


def test_the_committed_plot_is_one_of_ours():
    path = os.path.join(os.path.dirname(plot.__file__), "appends.svg")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    words = [element.text for element in ET.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]
    assert {"record()", "sqlite3 autocommit", "glean-sdk", "posthog", "litequeue", "16"} <= set(words)
