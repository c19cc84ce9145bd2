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

Checking and encoding are one step (`kinds`): a field's check returns its encoded key and value, which for a word or
name that has been seen before is one lookup.  What an event or a field needs is compiled when it first occurs: most
processes use a few of them, and pay for those.
"""

import carojournal
from carojournal import events, frame, kinds

TYPE_CHECKING = False  # `typing` costs 15 ms to import; type checkers know the name.
if TYPE_CHECKING:
    from carojournal.kinds import Admit, Known
    from carojournal.refusal import Refused

    _Field = tuple[str, int, int, bool, Admit]  # canonical name, slot, level, required, check
    # Name, level, keys of the map in their order, slots of the recorder's own among them, (slot, key) of what is
    # required, for each level what `check` looks fields up in, the map with no field in it, its head by absent keys,
    # the fields that have occurred, and the same as the fifth for nested objects that have, by group and level.
    _Heads = list[bytes]
    _Required = list[tuple[int, str]]
    _Table = dict[str, tuple[int, type, Known, Admit] | tuple[()]]  # Nothing: the level leaves the field out.
    _Fields = dict[str, _Field]
    _Groups = dict[tuple[str, int], _Table]
    _Spec = tuple[str, int, list[str], list[int], _Required, tuple[_Table, ...], _Heads, _Heads, _Fields, _Groups]

__all__ = ["UNKNOWN", "Accepted", "check", "compile_event", "event_name", "field_of"]

UNKNOWN = "<unknown>"
FIELDS_MAX = 64  # More keys than all events have together: such a call is refused before its keys are read.
GENERATION_MAX = 9_999  # Ordinals of a run; a run ends at the latest with its host process.

_NO_VALUE = b""


class Accepted:
    """An event that may be stored.  `refusals` are (event, field, reason) of optional fields left out or replaced."""

    __slots__ = ("_spec", "event", "generation", "refusals", "slots")

    # Made by `check` alone, without the call that an `__init__` costs.
    _spec: "_Spec"
    event: str  # Its canonical name.
    slots: "list[bytes]"
    generation: object
    refusals: "tuple[tuple[str, str, str], ...]"

    def payload(self, time_ms: int, session: bytes, run: bytes, generation: int) -> bytes:
        """Return the record's payload, a deterministic CBOR map.

        *time_ms* is UTC milliseconds since 1970, *session* and *run* are 16 bytes, *generation* counts from 1 (0:
        none).
        """
        slots = self.slots
        spec = self._spec
        _, run_slot, time_slot, generation_slot, session_slot = spec[3]
        if time_ms >> 32:  # From 19 February 1970 on the shortest head has eight bytes.
            slots[time_slot] = b"itimestamp\x1b" + time_ms.to_bytes(8, "big")
        else:
            slots[time_slot] = b"itimestamp" + frame.encode_head(0, time_ms)
        slots[run_slot] = b"frun_idP" + run
        slots[session_slot] = b"jsession_idP" + session
        if 0x100 <= generation < 0x10000:  # As `encode_head`, for it is never the same twice.
            slots[generation_slot] = b"jgeneration\x19" + generation.to_bytes(2, "big")
        else:
            slots[generation_slot] = b"jgeneration" + frame.encode_head(0, generation) if generation else _NO_VALUE
        return spec[7][slots.count(_NO_VALUE)] + b"".join(slots)

    @property
    def fields(self) -> "dict[str, object]":
        """The accepted fields as they are stored, without the recorder's own.  Decodes: not for the append path."""
        from carojournal.codec import loads

        slots = self.slots.copy()
        for slot in self._spec[3]:
            slots[slot] = _NO_VALUE
        body = loads(self._spec[7][slots.count(_NO_VALUE)] + b"".join(slots))
        assert isinstance(body, dict)
        return body


def _spec(name: str) -> "_Spec":
    """Return what `check` needs to know of an event, but for its fields: `field_of` compiles those one by one."""
    level, declared = events.EVENTS[name]
    # RFC 8949 section 4.2.1: bytewise order of encoded keys, which for short text keys is length, then bytes.
    order = sorted((*declared, *events.ENVELOPE))
    order.sort(key=len)
    own = [order.index(key) for key in events.ENVELOPE]
    required = [(order.index(key), key) for key, field in declared.items() if field[2]]
    blank = [_NO_VALUE] * len(order)
    blank[own[0]] = b"eevent" + frame.encode_text(name)
    # A test holds every event below the 24 keys of a one-byte head.
    heads = [bytes((0xA0 + present,)) for present in range(len(order), -1, -1)]
    return name, level, order, own, required, ({}, {}, {}), blank, heads, {}, {}


def field_of(spec: "_Spec", name: str) -> "_Field | None":
    """Return the field that *name* is, or is an alias of, compiled once; None if the event has no such field."""
    event, _, order, _, _, tables, _, _, fields, _ = spec
    if name in fields:
        return fields[name]
    declared = events.EVENTS[event][1]
    key = events.FIELD_ALIASES[event].get(name, name)
    if key not in declared:
        return None
    kind, least, required, _ = declared[key]
    slot = order.index(key)
    wanted, known, admit = kinds.check_of(frame.encode_text(key), kind)
    if name not in events.GROUPS:
        for level, table in enumerate(tables):
            table[name] = (slot, wanted, known, admit) if level >= least else ()
    field = fields[name] = key, slot, least, required, admit
    return field


def _group_table(spec: "_Spec", group: str, level: int) -> "_Table":
    """Return what members of a nested object are looked up in: the event's fields that stand in that *group*."""
    names = [name for name, field in events.EVENTS[spec[0]][1].items() if field[3] == group and field_of(spec, name)]
    table = spec[9][group, level] = {name: spec[5][level][name] for name in names if name in spec[5][level]}
    return table


