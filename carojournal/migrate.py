"""Take over what caro 1.1 recorded: its sqlite queue, its JSON exports (`migrate_sources`), once and only once.

Every row passes the same check as an event of today.  Its time is kept, its ids are not: each (session of caro 1.1,
UTC day) gets a random session id and run id of its own, because the old ids were derived from the machine.  The
segments are recorded without consent, so no migrated event can ever be uploaded.

Newest first: history never pushes out what is newer than itself.  What does not fit below the spool's bound is left in
its file and reported; run again once there is room, and only that is taken (`migrate_ledger`).
"""

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from carojournal import deletion, redact, spool
from carojournal.closed import NO_LANE, encode_closed
from carojournal.durable import DurableFile
from carojournal.errors import DamagedData, JournalIOError, JournalUnavailable, SpoolFull
from carojournal.eviction import Victim
from carojournal.frame import RECORD_OVERHEAD_BYTES
from carojournal.identity import open_identity
from carojournal.migrate_intake import Held, Intake, Report
from carojournal.migrate_ledger import Ledger
from carojournal.migrate_rows import is_own_export
from carojournal.migrate_sources import open_source
from carojournal.policy import segment_limit
from carojournal.root import check_root, make_root
from carojournal.rotation import closed_name
from carojournal.shape import TEXT_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from carojournal.policy import Policy

__all__ = ["Report", "migrate"]

_DAY_MS = 86_400_000
_HEADER_BYTES = 1_024  # Header, seal and a few loss records.
_GENERATION_MAX = redact.GENERATION_MAX


class _Run:
    """New ids for one session of caro 1.1 on one UTC day, and its generations' ordinals."""

    def __init__(self, random: "Callable[[int], bytes]") -> None:
        self.session = random(16)
        self.run = random(16)
        self._ordinals: dict[str, int] = {}
        self._last = 0

    def ordinal(self, found: redact.Accepted) -> int:
        """Return the ordinal of the event's generation, 0 for none: a UUID stands for the ordinal of its first use."""
        given = found.generation
        if given is None:
            return self._new() if found.event == "command_generated" else 0
        if type(given) is int:
            return given if 0 < given <= _GENERATION_MAX else 0
        if type(given) is not str or len(given) > TEXT_BYTES_MAX:
            return 0
        if given not in self._ordinals:
            self._ordinals[given] = self._new()
        return self._ordinals[given]

    def _new(self) -> int:
        self._last += 1
        return self._last if self._last <= _GENERATION_MAX else 0


class _Chunk(NamedTuple):
    """What becomes one segment: UTC ms of its first event, payloads, and the ledger's names of their rows."""

    first_ms: int
    payloads: list[bytes]
    rows: list[bytes]


def _chunks(held: Held, limit: int, random: "Callable[[int], bytes]") -> list[_Chunk]:
    """Cut the events, in order of time, into segments of at most *limit* bytes that do not span a UTC midnight."""
    chunks: list[_Chunk] = []
    runs: dict[tuple[bytes, int], _Run] = {}
    size = 0
    for time_ms, _, row, session, found in sorted(held.heap, key=lambda entry: entry[:2]):
        day = time_ms // _DAY_MS
        key = (session, day)
        run = runs.get(key) or runs.setdefault(key, _Run(random))
        payload = found.payload(time_ms, run.session, run.run, run.ordinal(found))
        size += len(payload) + RECORD_OVERHEAD_BYTES
        if not chunks or size > limit or chunks[-1].first_ms // _DAY_MS != day:
            chunks.append(_Chunk(time_ms, [], []))
            size = len(payload) + RECORD_OVERHEAD_BYTES
        chunks[-1].payloads.append(payload)
        chunks[-1].rows.append(row)
    return chunks


def _make_room(root: str, cap_bytes: int, created_us: int) -> list[Victim] | None:
    """Return what must go for a segment of that age, None if that would be something newer than the segment."""
    try:
        victims = spool.make_room(root, cap_bytes, NO_LANE)
    except SpoolFull:
        return None
    newest = max((os.path.basename(victim.path)[:16] for victim in victims), default="")
    return None if newest > f"{created_us:016d}" else victims


