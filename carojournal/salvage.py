"""Copy what is readable out of a journal in any state.  The journal itself is not touched.

    cborseq   a CBOR sequence (RFC 8742) of [segment uuid (16 bytes), seq, event map], in deterministic encoding
    ndjson    one JSON object a line: event_id, segment, seq, then the event with its ids in hexadecimal

Every event is checked against the allowlist again before it leaves; one that the recorder could not have written stays
behind and is counted.  A file appears whole or not at all.
"""

import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carojournal.cbor import encode_bytes, encode_int
from carojournal.durable import DurableFile
from carojournal.errors import MalformedCBOR
from carojournal.reader import JournalReader, Record
from carojournal.segment_file import Damage
from carojournal.stored import check_payload

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FORMATS", "STDOUT", "Salvaged", "salvage"]

STDOUT = "-"

_BUFFER_BYTES = 1 << 20


@dataclass(slots=True)
class Salvaged:
    """What was copied, what could not be read, and how many events the allowlist refuses today."""

    events: int = 0
    bytes: int = 0
    refused: int = 0
    damage: list[Damage] = field(default_factory=list)


def _cborseq(record: Record) -> bytes:
    return b"\x83" + encode_bytes(record.segment) + encode_int(record.seq) + record.payload


def _ndjson(record: Record) -> bytes:
    event = {key: part.hex() if isinstance(part, bytes) else part for key, part in record.value.items()}
    line = {"event_id": record.event_id, "segment": record.segment.hex(), "seq": record.seq, **event}
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


FORMATS: "dict[str, Callable[[Record], bytes]]" = {"cborseq": _cborseq, "ndjson": _ndjson}


def salvage(reader: JournalReader, out: str, form: str) -> Salvaged:
    """Copy every readable event of *reader*'s journal to the new file *out* (or STDOUT) in one of FORMATS.

    Raises OutputError if *out* exists or cannot be written, JournalIOError if the journal cannot be listed.
    """
    if out == STDOUT:
        sys.stdout.flush()
        done = _copy(reader, FORMATS[form], sys.stdout.buffer.write)
        sys.stdout.buffer.flush()
    else:
        with DurableFile(out) as file:
            done = _copy(reader, FORMATS[form], file.write)
            file.commit()
    done.damage = reader.damage
    return done


def _copy(reader: JournalReader, encode: "Callable[[Record], bytes]", write: "Callable[[bytes], object]") -> Salvaged:
    done = Salvaged()
    parts, held = [], 0
    for record in reader.records(decode=False):
        refusals = check_payload(record.payload)
        if refusals is not None:
            if _is_event(reader, record):
                done.refused += 1
            continue
        part = encode(record)
        parts.append(part)
        held += len(part)
        done.events += 1
        done.bytes += len(part)
        if held >= _BUFFER_BYTES:
            write(b"".join(parts))
            parts, held = [], 0
    write(b"".join(parts))
    return done


def _is_event(reader: JournalReader, record: Record) -> bool:
    """Tell whether a payload that is no acceptable event is one at all; report it if it is nothing of ours."""
    try:
        return record.is_event
    except MalformedCBOR:
        reader.report_payload(record)
        return False
