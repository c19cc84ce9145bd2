"""The scene `clock`: a host records while its clock jumps in every way in which clocks jump."""

import os
import random
import time
from unittest import mock

from carojournal import drops
from carojournal.errors import ClockUnusable
from carojournal.reader import JournalReader
from carojournal.recovery import verify
from faults import conservation
from faults.crew import open_journal

__all__ = ["jumping_clock"]

_DAY_MS = 86_400_000
_ZONES = ("America/New_York", "Australia/Lord_Howe", "UTC", "Asia/Kathmandu")  # DST by an hour, by half of one, none.
_GOOD = (
    *(1_483_228_799_000 + ms for ms in (0, 999, 0, 500, 999, 1_000)),  # A leap second: 23:59:59 twice, then midnight.
    *(1_772_953_199_999, 1_772_953_200_000),  # 2026-03-08T07:00Z: New York goes from 02:00 to 03:00.
    *(1_793_512_800_000, 1_793_509_200_000),  # 2026-11-01: an hour back, as a clock that runs in local time does.
    *(2_147_483_647_000, 2_147_483_648_000, 4_294_967_296_000 // 2),  # 2038-01-19T03:14:07Z and what follows 31 bits.
    *(1_099_511_627_776, 4_102_444_799_999),  # The first and the last millisecond that are ours.
    *(1_790_035_199_999, 1_790_035_200_000),  # Around a midnight.
)
_BAD = (-1, 0, 1, 1_099_511_627_775, 4_102_444_800_000, 253_402_300_799_999, 1 << 62)  # 9999-12-31 among them.


def jumping_clock(place: str, scale: int) -> tuple[str, list[str]]:
    """Record at good and bad times in random order, in several time zones."""
    root = os.path.join(place, "journal")
    rand = random.Random(scale)
    times = [ms + rand.choice((0, 0, 1, 60_000)) * (ms in _GOOD[8:10]) for ms in _GOOD for _ in range(6 * scale)]
    times += [rand.randrange(1 << 40, 4_102_444_800_000) for _ in range(30 * scale)]
    times += [ms for ms in _BAD for _ in range(2 * scale)]
    rand.shuffle(times)
    now, wrong, bad = [0], 0, 0
    made: dict[tuple[bytes, int], int] = {}
    with open_journal(root, clock=lambda: now[0] * 1_000_000) as journal:
        for now[0] in times:
            with mock.patch.dict(os.environ, {"TZ": rand.choice(_ZONES)}):
                time.tzset()
                try:
                    identity = journal.append("session_end", session_duration_ms=1)
                    assert identity is not None
                    made[identity] = now[0]
                    wrong += not 1 << 40 <= now[0] < 4_102_444_800_000
                except ClockUnusable:
                    bad += 1
                    wrong += 1 << 40 <= now[0] < 4_102_444_800_000
    time.tzset()
    problems = [f"{wrong} times were judged wrongly"] if wrong else []
    problems += conservation.check(root, conservation.ranges(made)).problems
    report = verify(root)
    if report.exit_code:
        problems.append(f"verify: {report.exit_code} {[*report.damage, *report.gaps][:3]}")
    if drops.read_counts(root)[0]["drop clock"] != bad:
        problems.append("not every event at a bad time was counted")
    return f"{len(made):,} recorded, {bad} refused", [*problems, *_days(root, made)]


def _days(root: str, made: dict[tuple[bytes, int], int]) -> list[str]:
    """Check that every event has its time, and that no segment and no session spans two UTC days."""
    problems = []
    segments: dict[bytes, set[int]] = {}
    sessions: dict[object, set[int]] = {}
    for record in JournalReader(root).records(events_only=True):
        time_ms = record.value["timestamp"]
        if time_ms != made.get((record.segment, record.seq)):
            problems.append(f"recorded at {made.get((record.segment, record.seq))}, read as {time_ms}")
        day = int(str(time_ms)) // _DAY_MS
        segments.setdefault(record.segment, set()).add(day)
        sessions.setdefault(record.value["session_id"], set()).add(day)
    problems += ["a segment spans two days"] * sum(len(days) > 1 for days in segments.values())
    return problems + ["a session spans two days"] * sum(len(days) > 1 for days in sessions.values())
