"""Memory stays bounded, whatever a bundle claims to be."""

import json
import os
import re
import resource
import subprocess
import sys

import pytest
import zstandard
from carobatch_bundles import changed, compressed, tar, write

MEMORY_BYTES_MAX = 402_653_184  # 384 MiB of address space, the interpreter and its libraries included.


def top(files):
    return next(iter(files)).split("/")[0]


def million_members(name):
    """A valid tar of 10**6 empty files, compressed: only the number and the header's checksum differ."""
    model = tar({f"{name}/data/0000000": b""})[:512]
    at = model.index(b"/0000000") + 1
    rest = sum(model[:at]) + sum(model[at + 7 : 148]) + 8 * ord(" ") + sum(model[156:])
    before, between, after = model[:at], model[at + 7 : 148], model[156:]
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    out = []
    for thousand in range(1_000):
        digits = [b"%07d" % (thousand * 1_000 + n) for n in range(1_000)]
        out.append(
            packer.compress(b"".join(before + d + between + b"%06o\0 " % (rest + sum(d)) + after for d in digits))
        )
    return b"".join(out) + packer.flush()


@pytest.mark.parametrize("verb", ["verify", "import"])
def test_memory_stays_bounded_whatever_comes(files, tmp_path, verb):
    name = top(files)
    hostile = {
        "bomb": compressed(tar({**files, f"{name}/data/b": bytes(300_000_000)})),
        "frames": compressed(b"") * 50_000,
        "manifest": compressed(tar({f"{name}/carojournal.json": b"[" + b"0," * 4_000_000 + b"0]"})),
        "cbor": compressed(tar(changed(files, lambda _: b"\x9a\x00\x0f\xff\xff" + b"\x00" * 3_000_000))),
        "members": million_members(name),
        "tags": zstandard.ZstdCompressor(level=1).compress(
            tar({f"{name}/t{n}": os.urandom(8_000_000) for n in range(3)})
        ),
    }
    into = ["--into", str(tmp_path / "into")] if verb == "import" else []
    for kind, data in hostile.items():
        (tmp_path / kind).write_bytes(data)
        done = subprocess.run(
            [sys.executable, "-m", "carobatch.cli", verb, str(tmp_path / kind), *into],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX)),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 65, (kind, done.stderr)
        assert b"error: " in done.stdout
        assert not (tmp_path / "into").exists()


def test_a_bundle_far_larger_than_a_spool_is_imported_within_the_same_bound(files, tmp_path):
    """200,000 events in 160 segments of one file: more than is ever held at once."""
    import hashlib
    import io

    from carobatch.sections import counted
    from carojournal.packed import Section, iter_content

    name = top(files)
    first = next(path for path in files if "/data/" in path)
    [model] = iter_content(io.BytesIO(files[first]).read, len(files[first]), "x")
    run = re.compile(rb"frun_idP.{16}", re.DOTALL)  # Other runs: equal ones would compress like a bomb.
    sections = [
        Section(
            {**model.header, **counted([[1, 30 * 42]]), "segment": number.to_bytes(16, "big")},
            run.sub(lambda _: b"frun_idP" + os.urandom(16), model.body * 42),
        )
        for number in range(160)
    ]

    def manifest(value):
        row = value["files"][0]["segments"][0]
        value["files"] = value["files"][:1]
        value["files"][0]["segments"] = [
            {
                **row,
                "segment": section.segment.hex(),
                "events": 30 * 42,
                "runs": [[1, 30 * 42]],
                "sha256": hashlib.sha256(section.encode()).hexdigest(),
            }
            for section in sections
        ]
        total = 160 * 30 * 42
        value.update(events=total, types={"session_end": total})
        value["time"]["last"] = utc_of(model)

    kept = {path: raw for path, raw in files.items() if "/data/" not in path or path == first}
    kept[first] = b"".join(section.encode() for section in sections)
    value = json.loads(kept[f"{name}/carojournal.json"])
    value["files"] = [file for file in value["files"] if first.endswith(file["path"])]
    kept[f"{name}/carojournal.json"] = json.dumps(value).encode()
    path = write(tmp_path / "large", changed(kept, manifest=manifest))
    done = subprocess.run(
        [sys.executable, "-m", "carobatch.cli", "import", path, "--into", str(tmp_path / "into"), "--json"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX)),
        capture_output=True,
        check=False,
    )
    [found] = json.loads(done.stdout)
    assert (found["errors"], found["new"], done.returncode) == ([], 160 * 30 * 42, 0)


def utc_of(section):
    from carojournal.times import utc_text

    times = re.findall(rb"itimestamp\x1b(.{8})", section.body, re.DOTALL)
    return utc_text(max(int.from_bytes(raw, "big") for raw in times))
