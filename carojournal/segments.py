"""Which segments a journal has: the files below lanes/, segments/ and packed/.

Segments only ever move one way, lanes -> segments -> packed.  So a listing looks in that order, and a segment that
moves meanwhile is met at least once; that it may be met twice is why everything is keyed by its uuid.  What is no
segment is reported and never fatal; links are not followed; `*.tmp` is somebody's work under way.
"""

import os
import stat
from contextlib import suppress
from dataclasses import dataclass

from carojournal import scan, spool
from carojournal.errors import DamagedData, JournalIOError, MalformedCBOR
from carojournal.held import inventory_rows, read_inventory
from carojournal.segment_file import (
    CLOSED_NAME,
    LOCK_BYTES_MAX,
    PACKED_NAME,
    Damage,
    SegmentInfo,
    describe_file,
    header_facts,
    open_file,
    parse_lock,
    read_file,
    resolve_uuid,
)

__all__ = ["REASONS", "Listing", "file_names", "list_segments", "lock_names", "packed_infos", "read_segment"]

REASONS = scan.REASONS | {
    "header": "the segment's header cannot be read and nothing else proves which segment this is",
    "foreign": "no file of this journal's formats",
    "version": "a version of the format that this program does not know",
    "link": "a symbolic link; links are not followed",
    "unreadable": "the file cannot be read",
    "too_large": "the file is larger than any segment; its rest was not read",
    "packed": "a packed file that does not decompress or decode",
    "payload": "a whole record whose payload is not what the format allows",
}

_ELOOP = (40, 62)  # Linux, macOS: open(2) met a link under O_NOFOLLOW


@dataclass(slots=True)
class Listing:
    """The segments found, oldest first, each with all places where it lies (best first), and what was no segment."""

    groups: list[list[SegmentInfo]]
    damage: list[Damage]


def list_segments(root: str) -> Listing:
    """Return the segments of the journal at *root* and what lies between them that is none.

    A missing journal is empty; files that vanish meanwhile are left out.  Raises JournalIOError where a folder cannot
    be listed.
    """
    damage: list[Damage] = []
    found: list[SegmentInfo] = []
    for name in _names(root, "lanes", damage):
        path, (number, _, kind) = os.path.join(root, "lanes", name), name.partition(".")
        if kind not in ("seg", "lock") or not number.isdigit() or not number.isascii():
            damage.append(_stranger(path))
        elif kind == "seg":
            _collect(path, "open", lock_names(f"{path[:-4]}.lock"), int(number), found, damage)
    for name in _names(root, "segments", damage):
        path, match = os.path.join(root, "segments", name), CLOSED_NAME.match(name)
        if match is None:
            damage.append(_stranger(path))
        else:
            _collect(path, "closed", (bytes.fromhex(match[2]), int(match[1])), None, found, damage)
    for name in _names(root, "packed", damage):
        path = os.path.join(root, "packed", name)
        if PACKED_NAME.match(name) is None:
            damage.append(_stranger(path))
            continue
        try:
            found += packed_infos(path)
        except FileNotFoundError:
            continue
        except MalformedCBOR:
            damage.append(Damage(path, 0, _size(path), "packed"))
            found += _infos_of_content(path)
        except OSError as error:
            damage.append(_refusal(path, error))
    return Listing(_grouped(found), damage)


def _names(root: str, folder: str, damage: list[Damage]) -> list[str]:
    """Return the names in a folder of the journal; one that is absent is empty.  Raises JournalIOError."""
    path = os.path.join(root, folder)
    try:
        if stat.S_ISLNK(os.lstat(path).st_mode):
            damage.append(Damage(path, 0, 0, "link"))
            return []
        return sorted(name for name in os.listdir(path) if not name.endswith(".tmp"))
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        damage.append(Damage(path, 0, _size(path), "foreign"))
        return []
    except OSError as error:
        raise JournalIOError("list", path, error.errno, error.strerror or "") from error


def file_names(root: str) -> list[tuple[str, str]]:
    """Return (folder, name) of every file in lanes/, segments/ and packed/, in that order; OSError as `spool.usage`."""
    folders = ("lanes", "segments", "packed")
    return [(folder, name) for folder, name, _ in spool.usage(root) if folder in folders and not name.endswith(".tmp")]


