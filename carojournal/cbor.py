"""Deterministic CBOR encoder for the closed schema (RFC 8949 section 4.2.1).  Hot path: no imports.

Only what a record may hold: unsigned integers below 2**64, text, bytes, booleans, null, arrays, maps with text keys and
the 101 confidence scores.  Off the hot path everything uses cbor2, which tests hold this module against byte for byte.
It exists because importing cbor2 costs 13-25 ms, more than the whole start-up budget.
"""

__all__ = ["encode", "encode_bytes", "encode_head", "encode_int", "encode_map", "encode_score", "encode_text"]

_MAJOR_UINT = 0x00
_MAJOR_BYTES = 0x40
_MAJOR_TEXT = 0x60
_MAJOR_ARRAY = 0x80
_MAJOR_MAP = 0xA0

_SCORES: dict[float, bytes] = {}


def encode_head(major: int, argument: int) -> bytes:
    """Return the shortest head for *major* (top three bits set, 0x00-0xE0) and *argument* (0 to 2**64 - 1).

    Raises ValueError outside that range.
    """
    if argument < 0:
        raise ValueError("negative argument")
    if argument < 24:
        return bytes((major | argument,))
    if argument < 0x100:
        return bytes((major | 24, argument))
    if argument < 0x10000:
        return bytes((major | 25,)) + argument.to_bytes(2, "big")
    if argument < 0x100000000:
        return bytes((major | 26,)) + argument.to_bytes(4, "big")
    if argument < 0x10000000000000000:
        return bytes((major | 27,)) + argument.to_bytes(8, "big")
    raise ValueError("argument exceeds 64 bits")


def encode_int(value: int) -> bytes:
    """Return the encoding of an unsigned integer below 2**64."""
    return encode_head(_MAJOR_UINT, value)


def encode_bytes(value: bytes) -> bytes:
    """Return the encoding of a byte string."""
    return encode_head(_MAJOR_BYTES, len(value)) + value


def encode_text(value: str) -> bytes:
    """Return the encoding of a text string (UTF-8)."""
    raw = value.encode()
    return encode_head(_MAJOR_TEXT, len(raw)) + raw


def encode_score(value: float) -> bytes:
    """Return the shortest float encoding that keeps *value* exactly (RFC 8949 section 4.2.1)."""
    done = _SCORES.get(value)
    if done is None:
        from struct import error, pack, unpack

        for head, form in ((b"\xf9", ">e"), (b"\xfa", ">f")):
            try:
                raw = pack(form, value)
            except (OverflowError, error):
                continue
            if unpack(form, raw)[0] == value:
                done = head + raw
                break
        else:
            done = b"\xfb" + pack(">d", value)
        _SCORES[value] = done
    return done


def encode_map(pairs: dict[str, object]) -> bytes:
    """Return a map with its keys in bytewise order of their encodings."""
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
    if kind is float:
        return encode_score(value)  # type: ignore[arg-type]
    if kind is dict:
        return encode_map(value)  # type: ignore[arg-type]
    if kind is list or kind is tuple:
        items: list[object] = list(value)  # type: ignore[call-overload]
        return encode_head(_MAJOR_ARRAY, len(items)) + b"".join(map(encode, items))
    raise TypeError("not a value of the record schema")
