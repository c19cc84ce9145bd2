"""From the bytes of a closed segment to a section of a packed file, and what of it may not or cannot go there.

Pure: bytes in, values out.  A record keeps its sequence number.  Events that the allowlist refuses today and bytes that
are damaged stay behind, each named in the section's `gaps`; what is needed to account for them comes back beside it.
"""

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carobatch.receipt import union
from carojournal import payload_pattern
from carojournal.cbordecode import decode
from carojournal.errors import MalformedCBOR
from carojournal.events import SCHEMA_HASH
from carojournal.frame import FIRST_RECORD_OFFSET, RECORD_OVERHEAD_BYTES
from carojournal.packed import Section, split_records
from carojournal.packed_header import OTHER_WRITER, is_loss, is_writer
from carojournal.recheck import Refusals, refusals
from carojournal.rotation import WRITER
from carojournal.scan import Scan, scan
from carojournal.segment_file import read_header
from carojournal.steps import intact_payloads

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from carojournal.scan import Place
    from carojournal.segment_file import SegmentInfo

__all__ = [
    "Sectioned",
    "control_of",
    "counted",
    "gaps_of",
    "recheck_section",
    "runs_of",
    "says_same",
    "section_of",
    "with_events",
]

# A record is the journal's own if it has exactly these keys; anything else has to pass as an event, or is refused.
_CONTROL_KEYS = {
    "header": {"record", "version", "segment", "created", "lane", "consent", "previous", "schema", "writer"},
    "loss": {"record", "reason", "segment", "first_seq", "last_seq", "events", "bytes", "carried"},
    "seal": {"record", "count", "bytes", "sha256"},
}


@dataclass(slots=True)
class Sectioned:
    """A segment as a section; `refused` are (seq, refusals), `damaged` (offset, bytes, reason) of what was left out."""

    section: Section
    refused: list[tuple[int, Refusals]] = field(default_factory=list)
    damaged: list[tuple[int, bytes, str]] = field(default_factory=list)


def section_of(info: "SegmentInfo", data: bytes) -> Sectioned:
    """Return the section of the closed segment *info* whose file holds *data*.  Never raises for what *data* holds."""
    found, places, payloads = _parts(info.segment, data)
    seqs = [place.seq for place in places] if places else list(range(len(payloads)))
    numbers = seqs.copy()
    losses: list[dict[str, object]] = []
    refused: list[tuple[int, Refusals]] = []
    left_out: list[int] = []
    sealed = False
    for position in payload_pattern.unrecognised(payloads):
        seq, payload = seqs[position], payloads[position]
        if b"frecord" in payload and (control := control_of(payload)):
            sealed = sealed or _take(control, seq, data, _offset(places, payloads, position), losses)
            left_out.append(position)
        elif bad := refusals(payload):
            refused.append((seq, bad))
            left_out.append(position)
    for position in reversed(left_out):
        del seqs[position], payloads[position]
    damaged = [
        (span.offset, data[span.offset : span.offset + span.size], span.reason)
        for span in found.spans
        if not span.torn and span.reason != "order"
    ]
    writer = (read_header(data) or {}).get("writer", WRITER)
    header = {
        "record": "section",
        "version": 1,
        "segment": info.segment,
        "created": info.created_us,
        "lane": info.lane,
        "consent": info.consent_ms,
        "previous": list(info.previous) if info.previous else None,
        # A header that cannot be read names no schema; the events have just been checked against ours.
        "schema": info.schema if len(info.schema) == 32 else SCHEMA_HASH,
        "writer": writer if is_writer(writer) else OTHER_WRITER,
        "records": numbers[-1] + 1 if numbers else 0,
        **counted(runs_of(seqs)),
        "losses": losses,
        "gaps": _gaps(found, numbers, refused),
        "source": {
            "bytes": len(data),
            "sha256": hashlib.sha256(data).digest(),
            "sealed": sealed,
            "damaged": info.damaged_tail,
        },
    }
    return Sectioned(Section(header, b"".join(payloads)), refused, damaged)


def counted(runs: list[list[int]]) -> dict[str, object]:
    """Return the header's keys that follow from *runs* of sequence numbers."""
    return {
        "runs": runs,
        "events": sum(last - first + 1 for first, last in runs),
        "first_seq": runs[0][0] if runs else 0,
        "last_seq": runs[-1][1] if runs else 0,
    }


def runs_of(seqs: "Iterable[int]") -> list[list[int]]:
    """Return ascending *seqs* as runs [first, last]."""
    seqs = list(seqs)
    if seqs and seqs[-1] - seqs[0] == len(seqs) - 1:
        return [[seqs[0], seqs[-1]]]  # Nearly always: what ascends and skips nothing is one run.
    runs: list[list[int]] = []
    for seq in seqs:
        if runs and runs[-1][1] == seq - 1:
            runs[-1][1] = seq
        else:
            runs.append([seq, seq])
    return runs


def with_events(section: Section, events: "Sequence[tuple[int, bytes]]", gaps: list[dict[str, object]]) -> Section:
    """Return *section* with these (seq, payload) alone, ascending, and *gaps* beside those that it names already."""
    known: list[dict[str, object]] = section.header["gaps"]  # type: ignore[assignment]
    header = {**section.header, **counted(runs_of(seq for seq, _ in events)), "gaps": [*known, *gaps]}
    return Section(header, b"".join(raw for _, raw in events))


