"""What left this machine: the folders outbox/, sent/ and receipts/ as an upload writes them, and as `sent` shows them.

    outbox/<batch>.cbor             an intent: durable before its first byte goes out, gone or moved when it is settled
    sent/<UTC ms, 16 digits>-<batch>.cbor   the same file afterwards: the copy of what was sent; the oldest go first
    receipts/upload-<batch>.cbor    the verdict, durable before the intent moves
    receipts/uploads.cbor           what older receipts said, and the segments that were removed

<batch> is the batch id, 64 hex digits.  All are deterministic CBOR maps.

    intent   record "intent", version 1, batch (32 bytes), sink, target (32 bytes: a hash of sink, url and key), url,
             headers [[name, value]], body, sha256 (32 bytes: over URL, headers and body, see below), day (days since
             1970), consent (UTC ms of the yes), created (UTC ms), identities [[segment, runs, sha256]], sessions
             [16 bytes], counts {event: number}
    receipt  record "upload", version 1, batch, sink, url, sha256, day, at (UTC ms), status (HTTP), counts, rejected,
             ranges [[segment, runs]] accepted, refused [[segment, runs]] in quarantine
    uploads  record "uploads", version 1, segments [16 bytes] (delivered whole, and removed; the newest SEGMENTS_MAX),
             ranges [[segment, runs]] of segments still here, batches [[batch, at, sink, url, sha256, status, events,
             refused, counts]] (the newest BATCHES_MAX), earlier (number of events in batches older than those)

Each also has the key `crc`: CRC-32 of the map's encoding without it.

The hash of what was sent: SHA-256 over the URL, one line `name: value` per header of the intent, an empty line, and the
body; each line ends with a newline.  What every request has (Host, User-Agent, Accept-Encoding, Content-Length), and
what differs from try to try, is not in the intent.
"""

import errno
import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

from carojournal import codec
from carojournal.errors import DamagedData, JournalIOError, MalformedCBOR
from carojournal.root import open_file
from carojournal.sent_shape import is_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "BATCHES_MAX",
    "SEGMENTS_MAX",
    "SentBatch",
    "copy_of",
    "encode_map",
    "read_map",
    "receipts",
    "sent_batches",
    "unpacked",
    "uploads",
]

OUTBOX, SENT, RECEIPTS = "outbox", "sent", "receipts"
RECEIPT_PREFIX, UPLOADS = "upload-", "uploads.cbor"
SEGMENTS_MAX = 10_000  # 160 kB: years of segments; only those matter that a segment still here names.
BATCHES_MAX = 1_000  # Three years of one a day, 300 kB at most.
_FILE_BYTES_MAX = 67_108_864
# What stands there is no file: nothing of ours, and nothing that could be read another time.
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO)
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"  # RFC 1952 section 2.3.1, RFC 8878 section 3.1.1
Runs = list[list[int]]


@dataclass(frozen=True, slots=True)
class SentBatch:
    """One batch that left: `batch` is 64 hex digits, `at_ms` UTC ms of the verdict, `sha256` of what was sent.

    `events` were accepted, `refused` were not; `counts` maps an event's name to how many were in it; `copy` is the path
    of the copy in sent/, "" if it has gone.
    """

    batch: str
    at_ms: int
    sink: str
    url: str
    sha256: str
    status: int
    events: int
    refused: int
    counts: dict[str, int]
    copy: str = ""


def encode_map(value: dict[str, object]) -> bytes:
    """Return the file that holds *value*: its deterministic encoding, with the key `crc` added."""
    return codec.dumps({**value, "crc": crc32(codec.dumps(value))})


def read_map(path: str, kind: str) -> dict[str, object] | None:
    """Return the map in the file at *path* if it is a whole one of *kind*, None if it is gone, damaged or another.

    Raises JournalIOError if it cannot be read now: whoever took that for gone would send it again, or write it anew.
    """
    try:
        with open(open_file(path), "rb") as file:
            value = codec.loads(file.read(_FILE_BYTES_MAX))
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        raise JournalIOError("read", path, error.errno, error.strerror or "") from error
    except MalformedCBOR:
        return None
    if type(value) is not dict or value.pop("crc", None) != crc32(codec.dumps(value)):
        return None
    if not is_whole(value, kind):
        return None
    whole = kind != "intent" or hashlib.sha256(request_bytes(value)).digest() == value["sha256"]
    return value if whole else None


