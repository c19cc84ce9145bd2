"""Read a journal with cbor2 and struct alone: the tests' own reader, which shares no line with the project's."""

import io
import os
import zlib

import cbor2


def records(path):
    """Yield (uuid, seq, payload as a dict) of a healthy segment; asserts every checksum and the order of numbers."""
    with open(path, "rb") as file:
        data = file.read()
    stream = io.BytesIO(data)
    label = cbor2.load(stream)
    assert (label.tag, label.value.tag, label.value.value) == (55800, 0x434A4C31, b"BOR")
    segment = bytes(16)
    expected = 0
    while (at := stream.tell()) < len(data):
        crc, seq, payload, total = cbor2.load(stream)
        assert stream.tell() - at == total
        assert crc == zlib.crc32(segment + data[at + 6 : stream.tell()])
        assert seq == expected
        value = cbor2.loads(payload)
        assert cbor2.dumps(value, canonical=True) == payload
        if seq == 0:
            segment = value["segment"]
        yield segment, seq, value
        expected += 1


def segment_paths(root):
    """Return the paths of all closed and open segments."""
    found = []
    for folder in ("segments", "lanes"):
        place = os.path.join(root, folder)
        found += [os.path.join(place, name) for name in sorted(os.listdir(place)) if name.endswith((".seg", ".seg~"))]
    return found


def events(root):
    """Return [(uuid, seq, event)] of a healthy journal."""
    return [
        (segment, seq, value)
        for path in segment_paths(root)
        for segment, seq, value in records(path)
        if "event" in value
    ]


def controls(root, kind):
    """Return the control records of one kind."""
    return [value for path in segment_paths(root) for _, _, value in records(path) if value.get("record") == kind]