def gaps_of(seqs: "Iterable[int]", reason: str) -> list[dict[str, object]]:
    """Return a header's gaps for ascending *seqs* that were left out because of *reason*."""
    return [{"first_seq": first, "last_seq": last, "bytes": 0, "reason": reason} for first, last in runs_of(seqs)]


def recheck_section(section: Section, name: str = "packed") -> Sectioned:
    """Return *section* with every event checked against the rules of today; *name* stands in errors as its path.

    Raises DamagedData where an event is malformed, or they are not as many as the header counts.
    """
    if payload_pattern.count_payloads(section.body) == section.header["events"]:
        return Sectioned(section)
    # Something is not as usual: take it apart slowly and say what.
    kept, refused = [], []
    for seq, payload in split_records(section, name):
        bad = refusals(payload)
        if bad:
            refused.append((seq, bad))
        else:
            kept.append((seq, payload))
    if not refused:
        return Sectioned(section)
    return Sectioned(with_events(section, kept, gaps_of((seq for seq, _ in refused), "refused")), refused)


def says_same(section: Section, other: Section | None) -> bool:
    """Tell whether *other* is *section*, or what the rules of today leave of it, whatever the order of its gaps.

    A killed run may have checked again, under stricter rules, what it wrote, and not removed what it was made of; or
    the release before has written it.  Raises DamagedData.
    """
    if other is None:
        return False
    return _content(section) == _content(other) or _content(recheck_section(section).section) == _content(other)


def _content(section: Section) -> tuple[dict[str, object], bytes]:
    gaps: list[dict[str, Any]] = section.header["gaps"]  # type: ignore[assignment]
    missing: dict[str, list[list[int]]] = {}
    for gap in gaps:
        spans = missing.get(gap["reason"], [])
        missing[gap["reason"]] = union(spans, [[gap["first_seq"], gap["last_seq"]]])
    # Its size is that of the body, and stands in the header only once it is encoded.
    return {**section.header, "gaps": (missing, sum(gap["bytes"] for gap in gaps)), "size": 0}, section.body


def _by_seq(place: "Place") -> int:
    return place.seq


def _has_disorder(found: "Scan") -> bool:
    return any(span.reason == "order" for span in found.spans)


def control_of(payload: bytes) -> dict[str, object] | None:
    """Return the control record that *payload* is, None if it is none of the journal's own."""
    try:
        control = decode(payload)
    except MalformedCBOR:
        return None
    if control.keys() != _CONTROL_KEYS.get(str(control.get("record"))):
        return None
    return control if control["record"] != "loss" or is_loss({**control, "seq": 0}) else None


def _parts(segment: bytes, data: bytes) -> "tuple[Scan, list[Place], list[bytes]]":
    """Return what *data* holds beside records, where its records stand, and their payloads, both by sequence number.

    Of a whole segment, where nothing is to be said of any place, there are none: its records are all from 0 on.
    """
    payloads = intact_payloads(data, segment)
    if payloads is not None:
        return Scan([], [], [], len(data)), [], payloads
    found = scan(data, segment)
    places = sorted(found.records, key=_by_seq) if _has_disorder(found) else found.records
    return found, places, [data[start:end] for _, _, start, end in places]


def _offset(places: "Sequence[Place]", payloads: "Sequence[bytes]", position: int) -> int:
    """Return where the record at *position* begins."""
    if places:
        return places[position].offset
    return FIRST_RECORD_OFFSET + sum(map(len, payloads[:position])) + position * RECORD_OVERHEAD_BYTES


def _take(control: dict[str, object], seq: int, data: bytes, offset: int, losses: list[dict[str, object]]) -> bool:
    """Note a loss; tell whether the control record *seq*, which begins at *offset*, is a seal that holds."""
    if control["record"] == "loss":
        losses.append({**control, "seq": seq})
    if control["record"] != "seal":
        return False
    return (
        control.get("count") == seq
        and control.get("bytes") == offset
        and control.get("sha256") == hashlib.sha256(data[:offset]).digest()
    )


def _gaps(found: "Scan", seqs: "Sequence[int]", refused: list[tuple[int, Refusals]]) -> list[dict[str, object]]:
    """Return the ranges of sequence numbers that are missing from the section, and why, ascending."""
    gaps: list[dict[str, object]] = []
    torn = sum(span.size for span in found.spans if span.torn)
    lost = sum(span.size for span in found.spans if not span.torn and span.reason != "order")
    whole = len(seqs) if seqs and seqs[-1] == len(seqs) - 1 else 0  # That many from 0 on without a gap.
    expected = whole
    for seq in seqs[whole:]:
        if seq > expected:
            gaps.append({"first_seq": expected, "last_seq": seq - 1, "bytes": lost, "reason": "damaged"})
            lost = 0
        expected = seq + 1
    if lost:
        gaps.append({"first_seq": expected, "last_seq": expected, "bytes": lost, "reason": "damaged"})
    if torn:
        gaps.append({"first_seq": expected, "last_seq": expected, "bytes": torn, "reason": "torn"})
    return gaps + gaps_of((seq for seq, _ in refused), "refused")
