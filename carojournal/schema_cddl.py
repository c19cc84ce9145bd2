"""The CDDL (RFC 8610) of what stands in a segment, made from `events`.

The first rule, `frame`, is one record as it stands in the file; its payload is an event or one of the journal's own
control records.  CDDL cannot say three things, which are comments there: that integers in a frame have fixed widths,
that encodings are deterministic (RFC 8949 section 4.2.1), and that large numbers are rounded to a step.
"""

from typing import TYPE_CHECKING

from carojournal import error_codes, events, own_events, schema_docs
from carojournal.frame import PAYLOAD_BYTES_MAX, RECORD_OVERHEAD_BYTES
from carojournal.redact import GENERATION_MAX
from carojournal.schema_json import ERROR_CODE_PATTERN, VERSION_PATTERN, int_ranges, scores
from carojournal.shape import TEXT_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["cddl"]

_WIDTH = 110  # Columns of a list of words; the file is read by people, too.

_FRAME = f"""\
; One record as it stands in a segment, after the segment's 12 bytes of label D9D9F8 DA434A4C31 43424F52.
; Fixed widths: the integers always take 4, 8 and 4 bytes of argument, the payload's length 4.
frame = [
  checksum: uint .size 4,  ; CRC-32 (zlib) of the segment's id (record 0: 16 zero bytes) and this record from offset 6
  sequence: uint .size 8,  ; contiguous within the segment, from 0
  payload: payload-bytes,
  total: {RECORD_OVERHEAD_BYTES + 1}..{RECORD_OVERHEAD_BYTES + PAYLOAD_BYTES_MAX}  ; bytes of the whole record
]
payload-bytes = bytes .cbor payload  ; 1 to {PAYLOAD_BYTES_MAX} bytes, deterministically encoded
payload = header / loss / seal / event
"""

_CONTROL: dict[str, dict[str, str]] = {
    "header": {
        "version": "1",
        "segment": "id",
        "created": "uint",
        "lane": "uint",
        "previous": "null / [segment: id, last: (uint / null), bytes: uint]",
        "schema": "bytes .size 32",
        "writer": "tstr",
        "consent": "uint",
    },
    "loss": {
        "reason": "loss-reason",
        "segment": "id",
        "first_seq": "uint",
        "last_seq": "uint",
        "events": "uint",
        "bytes": "uint",
        "carried": '[* {"reason": loss-reason, "segments": uint, "events": uint, "bytes": uint}]',
    },
    "seal": {"count": "uint", "bytes": "uint", "sha256": "bytes .size 32"},
}


def _name(name: str) -> str:
    return name.replace("_", "-")


def _literal(word: str) -> str:
    return f'"{word}"'


def _choice(name: str, words: "Iterable[str]") -> str:
    lines, line = [], ""
    for word in words:
        if line and len(line) + len(word) > _WIDTH:
            lines.append(line)
            line = ""
        line += f" / {word}" if line else word
    return f"{name} = " + "\n  / ".join([*lines, line])


def _enum(name: str, spec: tuple[object, ...]) -> str:
    words: tuple[str, ...] = spec[1]  # type: ignore[assignment]
    return _choice(name, map(_literal, words))


def _words(name: str, spec: tuple[object, ...]) -> str:
    return f"{name} = [0*{spec[2]} {_name(str(spec[1]))}]  ; distinct, sorted"


def _int(name: str, spec: tuple[object, ...]) -> str:
    most, exact, step = (int(part) for part in spec[1:])  # type: ignore[call-overload]
    (low, high), rounded = int_ranges(most, exact, step)
    if rounded is None:
        return f"{name} = {low}..{high}"
    return f"{name} = {low}..{high} / {rounded[0]}..{rounded[1]}  ; multiples of {step} in the second range"


def _score(name: str, _: tuple[object, ...]) -> str:
    return _choice(name, (str(value) for value in scores()))


def _code(name: str, _: tuple[object, ...]) -> str:
    pattern = f'(tstr .regexp "{ERROR_CODE_PATTERN}")'
    return _choice(name, [pattern, *map(_literal, sorted(error_codes.ERROR_CODES))])


def _model(name: str, _: tuple[object, ...]) -> str:
    pattern = f"[A-Za-z0-9][A-Za-z0-9._:+/-]{{0,{TEXT_BYTES_MAX - 1}}}"
    return f'{name} = tstr .regexp "{pattern}"  ; only words of public model names: grammars.py'


_KINDS: "dict[str, Callable[[str, tuple[object, ...]], str]]" = {
    "enum": _enum,
    "words": _words,
    "int": _int,
    "bool": lambda name, _: f"{name} = bool",
    "score": _score,
    "version": lambda name, _: f'{name} = tstr .regexp "{VERSION_PATTERN}"',
    "code": _code,
    "model": _model,
}


def _map(name: str, comment: str, members: "Iterable[tuple[str, str, bool]]") -> str:
    """Return a rule for a map, members written out and keys quoted: tools trip over groups and keys named as rules."""
    lines = [f'  {"" if required else "? "}"{key}": {kind},' for key, kind, required in members]
    return "\n".join([f"; {comment}", f"{name} = {{", *lines, "}", ""])


def _control(record: str) -> str:
    comment, _ = schema_docs.CONTROL_DOCS[record]
    members = [("record", f'"{record}"', True), *((key, kind, True) for key, kind in _CONTROL[record].items())]
    return _map(record, comment, members)


def _event(event: str) -> str:
    _, fields = own_events.ALL_EVENTS[event]
    members = [("event", f'"{event}"', True), ("timestamp", "timestamp", True), ("session_id", "id", True)]
    members += [("run_id", "id", True), ("generation", "generation", False)]
    members += [(field, _name(kind), required) for field, (kind, _, required, _) in fields.items()]
    return _map(_name(event), schema_docs.EVENT_DOCS[event][0], members)


def cddl() -> str:
    """Return the CDDL of a framed record and its payloads."""
    parts = [f"; carojournal, schema version {events.SCHEMA_VERSION}.  Generated from carojournal/events.py.\n", _FRAME]
    parts += [_control(record) for record in _CONTROL]
    parts.append(_choice("event", map(_name, own_events.ALL_EVENTS)) + "\n")
    parts += [_event(event) for event in own_events.ALL_EVENTS]
    parts.append("; Common to several records")
    parts.append("id = bytes .size 16")
    parts.append("timestamp = uint  ; UTC milliseconds since 1970")
    parts.append(f"generation = 1..{GENERATION_MAX}")
    parts.append('loss-reason = tstr .regexp "[a-z][a-z_]{0,31}"\n')
    parts.append("; Types of the events' fields")
    parts += [_KINDS[str(spec[0])](_name(kind), spec) for kind, spec in own_events.ALL_TYPES.items()]
    return "\n".join(parts) + "\n"
