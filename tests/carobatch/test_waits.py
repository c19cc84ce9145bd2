"""A wait that a receiver asked for is that of this receiver, and of no other that is configured afterwards."""

import pytest
from receivers import answers
from uploads import carobatch, configure, due, fill

from carobatch import timing
from carojournal.receivers import Receiver

WEEK_MS = 604_800_000
HERE, THERE = Receiver("caro-v1", "https://here.example/v1"), Receiver("caro-v1", "https://there.example/v1")


@pytest.mark.parametrize("verb", ["upload", "run"])
def test_another_receiver_is_asked_at_once(root, home, clock, receiver, capsys, verb):
    """It waited for up to a week, because of what the one before had said."""
    wanted = fill(root, clock)
    configure(home, receiver.settings)
    receiver.script = lambda _: (429, {"Retry-After": "604800"}, b"")
    due(root)
    assert carobatch([verb]) == 75
    assert carobatch([verb]) == (75 if verb == "upload" else 0)
    assert len(receiver.requests) == 1
    receiver.script = answers()
    configure(home, receiver.settings.replace(receiver.url, f"{receiver.url}/of/another"))
    assert carobatch([verb]) == 0
    assert receiver.events == dict.fromkeys(wanted, 1)


def test_the_same_url_in_another_wire_format_is_another_receiver(root, home, clock, receiver, capsys):
    fill(root, clock)
    configure(home, receiver.settings)
    receiver.script = answers((429, {"Retry-After": "604800"}, b""))
    assert carobatch(["upload"]) == 75
    configure(home, f'{receiver.settings}\nwire_format = "caro-array"')
    assert carobatch(["upload"]) == 0


def test_waits_are_known_by_receiver_and_old_ones_are_everybodys(root):
    tries = timing.Tries()
    timing.failed(tries, 1_000, "status 429", WEEK_MS, 1, lambda: 0.5, receiver=HERE)
    timing.save_tries(root, tries)
    assert timing.of_receiver(timing.load_tries(root), HERE) == tries
    found = timing.of_receiver(timing.load_tries(root), THERE)
    assert (found.asked_ms, found.not_before_ms, found.failures) == (0, 0, 1)
    tries.asked_by = ""  # As earlier releases wrote it.
    timing.save_tries(root, tries)
    assert timing.of_receiver(timing.load_tries(root), THERE).asked_ms == 1_000 + WEEK_MS


def test_until_is_never_too_early():
    assert timing.until_text(0) == "1970-01-01 00:00:00 UTC"
    assert timing.until_text(1) == "1970-01-01 00:00:01 UTC"
