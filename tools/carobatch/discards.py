"""What is missing, told once: the event `journal_health`, which `carobatch run` records and no host can.

Its words come from counters that only grow: refusals and drops (`drops`), and what the journal's loss records and
packed files say is gone.  The file `discards` below the root remembers how far they have been told; text, every line
closed by its CRC-32 as in the identity file, replaced as a whole:

    discards 1 <crc>
    day <days since 1970> <crc>                        the day of the last look: there is one a day
    told <field> <count> <crc>                         for every field but `total`
    next <field> <count> <crc>                         what will have been told with the event that is under way,
    event <segment> <us> <consent ms> <session> <run> <crc>     and which event that is

    look -> `next` and `event` durable -> segment durable -> told = next

Killed anywhere, the next run finds the event under way and writes it under the same identity if it is not there: the
same count is never told under two ids.  A sum that has become smaller (a bundle with loss records was acknowledged and
removed) is the new mark; what was lost on that same day may then go untold, but nothing is told twice.  A damaged file
marks everything as told.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carojournal.identity import line
from carojournal.lines import good_lines
from carojournal.root import open_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from carojournal.policy import Policy

__all__ = ["FILE", "is_due", "tell"]

FILE = "discards"
_DAY_MS = 86_400_000
_BYTES_MAX = 65_536
_REFUSED = {
    "unknown_event": "refused_unknown",
    "unknown_field": "refused_unknown",
    "foreign_id": "refused_id",
}
_DROPPED = {
    **dict.fromkeys(("disk_full", "spool_full"), "dropped_full"),
    **dict.fromkeys(("permission", "read_only", "unsafe_root"), "dropped_denied"),
    **dict.fromkeys(("busy", "queue_full", "deadline", "descriptors"), "dropped_busy"),
    "clock": "dropped_time",
    "io": "dropped_io",
}
_LOST = {"evicted": "lost_evicted", "damaged": "lost_corrupt"}  # What the user cleared is not missed.


@dataclass(frozen=True, slots=True)
class _Event:
    """An event under way: where it stands, and the recorder's own part of it."""

    segment: bytes
    created_us: int
    consent_ms: int
    session: bytes
    run: bytes


@dataclass(slots=True)
class _State:
    """The file `discards`; `told` is None if it is damaged."""

    day: int = -1
    told: dict[str, int] | None = None
    next: dict[str, int] | None = None
    event: _Event | None = None


def _read(root: str) -> bytes | None:
    try:
        descriptor = open_file(os.path.join(root, FILE))
    except FileNotFoundError:
        return None
    try:
        return os.read(descriptor, _BYTES_MAX)
    finally:
        os.close(descriptor)


