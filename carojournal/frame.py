"""Segment framing: the only module that knows how a record sits in a segment (FORMAT.md, section 2).  Hot path.

A segment is a labelled CBOR sequence (RFC 8742, RFC 9277), big-endian:

    offset  size  field
    0       12    D9D9F8 DA434A4C31 43424F52   tag 55800 (tag 0x434A4C31 ('BOR'))
    12      ..    record 0, the header; then records 1, 2, 3 ... without padding

    record: 25 bytes around the payload
    +0        1   84            array(4)
    +1        5   1A crc32      over the segment's uuid and the record's bytes from +6 on (record 0: 16 zero bytes)
    +6        9   1B seq        uint64, contiguous within the segment
    +15       5   5A length     uint32, 1 to 65,536
    +20       n   payload       one deterministic CBOR map
    +20+n     5   1A total      uint32, 25 + n: walk backwards, check a tail in constant time

The uuid in the checksum means that a record of another segment, or bytes inside a payload, never pass for a record
here. Pure functions over bytes: opening, locking and syncing belong to `lanes`.

The CBOR of the plain values that payloads are made of (RFC 8949 section 4.2.1) stands here as well: an append needs
both, and a module of its own costs a first append 0.1 ms.  `cbor` has the rest of the encoder.  So does the framing of
our small text files (identity, lock): lines that end in the CRC-32 of what stands before it, eight hexadecimal digits.
"""

import sys

import carojournal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "FIRST_RECORD_OFFSET",
    "LABEL",
    "NO_SEGMENT",
    "PAYLOAD_BYTES_MAX",
    "RECORD_MARK",
    "RECORD_OVERHEAD_BYTES",
    "crc32",
    "decode_record",
    "encode_head",
    "encode_int",
    "encode_next",
    "encode_record",
    "encode_score",
    "encode_text",
    "find_record",
    "good_words",
    "last_record_offset",
]

LABEL = b"\xd9\xd9\xf8\xda\x43\x4a\x4c\x31\x43\x42\x4f\x52"
FIRST_RECORD_OFFSET = 12
RECORD_OVERHEAD_BYTES = 25
PAYLOAD_BYTES_MAX = 65_536  # Bounds what a reader allocates on the word of a damaged length.
RECORD_MARK = b"\x84\x1a"  # The first two bytes of every record.
NO_SEGMENT = bytes(16)  # Stands for the uuid in the checksum of record 0, which announces the uuid.

_HEAD_BYTES = 20
_TAIL_BYTES = 5

_MAJOR_TEXT = 0x60

_LENGTHS_MAX = 512  # Payloads that are longer do not occur twice.
_lengths: "dict[int, tuple[bytes, bytes]]" = {}  # `length` and `total` of records that occurred, by payload size.

_BY_TABLE_BYTES_MAX = 3_072  # A process's first append takes about 700; one that also makes the journal, 2,400.
_POWERS = (0x77073096, 0xEE0E612C, 0x076DC419, 0x0EDB8832, 0x1DB71064, 0x3B6E20C8, 0x76DC4190, 0xEDB88320)

_tables: "list[list[int]]" = []
_by_table_bytes = 0


def _crc32(data: "bytes | memoryview", value: int = 0) -> int:
    """Return what `zlib.crc32` returns, without it for the first few bytes.

    Where zlib is a shared library, loading it costs half a millisecond or more, in a process that may append once.
    CRC-32 as in zlib and IEEE 802.3: polynomial 0xEDB88320, reflected; _POWERS are its table at 1, 2, 4 ... 128.  Each
    of the remainder's four bytes has a table of its own: Python has the numbers below 256 ready, and those beyond 30
    bits take nearly twice as long.
    """
    global crc32, _by_table_bytes  # noqa: PLW0603 - replaced for good, so that warm appends do not come through here
    _by_table_bytes += len(data)
    if _by_table_bytes > _BY_TABLE_BYTES_MAX:
        with carojournal._loading:  # noqa: SLF001 - a child of `fork` would wait for ever for a module loaded by half
            import zlib

        crc32 = zlib.crc32
        return crc32(data, value)
    if not _tables:
        made = []
        for shift in (0, 8, 16, 24):
            table = [0]
            for power in _POWERS:
                part = power >> shift & 0xFF
                table += [entry ^ part for entry in table]
            made.append(table)
        _tables[:] = made  # At once: another thread, or whoever is interrupted here, finds none of it or all.
    low, second, third, high = _tables
    value ^= 0xFFFFFFFF
    a, b, c, d = value & 0xFF, value >> 8 & 0xFF, value >> 16 & 0xFF, value >> 24
    for byte in data:
        at = a ^ byte
        a = b ^ low[at]
        b = c ^ second[at]
        c = d ^ third[at]
        d = high[at]
    return (a | b << 8 | c << 16 | d << 24) ^ 0xFFFFFFFF


crc32: "Callable[..., int]"
if "zlib" in sys.modules or "zlib" in sys.builtin_module_names:
    from zlib import crc32
else:
    crc32 = _crc32


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
    """Return the encoding of an unsigned integer below 2**64.  Raises ValueError for any other."""
    return encode_head(0, value)


def encode_text(value: str) -> bytes:
    """Return the encoding of a text string (UTF-8)."""
    raw = value.encode()
    return encode_head(_MAJOR_TEXT, len(raw)) + raw


