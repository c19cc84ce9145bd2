"""Where an audit finds bytes: files, directories, and what is packed inside them, as a flat stream of members.

    zstd, gzip     decompressed within a budget; a skippable zstd frame's content is a member of its own
    tar            each regular member, without ever writing one to disk, and what its header says besides
    a map of ours  the body of a request, refused events, damaged bytes that it carries (`audit_maps`); then the rest
    a directory    its files, links not followed
    anything else  the file

Containers are known by their first bytes, at any name and in one another.  A name is repeated only if it is one of
ours; a file or member that somebody named after a person is `<file 3>`, and its name is audited like its content.
"""

import gzip
import io
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import zip_longest

from carojournal import audit_maps, codec, zstd
from carojournal.errors import DamagedData, MalformedCBOR
from carojournal.held import inventory_holds, inventory_in, is_packed
from carojournal.named import named
from carojournal.packed import INVENTORY_BYTES_MAX
from carojournal.packed_header import inventory_misfit
from carojournal.parity import mend, parity_of

__all__ = ["BYTES_MAX", "Member", "is_own_name", "members"]

BYTES_MAX = 1 << 28  # 256 MiB of one file, all that is packed in it included: 25 spools at the default cap.
MEMBERS_MAX = 100_000  # Of one archive; a bundle has a few hundred.
_AGE = b"age-encryption.org/v1\n"
NESTING_MAX = 4  # A packed segment in a compressed bundle is three deep.

# Derived from the segments and rebuilt from them; its tables hold numbers and hashes only.
_DERIVED = re.compile(r"index\.sqlite3(?:-wal|-shm|-journal)?")
_IDENTITY = r"(?:\d{10,20}-)?[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}"
_BUNDLE = r"carojournal-[0-9a-f]{8}-[0-9a-f]{4}-\d{6,10}"
_NAME = (
    rf"{_IDENTITY}(?:\.seg~?|\.cborseq(?:\.zst)?|\.cbor|\.json|\.receipt(?:\.json)?)?|\d{{1,3}}\.(?:seg~?|lock)|"
    r"(?:\d{16}-|upload-|refused-|withheld-)?[0-9a-f]{64}(?:\.\w{1,12})?|uploads\.cbor|state\.json|"
    rf"{_BUNDLE}(?:\.tar\.zst(?:\.age)?(?:\.\d{{3,6}}|\.sha256)?)?|"
    r"bundle-\d{6,10}\.json|acks\.json|receipt-[0-9a-f]{8}-\d{6,10}-[0-9a-f]{8}\.json(?:\.sig)?|"
    r"bagit\.txt|bag-info\.txt|(?:tag)?manifest-sha256\.txt|carojournal\.json(?:\.sig)?|README(?:\.txt|\.md)?|"
    r"journal|policy|drops|discards|batch\.lock|deletion-requests|migrated"
)
_OWN_NAME = re.compile(
    rf"{_NAME}|lanes|segments|packed|outbox|receipts|received|sent|quarantine|data|"
    # What is being written, or was when its writer was killed.
    rf"\.(?:{_NAME})\.[0-9a-f]{{16}}\.tmp|journal\.[0-9a-f]{{16}}\.tmp|policy\.tmp|spared\.tmp|{_IDENTITY}\.seg\.tmp"
)


@dataclass(frozen=True, slots=True)
class Member:
    """Bytes to audit: `file` as the caller gave it, `member` within it ("": the file itself), or a `problem`."""

    file: str
    member: str
    data: bytes = b""
    problem: str = ""


def is_own_name(path: str) -> bool:
    """Tell whether every part of the relative *path* is a name that carojournal or BagIt (RFC 8493) gives to a file."""
    return all(_OWN_NAME.fullmatch(part) for part in path.split("/"))


def members(path: str, limit: int = BYTES_MAX) -> Iterator[Member]:
    """Yield what there is to audit at *path*; *limit* bounds the bytes of each.  Raises OSError for *path* itself."""
    if not os.path.isdir(path):
        yield from _file(path, path, "", limit)
        return
    number = 0
    for folder, folders, names in os.walk(path, onerror=_raise):
        folders.sort()
        for name in sorted(names):
            full = os.path.join(folder, name)
            if os.path.islink(full) or not os.path.isfile(full) or _DERIVED.fullmatch(name):
                continue
            number += 1
            inside = os.path.relpath(full, path).replace(os.sep, "/")
            shown = inside if is_own_name(inside) else f"<file {number}>"
            try:
                yield from _file(full, path, shown, limit)
            except OSError:
                yield Member(path, shown, problem="cannot be read")


def _raise(error: OSError) -> None:
    raise error


def _file(path: str, shown: str, member: str, limit: int) -> Iterator[Member]:
    with open(path, "rb") as stream, named(path):
        data = stream.read(limit + 1)
    if len(data) > limit:
        yield Member(shown, member, problem="more bytes than allowed")
        return
    yield from _unpacked(data, shown, member, _Budget(limit), 0)


