"""Fuzzing targets: what comes in from elsewhere.  Bundles, manifests, receipts, BagIt."""

import hashlib
import json
import os
import shutil
import tarfile
from functools import cache
from io import BytesIO
from random import Random

import zstandard

from carobatch import ustar
from carobatch.ack import acknowledge
from carobatch.bagit import TAG_BYTES_MAX, check_bag
from carobatch.importer import import_bundle
from carobatch.ledger import Ledger
from carobatch.manifest import canonical_json
from carobatch.manifest_read import parse_manifest
from carobatch.receipt import parse_receipt
from carobatch.verify import verify_bundle
from carojournal.errors import DamagedData
from carojournal.reader import JournalReader
from faults import fuzz_samples as samples
from faults.fuzz_mutate import CANARY, mutated
from faults.fuzz_segments import check_event
from faults.fuzz_target import Target, WrongValue, attempt, scratch

__all__ = ["TARGETS", "members", "repaired"]

_BLOCK = 512


@cache
def _tar() -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(samples.bundle(), read_across_frames=True) as reader:
        return reader.read()


def members(raw: bytes) -> dict[str, bytes]:
    """Return name -> bytes of a healthy tar."""
    found = {}
    with tarfile.open(fileobj=BytesIO(raw)) as archive:
        for member in archive:
            file = archive.extractfile(member)
            found[member.name] = file.read() if file else b""
    return found


def _sums(files: dict[str, bytes], top: str) -> bytes:
    rows = [f"{hashlib.sha256(raw).hexdigest()}  {name[len(top) + 1 :]}\n" for name, raw in sorted(files.items())]
    return "".join(rows).encode("utf-8", "surrogateescape")


def repaired(files: dict[str, bytes], *, manifest: bool = True) -> dict[str, bytes]:
    """Return *files* with sizes and checksums that fit, from the payload up to the tag manifest."""
    top = next(iter(files)).split("/")[0]
    found = dict(files)
    data = {name: raw for name, raw in found.items() if name.startswith(f"{top}/data/")}
    name = f"{top}/carojournal.json"
    if manifest and name in found:
        try:
            value = json.loads(found[name])
            for file in value["files"]:
                raw = found[f"{top}/{file['path']}"]
                file["bytes"], file["sha256"] = len(raw), hashlib.sha256(raw).hexdigest()
            found[name] = canonical_json(value)
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
    oxum = f"Payload-Oxum: {sum(map(len, data.values()))}.{len(data)}".encode()
    info = f"{top}/bag-info.txt"
    if info in found:
        lines = found[info].split(b"\n")
        found[info] = b"\n".join(oxum if line.startswith(b"Payload-Oxum") else line for line in lines)
    found[f"{top}/manifest-sha256.txt"] = _sums(data, top)
    tags = {name: raw for name, raw in found.items() if name not in data and "tagmanifest" not in name}
    found[f"{top}/tagmanifest-sha256.txt"] = _sums(tags, top)
    return found


def _packed(files: dict[str, bytes]) -> bytes:
    out = b""
    for name, raw in files.items():
        out += ustar.encode_header(name, len(raw), 1_790_000_000) + raw + ustar.padding(len(raw))
    return out + ustar.END


def _fix_tar(random: Random, data: bytes) -> bytes:
    """Change one member of the sample as what it is, or a header; then make checksums fit."""
    if random.random() < 0.7:
        files = members(_tar())
        name = random.choice(list(files))
        shape = "json" if name.endswith(".json") else "bytes" if "/data/" in name else "lines"
        other = files[random.choice(list(files))]
        files[name] = mutated(random, files[name], other, shape, (b"\r\n", b"../", b"%0A", b"data/", b"\xef\xbb\xbf"))
        if "/data/" in name and random.random() < 0.7:
            from faults.fuzz_packed import TARGETS as READERS

            content = next(target for target in READERS if target.name == "packed-content")
            files[name] = content.fix(random, files[name])
        if random.random() < 0.1:
            files.pop(random.choice(list(files)))
        if random.random() < 0.1:
            files[f"{name}{random.choice(('x', '.txt', '/x'))}"] = other
        return _packed(repaired(files, manifest=random.random() < 0.8) if random.random() < 0.9 else files)
    out = bytearray(data)
    for at in range(0, len(out) - _BLOCK + 1, _BLOCK):
        if out[at + 257 : at + 262] == b"ustar":
            out[at + 148 : at + 156] = b" " * 8
            out[at + 148 : at + 156] = b"%06o\0 " % sum(out[at : at + _BLOCK])
    return bytes(out)


def _run_bundle(data: bytes) -> str:
    """Take a tar as a bundle: verify it, and import it where that says it may be."""
    frame = zstandard.ZstdCompressor(level=1, write_checksum=True).compress(data)
    return _judge(frame)


