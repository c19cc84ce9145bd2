"""Bundles by hand: taken apart, changed, and put together again with every checksum made to fit."""

import hashlib
import io
import json
import tarfile

import zstandard

from carobatch import ustar


def members(path):
    """Name -> bytes of a bundle's files, in order."""
    raw = zstandard.ZstdDecompressor().stream_reader(open(path, "rb"), read_across_frames=True).read()  # noqa: SIM115
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def tar(files, mtime=1_790_000_000):
    data = b""
    for name, raw in files.items():
        data += ustar.encode_header(name, len(raw), mtime) + raw + ustar.padding(len(raw))
    return data + ustar.END


def compressed(data, **options):
    return zstandard.ZstdCompressor(level=3, write_checksum=True, **options).compress(data)


def write(path, files):
    path.write_bytes(compressed(tar(files)))
    return str(path)


def changed(files, payload=None, manifest=None):
    """Return *files* with payload(bytes) and manifest(value) applied, and all checksums made to fit again."""
    top = next(iter(files)).split("/")[0]
    found = dict(files)
    value = json.loads(found[f"{top}/carojournal.json"])
    for file in value["files"]:
        name = f"{top}/{file['path']}"
        if payload:
            found[name] = payload(found[name])
        file["bytes"], file["sha256"] = len(found[name]), hashlib.sha256(found[name]).hexdigest()
    if manifest:
        manifest(value)
    found[f"{top}/carojournal.json"] = (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
    data = {name: raw for name, raw in found.items() if name.startswith(f"{top}/data/")}
    oxum = f"{sum(map(len, data.values()))}.{len(data)}"
    info = found[f"{top}/bag-info.txt"].decode().splitlines()
    info = [line if not line.startswith("Payload-Oxum") else f"Payload-Oxum: {oxum}" for line in info]
    found[f"{top}/bag-info.txt"] = ("\n".join(info) + "\n").encode()
    found[f"{top}/manifest-sha256.txt"] = _sums(top, data)
    tags = {name: raw for name, raw in found.items() if name not in data and "tagmanifest" not in name}
    found[f"{top}/tagmanifest-sha256.txt"] = _sums(top, tags)
    return found


def _sums(top, files):
    lines = [f"{hashlib.sha256(raw).hexdigest()}  {name[len(top) + 1 :]}\n" for name, raw in sorted(files.items())]
    return "".join(lines).encode()