class _Budget:
    """Bytes that one file may still unfold into."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    def spend(self, data: bytes) -> bytes:
        self.left -= len(data)
        if self.left < 0:
            raise DamagedData("", 0, "more bytes than allowed")
        return data


def _unpacked(data: bytes, shown: str, member: str, budget: _Budget, depth: int) -> Iterator[Member]:
    opened = _opener(data)
    if opened is None:
        yield Member(shown, member, data)
        return
    try:
        if depth == NESTING_MAX:
            raise DamagedData("", 0, "packed in itself too often")
        for inside, content in opened(data, budget):
            if content is None:
                yield Member(shown, f"{member}{inside}", problem="not a regular file")
            else:
                yield from _unpacked(content, shown, f"{member}{inside}", budget, depth + 1)
    except DamagedData as error:
        yield Member(shown, member, problem=error.reason)


def _opener(data: bytes) -> Callable[[bytes, _Budget], Iterator[tuple[str, bytes | None]]] | None:
    magic = int.from_bytes(data[:4], "little")
    if magic == 0xFD2FB528 or 0x184D2A50 <= magic <= 0x184D2A5F or is_packed(data):  # RFC 8878 section 3.1
        return _zstd
    if data[:3] == b"\x1f\x8b\x08":  # RFC 1952
        return _gzip
    if data.startswith(_AGE):
        return _encrypted
    if data[257:262] == b"ustar":
        return _tar
    return _map if audit_maps.map_in(data) else None


def _zstd(data: bytes, budget: _Budget) -> Iterator[tuple[str, bytes | None]]:
    data = _mended(data)
    frames = list(zstd.walk_frames(lambda at, size: data[at : at + size], len(data), ""))
    for number, (frame, after) in enumerate(zip_longest(frames, frames[1:])):
        if frame.is_skippable:
            inside = budget.spend(data[frame.start + 8 : frame.end])
            yield f"#{number}", _without_parity(inside, data[after.start : after.end]) if after else inside
    reader = zstd.BoundedReader(io.BytesIO(data), budget.left, "")
    yield "", budget.spend(reader.read(budget.left + 1))


def _mended(data: bytes) -> bytes:
    """Return a packed file as it was written, as far as it says what that was; any other file as it is."""
    stored = inventory_in(data[8 : 8 + INVENTORY_BYTES_MAX])
    start = 8 + len(stored)
    try:
        inventory = codec.loads(stored) if stored else None
    except MalformedCBOR:
        return data
    if not isinstance(inventory, dict) or inventory_misfit(inventory):
        return data
    frame = mend(data[start:], inventory["frame"]["bytes"], inventory["parity"])
    holds = frame is not None and sha256(frame).digest() == inventory["frame"]["sha256"]
    return zstd.skippable(stored) + (frame if frame is not None and holds else data[start:])


def _without_parity(inventory: bytes, frame: bytes) -> bytes:
    """Return a packed file's *inventory* without the parity of its *frame*, which is judged by itself; others whole."""
    if len(inventory) > INVENTORY_BYTES_MAX or not inventory_holds(inventory):
        return inventory
    try:
        value = codec.loads(inventory)
    except MalformedCBOR:
        return inventory
    if not isinstance(value, dict) or value.get("parity") != parity_of(frame):
        return inventory
    return codec.dumps({key: part for key, part in value.items() if key != "parity"})


def _encrypted(data: bytes, budget: _Budget) -> Iterator[tuple[str, bytes | None]]:  # noqa: ARG001
    raise DamagedData("", 0, "encrypted")


def _gzip(data: bytes, budget: _Budget) -> Iterator[tuple[str, bytes]]:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            content = stream.read(budget.left + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DamagedData("", 0, "not readable as gzip") from error
    yield "", budget.spend(content)


def _tar(data: bytes, budget: _Budget) -> Iterator[tuple[str, bytes | None]]:
    """Yield members; a link or device is None, for no bundle has one.  What follows the archive is a member, too."""
    number = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for number, entry in enumerate(archive, 1):
                if number > MEMBERS_MAX:
                    raise DamagedData("", 0, "more members than allowed")
                _, _, inside = entry.name.partition("/")  # a bag's first part is the bundle's own name
                name = f":{inside}" if is_own_name(inside) else f":<member {number}>"
                said = [entry.uname, entry.gname, entry.linkname, *entry.pax_headers.values()]
                said += [] if is_own_name(inside) or entry.isdir() else [entry.name]
                yield f"{name}#header", budget.spend("\n".join(filter(None, said)).encode("utf-8", "replace"))
                if not entry.isdir():
                    content = archive.extractfile(entry) if entry.isreg() else None
                    yield name, budget.spend(content.read()) if content else None
            rest = data[archive.offset :].strip(b"\0")
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        raise DamagedData("", 0, "not readable as a tar archive") from error
    yield "#rest", budget.spend(rest)


def _map(data: bytes, budget: _Budget) -> Iterator[tuple[str, bytes | None]]:
    value = audit_maps.map_in(data) or {}
    yield "", audit_maps.remaining(value)
    for name, content in audit_maps.carried(value):
        if _opener(content) is _gzip:
            yield from ((name, audit_maps.without_key(value, body)) for _, body in _gzip(content, budget))
        else:
            yield name, content
