"""What may enter: the allowlist check that stands before every append, pack, export, upload and import.

L0  ids and times come from the recorder: a caller's `timestamp`, `session_id` ... are never looked at.
L1  the schema of `events`: closed words, bounded whole numbers, strict booleans, grammars for versions and models.
L3  shape: a string is at most 64 bytes of ASCII `[A-Za-z0-9._:+/-]`, known before any grammar looks at it.
(L2, the pattern tripwire, stands alone in `patterns`: no field of the schema is free text, so an append needs no
regex.)

A value is accepted whole or not at all: never cut, masked or hashed.  A refusal names event, field and reason from
closed vocabularies; an unknown key is `<unknown>`.  A required field that is bad refuses the event; an optional one
becomes the type's "other" or "unknown", else it is left out; either way it is counted.  An unknown event or key refuses
the event.

Checking and encoding are one step: a field's check returns its encoded key and value, which for an enum is one lookup.
Every check is linear in the 64 bytes that L3 lets through.
"""

import carojournal
from carojournal import events
from carojournal.cbor import encode, encode_head, encode_int, encode_score, encode_text

TYPE_CHECKING = False  # `typing` costs 15 ms to import; type checkers know the name.
if TYPE_CHECKING:
    from collections.abc import Callable

    _Admit = Callable[[object], bytes | str]

__all__ = ["REASONS", "UNKNOWN", "Accepted", "Refused", "check", "event_name"]

UNKNOWN = "<unknown>"
FIELDS_MAX = 64  # More keys than all events have together: such a call is refused before its keys are read.
TEXT_BYTES_MAX = 64  # As `shape.TEXT_BYTES_MAX`; a test holds them equal.
GENERATION_MAX = 9_999  # Ordinals of a run; a run ends at the latest with its host process.

REASONS = {
    "unknown_event": "no event of the schema has this name",
    "unknown_field": "the event has no field of this name",
    "missing": "a required field was not given",
    "type": "the value is of another type than the field",
    "range": "the number is outside the field's range",
    "shape": "the text is longer, or holds other characters, than any allowed value",
    "value": "the text is none of the field's allowed values",
    "too_many": "more fields, or more list items, than the schema knows",
    "foreign_id": "an identifier that this recorder did not issue",
}

_NO_VALUE = b""
_EVENT, _RUN, _TIME, _GENERATION, _SESSION = events.ENVELOPE


class Accepted:
    """An event that may be stored.  `refusals` are (event, field, reason) of optional fields left out or replaced."""

    __slots__ = ("_spec", "event", "generation", "refusals", "slots")

    def __init__(
        self, spec: "_Event", slots: list[bytes], generation: object, refusals: tuple[tuple[str, str, str], ...]
    ) -> None:
        self._spec = spec
        self.event = spec.name
        self.slots = slots
        self.generation = generation
        self.refusals = refusals

    def payload(self, time_ms: int, session: bytes, run: bytes, generation: int) -> bytes:
        """Return the record's payload, a deterministic CBOR map.

        *time_ms* is UTC milliseconds since 1970, *session* and *run* are 16 bytes, *generation* counts from 1 (0:
        none).
        """
        spec = self._spec
        slots = self.slots
        # From 2**32 ms (19 February 1970) on the shortest head has eight bytes.
        slots[spec.time_slot] = (
            b"itimestamp\x1b" + time_ms.to_bytes(8, "big") if time_ms >> 32 else b"itimestamp" + encode_int(time_ms)
        )
        slots[spec.run_slot] = b"frun_idP" + run
        slots[spec.session_slot] = b"jsession_idP" + session
        slots[spec.generation_slot] = b"jgeneration" + encode_int(generation) if generation else _NO_VALUE
        return spec.heads[slots.count(_NO_VALUE)] + b"".join(slots)

    @property
    def fields(self) -> dict[str, object]:
        """The accepted fields as they are stored, without the recorder's own.  Decodes: not for the append path."""
        from carojournal.codec import loads

        spec = self._spec
        slots = self.slots.copy()
        for slot in (spec.event_slot, spec.time_slot, spec.run_slot, spec.session_slot, spec.generation_slot):
            slots[slot] = _NO_VALUE
        body = loads(spec.heads[slots.count(_NO_VALUE)] + b"".join(slots))
        assert isinstance(body, dict)
        return body