def _store(
    root: str,
    chunk: _Chunk,
    ledger: Ledger,
    victims: list[Victim],
    random: "Callable[[int], bytes]",
    step: "Callable[[str], object]",
) -> None:
    """Write one segment.  Raises JournalIOError, OSError; `Ledger.recover` knows what to do about any interruption."""
    segment, created_us = random(16), chunk.first_ms * 1000
    losses = [payload for victim in victims for payload in victim.payloads]
    path = os.path.join(root, "segments", closed_name(created_us, segment))
    file = DurableFile(path, overwrite=True, error=JournalIOError, temporary=f"{path}.tmp")
    with file:
        file.write(encode_closed(segment, created_us, losses, chunk.payloads))
        step("written")
        file.sync()
        step("synced")
        file.keep()
    ledger.append(segment, chunk.rows)
    step("noted")
    file.commit()
    step("placed")
    for error in spool.remove(victims).values():
        raise error
    step("evicted")


def migrate(
    path: str,
    root: str,
    policy: "Policy",
    now_ms: int,
    *,
    dry_run: bool = False,
    random: "Callable[[int], bytes]" = os.urandom,
    step: "Callable[[str], object]" = lambda _: None,
) -> Report:
    """Take over the file at *path* into the journal at *root* and say what became of its rows.

    *policy* must not be off; its level filters and its cap bounds.  *now_ms* is UTC milliseconds.  *dry_run* changes
    nothing.  *step* is told how far each segment is (tests).

    Raises as `open_source` if nothing of the file can be read, JournalUnavailable also for an export of this very
    journal, JournalBusy (another migration, or a host that makes room), UnsafeRoot, JournalIOError, OSError.  Whatever
    is raised: what was taken stays taken, and the next run goes on from there.
    """
    with contextlib.ExitStack() as held:
        intake = Intake(lambda: held.enter_context(_open_ledger(root, now_ms, random, dry=dry_run)), policy, now_ms)
        identity = deletion.read_identity(root)
        sessions = {session.hex() for _, session in identity.history()} if identity else set()
        try:
            for row in open_source(path):
                if is_own_export(row, sessions):
                    raise JournalUnavailable("this is an export of this very journal: nothing was taken")
                intake.take(row)
        except DamagedData as error:
            if intake.ledger is None:
                raise
            intake.report.damage = error
        if intake.ledger is not None:
            limit = segment_limit(policy.cap_bytes, NO_LANE) - _HEADER_BYTES
            chunks = _chunks(intake.held, limit, random)
            _write(root, chunks, intake.ledger, policy.cap_bytes, intake.report, random, None if dry_run else step)
        return intake.report


def _open_ledger(root: str, now_ms: int, random: "Callable[[int], bytes]", *, dry: bool) -> Ledger:
    """Return the ledger, made now with the journal around it if there is none, and settle what was interrupted."""
    if dry:
        identity = deletion.read_identity(root)
        return Ledger(root, identity.secret if identity else bytes(16), dry=True)
    make_root(root)
    check_root(root)
    ledger = Ledger(root, open_identity(root, now_ms, random).secret)
    try:
        ledger.recover()
    except OSError:
        ledger.close()
        raise
    return ledger


def _write(
    root: str,
    chunks: list[_Chunk],
    ledger: Ledger,
    cap_bytes: int,
    report: Report,
    random: "Callable[[int], bytes]",
    step: "Callable[[str], object] | None",
) -> None:
    """Write *chunks*, the newest first, as long as there is room; with *step* None only count them."""
    while chunks:
        chunk = chunks.pop()
        if step is not None:
            room = spool.lock_room(root, spool.PATIENT_S)
            try:
                victims = _make_room(root, cap_bytes, chunk.first_ms * 1000)
                if victims is None:
                    report.left += sum(len(rest.rows) for rest in (chunk, *chunks))
                    return
                _store(root, chunk, ledger, victims, random, step)
            finally:
                spool.unlock_room(room)
            report.evicted += len(victims)
        report.segments += 1
        report.taken += len(chunk.rows)
