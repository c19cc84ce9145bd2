"""Strict CBOR for everything off the hot path, and the only module that imports cbor2.

cbor2 by itself accepts duplicate keys, indefinite lengths, trailing bytes, cyclic tags and a regex tag.  Our formats
allow none of that: `loads` takes exactly one deterministically encoded item without tags (RFC 8949 section 4.2.1), at
most DEPTH_MAX levels deep.
"""

import io
import math
from typing import TYPE_CHECKING, NoReturn

import cbor2

from carojournal.errors import MalformedCBOR

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DEPTH_MAX", "dumps", "iter_items", "loads", "loads_fast"]

DEPTH_MAX = 8  # Our deepest record, a loss with carried sums, has 4 levels.


def _refuse_tag(*_: object) -> NoReturn:
    raise cbor2.CBORDecodeError("tags are not allowed")


# cbor2 decodes these by itself, without asking `tag_hook`: dates, bignums, references, regexes, addresses, sets ...
_TAGS = (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)
_REFUSE = dict.fromkeys(_TAGS, _refuse_tag)


def _decoder(stream: io.BytesIO) -> cbor2.CBORDecoder:
    return cbor2.CBORDecoder(
        stream,
        tag_hook=_refuse_tag,
        semantic_decoders=_REFUSE,
        max_depth=DEPTH_MAX,
        allow_indefinite=False,
        allow_duplicate_keys=False,
    )


def dumps(value: object) -> bytes:
    """Return the deterministic encoding of *value*."""
    return cbor2.dumps(value, canonical=True)


def _check_values(value: object) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_values(key)
            _check_values(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_values(inner)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise MalformedCBOR("a number that is none")
    elif value is not None and not isinstance(value, int | str | bytes):
        raise MalformedCBOR("a value that our formats do not hold")


def loads(data: bytes) -> object:
    """Return the one item that *data* holds.

    Raises MalformedCBOR for anything else: trailing bytes, tags, other than the shortest encodings, unsorted or
    duplicate keys, more than DEPTH_MAX levels, NaN, infinities, undefined and unassigned simple values.
    """
    stream = io.BytesIO(data)
    try:
        value = _decoder(stream).decode()
        if stream.tell() != len(data):
            raise MalformedCBOR("bytes follow the item")
        if cbor2.dumps(value, canonical=True) != data:
            raise MalformedCBOR("not deterministically encoded")
        _check_values(value)
    except MalformedCBOR:
        raise
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, MemoryError, RecursionError):
        raise MalformedCBOR("not a CBOR item of ours") from None  # The cause may quote what was refused.
    return value


def loads_fast(data: bytes) -> object:
    """Return the item that *data* begins with, at a quarter of the cost of `loads`.

    For bytes whose checksum has been verified, where only their sense is wanted: as strict about tags, lengths, keys
    and depth, but neither the shortest encodings nor the end of the item are checked.  Raises MalformedCBOR.
    """
    try:
        return cbor2.loads(
            data,
            tag_hook=_refuse_tag,
            semantic_decoders=_REFUSE,
            max_depth=DEPTH_MAX,
            allow_indefinite=False,
            allow_duplicate_keys=False,
        )
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, MemoryError, RecursionError):
        raise MalformedCBOR("not a CBOR item of ours") from None


def iter_items(data: bytes) -> "Iterator[tuple[int, int, object]]":
    """Yield (start, end, item) of a CBOR sequence (RFC 8742); offsets in bytes.

    Raises MalformedCBOR at the first item that is cut off or not allowed.  Encodings need not be the shortest here.
    """
    stream = io.BytesIO(data)
    while (start := stream.tell()) < len(data):
        try:
            value = _decoder(stream).decode()
        except (cbor2.CBORError, ValueError, TypeError, OverflowError, MemoryError, RecursionError):
            raise MalformedCBOR(f"no CBOR item of ours at byte {start}") from None
        yield start, stream.tell(), value
