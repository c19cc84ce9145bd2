"""What a payload file of a bundle really holds, section by section, every event checked; compared with the manifest."""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carobatch.sections import recheck_section
from carojournal.cbor import encode_text
from carojournal.errors import DamagedData
from carojournal.own_events import ALL_EVENTS
from carojournal.packed import iter_content

if TYPE_CHECKING:
    from collections.abc import Callable

    from carojournal.packed import Section
    from carojournal.recheck import Refusals

__all__ = ["Contents", "compare", "read_contents"]

_MARKS = {name: b"eevent" + encode_text(name) for name in ALL_EVENTS}
_TIME = re.compile(rb"itimestamp\x1b(.{8})", re.DOTALL)
_EQUAL = ("segment", "created", "lane", "consent", "schema", "events", "runs", "gaps")


@dataclass(slots=True)
class Contents:
    """Facts about one payload file: manifest-like rows of its sections, counts, times (ms) and what was refused."""

    rows: list[dict[str, object]] = field(default_factory=list)
    types: Counter[str] = field(default_factory=Counter)
    first_ms: int | None = None
    last_ms: int | None = None
    refused: list[tuple[bytes, int, "Refusals"]] = field(default_factory=list)
    error: str = ""


def read_contents(
    read: "Callable[[int], bytes]",
    size: int,
    name: str,
    take: "Callable[[Section], object] | None" = None,
) -> Contents:
    """Read a payload file of *size* bytes with `read(n)`; *take* gets every section, cleared of refused events.

    What is malformed ends the reading and stands in `error`.  One section is in memory at a time.
    """
    found = Contents()
    try:
        for section in iter_content(read, size, name):
            checked = recheck_section(section, name)
            _note(found, section)
            found.refused += [(section.segment, seq, bad) for seq, bad in checked.refused]
            if take is not None:
                take(checked.section)
    except DamagedData as error:
        found.error = f"{error.reason} (byte {error.offset})"
    return found


def _note(found: Contents, section: "Section") -> None:
    header, body = section.header, section.body
    previous = header["previous"]
    found.rows.append(
        {
            **{key: header[key] for key in ("created", "lane", "consent", "events", "runs", "gaps")},
            "segment": section.segment.hex(),
            "schema": header["schema"].hex(),  # type: ignore[attr-defined]
            "previous": [previous[0].hex(), *previous[1:]] if isinstance(previous, list) else None,
            "sha256": hashlib.sha256(section.encode()).hexdigest(),
        }
    )
    for event, mark in _MARKS.items():
        if count := body.count(mark):
            found.types[event] += count
    times = _TIME.findall(body)
    if times:
        first, last = int.from_bytes(min(times), "big"), int.from_bytes(max(times), "big")
        found.first_ms = first if found.first_ms is None else min(found.first_ms, first)
        found.last_ms = last if found.last_ms is None else max(found.last_ms, last)


def compare(manifest: dict[str, object], found: dict[str, Contents]) -> list[str]:
    """Return where *manifest* says something else than its payload files (path -> contents) hold."""
    from carojournal.times import utc_text

    errors = []
    files: list[dict[str, object]] = manifest["files"]  # type: ignore[assignment]
    for file in files:
        contents = found.get(str(file["path"]))
        if contents is None:
            continue  # Missing: the bag's check says so.
        if contents.error:
            errors.append(f"{file['path']}: {contents.error}")
        elif [{key: row[key] for key in (*_EQUAL, "previous", "sha256")} for row in file["segments"]] != [  # type: ignore[attr-defined]
            {key: row[key] for key in (*_EQUAL, "previous", "sha256")} for row in contents.rows
        ]:
            errors.append(f"{file['path']}: its sections are not those that carojournal.json names")
    if any(contents.error for contents in found.values()):
        return errors
    types = sum((contents.types for contents in found.values()), Counter[str]())
    if dict(types) != manifest["types"]:
        errors.append("carojournal.json: types are not those of the events")
    times = [(item.first_ms, item.last_ms) for item in found.values() if item.first_ms is not None and item.last_ms]
    said = {"first": None, "last": None}
    if times:
        said = {"first": utc_text(min(first for first, _ in times)), "last": utc_text(max(last for _, last in times))}  # type: ignore[dict-item]
    if manifest["time"] != said:
        errors.append("carojournal.json: the time range is not that of the events")
    return errors