def lock_names(path: str) -> tuple[bytes, int] | None:
    """Return (uuid, created us) of the segment that a lane's lock file names, None if it cannot be known."""
    try:
        named = parse_lock(read_file(path, LOCK_BYTES_MAX))
    except OSError:
        return None
    return named[:2] if named else None


def _collect(
    path: str,
    state: str,
    named: tuple[bytes, int] | None,
    lane: int | None,
    found: list[SegmentInfo],
    damage: list[Damage],
) -> None:
    try:
        what = describe_file(path, state, named=named, lane=lane)
    except FileNotFoundError:
        return
    except OSError as error:
        damage.append(_refusal(path, error))
        return
    if isinstance(what, SegmentInfo):
        found.append(what)
    elif what is not None:
        damage.append(what)


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def _stranger(path: str) -> Damage:
    return Damage(path, 0, 0 if os.path.islink(path) else _size(path), "link" if os.path.islink(path) else "foreign")


def _refusal(path: str, error: OSError) -> Damage:
    if error.errno in _ELOOP or os.path.islink(path):
        return Damage(path, 0, 0, "link")
    return Damage(path, 0, _size(path), "foreign" if error.errno == 22 else "unreadable")


def packed_infos(path: str) -> list[SegmentInfo]:
    """Return the segments that the packed file at *path* lists in its inventory.  Raises OSError, MalformedCBOR."""
    descriptor = open_file(path)
    try:
        size = os.fstat(descriptor).st_size
        rows = inventory_rows(read_inventory(descriptor))
    finally:
        os.close(descriptor)
    infos = []
    events = sum(_number(row, "events") for row in rows) or 1
    for row in rows:
        segment = row.get("segment") if type(row) is dict else None
        if type(segment) is not bytes or len(segment) != 16:
            raise MalformedCBOR("an inventory's section without a segment")
        share = size if len(rows) == 1 else size * _number(row, "events") // events
        infos.append(_packed_info(path, row, share))
    return infos


def _packed_info(path: str, row: dict[str, object], size: int) -> SegmentInfo:
    lane, consent, schema, previous = header_facts(row)
    segment = row["segment"]
    assert type(segment) is bytes
    return SegmentInfo(
        path=path,
        state="packed",
        damaged_tail=False,
        segment=segment,
        created_us=_number(row, "created", int(os.path.basename(path)[:16])),
        lane=lane,
        consent_ms=consent,
        schema=schema,
        previous=previous,
        size=size,
        sealed=True,
        row=row,
    )


def _infos_of_content(path: str) -> list[SegmentInfo]:
    """Return the segments of a packed file whose inventory is damaged: what its content holds is all that counts."""
    from carojournal.packed_salvage import iter_salvaged

    infos: list[SegmentInfo] = []
    with suppress(DamagedData, OSError):
        infos.extend(_packed_info(path, section.header, len(section.body)) for section in iter_salvaged(path))
    return infos


def _number(row: object, key: str, default: int = 0) -> int:
    value = row.get(key) if type(row) is dict else None
    return value if type(value) is int else default


def _grouped(found: list[SegmentInfo]) -> list[list[SegmentInfo]]:
    groups: dict[bytes, list[SegmentInfo]] = {}
    for info in found:
        groups.setdefault(info.segment, []).append(info)
    # A closed file before the packed one that took it over: it alone can say what was damaged.
    rank = {"open": 0, "closed": 1, "packed": 2}
    for group in groups.values():
        group.sort(key=lambda info: (rank[info.state], info.path))
    return sorted(groups.values(), key=lambda group: (group[0].created_us, group[0].segment))


def read_segment(root: str, info: SegmentInfo) -> tuple[bytes, str] | None:
    """Return (bytes, path) of an open or closed segment, wherever it has moved since it was listed.

    None if it is in neither folder any more: packed, evicted or cleared.  Raises OSError.
    """
    if info.state == "closed":
        try:
            return read_file(info.path), info.path
        except FileNotFoundError:
            pass
    else:
        try:
            data = read_file(info.path)
            if resolve_uuid(data, info.segment)[0] == info.segment:
                return data, info.path
        except FileNotFoundError:
            pass
    mark = info.segment.hex()
    for name in _names(root, "segments", []):
        if mark in name:
            path = os.path.join(root, "segments", name)
            try:
                return read_file(path), path
            except FileNotFoundError:
                continue
    return None
