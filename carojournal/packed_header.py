"""The header of a packed section: which keys it has, and what each may hold.  Strict, because bundles bring it along.

record     "section"                     version   1
segment    uuid, 16 bytes                created   us since 1970, UTC
lane       number, null if unreadable    consent   ms of the recorded yes, 0: none
previous   null or [uuid, last seq or null, bytes or null] of the lane's segment before
schema     SHA-256, 32 bytes             writer    program/version of a known program, else OTHER_WRITER
records    how many records the segment had, controls included, as far as they could be read
events     how many events follow        size      bytes of the records that follow
first_seq  of the events that follow (0 if there are none); last_seq likewise
losses     the segment's loss records, each with the `seq` that it had
gaps       [{first_seq, last_seq, bytes, reason}]: records that are not here
source     {bytes, sha256, sealed, damaged}: the segment's file; damaged: it was closed because of a bad tail

No text in it is free: a header leaves with a bundle, and what a segment's own records say of themselves has passed no
schema.  Every reason is one of REASONS.
"""

from itertools import pairwise
from typing import TYPE_CHECKING

from carojournal.kinds import is_version
from carojournal.own_events import ALL_EVENTS
from carojournal.parity import BLOCKS_MAX
from carojournal.shape import is_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

__all__ = [
    "HEADER_BYTES_MAX",
    "NOT_KNOWN",
    "OTHER_WRITER",
    "SECTION_BYTES_MAX",
    "SESSIONS_MAX",
    "VERSION",
    "inventory_misfit",
    "is_emptied",
    "is_loss",
    "is_of_frame",
    "is_writer",
    "lost_rows",
    "misfit",
]

VERSION = 1
SECTION_BYTES_MAX = 4_194_304  # A segment has at most 1 MiB (`spool`), and packing drops its framing.
HEADER_BYTES_MAX = 1_048_576
SECTIONS_MAX = 16_384  # Of an inventory, at 64 bytes and more each; ours have at most 256.
LOSSES_MAX = 16_384  # A loss record takes 100 bytes and more: a segment cannot hold more of them.
SESSIONS_MAX = 16  # That a row lists. A segment has one, and one more for every `delete-remote` of its day.
CREATED_US_MAX = 10**16 - 1  # What a file's name can say: the year 2286.
RUNS_MAX = 16_384  # More than the records that a segment can hold.
OTHER_WRITER = "other/0.0"
NOT_KNOWN = bytes(32)  # The source's SHA-256 in a section whose events were given up (`carobatch` says why).
REASONS = frozenset(("evicted", "delivered", "cleared", "damaged", "torn", "refused", "selection"))
_LOST = ("damaged", "refused")  # "torn" was never acknowledged to a writer; the others are somewhere else.
_PROGRAMS = ("carojournal", "caro", "other")
GAPS_MAX = 16_384  # As many as a header of HEADER_BYTES_MAX can hold.


