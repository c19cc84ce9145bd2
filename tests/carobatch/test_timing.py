"""When an upload is due, by an injected clock."""

import pytest

from carobatch import timing
from carobatch.timing import HOUR_MS, Tries, failed, is_due, load_tries, save_tries, splay_ms, succeeded, waits
from carobatch.verdicts import RETRY_AFTER_MS_MAX, backoff_ms

DAY_MS = 24 * HOUR_MS
NOW_MS = 1_790_000_000_000


def test_the_splay_is_stable_spread_and_not_the_id():
    one = splay_ms(bytes(16), DAY_MS)
    assert one == splay_ms(bytes(16), DAY_MS)
    many = sorted(splay_ms(bytes([number, other]) * 8, DAY_MS) for number in range(50) for other in range(20))
    quarters = [sum(at // (DAY_MS // 4) == quarter for at in many) for quarter in range(4)]
    assert all(200 < count < 300 for count in quarters)


def test_due_once_a_slot():
    splay = 5 * HOUR_MS
    slot = NOW_MS // DAY_MS * DAY_MS + splay
    tries = Tries(last_success_ms=slot - 1)
    assert not is_due(tries, slot - 1, DAY_MS, splay)
    assert is_due(tries, slot, DAY_MS, splay)
    succeeded(tries, slot + 5)
    assert not is_due(tries, slot + DAY_MS - 1, DAY_MS, splay)
    assert is_due(tries, slot + DAY_MS, DAY_MS, splay)


def test_a_new_journal_waits_for_its_slot():
    splay = 5 * HOUR_MS
    slot = NOW_MS // DAY_MS * DAY_MS + splay
    assert not is_due(Tries(since_ms=slot + 1), slot + DAY_MS - 1, DAY_MS, splay)
    assert is_due(Tries(since_ms=slot + 1), slot + DAY_MS, DAY_MS, splay)


def test_a_clock_that_was_wrong_stops_nothing():
    assert is_due(Tries(last_success_ms=NOW_MS + 400 * DAY_MS), NOW_MS, DAY_MS, 0)
    assert not waits(NOW_MS + RETRY_AFTER_MS_MAX + 1, NOW_MS)
    assert waits(NOW_MS + RETRY_AFTER_MS_MAX, NOW_MS)


def test_failures_draw_from_the_next_interval_and_never_before_the_receivers_word():
    tries = Tries(last_success_ms=NOW_MS)
    failed(tries, NOW_MS, "status 503", 0, DAY_MS, lambda: 0.25)
    assert (tries.failures, tries.not_before_ms, tries.asked_ms) == (1, NOW_MS + DAY_MS // 4, 0)
    assert not is_due(tries, tries.not_before_ms - 1, DAY_MS, 0)
    assert is_due(tries, tries.not_before_ms, DAY_MS, 0)
    failed(tries, NOW_MS, "status 429", 2 * DAY_MS, DAY_MS, lambda: 0.25)
    assert tries.not_before_ms == tries.asked_ms == NOW_MS + 2 * DAY_MS
    succeeded(tries, NOW_MS)
    assert (tries.failures, tries.not_before_ms, tries.asked_ms, tries.reason) == (0, 0, 0, "")


@pytest.mark.parametrize(("failures", "window"), [(0, 1), (1, 2), (3, 8), (10, 300), (10_000, 300)])
def test_full_jitter(failures, window):
    drawn = [backoff_ms(failures, 0, 1_000, 300_000, lambda part=part: part / 100) for part in range(100)]
    assert (min(drawn), max(drawn)) == (0, int(0.99 * window * 1_000))


def test_the_state_survives_and_damage_is_no_state(tmp_path):
    root = str(tmp_path)
    assert load_tries(root) == Tries()
    tries = Tries(1, 2, 3, 4, 5, "status 500", "ab", 7)
    save_tries(root, tries)
    assert load_tries(root) == tries
    for data in (b"", b"\xff", b"[]", b'{"failures": "many", "since_ms": true}'):
        (tmp_path / "sent" / "state.json").write_bytes(data)
        assert load_tries(root) == Tries()


def test_hours_are_milliseconds():
    assert timing.HOUR_MS == 3_600_000
