"""Decoder for control records, for processes that may not import cbor2 (a host that evicts).  The reverse of `cbor`.

Strict about heads and lengths, not about the order of keys: what it reads has passed a checksum.  Everything else reads
with `codec`; tests hold the two against each other.
"""

from carojournal.errors import MalformedCBOR

__all__ = ["decode", "length_of"]

_DEPTH_MAX = 8
_SIMPLE = {0xF4: False, 0xF5: True, 0xF6: None}


def _item(data: bytes, at: int, depth: int) -> tuple[object, int]:  # noqa: PLR0912 - one branch a major type
    if at >= len(data) or depth > _DEPTH_MAX:
        raise MalformedCBOR("cut off or nested too deeply")
    head = data[at]
    if head in _SIMPLE:
        return _SIMPLE[head], at + 1
    major, info = head >> 5, head & 31
    at += 1
    if info < 24:
        argument = info
    elif info <= 27:
        size = 1 << (info - 24)
        if at + size > len(data):
            raise MalformedCBOR("cut off in a head")
        argument = int.from_bytes(data[at : at + size], "big")
        at += size
    else:
        raise MalformedCBOR("indefinite length or reserved head")
    if major == 0:
        return argument, at
    if major in (2, 3):
        end = at + argument
        if end > len(data):
            raise MalformedCBOR("cut off in a string")
        raw = bytes(data[at:end])
        return (raw if major == 2 else raw.decode()), end
    if major == 4:
        items = []
        for _ in range(argument):
            item, at = _item(data, at, depth + 1)
            items.append(item)
        return items, at
    if major == 5:
        pairs: dict[object, object] = {}
        for _ in range(argument):
            key, at = _item(data, at, depth + 1)
            if type(key) is not str or key in pairs:
                raise MalformedCBOR("a key that is no text, or twice the same")
            pairs[key], at = _item(data, at, depth + 1)
        return pairs, at
    raise MalformedCBOR("a type that control records do not hold")


def length_of(data: bytes) -> int:
    """Return how many bytes the item has that *data* begins with.  Raises MalformedCBOR."""
    try:
        return _item(data, 0, 0)[1]
    except UnicodeDecodeError:
        raise MalformedCBOR("text that is not UTF-8") from None


def decode(data: bytes) -> dict[str, object]:
    """Return the map that *data* holds, all of it.  Raises MalformedCBOR."""
    try:
        value, end = _item(data, 0, 0)
    except UnicodeDecodeError:
        raise MalformedCBOR("text that is not UTF-8") from None
    if end != len(data) or type(value) is not dict:
        raise MalformedCBOR("not exactly one map")
    return value
