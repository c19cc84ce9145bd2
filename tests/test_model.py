"""The whole journal against a model; the long run is `python tools/faults/model.py`."""

import os
from collections import Counter

import pytest

from carojournal import spool
from faults import model
from faults.model_batch import Batches
from faults.model_look import look


def test_the_journal_does_what_the_model_says(home):
    """What hypothesis draws depends on the modules that are loaded: more, until everything has happened."""
    seen = Counter()
    wanted = [f"events {what}" for what in ("cleared", "taken by the receiver", "confirmed by an importer")]
    for seed in range(5, 15):
        model.run(12, 30, seed, seen)
        if all(seen[name] for name in wanted):
            break
    assert seen["steps"] > 300
    assert all(seen[name] for name in wanted)


@pytest.fixture
def world(home, tmp_path):
    made = Batches(str(tmp_path / "world"), 7)
    os.makedirs(made.place)
    made.choose("on")
    made.append(0, 20, 0)
    assert look(made) == []
    yield made
    made.close()


def test_the_model_notices_a_lost_event(world):
    path = os.path.join(world.root, "lanes", "0.seg")
    os.truncate(path, os.path.getsize(path) - 116)
    assert any("gone" in problem for problem in look(world))


def test_the_model_notices_a_wrong_value(world):
    identity, event = next(iter(world.known.events.items()))
    world.known.events[identity] = type(event)(event.number + 1, event.time_ms, event.consent_ms)
    assert any("wrong value" in problem for problem in look(world))


def test_the_model_notices_what_left_without_a_yes(world):
    world.upload([])
    assert look(world) == []
    assert world.receiver.taken
    for identity, event in world.known.events.items():
        world.known.events[identity] = type(event)(event.number, event.time_ms, 0)
    assert any("no yes" in problem for problem in look(world))


def test_the_model_notices_a_spool_without_a_bound(world, monkeypatch):
    monkeypatch.setattr(spool, "make_room", lambda *_: [])
    for _ in range(25):
        world.append(0, 30, 0)
    assert any("the spool holds" in problem for problem in look(world))


@pytest.mark.parametrize("nth", range(1, 16))
def test_a_death_at_any_call_that_begins_a_day_is_no_finding(world, nth):
    """The line of the new session, the first segment: `verify` calls what is left half done torn."""
    world.now_ms += 86_400_000
    world.killed("append", nth, 0, [])
    assert look(world) == []


def test_the_model_notices_a_verdict_that_is_wrong(world):
    path = os.path.join(world.root, "lanes", "0.seg")
    with open(path, "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    assert any("verify says 2, not 1" in problem for problem in look(world))
