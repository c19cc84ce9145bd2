"""Put forged segments into a journal's folders: closed, open in a lane, packed."""

import forge
from forge import NOON_US

from carojournal import packed, packed_write, zstd

__all__ = ["put", "put_identity", "put_lane", "put_packed"]


def put(tree, segment, payloads, mark="", **keywords):
    path = forge.closed_path(tree, segment, keywords.get("created_us", NOON_US), mark)
    path.write_bytes(forge.segment_bytes(segment, payloads, **keywords))
    return path


def put_identity(tree, *lines):
    text = b"".join(b"\n%b %08x\n" % (line, forge.zlib.crc32(line)) for line in lines)
    (tree / "journal").write_bytes(text)


def put_lane(tree, segment, payloads, lane=0, **keywords):
    path = tree / "lanes" / f"{lane}.seg"
    path.write_bytes(forge.segment_bytes(segment, payloads, **keywords))
    path.with_suffix(".lock").write_bytes(forge.lock_text(segment))
    return path


def _runs(numbers):
    found = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


def put_packed(tree, segment, numbers, **changed):
    body = b"".join(forge.event(seq) for seq in numbers)
    header = {
        "record": "section",
        "version": 1,
        "segment": segment,
        "created": NOON_US,
        "lane": 0,
        "consent": 0,
        "previous": None,
        "schema": forge.SCHEMA_HASH,
        "writer": "caro/1.0",
        "records": max(numbers) + 1,
        "events": len(numbers),
        "runs": _runs(numbers),
        "first_seq": min(numbers),
        "last_seq": max(numbers),
        "losses": [],
        "gaps": [],
        "source": {"bytes": 1, "sha256": bytes(32), "sealed": True, "damaged": False},
    }
    path = tree / "packed" / packed.packed_name(NOON_US, segment)
    sections = [packed.Section({**header, **changed}, body)]
    path.write_bytes(packed_write.encode_packed(sections, zstd.compressor(3), bytes(32)))
    return path