class Refused:
    """An event that may not be stored; `refusals` hold (event, field, reason) with no word of the caller's."""

    __slots__ = ("event", "refusals")

    def __init__(self, event: str, refusals: tuple[tuple[str, str, str], ...]) -> None:
        self.event = event
        self.refusals = refusals


class _Field:
    """One field of one event: where it stands in the map, and how a value is admitted."""

    __slots__ = ("admit", "fallback", "key", "level", "name", "required", "slot")

    def __init__(self, name: str, slot: int, kind: str, level: int, required: bool) -> None:
        self.name = name
        self.slot = slot
        self.level = level
        self.required = required
        self.key = encode_text(name)
        self.fallback = _NO_VALUE
        spec = events.TYPES[kind]
        if spec[0] in ("enum", "code") and not required:
            words = spec[1] if spec[0] == "enum" else ("other",)
            for word in ("other", "unknown"):
                if word in words:  # type: ignore[operator]
                    self.fallback = self.key + encode_text(word)
        self.admit = _ADMIT[str(spec[0])](self.key, kind, spec)


class _Event:
    """One event's fields in the order of their encoded keys, with the recorder's own among them."""

    __slots__ = (
        "blank",
        "event_slot",
        "fields",
        "generation_slot",
        "heads",
        "level",
        "name",
        "required",
        "run_slot",
        "session_slot",
        "tables",
        "time_slot",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.level, declared = events.EVENTS[name]
        # RFC 8949 section 4.2.1: bytewise order of encoded keys, which for short text keys is length, then bytes.
        order = sorted((*declared, *events.ENVELOPE), key=lambda key: (len(key), key))
        self.event_slot = order.index(_EVENT)
        self.run_slot = order.index(_RUN)
        self.time_slot = order.index(_TIME)
        self.session_slot = order.index(_SESSION)
        self.generation_slot = order.index(_GENERATION)
        self.fields = {
            key: _Field(key, order.index(key), kind, level, required)
            for key, (kind, level, required, _) in declared.items()
        }
        for alias, key in events.FIELD_ALIASES[name].items():
            self.fields[alias] = self.fields[key]
        self.required = tuple(field for key, field in self.fields.items() if field.required and key == field.name)
        # What the loop of `check` needs, by level: a field that the level leaves out is simply not in the table.
        self.tables = tuple(
            {
                key: (field.slot, field.admit)
                for key, field in self.fields.items()
                if field.level <= level and key not in events.GROUPS
            }
            for level in range(len(events.LEVELS))
        )
        self.blank = [_NO_VALUE] * len(order)
        # By the number of keys that are absent.
        self.heads = tuple(encode_head(0xA0, len(order) - absent) for absent in range(len(order) + 1))
        self.blank[self.event_slot] = b"eevent" + encode_text(name)


def _reason(value: object, kind: type) -> str:
    if type(value) is not kind:
        return "type"
    return "value" if carojournal.shape.is_plain(value) else "shape"  # type: ignore[arg-type]


# An admitter returns the encoded key and value, or the reason why not, as text.


def _enum(key: bytes, kind: str, spec: tuple[object, ...]) -> "_Admit":
    words: tuple[str, ...] = spec[1]  # type: ignore[assignment]
    table = {word: key + encode_text(word) for word in words}
    for alias, word in events.ALIASES.get(kind, {}).items():
        table[alias] = table[word]
    find = table.get

    def admit(value: object) -> bytes | str:
        if type(value) is str and len(value) <= TEXT_BYTES_MAX:
            found = find(value)
            if found is not None:
                return found
        return _reason(value, str)

    return admit


def _words(key: bytes, kind: str, spec: tuple[object, ...]) -> "_Admit":  # noqa: ARG001
    item_kind, most = str(spec[1]), int(spec[2])  # type: ignore[call-overload]
    words: tuple[str, ...] = events.TYPES[item_kind][1]  # type: ignore[assignment]
    known = {word: word for word in words} | events.ALIASES.get(item_kind, {})

    def admit(value: object) -> bytes | str:
        if not isinstance(value, list | tuple):
            return "type"
        items = list(value)
        if len(items) > most:
            return "too_many"
        found = set()
        for item in items:
            if type(item) is not str or len(item) > TEXT_BYTES_MAX or item not in known:
                return _reason(item, str)
            found.add(known[item])
        return key + encode(sorted(found))

    return admit


def _int(key: bytes, kind: str, spec: tuple[object, ...]) -> "_Admit":  # noqa: ARG001
    most, exact, step = (int(part) for part in spec[1:])  # type: ignore[call-overload]
    one_byte = [encode_int(value) for value in range(24)]

    def admit(value: object) -> bytes | str:
        if type(value) is not int:
            return "type"
        if not 0 <= value <= most:
            return "range"
        kept: int = value if value <= exact else (value + step // 2) // step * step
        return key + (one_byte[kept] if kept < 24 else encode_int(kept))

    return admit


def _bool(key: bytes, kind: str, spec: tuple[object, ...]) -> "_Admit":  # noqa: ARG001
    yes, no = key + b"\xf5", key + b"\xf4"

    def admit(value: object) -> bytes | str:
        return yes if value is True else no if value is False else "type"

    return admit


def _score(key: bytes, kind: str, spec: tuple[object, ...]) -> "_Admit":  # noqa: ARG001
    known: list[bytes] = [_NO_VALUE] * 101

    def admit(value: object) -> bytes | str:
        if type(value) is not float and type(value) is not int:
            return "type"
        if not 0 <= value <= 1:  # also false for NaN
            return "range"
        hundredths = round(value * 100)
        found = known[hundredths]
        if not found:
            found = known[hundredths] = key + encode_score(hundredths / 100)
        return found

    return admit


def _grammar(name: str) -> "Callable[[bytes, str, tuple[object, ...]], _Admit]":
    def build(key: bytes, kind: str, spec: tuple[object, ...]) -> "_Admit":  # noqa: ARG001
        known: dict[str, bytes] = {}

        def admit(value: object) -> bytes | str:
            if type(value) is not str or len(value) > TEXT_BYTES_MAX:
                return "type" if type(value) is not str else "shape"
            found = known.get(value)
            if found is None:
                # The grammars are closed: whatever they take has the shape of L3 as well (a test proves it).
                if not getattr(carojournal.grammars, name)(value):
                    return _reason(value, str)
                found = key + encode_text(value)
                if len(known) < 256:  # A host uses a handful; the bound keeps a misbehaving one from growing us.
                    known[value] = found
            return found

        return admit

    return build


_ADMIT: "dict[str, Callable[[bytes, str, tuple[object, ...]], _Admit]]" = {
    "enum": _enum,
    "words": _words,
    "int": _int,
    "bool": _bool,
    "score": _score,
    "version": _grammar("is_version"),
    "model": _grammar("is_model"),
    "code": _grammar("is_error_code"),
}

_compiled: dict[str, _Event] = {}


def event_name(event_type: object) -> str | None:
    """Return the canonical name of an event or alias, or None for anything else."""
    if type(event_type) is not str or len(event_type) > TEXT_BYTES_MAX:
        return None
    name = events.EVENT_ALIASES.get(event_type, event_type)
    return name if name in events.EVENTS else None


def _compile(event_type: object) -> _Event | None:
    name = event_name(event_type)
    if name is None:
        return None
    spec = _compiled.get(name)
    if spec is None:
        spec = _compiled[name] = _Event(name)
    if type(event_type) is str:
        _compiled[event_type] = spec
    return spec


def check(event_type: str, fields: dict[str, object], level: int = events.DETAILED) -> Accepted | Refused | None:
    """Return the event as it may be stored, or why it may not; None if *level* leaves the whole event out.

    *level* is MINIMAL, STANDARD or DETAILED of `events`.  Nested objects of caro's documents (`platform`,
    `backend_config`, `safety_result`) are taken apart; a None stands for "not given", as in those documents.
    Never raises for any value of *fields*.
    """
    spec = (_compiled.get(event_type) if type(event_type) is str else None) or _compile(event_type)
    if spec is None:
        return Refused(UNKNOWN, ((UNKNOWN, UNKNOWN, "unknown_event"),))
    if spec.level > level:
        return None
    if type(fields) is not dict:
        return Refused(spec.name, ((spec.name, UNKNOWN, "type"),))
    if len(fields) > FIELDS_MAX:
        return Refused(spec.name, ((spec.name, UNKNOWN, "too_many"),))
    slots = spec.blank.copy()
    bad: list[tuple[str, str, str]] = []
    fatal = False
    find = spec.tables[level].get
    for name, value in fields.items():
        entry = find(name)
        if entry is not None:
            found = entry[1](value)
            if type(found) is bytes:
                slots[entry[0]] = found
                continue
        if _exception(spec, slots, name, value, level, bad):
            fatal = True
    for field in spec.required:
        if not slots[field.slot] and not fatal:
            bad.append((spec.name, field.name, "missing"))
            fatal = True
    if fatal:
        return Refused(spec.name, tuple(bad))
    given = fields.get("generation")
    return Accepted(spec, slots, fields.get("generation_id") if given is None else given, tuple(bad) if bad else ())


def _exception(
    spec: _Event, slots: list[bytes], name: object, value: object, level: int, bad: list[tuple[str, str, str]]
) -> bool:
    """Deal with whatever is no good value of a field at this level; return whether it refuses the event."""
    if type(name) is not str:
        bad.append((spec.name, UNKNOWN, "unknown_field"))
        return True
    if name in events.GROUPS and type(value) is dict:
        return _check_group(spec, slots, name, value, level, bad)
    field = spec.fields.get(name)
    if field is not None:
        return _admit(spec, slots, field, value, level, bad)
    if name in events.RECORDER_OWNED or name in ("generation", "generation_id"):
        return False
    bad.append((spec.name, UNKNOWN, "unknown_field"))
    return True


def _admit(
    spec: _Event, slots: list[bytes], field: _Field, value: object, level: int, bad: list[tuple[str, str, str]]
) -> bool:
    if value is None or field.level > level:
        return False
    found = field.admit(value)
    if type(found) is bytes:
        slots[field.slot] = found
        return False
    return _misfit(spec, slots, field, str(found), bad)


def _misfit(spec: _Event, slots: list[bytes], field: _Field, reason: str, bad: list[tuple[str, str, str]]) -> bool:
    """Count a bad value; return whether that refuses the event."""
    bad.append((spec.name, field.name, reason))
    slots[field.slot] = field.fallback
    return field.required


def _check_group(
    spec: _Event,
    slots: list[bytes],
    group: str,
    members: dict[object, object],
    level: int,
    bad: list[tuple[str, str, str]],
) -> bool:
    """Take a nested object apart; return whether that refuses the event."""
    declared = events.EVENTS[spec.name][1]
    if len(members) > FIELDS_MAX:
        bad.append((spec.name, UNKNOWN, "too_many"))
        return True
    fatal = False
    find = spec.tables[level].get
    for name, value in members.items():
        if type(name) is not str or name not in declared or declared[name][3] != group:
            bad.append((spec.name, UNKNOWN, "unknown_field"))
            fatal = True
            continue
        entry = find(name)
        if entry is not None:
            found = entry[1](value)
            if type(found) is bytes:
                slots[entry[0]] = found
                continue
        fatal = _admit(spec, slots, spec.fields[name], value, level, bad) or fatal
    return fatal