_compiled: "dict[str, _Spec]" = {}
_new = object.__new__


def event_name(event_type: object) -> "str | None":
    """Return the canonical name of an event or alias, or None for anything else."""
    if type(event_type) is not str or len(event_type) > kinds.TEXT_BYTES_MAX:
        return None
    name = events.EVENT_ALIASES.get(event_type, event_type)
    return name if name in events.EVENTS else None


def compile_event(event_type: object) -> "_Spec | None":
    """Return what `check` needs to know of an event, by its name or an alias; None for anything else."""
    name = event_name(event_type)
    if name is None:
        return None
    found = _compiled.get(name)
    if found is None:
        found = _compiled[name] = _spec(name)
    if type(event_type) is str:
        _compiled[event_type] = found
    return found


def check(event_type: str, fields: "dict[str, object]", level: int = events.DETAILED) -> "Accepted | Refused | None":
    """Return the event as it may be stored, or why it may not; None if *level* leaves the whole event out.

    *level* is MINIMAL, STANDARD or DETAILED of `events`.  Nested objects of caro's documents (`platform`,
    `backend_config`, `safety_result`) are taken apart; a None stands for "not given", as in those documents.
    Never raises for any value of *fields*.
    """
    spec = (_compiled.get(event_type) if type(event_type) is str else None) or compile_event(event_type)
    if spec is None:
        return carojournal.refusal.Refused(UNKNOWN, ((UNKNOWN, UNKNOWN, "unknown_event"),))
    event, least, _, _, required, tables, blank, _, _, _ = spec
    if least > level:
        return None
    if type(fields) is not dict or len(fields) > FIELDS_MAX:
        reason = "too_many" if type(fields) is dict else "type"
        return carojournal.refusal.Refused(event, ((event, UNKNOWN, reason),))
    slots = blank.copy()
    bad: list[tuple[str, str, str]] = []
    fatal = False
    find = tables[level].get
    for name, value in fields.items():
        entry = find(name)
        if entry:
            slot, wanted, known, admit = entry
            if type(value) is wanted:
                seen = known(value)
                if seen is not None:
                    slots[slot] = seen
                    continue
            found = admit(value)
            if type(found) is bytes:
                slots[slot] = found
                continue
        elif entry is not None:
            continue  # The level leaves it out.
        fatal = _exception(spec, slots, name, value, level, bad) or fatal
    for slot, key in required:
        if not slots[slot] and not fatal:
            bad.append((event, key, "missing"))
            fatal = True
    if fatal:
        return carojournal.refusal.Refused(event, tuple(bad))
    given = fields.get("generation")
    accepted = _new(Accepted)
    accepted._spec = spec  # noqa: SLF001
    accepted.event = event
    accepted.slots = slots
    accepted.generation = fields.get("generation_id") if given is None else given
    accepted.refusals = tuple(bad) if bad else ()
    return accepted


def _exception(
    spec: "_Spec", slots: "list[bytes]", name: object, value: object, level: int, bad: "list[tuple[str, str, str]]"
) -> bool:
    """Deal with whatever is no good value of a field that is known; return whether it refuses the event."""
    if type(name) is str:
        if name in events.GROUPS and type(value) is dict:
            return _check_group(spec, slots, name, value, level, bad)
        field = field_of(spec, name)
        if field is not None:
            return _admit(spec[0], slots, field, value, level, bad)
        if name in events.RECORDER_OWNED or name in ("generation", "generation_id"):
            return False
    bad.append((spec[0], UNKNOWN, "unknown_field"))
    return True


def _admit(
    event: str, slots: "list[bytes]", field: "_Field", value: object, level: int, bad: "list[tuple[str, str, str]]"
) -> bool:
    """Store a value or count why not; return whether that refuses the event."""
    key, slot, least, required, admit = field
    if value is None or least > level:
        return False
    found = admit(value)
    if type(found) is bytes:
        slots[slot] = found
        return False
    bad.append((event, key, str(found)))
    slots[slot] = _NO_VALUE if required else carojournal.refusal.stand_in(key, events.EVENTS[event][1][key][0])
    return required


def _check_group(
    spec: "_Spec",
    slots: "list[bytes]",
    group: str,
    members: "dict[object, object]",
    level: int,
    bad: "list[tuple[str, str, str]]",
) -> bool:
    """Take a nested object apart; return whether that refuses the event."""
    if len(members) > FIELDS_MAX:
        bad.append((spec[0], UNKNOWN, "too_many"))
        return True
    fatal = False
    find = (spec[9].get((group, level)) or _group_table(spec, group, level)).get
    for name, value in members.items():  # As in `check`: shared, these lines cost an append 2 to 4 % more instructions.
        entry = find(name)  # type: ignore[call-overload]
        if entry:
            slot, wanted, known, admit = entry
            if type(value) is wanted:
                seen = known(value)
                if seen is not None:
                    slots[slot] = seen
                    continue
            found = admit(value)
            if type(found) is bytes:
                slots[slot] = found
                continue
        elif entry is not None:
            continue
        declared = events.EVENTS[spec[0]][1].get(name) if type(name) is str else None
        field = field_of(spec, name) if declared and declared[3] == group else None  # type: ignore[arg-type]
        if field is None:
            bad.append((spec[0], UNKNOWN, "unknown_field"))
            fatal = True
        else:
            fatal = _admit(spec[0], slots, field, value, level, bad) or fatal
    return fatal
