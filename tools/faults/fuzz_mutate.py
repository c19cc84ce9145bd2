"""Mutations of bytes, of JSON and CBOR values and of lines, drawn from a `random.Random`: same seed, same bytes.

Three grains, because each reaches what the others cannot: bytes (heads, lengths, marks), values (a key that is missing,
a number beyond its bounds, a type that is wrong where everything else is well-formed), lines (order, repetition).
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from random import Random

import cbor2

__all__ = ["CANARY", "mutated", "mutated_value"]

CANARY = "Qz7refused7zQ"  # No message may hold it: it only ever stands where a value stands.
INPUT_BYTES_MAX = 65_536  # Larger ones cost time and reach nothing new.
_INTS = (0, 1, 2, 23, 24, 63, 64, 127, 128, 255, 256, 65_535, 65_536, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, 1 << 53)
_INTS += ((1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, 10**18, 10**30, -1, -(1 << 31), -(1 << 63), -(1 << 64))
_LEAVES: tuple[object, ...] = (
    *(None, True, False, 0.5, -0.0, math.nan, math.inf, -math.inf, 1e300),
    *("", "a", CANARY, "a" * 65, "\u00e9", "\u202e", "\x1b[31m", "\0", "../x", "1", "-1", "1e5", "\u0661", "other"),
    *(b"", b"\0", bytes(15), bytes(16), bytes(17), bytes(32), CANARY.encode()),
)
_NUMBER = re.compile(rb"\d+")


def _leaf(random: Random) -> object:
    return random.choice(_INTS) if random.random() < 0.5 else random.choice(_LEAVES)


def _tree(random: Random) -> object:
    kind = random.randrange(8)
    if kind == 0:
        return [_leaf(random) for _ in range(random.randrange(4))]
    if kind == 1:
        return {random.choice(("a", "event", "record", CANARY, "")): _leaf(random) for _ in range(random.randrange(3))}
    if kind == 2:
        value: object = _leaf(random)
        for _ in range(random.choice((3, 9, 17, 300))):
            value = [value] if random.random() < 0.7 else {"a": value}
        return value
    return _leaf(random)


def _changed(random: Random, value: object, other: object) -> object:  # noqa: PLR0911, PLR0912 - a branch a type
    """Return *value* with one small change at its root."""
    if isinstance(value, dict):
        found = dict(value)
        kind = random.randrange(5)
        if kind == 0 and found:
            del found[random.choice(list(found))]
        elif kind == 1:
            found[random.choice((CANARY, "", "a", "record", "event", "version", "segments"))] = _tree(random)
        elif kind == 2 and found:
            old = random.choice(list(found))
            found[f"{old}x" if isinstance(old, str) else CANARY] = found.pop(old)
        elif kind == 3 and isinstance(other, dict):
            found.update(other)
        elif found:
            found[random.choice(list(found))] = _tree(random)
        return found
    if isinstance(value, list | tuple):
        items = list(value)
        kind = random.randrange(5)
        at = random.randrange(len(items) + 1)
        if kind == 0 and items:
            items.pop(at % len(items))
        elif kind == 1:
            items.insert(at, _tree(random))
        elif kind == 2 and items:
            items *= random.choice((2, 2, 3, 40))
        elif kind == 3:
            random.shuffle(items)
        elif items:
            items[at % len(items)] = _tree(random)
        return items
    if isinstance(value, bool) or value is None:
        return _leaf(random)
    if isinstance(value, int):
        return random.choice((value + 1, value - 1, -value, value << 1, value << 32, _leaf(random), str(value)))
    if isinstance(value, str):
        at = random.randrange(len(value) + 1)
        return random.choice((value[:at], value[:at] + CANARY + value[at:], value * 2, value.upper(), _leaf(random)))
    if isinstance(value, bytes):
        at = random.randrange(len(value) + 1)
        return random.choice((value[:at], value + b"\0", value[at:] + value[:at], value.hex(), _leaf(random)))
    return _tree(random)


def mutated_value(random: Random, value: object, other: object = None) -> object:
    """Return *value* with a change somewhere in it; *other* is a value to take parts from."""
    if isinstance(value, dict) and value and random.random() < 0.75:
        key = random.choice(list(value))
        return {**value, key: mutated_value(random, value[key], other)}
    if isinstance(value, list) and value and random.random() < 0.75:
        at = random.randrange(len(value))
        return [*value[:at], mutated_value(random, value[at], other), *value[at + 1 :]]
    return _changed(random, value, other)


def _of_json(random: Random, data: bytes, other: bytes) -> bytes:
    value = mutated_value(random, json.loads(data), json.loads(other) if random.random() < 0.2 else None)
    text = json.dumps(value, default=lambda raw: raw.hex() if isinstance(raw, bytes) else None)
    return text.encode()


def _of_cbor(random: Random, data: bytes, other: bytes) -> bytes:
    value = mutated_value(random, cbor2.loads(data), cbor2.loads(other) if random.random() < 0.2 else None)
    return cbor2.dumps(value, canonical=random.random() < 0.9)


def _of_lines(random: Random, data: bytes, other: bytes, tokens: Sequence[bytes]) -> bytes:
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    kind = random.randrange(7)
    if kind == 0:
        lines.pop(at)
    elif kind == 1:
        lines.insert(at, random.choice(other.split(b"\n")))
    elif kind == 2:
        lines.insert(at, lines[at])
    elif kind == 3:
        random.shuffle(lines)
    elif kind == 4:
        words = lines[at].split(b" ")
        words[random.randrange(len(words))] = random.choice((*tokens, b"", b"0", b"-1", CANARY.encode(), b"\xff"))
        lines[at] = b" ".join(words)
    elif kind == 5:
        lines[at] += random.choice((b" ", b"\r", b"\0", b" " + CANARY.encode()))
    else:
        lines[at] = _bytes(random, lines[at], other, tokens)
    return b"\n".join(lines)


def _bytes(random: Random, data: bytes, other: bytes, tokens: Sequence[bytes]) -> bytes:  # noqa: PLR0911 - one a kind
    size = len(data)
    at = random.randrange(size + 1)
    end = min(size, at + random.choice((1, 1, 2, 4, 8, 32, 200)))
    kind = random.randrange(11)
    if kind == 0 and size:
        at %= size
        return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
    if kind == 1:
        return data[:at] + random.randbytes(random.choice((1, 1, 2, 4, 9))) + data[end:]
    if kind == 2:
        return data[:at] + data[end:]
    if kind == 3:
        return data[:at] + data[at:end] * random.choice((2, 2, 3, 50)) + data[end:]
    if kind == 4:
        start = random.randrange(len(other) + 1)
        return (
            data[:at]
            + other[start : start + random.choice((1, 4, 16, 64, 400))]
            + data[end if random.random() < 0.5 else at :]
        )
    if kind == 5:
        width = random.choice((1, 2, 4, 8))
        number = random.choice(_INTS) % (1 << 8 * width)
        return data[:at] + number.to_bytes(width, random.choice(("big", "little"))) + data[at + width :]
    if kind == 6 and tokens:
        return data[:at] + random.choice(tokens) + data[end if random.random() < 0.5 else at :]
    if kind == 7:
        return data[:at]
    if kind == 8:
        return data[:at] + bytes(end - at) + data[end:]
    if kind == 9 and (numbers := list(_NUMBER.finditer(data))):
        found = random.choice(numbers)
        return data[: found.start()] + str(random.choice(_INTS)).encode() + data[found.end() :]
    return data[:at] + CANARY.encode() + data[at:]


_SHAPES: "dict[str, Callable[[Random, bytes, bytes], bytes]]" = {"json": _of_json, "cbor": _of_cbor}


def mutated(random: Random, data: bytes, other: bytes, shape: str = "bytes", tokens: Sequence[bytes] = ()) -> bytes:
    """Return *data* after one to a few mutations; *other* is another input to take parts from.

    *shape* is what the bytes usually are: "bytes", "lines", "json" or "cbor".  *tokens* are words worth inserting.
    """
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 5, 9))):
        if shape in _SHAPES and random.random() < 0.7:
            try:
                data = _SHAPES[shape](random, data, other)
                continue
            except (ValueError, TypeError, OverflowError, RecursionError, cbor2.CBORError):
                pass
        if shape == "lines" and random.random() < 0.6:
            data = _of_lines(random, data, other, tokens)
        else:
            data = _bytes(random, data, other, tokens)
    return data[:INPUT_BYTES_MAX]