def _judge(frame: bytes) -> str:
    folder = scratch("bundle")
    path = os.path.join(folder, "given.tar.zst")
    with open(path, "wb") as file:
        file.write(frame)
    quick, refused_quick = attempt(lambda: verify_bundle(path, quick=True))
    verdict, refused = attempt(lambda: verify_bundle(path))
    into = os.path.join(folder, "into")
    shutil.rmtree(into, ignore_errors=True)
    if verdict is None or quick is None:
        return f"{refused_quick} {refused}"
    for text in (*verdict.errors, *verdict.notes):
        if not text.isprintable() or (CANARY in text and "data/" not in text and "listed" not in text):
            raise WrongValue("a verdict that quotes what the bundle says, or does not print")
    if verdict.errors:
        if os.path.exists(into):
            raise WrongValue("something was imported")
        return f"refused: {verdict.errors[0].rpartition(':')[2][:40]}"
    done, refused = attempt(lambda: import_bundle(path, into))
    if done is None:
        raise WrongValue(f"a bundle that is verified and cannot be imported: {refused}")
    held = 0
    for record in JournalReader(done.root).records(events_only=True):
        check_event(record.payload)
        held += 1
    if held != done.events or held != verdict.events - len(verdict.refusals) - len(done.conflicts):
        raise WrongValue("the receipt counts other events than are held")
    with open(done.receipt, "rb") as file:
        parse_receipt(file.read(), "receipt")
    again, _ = attempt(lambda: import_bundle(path, into))
    if again is None or again.new or again.events != done.events:
        raise WrongValue("a second import that is not the first again")
    return f"imported, {len(verdict.refusals)} refused"


@cache
def _ledger() -> tuple[str, dict[str, object], bytes]:
    """Return a journal that has handed out a bundle, that bundle's entry, and the receipt for it."""
    folder = scratch("receipt")
    root = samples.copy(folder)
    path = os.path.join(folder, "b.tar.zst")
    with open(path, "wb") as file:
        file.write(samples.bundle())
    done = import_bundle(path, os.path.join(folder, "into"))
    with open(done.receipt, "rb") as file:
        data = file.read()
    value = json.loads(data)
    entry = Ledger(root).bundles()[0]
    entry |= {"chain": value["chain"], "manifest_sha256": value["manifest_sha256"]}
    entry["segments"] = value["accepted"]
    return root, entry, data


def _run_receipt(data: bytes) -> str:
    root, entry, good = _ledger()
    found, refused = attempt(lambda: parse_receipt(data, "receipt"))
    if found is not None:
        kept = {key: value for key, value in found.items() if key != "sha256"}
        if parse_receipt(canonical_json(kept), "receipt") != {
            **found,
            "sha256": hashlib.sha256(canonical_json(kept)).hexdigest(),
        }:
            raise WrongValue("a receipt that is accepted and reads back otherwise")
    ledger = Ledger(root)
    ledger.write_bundle(dict(entry))
    ledger.write_acks({})
    path = os.path.join(root, "given.json")
    with open(path, "wb") as file:
        file.write(data)
    done, refused_ack = attempt(
        lambda: acknowledge(ledger, bytes.fromhex(json.loads(good)["journal"]), path), quiet=False
    )
    if done is None:
        return f"{refused or 'read'} {refused_ack}"
    bound: dict[str, list[list[int]]] = entry["segments"]  # type: ignore[assignment]
    for segment, runs in ledger.acks().items():
        if any(not any(a <= first and last <= b for a, b in bound[segment]) for first, last in runs):
            raise WrongValue("more was confirmed than the bundle held")
    rows = [row["reason"] for row in done.rejected]
    return f"confirmed {done.events}, {len(rows)} rejected"


def _run_manifest(data: bytes) -> str:
    found, refused = attempt(lambda: parse_manifest(data))
    if found is None:
        return refused
    value, errors = found
    if parse_manifest(canonical_json(value))[0] != value:
        raise WrongValue("a manifest that is accepted and reads back otherwise")
    return f"read, {errors[:1]}"


class _Files:
    """A bag in memory, as `bagit.BagFiles`."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    def paths(self) -> list[str]:
        return list(self._files)

    def has_folder(self, path: str) -> bool:
        return any(name.startswith(f"{path}/") for name in self._files)

    def read(self, path: str) -> bytes:
        if len(self._files[path]) > TAG_BYTES_MAX:
            raise DamagedData(path, 0, "too large")
        return self._files[path]

    def digest(self, path: str, algorithm: str) -> str:
        return hashlib.new(algorithm, self._files[path], usedforsecurity=False).hexdigest()

    def size(self, path: str) -> int:
        return len(self._files[path])


_TAGS = ("bagit.txt", "bag-info.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt", "fetch.txt")
_SPLIT = b"\n----\n"


def _bags() -> list[bytes]:
    files = members(_tar())
    top = next(iter(files)).split("/")[0]
    return [_SPLIT.join(files.get(f"{top}/{name}", b"") for name in _TAGS)]


def _run_bagit(data: bytes) -> str:
    """Check a bag whose tag files are given, one after another; the payload is healthy."""
    parts = data.split(_SPLIT)
    files = {name.partition("/")[2]: raw for name, raw in members(_tar()).items()}
    for name, raw in zip(_TAGS, parts, strict=False):
        if raw:
            files[name] = raw
        else:
            files.pop(name, None)
    bag, refused = attempt(lambda: check_bag(_Files(files)))
    if bag is None:
        return refused
    if any(not text.isprintable() for text in (*bag.errors, *bag.warnings)):
        raise WrongValue("a message that does not print")
    return f"{bag.errors[0].rpartition(':')[2] if bag.errors else 'valid'}"


TARGETS = [
    Target("bundle", lambda: [_tar()], _run_bundle, _fix_tar, runs=40),
    Target("bundle-frames", lambda: [samples.bundle()], _judge, runs=60),
    Target("receipt", lambda: [_ledger()[2]], _run_receipt, shape="json"),
    Target(
        "manifest",
        lambda: [raw for name, raw in members(_tar()).items() if name.endswith("json")],
        _run_manifest,
        shape="json",
    ),
    Target(
        "bagit", _bags, _run_bagit, shape="lines", tokens=(b"UTF-16", b"hex", b"idna", b"data/", b"%0A", b"-", b"\r")
    ),
]
