"""Write what is kept to a file of caro's own JSON shape, and, if the user wants, remove what that file holds.

    json      {"export_version": "1.0", "exported_at", "caro_version", "event_count", "events": [...]}, indented by two
    json.gz   the same, compressed
    ndjson    one event a line, without the frame around them

Every event is checked once more on its way out (`recheck`); a refused one is counted and left out.  `event_count`
stands before the events, so the journal is read twice: the first time decides what the file will hold, the second
writes exactly that.  Appends in between wait for the next export.  Memory does not grow with the journal.
"""

import json
import sys
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from carojournal.document import document_view
from carojournal.durable import DurableFile
from carojournal.errors import JournalBusy
from carojournal.reader import JournalReader
from carojournal.recheck import refusals
from carojournal.times import utc_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from carojournal.record import Record

__all__ = ["EXPORT_VERSION", "FORMATS", "STDOUT", "Plan", "export", "plan_export", "planned"]

FORMATS = ("json", "json.gz", "ndjson")
EXPORT_VERSION = "1.0"
STDOUT = "-"
NO_VERSION = "unknown"  # Of caro, where no session_start is kept.
_BUFFER_BYTES = 65_536


@dataclass(slots=True)
class Plan:
    """What an export will hold: for every segment (uuid) its last sequence number and how many events are good and bad.

    `refused` counts (event, field, reason); `caro_version` is that of the newest session_start.
    """

    last: dict[bytes, int] = field(default_factory=dict)
    good: Counter[bytes] = field(default_factory=Counter)
    bad: Counter[bytes] = field(default_factory=Counter)
    refused: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    caro_version: str = NO_VERSION
    newest_ms: int = 0

    @property
    def events(self) -> int:
        """How many events the file will hold."""
        return self.good.total()


def plan_export(reader: JournalReader) -> Plan:
    """Read the journal once and return what an export of it holds.  Raises JournalIOError."""
    plan = Plan()
    for record in reader.records(events_only=True):
        plan.last[record.segment] = max(record.seq, plan.last.get(record.segment, 0))
        bad = refusals(record.payload)
        if bad:
            plan.bad[record.segment] += 1
            plan.refused.update(set(bad))
            continue
        plan.good[record.segment] += 1
        time_ms, version = record.value["timestamp"], record.value.get("caro_version")
        if isinstance(version, str) and isinstance(time_ms, int) and time_ms >= plan.newest_ms:
            plan.caro_version, plan.newest_ms = version, time_ms
    return plan


def planned(reader: JournalReader, plan: Plan) -> "Iterator[Record]":
    """Yield the events of *plan*, the same in every call.

    Raises JournalBusy if some are gone meanwhile (evicted, cleared), JournalIOError.
    """
    left = plan.good.copy()
    for record in reader.records(events_only=True):
        if record.seq <= plan.last.get(record.segment, -1) and not refusals(record.payload):
            left[record.segment] -= 1
            yield record
    if any(left.values()):
        raise JournalBusy("events were removed from the journal meanwhile; try again")


class _Target(Protocol):
    def write(self, data: bytes, /) -> object: ...


class _Output:
    """Collects text into writes of some size, compressed or not."""

    def __init__(self, target: _Target, *, compressed: bool) -> None:
        self._target = target
        self._packer = zlib.compressobj(9, zlib.DEFLATED, 31) if compressed else None
        self._parts: list[str] = []
        self._held = 0

    def write(self, text: str) -> None:
        self._parts.append(text)
        self._held += len(text)
        if self._held >= _BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        data = "".join(self._parts).encode()
        self._parts, self._held = [], 0
        if self._packer is not None:
            data = self._packer.compress(data)
        if data:
            self._target.write(data)

    def finish(self) -> None:
        self._flush()
        if self._packer is not None:
            self._target.write(self._packer.flush())


def _indented(view: "Mapping[str, object]", margin: str) -> str:
    """Return what `json.dumps(view, indent=2)` returns, further in: its own indenting encoder is ten times slower."""
    inner = margin + "  "
    members = (
        f'{inner}"{key}": {_indented(value, inner).lstrip() if isinstance(value, dict) else _text(value, inner)}'
        for key, value in view.items()
    )
    return margin + "{\n" + ",\n".join(members) + f"\n{margin}}}"


def _text(value: object, margin: str) -> str:
    if isinstance(value, list) and value:
        items = (f"{margin}  {json.dumps(item)}" for item in value)
        return "[\n" + ",\n".join(items) + f"\n{margin}]"
    return json.dumps(value)


def _write(output: _Output, form: str, plan: Plan, records: "Iterator[Record]", now_ms: int) -> None:
    if form == "ndjson":
        for record in records:
            output.write(json.dumps(document_view(record.value)) + "\n")
        output.finish()
        return
    frame = {
        "export_version": EXPORT_VERSION,
        "exported_at": utc_text(now_ms),
        "caro_version": plan.caro_version,
        "event_count": plan.events,
        "events": [],
    }
    head = json.dumps(frame, indent=2).removesuffix("]\n}")
    output.write(head)
    separator = "\n"
    for record in records:
        output.write(separator + _indented(document_view(record.value), "    "))
        separator = ",\n"
    output.write("\n  ]\n}\n" if plan.events else "]\n}\n")
    output.finish()


def export(
    reader: JournalReader,
    plan: Plan,
    path: str,
    form: str,
    now_ms: int,
    *,
    overwrite: bool = False,
    before_commit: "Callable[[], object]" = lambda: None,
) -> int:
    """Write the events of *plan* to *path* (or STDOUT) in one of FORMATS; return the file's size in bytes.

    The file appears whole and synced, or not at all.  *before_commit* is called when all is written (tests).
    Raises OutputError, JournalBusy as `planned`, JournalIOError.
    """
    records = planned(reader, plan)
    if path == STDOUT:
        sys.stdout.flush()
        _write(_Output(sys.stdout.buffer, compressed=form == "json.gz"), form, plan, records, now_ms)
        sys.stdout.buffer.flush()
        return 0
    with DurableFile(path, overwrite=overwrite) as file:
        _write(_Output(file, compressed=form == "json.gz"), form, plan, records, now_ms)
        before_commit()
        file.commit()
        return file.size
