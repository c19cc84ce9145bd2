"""What is about to be sent takes its place in the spool too: no more than a segment of it, whatever the bound."""

import os
import random
import time

import pytest
from receivers import Receiver
from uploads import carobatch, configure, consented

from bench.batch_workload import drawn
from carobatch.target import read_target
from carojournal import policy
from carojournal.config import load_for

EVENTS = 1_200


@pytest.fixture
def busy(root, clock):
    """A receiver that is always busy, and a journal with more to send than one batch of a small journal."""
    clock.now_ms = time.time_ns() // 1_000_000
    with consented(root, clock) as journal:
        for name, fields in drawn(random.Random(5), EVENTS):
            assert journal.append(name, **fields)
    with Receiver(lambda _: (503, {}, b"")) as receiver:
        yield receiver


@pytest.mark.parametrize("wire", ["caro-v1", "caro-array", "posthog", "otlp"])
def test_an_intent_is_no_larger_than_a_segment(root, home, busy, wire):
    configure(home, f'endpoint = "{busy.url}"\nwire_format = "{wire}"\nposthog_key = "phc_x"\noffline_spool_max_mb = 1')
    assert carobatch(["upload"]) == 75
    [name] = os.listdir(os.path.join(root, "outbox"))
    assert 2_000 < os.path.getsize(os.path.join(root, "outbox", name)) <= policy.segment_limit(1_000_000, 0)


@pytest.mark.parametrize(("cap_mb", "events"), [(1, 250), (3, 750), (10, 1_000), (100, 1_000)])
def test_only_small_bounds_make_batches_smaller(home, cap_mb, events):
    configure(home, f'endpoint = "http://127.0.0.1:9/v1/events"\noffline_spool_max_mb = {cap_mb}')
    assert read_target(load_for({"HOME": home})).events_max == events
