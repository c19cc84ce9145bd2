"""Deterministic CBOR encoder for the closed schema (RFC 8949 section 4.2.1).

Only what a record may hold: unsigned integers below 2**64, text, bytes, booleans, null, arrays, maps with text keys and
the 101 confidence scores.  Off the hot path everything uses cbor2, which tests hold this module against byte for byte.
It exists because importing cbor2 costs 13-25 ms, more than the whole start-up budget.

What an ordinary event needs of it stands in `frame`, so that a first append loads one module less; the rest is here,
for whoever starts a segment or records a list.
"""

from carojournal.frame import encode_head, encode_int, encode_score, encode_text

__all__ = ["encode", "encode_bytes", "encode_head", "encode_int", "encode_map", "encode_score", "encode_text"]

_MAJOR_BYTES = 0x40
_MAJOR_ARRAY = 0x80
_MAJOR_MAP = 0xA0
_SCORES = tuple([hundredths / 100 for hundredths in range(101)])  # The only floats of the schema.


def encode_bytes(value: bytes) -> bytes:
    """Return the encoding of a byte string."""
    return encode_head(_MAJOR_BYTES, len(value)) + value


def encode_map(pairs: dict[str, object]) -> bytes:
    """Return a map with its keys in bytewise order of their encodings.  Raises TypeError for a key that is no text."""
    if any(type(key) is not str for key in pairs):
        raise TypeError("not a key of the record schema")
    body = sorted((encode_text(key), encode(value)) for key, value in pairs.items())
    return encode_head(_MAJOR_MAP, len(body)) + b"".join(key + value for key, value in body)


def encode(value: object) -> bytes:  # noqa: PLR0911 - one line a type
    """Return the deterministic encoding of *value*.  Raises TypeError for anything a record may not hold."""
    kind = type(value)
    if kind is int:
        return encode_int(value)  # type: ignore[arg-type]
    if kind is str:
        return encode_text(value)  # type: ignore[arg-type]
    if kind is bytes:
        return encode_bytes(value)  # type: ignore[arg-type]
    if value is True:
        return b"\xf5"
    if value is False:
        return b"\xf4"
    if value is None:
        return b"\xf6"
    if kind is float and value in _SCORES:
        return encode_score(_SCORES.index(value))
    if kind is dict:
        return encode_map(value)  # type: ignore[arg-type]
    if kind is list or kind is tuple:
        items: list[object] = list(value)  # type: ignore[call-overload]
        return encode_head(_MAJOR_ARRAY, len(items)) + b"".join(map(encode, items))
    raise TypeError("not a value of the record schema")
