"""What faults are put into: each operation, the place that it needs, and how one sees that it was done.

An operation's `act` runs in a child, as a user's process would: it returns an exit code, and what it has acknowledged
it says through `told`, which is outside the place and therefore never fails.  A verb's exit
code must be honest: where it is 0, `is_done` holds.
"""

import os
import pty
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass

from faults import conservation
from faults.place import Place
from faults.templates import Templates

__all__ = ["OPERATIONS", "Operation", "Told"]

_DAY_NS = 86_400_000_000_000
_EVENTS = 4


@dataclass(frozen=True, slots=True)
class Told:
    """Where a host says, event by event, what it was answered; its events are numbered from `first`."""

    descriptor: int
    first: int

    def __call__(self, kept: bool) -> None:
        """Say whether the next event is kept."""
        os.write(self.descriptor, b"+" if kept else b"-")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation; `hosts` tells that it is a host's, which never raises, rather than a program's verb."""

    name: str
    prepare: Callable[[Templates, str], Place]
    act: Callable[[Place, Told], int]
    is_done: Callable[[Place], bool] = lambda _: True
    hosts: bool = False
    clears: bool = False
    codes: tuple[int, ...] = (0,)  # What it may return without a fault: 65 where the place holds damage.


def _record(place: Place, told: Told, durability: str = "os") -> int:
    """Record some events as a host does, one by one, then some at once."""
    with place.journal(time.time_ns, durability) as journal:
        for number in range(told.first, told.first + _EVENTS - 1):
            told(journal.record("session_end", session_duration_ms=number))
        last = {"session_duration_ms": told.first + _EVENTS - 1}
        told(journal.append_timed([(time.time_ns() // 1_000_000, "session_end", last)]) == 1)
    return 0


def _synced(place: Place, told: Told) -> int:
    return _record(place, told, durability="each")


def _seal(place: Place, _: Told) -> int:
    from carobatch.seal import seal_idle_lanes

    return _guarded(lambda: seal_idle_lanes(place.root, (time.time_ns() + _DAY_NS) // 1_000_000, 0))


def _guarded(act: Callable[[], object]) -> int:
    """Return the exit code that a program would give to what *act* raises."""
    from carojournal.cli.exits import exit_code
    from carojournal.errors import JournalError

    try:
        act()
    except (JournalError, OSError) as error:
        return exit_code(error)
    return 0


def _batch(*words: str) -> int:
    from carobatch.cli import main

    return main(list(words))


def _journal(*words: str) -> int:
    from carojournal.cli import main

    return main(list(words))


def _import(place: Place, _: Told) -> int:
    paths: list[str] = []
    code = _guarded(lambda: paths.extend(_paths(place.folder("stick"))))
    return code or _batch("import", *paths, "--into", place.folder("imported"), "--receipts", place.folder("back"))


def _ack(place: Place, _: Told) -> int:
    receipts: list[str] = []
    code = _guarded(lambda: receipts.extend(_paths(place.folder("back"))))
    return code or _batch("ack", *receipts, "--reclaim")


def _paths(folder: str) -> list[str]:
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder))]


def _consent(_: Place, __: Told) -> int:
    """Answer the question on a terminal of our own."""
    pair: list[int] = []
    code = _guarded(lambda: pair.extend(pty.openpty()))
    if code:
        return code
    ours, theirs = pair
    os.write(ours, b"yes\n")
    with open(theirs, "w", encoding="utf-8", closefd=False) as stream:
        from carojournal.config import load_for
        from carojournal.consent import put

        code = _guarded(lambda: put(load_for(os.environ), theirs, stream, time.time_ns, 5.0))
    os.close(ours)
    os.close(theirs)
    return code


def _settings(place: Place) -> dict[str, object]:
    with open(place.config, "rb") as file:
        found = tomllib.load(file)
    if found.get("shell") != {"prompt": "keep me"}:
        raise ValueError("the configuration has lost what is not ours")
    section: dict[str, object] = found.get("telemetry", {})
    return section


def _names(path: str) -> list[str]:
    """Return the names in a folder but for those of files under construction."""
    return sorted(name for name in os.listdir(path) if not name.startswith(".")) if os.path.isdir(path) else []


def _is_packed(place: Place) -> bool:
    return not _names(os.path.join(place.root, "segments"))


def _is_exported(place: Place) -> bool:
    from carobatch.verify import verify_bundle

    lists = [name for name in _names(place.folder("out")) if name.endswith((".tar.zst", ".sha256"))]
    verdicts = [verify_bundle(os.path.join(place.folder("out"), name)) for name in lists]
    return bool(verdicts) and all(verdict.is_valid and verdict.events for verdict in verdicts)


def _is_imported(place: Place) -> bool:
    return len(_names(place.folder("back"))) == len(_names(place.folder("stick")))


def _is_reclaimed(place: Place) -> bool:
    return len(_names(os.path.join(place.root, "packed"))) == 1  # What was recorded after the export.


def _is_sent(place: Place) -> bool:
    """Tell whether receipts account for every event; a delivered file that could not be removed is so next time."""
    from carobatch.deliveries import accounted

    done = conservation.joined(accounted(place.root))
    kept = conservation.survey(place.root).present
    return not _names(os.path.join(place.root, "outbox")) and not conservation.without(kept, done)


def _is_cleared(place: Place) -> bool:
    kept = [*_names(os.path.join(place.root, "segments")), *_names(os.path.join(place.root, "packed"))]
    return not kept and not [name for name in _names(os.path.join(place.root, "lanes")) if name.endswith(".seg")]


OPERATIONS = {
    one.name: one
    for one in (
        Operation("open", Templates.empty, _record, hosts=True),
        Operation("append", Templates.running, _record, hosts=True),
        Operation("append-synced", Templates.running, _synced, hosts=True),
        Operation("rotate", Templates.yesterday, _record, hosts=True),
        Operation("evict", Templates.full, _record, hosts=True),
        Operation("seal", Templates.running, _seal),
        Operation("compact", Templates.closed, lambda *_: _batch("compact", "--idle", "0"), _is_packed),
        Operation(
            "compact-torn", Templates.torn, lambda *_: _batch("compact", "--idle", "0"), _is_packed, codes=(0, 65)
        ),
        Operation(
            "export",
            Templates.closed,
            lambda place, _: _batch("export", "-o", place.folder("out")),
            _is_exported,
        ),
        Operation(
            "export-parts",
            Templates.closed,
            lambda place, _: _batch("export", "-o", place.folder("out"), "--split", "4096"),
            _is_exported,
        ),
        Operation("import", Templates.exported, _import, _is_imported),
        Operation("ack", Templates.imported, _ack, _is_reclaimed),
        Operation("upload", Templates.sendable, lambda *_: _batch("upload"), _is_sent),
        Operation("upload-resumed", Templates.interrupted, lambda *_: _batch("upload"), _is_sent),
        Operation("reindex", Templates.closed, lambda *_: _journal("reindex")),
        Operation(
            "config-set",
            Templates.running,
            lambda *_: _journal("config", "set", "level", "minimal"),
            lambda place: _settings(place).get("level") == "minimal",
        ),
        Operation("consent", Templates.unasked, _consent, lambda place: bool(_settings(place).get("consent"))),
        Operation("clear", Templates.closed, lambda *_: _journal("clear", "--force"), _is_cleared, clears=True),
        Operation(
            "clear-off",
            Templates.off,
            lambda *_: _journal("clear", "--force"),
            lambda place: not os.path.exists(place.root),
            clears=True,
        ),
    )
}
