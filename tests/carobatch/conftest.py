"""Fixtures: a journal of three days, a bundle of two, and its members; a receiver; programs of the system."""

import os
from pathlib import Path

import pytest
from carobatch_bundles import members
from carobatch_journals import DAY_MS, events_of, fill, journal_at
from receivers import Authority, Receiver

from carobatch.cli import main


@pytest.fixture
def filled(root, clock):
    """A journal of three days with two closed segments and an open one; returns its events."""
    with journal_at(root, clock) as journal:
        for _ in range(3):
            fill(journal, clock, 20)
            clock.advance(DAY_MS)
    return events_of(root)


@pytest.fixture
def bundle(root, clock, tmp_path, capsys):
    """The path of a bundle with 30 events of each of two days."""
    with journal_at(root, clock) as journal:
        fill(journal, clock, 30)
        clock.advance(DAY_MS)
        fill(journal, clock, 30)
    (tmp_path / "a").mkdir()
    assert main(["export", "-o", str(tmp_path / "a")]) == 0
    return Path(capsys.readouterr().out.strip())


@pytest.fixture
def files(bundle):
    """What is in it: name -> bytes."""
    return members(bundle)


@pytest.fixture
def receiver(tmp_path):
    """A receiver over TLS, and the settings that name it."""
    authority = Authority(tmp_path)
    with Receiver(certificate=authority.server()) as made:
        made.settings = f'endpoint = "{made.url}"\nca_file = "{authority.ca_file}"'
        yield made


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Puts a program first on the path, under the name of a system's own."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(name, script):
        program = folder / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return program

    return put