def _names(root: str, folder: str) -> list[str]:
    try:
        return sorted(os.listdir(os.path.join(root, folder)))
    except FileNotFoundError:
        return []


def receipts(root: str) -> "Iterator[tuple[str, dict[str, object]]]":
    """Yield (path, receipt) of every receipt that stands by itself."""
    for name in _names(root, RECEIPTS):
        if name.startswith(RECEIPT_PREFIX) and name.endswith(".cbor"):
            path = os.path.join(root, RECEIPTS, name)
            found = read_map(path, "upload")
            if found is not None:
                yield path, found


def uploads(root: str) -> dict[str, object]:
    """Return what older receipts said; empty lists if nothing."""
    found = read_map(os.path.join(root, RECEIPTS, UPLOADS), "uploads")
    return found or {"record": "uploads", "version": 1, "segments": [], "ranges": [], "batches": [], "earlier": 0}


def row_of(receipt: dict[str, object]) -> list[object]:
    """Return the row of `uploads` for a receipt."""
    keys = ("batch", "at", "sink", "url", "sha256", "status")
    accepted, refused = (_count(receipt[key]) for key in ("ranges", "refused"))
    return [*(receipt[key] for key in keys), accepted, refused, receipt["counts"]]


def _count(ranges: object) -> int:
    return sum(last - first + 1 for _, runs in ranges for first, last in runs)  # type: ignore[attr-defined]


def sent_batches(root: str) -> list[SentBatch]:
    """Return the batches that left the journal at *root*, oldest first."""
    copies = {name[17:-5]: os.path.join(root, SENT, name) for name in _names(root, SENT) if name.endswith(".cbor")}
    rows: dict[bytes, list[object]] = {row[0]: row for row in uploads(root)["batches"]}  # type: ignore[attr-defined]
    rows |= {receipt["batch"]: row_of(receipt) for _, receipt in receipts(root)}  # type: ignore[misc]
    found = []
    for batch, row in rows.items():
        _, at, sink, url, sha256, status, events, refused, counts = row
        name = batch.hex()
        found.append(
            SentBatch(name, at, sink, url, sha256.hex(), status, events, refused, counts, copies.get(name, ""))  # type: ignore[arg-type,attr-defined]
        )
    return sorted(found, key=lambda one: (one.at_ms, one.batch))


def copy_of(batch: SentBatch) -> tuple[bytes, str] | None:
    """Return (the text and bytes that were sent, their SHA-256 as it is now), None if the copy has gone.

    Raises DamagedData for a copy that is not what was written.
    """
    intent = read_map(batch.copy, "intent") if batch.copy else None
    if intent is None:
        if batch.copy and os.path.lexists(batch.copy):
            raise DamagedData(batch.copy, 0, "not what was sent: the copy is damaged")
        return None
    data = request_bytes(intent)
    return data, hashlib.sha256(data).hexdigest()


def unpacked(body: bytes) -> bytes:
    """Return a body as it was before it was compressed, which its first bytes tell.  Raises DamagedData, OSError."""
    if body[:2] == _GZIP:
        import gzip

        return gzip.decompress(body)
    if body[:4] == _ZSTD:
        from carojournal import zstd

        return zstd.decompress(body, _FILE_BYTES_MAX, "body")
    return body


def request_bytes(intent: dict[str, object]) -> bytes:
    """Return URL, the intent's own headers, an empty line and the body: what its hash is over."""
    lines = [str(intent["url"]), *(f"{name}: {value}" for name, value in intent["headers"]), "", ""]  # type: ignore[attr-defined]
    body: bytes = intent["body"]  # type: ignore[assignment]
    return "\n".join(lines).encode() + body
