"""A segment lies in two files, as a power cut or a death leaves it: its losses are told once, whoever removes it."""

import dataclasses
import os
import shutil
import time
from unittest import mock

import pytest
from carobatch_journals import fill, squeezed
from told_losses import CAP_BYTES, lost, present

from carobatch import compact as compaction
from carobatch import deliveries
from carobatch.compact import compact
from carobatch.noting import NotingReader
from carobatch.store import PackedStore
from carojournal import predecessors, spool
from carojournal.cli import main
from carojournal.reader import JournalReader
from carojournal.status import losses_by_reason


def pack_and_bring_back(root, clock, tmp_path):
    """Pack every closed segment, and undo their removal: the packed file was synced before the power went, that not."""
    shutil.copytree(os.path.join(root, "segments"), tmp_path / "before")
    assert compact(root, PackedStore(root, CAP_BYTES), clock.now_ms, 10**9).segments > 1
    for name in os.listdir(tmp_path / "before"):
        shutil.copy2(tmp_path / "before" / name, os.path.join(root, "segments", name))


def evict_step_by_step(root, clock, journal, made):
    for _ in range(60):
        made += len(fill(journal, clock, 20, 1))
        assert present(root) + lost(root) == made


def test_a_host_that_makes_room_tells_them_once(root, clock, telling, tmp_path):
    journal, made = telling
    pack_and_bring_back(root, clock, tmp_path)
    assert present(root) + lost(root) == made
    evict_step_by_step(root, clock, journal, made)


def test_so_it_is_after_a_merge_that_was_interrupted(root, clock, telling):
    journal, made = telling
    with mock.patch.object(PackedStore, "is_full", return_value=True), mock.patch.object(compaction, "merge_small"):
        compact(root, PackedStore(root, CAP_BYTES), clock.now_ms, 10**9)
    with mock.patch.object(PackedStore, "remove", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        compact(root, PackedStore(root, CAP_BYTES), clock.now_ms, 10**9)
    evict_step_by_step(root, clock, journal, made)


def test_reclaiming_what_was_delivered_tells_them_once(root, clock, telling, tmp_path):
    journal, made = telling
    pack_and_bring_back(root, clock, tmp_path)
    reader, done = JournalReader(root), {}
    groups = [group for group in reader.groups() if group[0].state != "open"]
    for group in groups:
        seqs = [record.seq for record in reader.of_segment(group[0]) if record.is_event]
        done[group[0].segment] = [[seqs[0], seqs[-1]]]
    delivered = sum(last - first + 1 for ((first, last),) in done.values())
    consented = [[dataclasses.replace(info, consent_ms=1) for info in group] for group in groups]
    with mock.patch.object(NotingReader, "groups", return_value=consented):
        deliveries.reclaim(NotingReader(root), done)
    for _ in range(60):
        made += len(fill(journal, clock, 20, 1))
        assert present(root) + lost(root) + delivered == made


def test_clearing_what_was_exported_counts_and_tells_them_once(root, clock, telling, tmp_path, monkeypatch, capsys):
    journal, made = telling
    exported = present(root)
    pack_and_bring_back(root, clock, tmp_path)
    monkeypatch.setenv("CAROJOURNAL_DIR", root)
    with monkeypatch.context() as standing:
        standing.setattr(time, "time_ns", clock)
        assert main(["export", "-o", str(tmp_path / "e.json"), "--clear"]) == 0
    assert f"Removed {exported} events" in capsys.readouterr().out
    made += len(fill(journal, clock, 1_600, 1))
    sums = losses_by_reason(JournalReader(root))
    assert sums["cleared"][1] == exported
    assert sums["evicted"][1] + exported + present(root) == made


def test_a_bound_that_was_lowered_has_each_file_looked_at_once(root, clock, monkeypatch):
    with squeezed(root, clock, 10 * CAP_BYTES) as journal:
        fill(journal, clock, 9_000, 1)
    looked = []
    said = predecessors._Said

    def noted(path, name):
        looked.append(path)
        return said(path, name)

    monkeypatch.setattr(predecessors, "_Said", noted)
    victims = spool.make_room(root, CAP_BYTES, 0)
    assert len(victims) > 20
    assert sum(len(victim.payloads) for victim in victims) >= len(victims)
    assert len(looked) == len(set(looked)) > 20