def _is_uint(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 64


def _is_bytes(size: int) -> "Callable[[object], bool]":
    return lambda value: type(value) is bytes and len(value) == size


def _is_any_bytes(value: object) -> bool:
    return type(value) is bytes


def _is_map(keys: "Mapping[str, Callable[[object], bool]]") -> "Callable[[object], bool]":
    names, checks = keys.keys(), tuple(keys.items())

    def check(value: object) -> bool:
        if type(value) is not dict or value.keys() != names:
            return False
        for key, holds in checks:  # noqa: SIM110 - `all` would make a generator for each of a bundle's thousands
            if not holds(value[key]):
                return False
        return True

    return check


def _is_list(check: "Callable[[object], bool]", most: int) -> "Callable[[object], bool]":
    return lambda value: type(value) is list and len(value) <= most and all(map(check, value))


def _is_reason(value: object) -> bool:
    return type(value) is str and value in REASONS


def is_writer(value: object) -> bool:
    """Tell whether *value* names a program that we know, and its version."""
    program, _, version = value.partition("/") if type(value) is str else ("", "", "")
    return program in _PROGRAMS and is_version(version)


def _is_previous(value: object) -> bool:
    if value is None:
        return True
    if type(value) is not list or len(value) != 3:
        return False
    return _IS_UUID(value[0]) and all(part is None or _is_uint(part) for part in value[1:])


def _are_sessions(value: object) -> bool:
    if value is None:
        return True
    return type(value) is list and len(value) <= SESSIONS_MAX and all(map(_IS_UUID, value)) and _ascends(value)


def _ascends(values: "Sequence[bytes]") -> bool:
    return all(before < after for before, after in pairwise(values))


def _is_runs(value: object) -> bool:
    if type(value) is not list or len(value) > RUNS_MAX:
        return False
    after = 0
    for run in value:
        if type(run) is not list or len(run) != 2 or not all(map(_is_uint, run)) or not after <= run[0] <= run[1]:
            return False
        after = run[1] + 2  # Runs that touch would be one.
    return True


_IS_UUID = _is_bytes(16)
_IS_HASH = _is_bytes(32)
_SUMS = {"segments": _is_uint, "events": _is_uint, "bytes": _is_uint, "reason": _is_reason}
_IS_LOSS = _is_map(
    {
        "record": lambda value: value == "loss",
        "reason": _is_reason,
        "segment": _IS_UUID,
        "first_seq": _is_uint,
        "last_seq": _is_uint,
        "events": _is_uint,
        "bytes": _is_uint,
        "carried": _is_list(_is_map(_SUMS), 64),
        "seq": _is_uint,
    }
)
_GAP = {"first_seq": _is_uint, "last_seq": _is_uint, "bytes": _is_uint, "reason": _is_reason}
_SOURCE: "dict[str, Callable[[object], bool]]" = {
    "bytes": _is_uint,
    "sha256": _IS_HASH,
    "sealed": lambda value: type(value) is bool,
    "damaged": lambda value: type(value) is bool,
}
_HEADER: "dict[str, Callable[[object], bool]]" = {
    "record": lambda value: value == "section",
    "version": lambda value: type(value) is int and value == VERSION,
    "segment": _IS_UUID,
    "created": lambda value: _is_uint(value) and value <= CREATED_US_MAX,  # type: ignore[operator]
    "lane": lambda value: value is None or _is_uint(value),
    "consent": _is_uint,
    "previous": _is_previous,
    "schema": _IS_HASH,
    "writer": is_writer,
    "records": _is_uint,
    "first_seq": _is_uint,
    "last_seq": _is_uint,
    "events": _is_uint,
    "runs": _is_runs,
    "size": lambda value: _is_uint(value) and value <= SECTION_BYTES_MAX,  # type: ignore[operator]
    "losses": _is_list(_IS_LOSS, LOSSES_MAX),
    "gaps": _is_list(_is_map(_GAP), GAPS_MAX),
    "source": _is_map(_SOURCE),
}


_ROW: "dict[str, Callable[[object], bool]]" = {
    **{
        key: _HEADER[key]
        for key in (
            *("segment", "created", "lane", "consent", "previous", "schema", "first_seq", "last_seq", "events", "runs"),
            *("gaps", "losses", "size"),
        )
    },
    "carried": _is_list(_is_map(_SUMS), 64),
    "bytes": _is_uint,
    "sha256": _IS_HASH,
    "types": lambda value: type(value) is dict and all(map(_is_word, value)) and all(map(_is_uint, value.values())),
    "times": lambda value: value is None or (type(value) is list and len(value) == 2 and all(map(_is_uint, value))),
    "sessions": _are_sessions,
}
_SIZES: "dict[str, Callable[[object], bool]]" = {"bytes": _is_uint, "sha256": _IS_HASH}
_INVENTORY: "dict[str, Callable[[object], bool]]" = {
    "crc": _is_bytes(4),
    "version": _HEADER["version"],
    "sections": _is_list(_is_map(_ROW), SECTIONS_MAX),
    "content": _is_map(_SIZES),
    "frame": _is_map(_SIZES),
    "checked": _IS_HASH,
    "parity": _is_map({"block": _is_uint, "crcs": _is_any_bytes, "even": _is_any_bytes, "odd": _is_any_bytes}),
}


def _is_word(value: object) -> bool:
    return type(value) is str and (value in ALL_EVENTS or is_plain(value))


def inventory_misfit(inventory: object) -> str:
    """Return why *inventory*, decoded, is none; empty if it is one."""
    if type(inventory) is not dict or inventory.keys() != _INVENTORY.keys():
        return "the inventory lacks a key or has one too many"
    bad = [key for key, check in _INVENTORY.items() if not check(inventory[key])]
    if not bad and not _fits(inventory["parity"], inventory["frame"]["bytes"]):
        bad = ["parity"]
    if bad:
        return f"the inventory's {bad[0]} are not what they must be"
    if not all(map(_agrees, inventory["sections"])):
        return "the inventory's counts do not agree"
    if len({row["segment"] for row in inventory["sections"]}) != len(inventory["sections"]):
        return "the inventory lists a segment twice"
    return ""


def is_of_frame(sizes: object, parity: object) -> bool:
    """Tell whether *sizes* and *parity* are what an inventory's `frame` and `parity` may be."""
    fits = _INVENTORY["frame"](sizes) and _INVENTORY["parity"](parity)
    return fits and _fits(parity, sizes["bytes"])  # type: ignore[arg-type, index]


def _fits(parity: "dict[str, Any]", size: int) -> bool:
    """Tell whether *parity* is that of a frame of *size* bytes, by its own sizes: they bound what mending may need."""
    block = parity["block"]
    if not block or len(parity["crcs"]) > 4 * BLOCKS_MAX or len(parity["even"]) != block or len(parity["odd"]) != block:
        return False
    return bool(len(parity["crcs"]) == 4 * -(-size // block))


def is_loss(value: object) -> bool:
    """Tell whether *value* is a loss record as a section's header holds it, with the `seq` that it had."""
    return _IS_LOSS(value)


def misfit(header: dict[str, object]) -> str:
    """Return why *header* is no section header; empty if it is one."""
    if header.keys() != _HEADER.keys():
        return "a section header lacks a key or has one too many"
    for key, check in _HEADER.items():
        if not check(header[key]):
            return f"the section header's {key} is out of range"
    return "" if _agrees(header) else "the section header's counts do not agree"


def _agrees(header: "Mapping[str, Any]") -> bool:
    """Tell whether the counts of a header, or of an inventory's row, follow from its runs and fit its size."""
    runs = header["runs"]
    ends = (runs[0][0], runs[-1][1]) if runs else (0, 0)
    count = sum(last - first + 1 for first, last in runs)
    return bool((header["first_seq"], header["last_seq"]) == ends and header["events"] == count <= header["size"])


def is_emptied(header: "Mapping[str, Any]") -> bool:
    """Tell whether a section's *header* is one whose events were given up, each of which its gaps name."""
    return bool(header["source"]["sha256"] == NOT_KNOWN and header["source"]["damaged"] and not header["events"])


def lost_rows(gaps: "Sequence[dict[str, Any]]") -> "list[dict[str, Any]]":
    """Return what *gaps* say is lost as rows of a loss record's `carried`, of no segment.

    The gaps are those of a section or of an inventory's row that has been found to fit.
    """
    return [
        {
            "reason": gap["reason"],
            "segments": 0,
            "events": gap["last_seq"] - gap["first_seq"] + 1,
            "bytes": gap["bytes"],
        }
        for gap in gaps
        if gap["reason"] in _LOST
    ]