def encode_score(hundredths: int) -> bytes:
    """Return the shortest float encoding of *hundredths* / 100, 0 to 100 (RFC 8949 section 4.2.1).

    Quarters fit a half; no other hundredth is exact in fewer than the 64 bits of a double, whose hexadecimal notation
    says them without `struct`, which costs a first append 0.2 ms.
    """
    if hundredths % 25 == 0:
        return b"\xf9" + (0x0000, 0x3400, 0x3800, 0x3A00, 0x3C00)[hundredths // 25].to_bytes(2, "big")
    fraction, _, exponent = (hundredths / 100).hex()[4:].partition("p")  # 0x1.<13 digits>p<exponent>
    return b"\xfb" + ((int(exponent) + 1023) << 52 | int(fraction, 16)).to_bytes(8, "big")


def encode_record(segment: bytes, seq: int, payload: bytes) -> bytes:
    """Return one record, ready for a single `write`.

    *segment* is the uuid (16 bytes; NO_SEGMENT for record 0), *seq* counts from 0.
    Raises RecordTooLarge if *payload* exceeds PAYLOAD_BYTES_MAX.
    """
    return encode_next(crc32(segment), seq, payload)


def encode_next(seed: int, seq: int, payload: bytes) -> bytes:
    """Do what `encode_record` does, for a writer that has the CRC-32 of its segment's uuid at hand, *seed*."""
    size = len(payload)
    if size > PAYLOAD_BYTES_MAX:
        raise carojournal.errors.RecordTooLarge(size, PAYLOAD_BYTES_MAX)
    try:
        length, total = _lengths[size]
    except KeyError:
        length = b"\x5a" + size.to_bytes(4, "big")
        total = b"\x1a" + (size + RECORD_OVERHEAD_BYTES).to_bytes(4, "big")
        if size < _LENGTHS_MAX:
            _lengths[size] = length, total
    body = b"\x1b%b%b%b%b" % (seq.to_bytes(8, "big"), length, payload, total)
    return RECORD_MARK + crc32(body, seed).to_bytes(4, "big") + body


def decode_record(segment: bytes, data: "bytes | memoryview", offset: int) -> "tuple[int, int, int] | None":
    """Return (seq, payload start, payload end) of the record at *offset*; offsets are bytes into *data*.

    Returns None where *data* ends inside the record: a crash during an append leaves exactly that, and only the caller
    knows whether the segment is sealed, which would make it corruption.  Raises CorruptRecord with the offset and one
    of the reasons "mark", "layout", "length", "total", "checksum" otherwise.
    """
    left = len(data) - offset
    if left < _HEAD_BYTES:
        if bytes(data[offset : offset + 2]) != RECORD_MARK[: max(0, min(left, 2))]:
            raise carojournal.errors.CorruptRecord(offset, "mark")
        # Of what is there every fixed byte must hold: junk behind two bytes of ours is no beginning.
        if (left > 6 and data[offset + 6] != 0x1B) or (left > 15 and data[offset + 15] != 0x5A):
            raise carojournal.errors.CorruptRecord(offset, "layout")
        if int.from_bytes(bytes(data[offset + 16 : offset + 20]).ljust(4, b"\0"), "big") > PAYLOAD_BYTES_MAX:
            raise carojournal.errors.CorruptRecord(offset, "length")
        return None
    if data[offset] != 0x84 or data[offset + 1] != 0x1A:
        raise carojournal.errors.CorruptRecord(offset, "mark")
    if data[offset + 6] != 0x1B or data[offset + 15] != 0x5A:
        raise carojournal.errors.CorruptRecord(offset, "layout")
    size = int.from_bytes(data[offset + 16 : offset + 20], "big")
    if not 0 < size <= PAYLOAD_BYTES_MAX:
        raise carojournal.errors.CorruptRecord(offset, "length")
    start = offset + _HEAD_BYTES
    end = start + size
    if len(data) < end + _TAIL_BYTES:
        return None
    if data[end] != 0x1A or int.from_bytes(data[end + 1 : end + 5], "big") != size + RECORD_OVERHEAD_BYTES:
        raise carojournal.errors.CorruptRecord(offset, "total")
    stored = int.from_bytes(data[offset + 2 : offset + 6], "big")
    if crc32(data[offset + 6 : end + _TAIL_BYTES], crc32(segment)) != stored:
        raise carojournal.errors.CorruptRecord(offset, "checksum")
    return int.from_bytes(data[offset + 7 : offset + 15], "big"), start, end


def last_record_offset(data: "bytes | memoryview") -> "int | None":
    """Return where the record that ends *data* would start, by its trailing length, or None if that cannot be."""
    size = len(data)
    if size < RECORD_OVERHEAD_BYTES or data[size - _TAIL_BYTES] != 0x1A:
        return None
    total = int.from_bytes(data[size - 4 : size], "big")
    if RECORD_OVERHEAD_BYTES < total <= min(size, PAYLOAD_BYTES_MAX + RECORD_OVERHEAD_BYTES):
        return size - total
    return None


def find_record(segment: bytes, data: bytes, offset: int) -> "int | None":
    """Return the offset of the first whole, valid record at or after *offset*, or None.

    This is how readers step over damage: every candidate is checked in full, so nothing inside a payload can pass.
    """
    while (offset := data.find(RECORD_MARK, offset)) >= 0:
        try:
            if decode_record(segment, data, offset) is not None:
                return offset
        except carojournal.errors.CorruptRecord:
            pass
        offset += 1
    return None


def good_words(data: bytes, prefix: bytes, start: int = 0) -> "list[bytes]":
    """Return what follows *prefix* in every line after *start* that begins with it and whose CRC-32 holds."""
    found = []
    while (at := data.find(b"\n" + prefix, start)) >= 0:
        end = data.find(b"\n", at + 1)
        if end < 0:
            break
        text, _, crc = data[at + 1 : end].rpartition(b" ")
        if crc == b"%08x" % crc32(text):
            found.append(text[len(prefix) :])
        start = end
    return found
