"""What receipts account for, as a host that makes room sees it: an event that has arrived elsewhere is not lost.

Hot side, loaded when something must go.  Of the files in receipts/ (formats in `sent` and in carobatch's ledger) only
those that name a segment are decoded: most of the time none does, because carobatch removes what it has delivered.
"""

import os

from carojournal.cbor import encode_map
from carojournal.cbordecode import decode
from carojournal.errors import MalformedCBOR
from carojournal.frame import crc32
from carojournal.root import open_file

__all__ = ["Delivered", "json_holds"]

_FILE_BYTES_MAX = 16_777_216
_ACKS = "acks.json"
_LOOKS = 8  # Receipts are folded once in many batches.
_NOT_DIGITS = bytes(byte if byte in b"0123456789" else 32 for byte in range(256))


class Delivered:
    """The receipts of the journal at *root*, as they are now.  Never raises; what cannot be read tells nothing."""

    __slots__ = ("_acks", "_files", "_found")

    def __init__(self, root: str) -> None:
        self._found: dict[int, dict[bytes, list[list[int]]]] = {}
        for _ in range(_LOOKS):
            self._acks = b""
            self._files: list[bytes] = []
            try:
                self._read_all(os.path.join(root, "receipts"))
            except FileNotFoundError:
                continue  # carobatch has folded it into another, which may not have been there yet.
            except OSError:
                pass
            return

    def _read_all(self, folder: str) -> None:
        for name in os.listdir(folder):
            if name == _ACKS:
                self._acks = _read(os.path.join(folder, name))
            elif name.endswith(".cbor"):
                self._files.append(_read(os.path.join(folder, name)))

    def names(self, segment: bytes) -> bool:
        """Tell whether a receipt may account for events of *segment* (its uuid)."""
        return any(segment in data for data in self._files) or segment.hex().encode() in self._acks

    def count(self, segment: bytes, first: int, last: int) -> int:
        """Return how many of the events *first* to *last* of *segment* are accounted for."""
        runs = _acknowledged(self._acks, segment)
        for number, data in enumerate(self._files):
            if segment in data:
                if number not in self._found:
                    self._found[number] = _ranges(data)
                runs += self._found[number].get(segment, [])
        total, end = 0, first - 1
        for start, stop in sorted(runs):
            start, stop = max(start, end + 1), min(stop, last)  # noqa: PLW2901 - cut to what is not counted yet
            if start <= stop:
                total += stop - start + 1
                end = stop
        return total


def _read(path: str) -> bytes:
    try:
        descriptor = open_file(path)
    except FileNotFoundError:
        raise
    except OSError:
        return b""
    try:
        return os.read(descriptor, min(os.fstat(descriptor).st_size, _FILE_BYTES_MAX))
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def json_holds(data: bytes) -> bool:
    """Tell whether the checksum of one of the ledger's files holds: its line `"crc":N`, over the text without it."""
    rows = data[2:-3].split(b",\n")
    rest = b"{\n%b\n}\n" % b",\n".join([row for row in rows if not row.startswith(b'"crc":')])
    whole = data[:2] == b"{\n" and data[-3:] == b"\n}\n"
    return whole and rows.count(b'"crc":%d' % crc32(rest)) == 1


def _acknowledged(acks: bytes, segment: bytes) -> list[list[int]]:
    """Return the runs of *segment* in acks.json, which is canonical JSON: {"<hex>":[[first,last],...],...}.

    Nothing if its checksum does not hold.
    """
    if not json_holds(acks):
        return []
    mark = b'"%b":[[' % segment.hex().encode()
    at = acks.find(mark)
    if at < 0:
        return []
    numbers = [int(word) for word in acks[at + len(mark) : acks.find(b"]]", at)].translate(_NOT_DIGITS).split()]
    return [list(pair) for pair in zip(numbers[::2], numbers[1::2], strict=False)]


def _ranges(data: bytes) -> dict[bytes, list[list[int]]]:
    """Return segment -> runs of what a receipt says was accepted, or refused and kept in quarantine."""
    found: dict[bytes, list[list[int]]] = {}
    try:
        value = decode(data)
        if value.pop("crc", None) != crc32(encode_map(value)):
            return {}
        for key in ("ranges", "refused"):
            for segment, runs in value.get(key, ()):  # type: ignore[attr-defined]
                found.setdefault(bytes(segment), []).extend([int(first), int(last)] for first, last in runs)
    except (MalformedCBOR, AttributeError, TypeError, ValueError):
        return {}
    return found
