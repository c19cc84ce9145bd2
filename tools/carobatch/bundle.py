"""The bundle: what leaves an air-gapped machine.  A BagIt 1.0 bag (RFC 8493) in a USTAR tar in multi-frame zstd.

    <name>.tar.zst                    <name>: carojournal-<journal, 8 hex>-<chain, 4 hex>-<number, 6 digits>
      <name>/bagit.txt  bag-info.txt  README.txt
      <name>/carojournal.json         the manifest: see `manifest`
      <name>/carojournal.json.sig     optional: SSHSIG over the manifest, namespace "carojournal"
      <name>/manifest-sha256.txt      tagmanifest-sha256.txt
      <name>/data/<created>-<uuid>.cborseq     contents of packed files

Tar headers, tag files and padding stand in small zstd frames of their own; between them the packed files' frames are
spliced in as they are, neither decompressed nor compressed again.  Equal input gives equal bytes: members in a fixed
order, every mtime that of the newest event, no owner.  The tag files come first: an importer knows what to expect.
"""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carobatch import ustar
from carobatch.readme import readme_text
from carojournal import zstd
from carojournal.identity import day_of
from carojournal.rotation import WRITER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["MANIFEST", "SIGNATURE", "SUFFIX", "Payload", "bundle_chunks", "bundle_name", "tag_files"]

MANIFEST = "carojournal.json"
SIGNATURE = "carojournal.json.sig"
SUFFIX = ".tar.zst"
_HEADER_LEVEL = 9
BAGIT = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"


@dataclass(frozen=True, slots=True)
class Payload:
    """A file below data/: its name there, size and SHA-256 unpacked, and its zstd frame: bytes, and how to get it."""

    name: str
    size: int
    sha256: bytes
    frame_bytes: int
    frame: "Callable[[], bytes]"


def bundle_name(journal: str, chain: str, number: int) -> str:
    """Return the bag's name: the first hex digits of the pseudonyms of journal and chain, and the bundle's number."""
    return f"carojournal-{journal[:8]}-{chain[:4]}-{number:06d}"


def tag_files(
    name: str, manifest: bytes, payloads: "Sequence[Payload]", newest_ms: int, signature: bytes | None
) -> dict[str, bytes]:
    """Return path below the bag -> bytes of every file but the payload, in the order in which they are written."""
    oxum = f"{sum(payload.size for payload in payloads)}.{len(payloads)}"
    info = {
        "Bag-Software-Agent": WRITER,
        "Bagging-Date": day_of(newest_ms),
        "External-Identifier": name,
        "Internal-Sender-Description": "Events of caro's telemetry journal; see README.txt",
        "Payload-Oxum": oxum,
    }
    files = {
        "bagit.txt": BAGIT,
        "bag-info.txt": "".join(f"{key}: {value}\n" for key, value in info.items()).encode(),
        "README.txt": readme_text(name, signed=signature is not None).encode(),
        MANIFEST: manifest,
    }
    if signature is not None:
        files[SIGNATURE] = signature
    files["manifest-sha256.txt"] = b"".join(
        f"{payload.sha256.hex()}  data/{payload.name}\n".encode() for payload in payloads
    )
    files["tagmanifest-sha256.txt"] = b"".join(
        f"{hashlib.sha256(data).hexdigest()}  {path}\n".encode() for path, data in sorted(files.items())
    )
    return files


def bundle_chunks(
    name: str, tags: dict[str, bytes], payloads: "Sequence[Payload]", newest_ms: int
) -> "Iterator[bytes]":
    """Yield the bytes of the bundle.  Raises what a payload's `frame` raises."""
    mtime = newest_ms // 1000
    compress = zstd.compressor(_HEADER_LEVEL)
    loose = b""
    for path, data in tags.items():
        loose += ustar.encode_header(f"{name}/{path}", len(data), mtime) + data + ustar.padding(len(data))
    for payload in payloads:
        loose += ustar.encode_header(f"{name}/data/{payload.name}", payload.size, mtime)
        yield compress(loose)
        yield payload.frame()
        loose = ustar.padding(payload.size)
    yield compress(loose + ustar.END)
