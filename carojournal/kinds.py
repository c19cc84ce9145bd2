"""How a field of each type is checked and encoded, in one step; part of `redact`, hot.

A check is (type, what is stored for values of exactly that type which occurred before, and what any value goes through
otherwise).  The second is a dictionary's `get`: looking up 1 among booleans would find True.  The third returns the
encoded key and value, or a text that says why not.  Every one is linear in the 64 bytes that L3 lets through.
"""

import carojournal
from carojournal import events, frame

TYPE_CHECKING = False  # `typing` costs 15 ms to import; type checkers know the name.
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Admit = Callable[[object], bytes | str]
    Known = Callable[[Any], bytes | None]
    Check = tuple[type, Known, Admit]

__all__ = ["TEXT_BYTES_MAX", "check_of", "is_number", "is_version"]

TEXT_BYTES_MAX = 64  # As `shape.TEXT_BYTES_MAX`; a test holds them equal.
_KNOWN_MAX = 256  # Values that one field remembers.  A host uses a handful; a misbehaving one must not grow us.
_ARRAY = 0x80
_NoType = type(NotImplemented)  # Stands where every value takes the longer way: no check remembers the only one of it.


def check_of(key: bytes, kind: str) -> "Check":
    """Return the check of a type: what it lets through is the encoded *key* and value, else a text says why not."""
    spec = events.TYPES[kind]
    if spec[0] == "int":
        return _int(key, *spec[1:])  # type: ignore[arg-type]
    if spec[0] == "bool":
        return _bool(key)
    if spec[0] == "score":
        return _score(key)
    if spec[0] == "words":
        return _words(key, *spec[1:])  # type: ignore[arg-type]
    return _text(key, kind, spec)


def _text(key: bytes, kind: str, spec: "tuple[object, ...]") -> "Check":
    known: dict[str, bytes] = {}

    def admit(value: object) -> "bytes | str":
        if type(value) is not str or len(value) > TEXT_BYTES_MAX:
            return "type" if type(value) is not str else "shape"
        word = _word(value, kind, spec)
        if word is None:
            return carojournal.refusal.text_reason(value)
        found = key + frame.encode_text(word)
        if len(known) < _KNOWN_MAX:
            known[value] = found
        return found

    return str, known.get, admit


def _word(text: str, kind: str, spec: "tuple[object, ...]") -> "str | None":
    """Return what is stored for *text*: an enum's word, or a text of a closed grammar; None if it is neither.

    Whatever is returned has the shape of L3 as well (a test proves it).
    """
    if spec[0] == "enum":
        words: tuple[str, ...] = spec[1]  # type: ignore[assignment]
        if text in words:
            return text
        return events.ALIASES[kind].get(text) if kind in events.ALIASES else None
    if spec[0] == "version":
        good = is_version(text)
    elif spec[0] == "model":
        good = carojournal.grammars.is_model(text)
    else:
        good = carojournal.error_codes.is_error_code(text)
    return text if good else None


def is_version(text: str) -> bool:
    """Tell whether *text* is X.Y or X.Y.Z of caro's releases, with an optional -alpha, -beta or -rc and .N.

    The first number has one digit, the second two, the third three: addresses, dates and telephone numbers do not fit.
    """
    core, dash, tag = text.partition("-")
    parts = core.split(".")
    if not 2 <= len(parts) <= 3:
        return False
    for digits, part in enumerate(parts, 1):
        if not is_number(part, digits):
            return False
    if not dash:
        return True
    word, dot, number = tag.partition(".")
    return word in ("alpha", "beta", "rc") and (not dot or is_number(number, 2))


def is_number(text: str, digits: int) -> bool:
    """Tell whether *text* has 1 to *digits* decimal digits and no leading zero."""
    if not 0 < len(text) <= digits or text.strip("0123456789"):
        return False
    return text == "0" or text[0] != "0"


def _words(key: bytes, item_kind: str, most: int) -> "Check":
    spec = events.TYPES[item_kind]

    def admit(value: object) -> "bytes | str":
        if not isinstance(value, list | tuple):
            return "type"
        items = list(value)
        if len(items) > most:
            return "too_many"
        found = set()
        for item in items:
            word = _word(item, item_kind, spec) if type(item) is str and len(item) <= TEXT_BYTES_MAX else None
            if word is None:
                return carojournal.refusal.text_reason(item)
            found.add(word)
        return key + frame.encode_head(_ARRAY, len(found)) + b"".join(map(frame.encode_text, sorted(found)))

    return _NoType, _nothing, admit


def _nothing(_value: object) -> None:
    """Stand for the memory of a check that has none."""


def _int(key: bytes, most: int, exact: int, step: int) -> "Check":
    known: dict[int, bytes] = {}
    short = key + b"\x19"

    def admit(value: object) -> "bytes | str":
        if type(value) is not int:
            return "type"
        if not 0 <= value <= most:
            return "range"
        if value > exact:
            found = key + frame.encode_head(0, (value + step // 2) // step * step)
        elif 0x100 <= value < 0x10000:  # Most times and counts; most of them occur once.
            found = short + value.to_bytes(2, "big")
        else:
            found = key + frame.encode_head(0, value)
        if len(known) < _KNOWN_MAX:
            known[value] = found
        return found

    return int, known.get, admit


def _bool(key: bytes) -> "Check":
    known = {True: key + b"\xf5", False: key + b"\xf4"}

    def admit(value: object) -> "bytes | str":
        return known[value] if type(value) is bool else "type"

    return bool, known.get, admit


def _score(key: bytes) -> "Check":
    known: dict[float, bytes] = {}

    def admit(value: object) -> "bytes | str":
        if type(value) is not float and type(value) is not int:
            return "type"
        if not 0 <= value <= 1:  # also false for NaN
            return "range"
        found = key + frame.encode_score(round(value * 100))
        if type(value) is float and len(known) < _KNOWN_MAX:
            known[value] = found
        return found

    return float, known.get, admit
