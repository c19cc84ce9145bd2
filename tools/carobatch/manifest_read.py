"""Reading carojournal.json from a bundle that may be hostile: one JSON text of known shape, or an error."""

import json
import re
from typing import TYPE_CHECKING, NoReturn

from carobatch.manifest import FORMAT
from carojournal.errors import DamagedData
from carojournal.schema_registry import is_known_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["are_runs", "is_hex", "is_uint", "parse_json", "parse_manifest"]

_HEX = {size: re.compile(rf"[0-9a-f]{{{2 * size}}}") for size in (16, 32)}
_PATH = re.compile(r"data/\d{16}-[0-9a-f]{32}\.cborseq")
_UINT_MAX = 1 << 64


def parse_json(data: bytes, what: str) -> dict[str, object]:
    """Return the JSON object in *data*: no duplicate keys, NaN or floats, nesting as Python allows.

    Raises DamagedData; *what* stands in it.
    """

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(items)) != len(items):
            raise ValueError("duplicate key")
        return dict(items)

    def refuse(_: str) -> NoReturn:
        raise ValueError("not a number of ours")

    try:
        found = json.loads(data, object_pairs_hook=pairs, parse_constant=refuse, parse_float=refuse)
    except (ValueError, RecursionError):
        raise DamagedData(what, 0, "not JSON of ours") from None  # The cause holds the text.
    if type(found) is not dict:
        raise DamagedData(what, 0, "not JSON of ours")
    return found


def is_uint(value: object) -> bool:
    """Tell whether *value* is a whole number below 2**64."""
    return type(value) is int and 0 <= value < _UINT_MAX


def are_runs(value: object) -> bool:
    """Tell whether *value* lists runs of sequence numbers, [first, last] each."""
    if type(value) is not list or not all(type(run) is list and len(run) == 2 for run in value):
        return False
    return all(is_uint(first) and is_uint(last) and first <= last for first, last in value)


def is_hex(size: int) -> "Callable[[object], bool]":
    """Return a check for *size* bytes as lower-case hexadecimal text."""
    return lambda value: type(value) is str and _HEX[size].fullmatch(value) is not None


def _word(value: object) -> bool:
    return type(value) is str and len(value) <= 64 and value.isascii() and value.isprintable()


def _rows(keys: "Mapping[str, Callable[[object], bool]]") -> "Callable[[object], bool]":
    check = _object(keys)
    return lambda value: type(value) is list and all(map(check, value))


def _object(keys: "Mapping[str, Callable[[object], bool]]") -> "Callable[[object], bool]":
    return lambda value: (
        type(value) is dict and keys.keys() <= value.keys() and all(keys[key](value[key]) for key in keys)
    )


def _runs(value: object) -> bool:
    return type(value) is list and all(type(run) is list and len(run) == 2 and all(map(is_uint, run)) for run in value)


def _previous_segment(value: object) -> bool:
    if value is None:
        return True
    rest_is_good = type(value) is list and len(value) == 3 and all(part is None or is_uint(part) for part in value[1:])
    return rest_is_good and is_hex(16)(value[0])  # type: ignore[index]


_GAPS = _rows({"first_seq": is_uint, "last_seq": is_uint, "bytes": is_uint, "reason": _word})
_SEGMENTS = _rows(
    {
        "segment": is_hex(16),
        "created": is_uint,
        "lane": lambda value: value is None or is_uint(value),
        "consent": is_uint,
        "previous": _previous_segment,
        "schema": is_hex(32),
        "events": is_uint,
        "runs": _runs,
        "gaps": _GAPS,
        "sha256": is_hex(32),
    }
)
_LOSS = {
    "segment": is_hex(16),
    "reason": _word,
    "first_seq": is_uint,
    "last_seq": is_uint,
    "events": is_uint,
    "bytes": is_uint,
}
_SUMS = {"reason": _word, "segments": is_uint, "events": is_uint, "bytes": is_uint}
_PREVIOUS = _object({"bundle": is_uint, "manifest_sha256": is_hex(32)})
_SHAPE: "dict[str, Callable[[object], bool]]" = {
    "format": lambda value: value == FORMAT,
    "version": lambda value: type(value) is int and value == 1,
    "journal": is_hex(16),
    "chain": is_hex(16),
    "bundle": is_uint,
    "previous": lambda value: value is None or _PREVIOUS(value),
    "schema": _object({"version": is_uint, "sha256": is_hex(32)}),
    "redaction": _object({"rules_sha256": is_hex(32)}),
    "time": _object({}),
    "events": is_uint,
    "types": lambda value: type(value) is dict and all(map(is_uint, value.values())),
    "files": _rows(
        {
            "path": lambda value: type(value) is str and _PATH.fullmatch(value) is not None,
            "bytes": is_uint,
            "sha256": is_hex(32),
            "segments": _SEGMENTS,
        }
    ),
    "losses": _rows({**_LOSS, "carried": _rows(_SUMS)}),
    "missing": _rows({"segment": is_hex(16), "reason": _word}),
}


def parse_manifest(data: bytes) -> tuple[dict[str, object], list[str]]:
    """Return (manifest, what is wrong with what it says of itself).

    Raises DamagedData for bytes that are no manifest of this version.
    """
    found = parse_json(data, "carojournal.json")
    for key, check in _SHAPE.items():
        if key not in found or not check(found[key]):
            raise DamagedData("carojournal.json", 0, f"carojournal.json: {key} is missing or not what it must be")
    errors = []
    files: list[dict[str, object]] = found["files"]  # type: ignore[assignment]
    rows: list[dict[str, object]] = [row for file in files for row in file["segments"]]  # type: ignore[attr-defined]
    segments = [row["segment"] for row in rows]
    if len(set(segments)) != len(segments):
        errors.append("a segment stands in two files")
    if len({file["path"] for file in files}) != len(files):
        errors.append("a file is named twice")
    if found["events"] != sum(int(row["events"]) for row in rows):  # type: ignore[call-overload]
        errors.append("the number of events is not that of the segments together")
    if not all(is_known_schema(bytes.fromhex(str(row["schema"]))) for row in rows):
        errors.append("recorded under a schema that this program does not know")
    return found, errors