def is_due(root: str, now_ms: int) -> bool:
    """Tell, by one small file, whether to look again: once a day, or where a run was killed in the middle."""
    if not os.path.exists(os.path.join(root, "drops")):
        return False  # No host has recorded anything here.
    try:
        lines = [words[:2] for words in good_lines(_read(root) or b"")]
    except OSError:
        return False
    return ["day", str(now_ms // _DAY_MS)] not in lines or any(words[0] == "event" for words in lines)


def _load(root: str) -> _State:
    data = _read(root)
    if data is None:
        return _State(told={})
    state = _State()
    sums: dict[str, dict[str, int]] = {"told": {}, "next": {}}
    for words in good_lines(data):
        if words[0] in sums:
            sums[words[0]][words[1]] = int(words[2])
        elif words[0] == "day":
            state.day = int(words[1])
        elif words[0] == "event":
            segment, session, run = (bytes.fromhex(words[at]) for at in (1, 4, 5))
            state.event = _Event(segment, int(words[2]), int(words[3]), session, run)
    fields = set(_fields())
    state.told = sums["told"] if sums["told"].keys() >= fields else None
    if state.event is None or state.told is None or not sums["next"].keys() >= fields:
        state.event = None
    else:
        state.next = sums["next"]
    return state


def _save(root: str, state: _State) -> None:
    from carojournal.durable import write_file
    from carojournal.errors import JournalIOError

    lines = ["discards 1", f"day {state.day}"]
    lines += [f"told {name} {count}" for name, count in sorted((state.told or {}).items())]
    if state.event is not None and state.next is not None:
        one = state.event
        lines += [f"next {name} {count}" for name, count in sorted(state.next.items())]
        lines.append(f"event {one.segment.hex()} {one.created_us} {one.consent_ms} {one.session.hex()} {one.run.hex()}")
    write_file(os.path.join(root, FILE), b"".join(map(line, lines)), overwrite=True, error=JournalIOError)


def _fields() -> list[str]:
    from carojournal.own_events import HEALTH, OWN_EVENTS

    return [name for name in OWN_EVENTS[HEALTH][1] if name != "total"]


def _totals(root: str) -> dict[str, int]:
    """Return field -> count since the journal began, as far as it still knows.  Raises JournalIOError, OSError."""
    from carojournal import drops
    from carojournal.reader import JournalReader
    from carojournal.status import losses_by_reason

    sums = dict.fromkeys(_fields(), 0)
    for key, count in drops.read_counts(root)[0].items():
        words = key.split(" ")
        if words[0] == "drop":
            sums[_DROPPED.get(words[-1], "dropped_bug")] += count
        elif words[0] == "refuse":
            sums[_REFUSED.get(words[-1], "refused_value")] += count
    for reason, (_, events, _) in losses_by_reason(JournalReader(root)).items():
        if reason in _LOST:
            sums[_LOST[reason]] += events
    return sums


def tell(root: str, found: "Policy", now_ms: int, random: "Callable[[int], bytes]" = os.urandom) -> bool:
    """Record what was discarded since the last time, if a day has begun and anything was; return whether.

    *found* is the policy that holds, and is not `off`; the caller holds batch.lock.  Raises JournalError, OSError.
    """
    from carojournal import deletion
    from carojournal.identity import day_of

    deletion.check_not_half_cleared(root)
    state = _load(root)
    if state.event is not None:
        _finish(root, state, found.cap_bytes)
    if state.day == now_ms // _DAY_MS:
        return False
    totals = _totals(root)
    told = totals if state.told is None else state.told
    state = _State(now_ms // _DAY_MS, {name: min(told.get(name, 0), total) for name, total in totals.items()})
    identity = deletion.read_identity(root)
    if identity is None or totals == state.told:
        _save(root, state)
        return False
    consent_ms = found.consent_ms if found.mode == "on" else 0
    state.event = _Event(random(16), now_ms * 1000, consent_ms, identity.session(day_of(now_ms)), random(16))
    state.next = totals
    _save(root, state)
    _finish(root, state, found.cap_bytes)
    return True


def _finish(root: str, state: _State, cap_bytes: int) -> None:
    """Write the event under way, if it is not there yet, and note that it is told."""
    from carobatch import deliveries
    from carojournal import sent
    from carojournal.reader import JournalReader

    one = state.event
    assert one is not None
    reader = JournalReader(root)
    known = {info.segment for info in reader.segments()} | {loss["segment"] for loss in reader.losses()}
    delivered: list[bytes] = sent.uploads(root)["segments"]  # type: ignore[assignment]
    if one.segment not in known.union(deliveries.accounted(root), delivered):
        _write(root, state, one, cap_bytes)
    state.told, state.next, state.event = state.next, None, None
    _save(root, state)


def _write(root: str, state: _State, one: _Event, cap_bytes: int) -> None:
    from carojournal import spool
    from carojournal.cbor import encode_map
    from carojournal.closed import NO_LANE, encode_closed
    from carojournal.durable import write_file
    from carojournal.errors import JournalIOError
    from carojournal.own_events import HEALTH, bucket
    from carojournal.rotation import closed_name

    assert state.told is not None
    assert state.next is not None
    more = {name: count - state.told[name] for name, count in state.next.items() if count > state.told[name]}
    payload = encode_map(
        {
            "event": HEALTH,
            "timestamp": one.created_us // 1000,
            "session_id": one.session,
            "run_id": one.run,
            "total": bucket(sum(more.values())),
            **{name: bucket(count) for name, count in more.items()},
        }
    )
    folder = os.path.join(root, "segments")
    os.makedirs(folder, 0o700, exist_ok=True)
    path = os.path.join(folder, closed_name(one.created_us, one.segment))
    room = spool.lock_room(root, spool.PATIENT_S)
    try:
        victims = spool.make_room(root, cap_bytes, NO_LANE)
        losses = [loss for victim in victims for loss in victim.payloads]
        data = encode_closed(one.segment, one.created_us, losses, (payload,), one.consent_ms)
        write_file(path, data, overwrite=True, error=JournalIOError)
        for error in spool.remove(victims).values():
            raise error
    finally:
        spool.unlock_room(room)
