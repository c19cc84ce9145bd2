"""A whole decoded document in, hits with positions out: strings, keys, byte strings and numbers, alone and joined.

A position never repeats a word of the document: it consists of indexes, and of keys that the caller named as known.
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from carojournal.patterns.checks import is_birth_date, is_card
from carojournal.patterns.texts import SCAN_CHARS_MAX, scan, vetoes

__all__ = ["UNKNOWN_KEY", "Hit", "scan_value"]

UNKNOWN_KEY = "<unknown>"
DEPTH_MAX = 32  # Records are flat, exports three deep.
NODES_MAX = 1_000_000  # Values looked at in one document: an export of a full 10 MB spool has fewer.
JOINED_ITEMS_MAX = 256
# Larger numbers need a reason: the schema rounds them, or their key names a quantity.  Telephone numbers have none.
NUMBER_EXACT_MAX = 999_999
NUMBER_ROUND_STEP = 100
NUMBER_MAX = 99_999_999  # A day in milliseconds; national ids, cards and most telephone numbers are longer.
EPOCH_MS_MIN, EPOCH_MS_MAX = 1_420_070_400_000, 4_102_444_800_000  # 2015 to 2100, under a key that speaks of time
DECIMALS_MAX = 2  # Scores are rounded to 0.01; coordinates that find a house have four and more.
CODEPOINTS_MIN = 3  # A list of this many printable character codes is read as text.

_QUANTITY_ENDINGS = ("_ms", "_us", "_s", "bytes", "count", "tokens", "size", "duration")
_TIME_ENDINGS = ("timestamp", "_at", "_ms", "_us", "time", "created", "updated")


@dataclass(frozen=True, slots=True)
class Hit:
    """One broken rule at one position.  `path` holds list indexes and known keys; other keys are UNKNOWN_KEY."""

    path: tuple[str | int, ...]
    rule: str


def scan_value(value: object, known_keys: AbstractSet[str] = frozenset()) -> Iterator[Hit]:
    """Yield the hits in *value*: text, bytes, numbers, lists and mappings of them, at any depth up to DEPTH_MAX.

    *known_keys* are keys that are no findings themselves; every other key is scanned like a value.  Never raises for
    what a JSON or CBOR decoder returns.
    """
    nodes = 0
    stack: list[tuple[tuple[str | int, ...], object, object]] = [((), "", value)]
    while stack:
        path, key, item = stack.pop()
        nodes += 1
        if nodes > NODES_MAX or len(path) > DEPTH_MAX:
            yield Hit(path, "size")
            if nodes > NODES_MAX:
                return
            continue
        if isinstance(item, dict):
            yield from _keys(path, item, known_keys)
            children = [((*path, _shown(name, known_keys)), name, below) for name, below in item.items()]
            stack.extend(reversed(children))
        elif isinstance(item, list | tuple | set | frozenset):
            yield from (Hit(path, rule) for rule in _list_rules(list(item)))
            stack.extend(((*path, index), key, below) for index, below in reversed(list(enumerate(item))))
        else:
            yield from (Hit(path, rule) for rule in _rules(item, key))


def _shown(key: object, known_keys: AbstractSet[str]) -> str | int:
    return key if isinstance(key, str) and key in known_keys else UNKNOWN_KEY


def _keys(path: tuple[str | int, ...], item: dict[object, object], known_keys: AbstractSet[str]) -> Iterator[Hit]:
    for key in item:
        if not (isinstance(key, str) and key in known_keys):
            yield from (Hit((*path, UNKNOWN_KEY), rule) for rule in _rules(key, ""))
    unknown = [(key, below) for key, below in item.items() if _shown(key, known_keys) == UNKNOWN_KEY]
    orders = (
        [key for key, _ in unknown],
        [below for _, below in unknown],
        [part for pair in unknown for part in pair],
        [below for _, below in sorted(unknown, key=lambda pair: str(pair[0]))],
    )
    if any(_is_split(parts) for parts in orders):
        yield Hit(path, "split")


def _list_rules(items: list[object]) -> tuple[str, ...]:
    broken: tuple[str, ...] = ("split",) if _is_split(items) else ()
    if CODEPOINTS_MIN <= len(items) <= SCAN_CHARS_MAX and all(
        type(item) is int and 9 <= item < 0x110000 for item in items
    ):
        text = "".join(map(chr, items))  # type: ignore[arg-type]
        if text.isprintable() and scan(text):
            broken += ("encoded",)
    return broken


def _is_split(parts: list[object]) -> bool:
    """Tell whether *parts*, none of which need be sensitive, are so when written one after another."""
    parts = parts[:JOINED_ITEMS_MAX]
    texts = [_text(part) for part in parts if isinstance(part, str | bytes)]
    if len(texts) > 1 and any(vetoes(glue.join(texts)) for glue in ("", ".")):
        return not any(map(vetoes, texts))
    numbers = [str(part) for part in parts if type(part) is int and part >= 100]
    return len(numbers) > 1 and is_card("".join(numbers))


def _text(part: str | bytes) -> str:
    return part if isinstance(part, str) else part.decode("utf-8", "replace")


def _rules(item: object, key: object) -> tuple[str, ...]:
    if item is None or isinstance(item, bool):
        return ()
    if isinstance(item, str):
        return scan(item) if item else ()
    if isinstance(item, int):
        return _number_rules(item, key)
    if isinstance(item, float):
        return () if round(item, DECIMALS_MAX) == item and abs(item) <= NUMBER_MAX else ("number",)
    if isinstance(item, bytes | bytearray | memoryview):
        return _bytes_rules(bytes(item))
    return ("type",)


def _number_rules(number: int, key: object) -> tuple[str, ...]:
    size = abs(number)
    if size <= NUMBER_EXACT_MAX:
        return ()
    name = key if isinstance(key, str) else ""
    if name.endswith(_TIME_ENDINGS) and EPOCH_MS_MIN <= number <= EPOCH_MS_MAX:
        return ()
    if size > NUMBER_MAX:
        return ("number", "card") if number.bit_length() < 128 and is_card(str(size)) else ("number",)
    if is_birth_date(str(size)) and not name.endswith(_QUANTITY_ENDINGS):
        return ("date",)
    return () if size % NUMBER_ROUND_STEP == 0 or name.endswith(_QUANTITY_ENDINGS) else ("number",)


def _bytes_rules(data: bytes) -> tuple[str, ...]:
    for encoding in ("utf-8", "utf-16"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if text.isprintable() or encoding == "utf-8":
            return scan(text) if text else ()
    return ("binary",)
