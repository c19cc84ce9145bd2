"""carojournal.json, a bundle's manifest: what is in it, what is not, and why.

Canonical JSON: ASCII, keys sorted, no blanks, the outermost object one key a line; so equal bundles have equal
manifests, and its SHA-256 names the bundle.

    format, version   "carojournal-bundle", 1
    journal, chain    pseudonyms, 32 hex digits: of the journal, and of the place that exports it
    bundle, previous  the bundle's number in the chain; {bundle, manifest_sha256} of the one before, or null
    schema, redaction {version, sha256} of the event schema; {rules_sha256} of everything that decides what may be kept
    selection         {since, until} in UTC ms, null: unbounded
    time              {first, last} event, RFC 3339
    events, types     how many, and how many of each type
    files             [{path, bytes, sha256, segments: [{segment, created, lane, consent, previous, schema, events,
                      runs, gaps, sha256}]}]; a segment's runs are sequence numbers of events, [first, last] each; its
                      gaps [{first_seq, last_seq, bytes, reason}] say what the journal knows to be missing; sha256 is
                      of the section: its header and events
    losses            loss records, deduplicated: what was evicted or removed before, by segment
    missing           [{segment, reason}]: segments that others name as their predecessor and that are not here
"""

import json
from typing import TYPE_CHECKING

from carojournal import events
from carojournal.rotation import WRITER
from carojournal.times import utc_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["FORMAT", "Entry", "canonical_json", "canonical_lines", "join_lines", "make_manifest"]

FORMAT = "carojournal-bundle"
VERSION = 1
Row = dict[str, object]
Entry = tuple[str, int, bytes, list[Row]]  # (path, bytes, sha256, inventory rows) of a payload file


def canonical_json(value: "Mapping[str, object]") -> bytes:
    """Return *value* as the one JSON text that we write for it: a line for every key of the outermost object."""
    return join_lines(canonical_lines(value))


def canonical_lines(value: "Mapping[str, object]") -> dict[str, str]:
    """Return key -> its line in the canonical JSON of *value*, so that a large value need not be encoded twice."""
    return {key: f"{_compact(key)}:{_compact(part)}" for key, part in value.items()}


def join_lines(lines: "Mapping[str, str]") -> bytes:
    """Return the canonical JSON of the object that has these `canonical_lines`."""
    return ("{\n" + ",\n".join(lines[key] for key in sorted(lines)) + "\n}\n").encode()


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=True, allow_nan=False)


def _hex(value: object) -> str | None:
    return value.hex() if isinstance(value, bytes) else None


def _segment(row: Row) -> Row:
    previous = row["previous"]
    return {
        "segment": _hex(row["segment"]),
        "created": row["created"],
        "lane": row["lane"],
        "consent": row["consent"],
        "previous": [_hex(previous[0]), *previous[1:]] if isinstance(previous, list) else None,
        "schema": _hex(row["schema"]),
        "events": row["events"],
        "runs": row["runs"],
        "gaps": row["gaps"],
        "sha256": _hex(row["sha256"]),
    }


def _losses(rows: "Iterable[Row]") -> list[Row]:
    """Return the loss records of all segments, each lost segment once."""
    found: dict[str, Row] = {}
    for row in rows:
        losses: list[Row] = row["losses"]  # type: ignore[assignment]
        for loss in losses:
            kept = {key: value for key, value in loss.items() if key not in ("record", "seq")}
            found[str(_hex(loss["segment"]))] = {**kept, "segment": _hex(loss["segment"])}
    return [found[key] for key in sorted(found)]


def _missing(rows: "Sequence[Row]", losses: "Sequence[Row]", known: "Mapping[bytes, str]") -> list[Row]:
    """Return predecessors that are not here; *known* says of some why (segment -> reason)."""
    here = {row["segment"] for row in rows}
    lost = {loss["segment"] for loss in losses}
    named = {row["previous"][0] for row in rows if isinstance(row["previous"], list)}
    return [
        {"segment": _hex(segment), "reason": "lost" if _hex(segment) in lost else known.get(segment, "unknown")}
        for segment in sorted(named - here)
    ]


def make_manifest(
    identity: "Mapping[str, object]",
    entries: "Sequence[Entry]",
    selection: tuple[int | None, int | None],
    rules: bytes,
    known: "Mapping[bytes, str]",
) -> dict[str, object]:
    """Return the manifest as a value.

    *identity* gives journal, chain, bundle and previous; *known* says why segments are not in the bundle: "selection",
    "acknowledged", "damaged".
    """
    rows = [row for *_, rows in entries for row in rows]
    types: dict[str, int] = {}
    for row in rows:
        for name, count in row["types"].items():  # type: ignore[attr-defined]
            types[name] = types.get(name, 0) + count
    times: list[list[int]] = [row["times"] for row in rows if row["times"]]  # type: ignore[misc]
    losses = _losses(rows)
    return {
        "format": FORMAT,
        "version": VERSION,
        **identity,
        "writer": WRITER,
        "schema": {"version": events.SCHEMA_VERSION, "sha256": events.SCHEMA_HASH.hex()},
        "redaction": {"rules_sha256": rules.hex()},
        "selection": {"since": selection[0], "until": selection[1]},
        "time": {
            "first": utc_text(min(first for first, _ in times)) if times else None,
            "last": utc_text(max(last for _, last in times)) if times else None,
        },
        "events": sum(types.values()),
        "types": types,
        "files": [
            {"path": path, "bytes": size, "sha256": digest.hex(), "segments": [_segment(row) for row in inner]}
            for path, size, digest, inner in entries
        ],
        "losses": losses,
        "missing": _missing(rows, losses, known),
    }
