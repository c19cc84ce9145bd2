"""zstd within bounds: whole frames pass, anything that would cost memory or lies about its size does not."""

import contextlib
import io
from random import Random

import pytest
import zstandard

from carojournal import zstd
from carojournal.errors import DamagedData


def walk(data):
    return list(zstd.walk_frames(lambda at, size: data[at : at + size], len(data), "x"))


def test_frames_of_all_kinds_are_found_without_decompressing():
    plain = zstandard.ZstdCompressor(level=3, write_content_size=False).compress(b"ab" * 90_000)
    data = zstd.skippable(b"note") + zstd.compress(b"a" * 300_000) + plain + zstd.compress(b"")
    frames = walk(data)
    assert [frame.content for frame in frames] == [4, 300_000, None, 0]
    assert frames[-1].end == len(data)
    assert zstd.BoundedReader(io.BytesIO(data), 10**6, "x").read(10**6) == b"a" * 300_000 + b"ab" * 90_000


def test_a_file_cut_anywhere_inside_a_frame_is_noticed():
    data = zstd.compress(bytes(range(256)) * 20)
    for size in range(1, len(data)):
        with pytest.raises(DamagedData):
            walk(data[:size])


def test_the_budget_holds_whatever_the_frame_declares():
    for declared in (True, False):
        bomb = zstandard.ZstdCompressor(write_content_size=declared).compress(bytes(50_000_000))
        with pytest.raises(DamagedData, match="more than may be"):
            zstd.BoundedReader(io.BytesIO(bomb), 1_000_000, "x").read(50_000_000)
        with pytest.raises(DamagedData, match="compressed more"):
            zstd.BoundedReader(io.BytesIO(bomb), 100_000_000, "x").read(50_000_000)
        with pytest.raises(DamagedData):
            zstd.decompress(bomb, 1_000_000, "x")


def test_a_giant_window_is_refused_before_anything_is_allocated():
    for data in (
        bytes.fromhex("28b52ffde06c06060663636363"),
        zstandard.ZstdCompressor(
            compression_params=zstandard.ZstdCompressionParameters.from_level(3, window_log=27, enable_ldm=True)
        )
        .compressobj()
        .compress(b"x" * 10),
    ):
        with pytest.raises(DamagedData):
            walk(data or bytes.fromhex("28b52ffd0088") + b"\x01\0\0")


def test_a_broken_checksum_is_damage():
    data = bytearray(zstd.compress(b"telemetry" * 50))
    data[-1] ^= 1
    with pytest.raises(DamagedData):
        zstd.decompress(bytes(data), 10_000, "x")


def test_many_tiny_frames_end_somewhere(monkeypatch):
    monkeypatch.setattr(zstd, "FRAMES_MAX", 1_000)
    with pytest.raises(DamagedData, match="more zstd frames"):
        walk(zstd.skippable(b"") * 1_001)


def test_only_one_whole_frame_counts_as_one():
    one = zstd.compress(b"a")
    assert zstd.decompress(one, 10, "x") == b"a"
    for data in (one + one, zstd.skippable(b"") + one, zstd.skippable(b""), b"", one + b"\0"):
        with pytest.raises(DamagedData):
            zstd.decompress(data, 10, "x")


def test_a_compressor_that_is_used_again_gives_the_bytes_of_a_fresh_one():
    parts = [bytes(range(256)) * size + b"telemetry" * size for size in (0, 1, 90, 3, 700, 2)]
    again = zstd.compressor(9)
    assert [again(part) for part in parts] == [zstd.compress(part, 9) for part in parts]


def streamed(frame):
    """What zstd's own streaming yields until it fails, fed byte by byte."""
    stream = zstandard.ZstdDecompressor(max_window_size=zstd.WINDOW_BYTES_MAX).decompressobj()
    parts = []
    with contextlib.suppress(zstandard.ZstdError):
        parts += (stream.decompress(frame[at : at + 1]) for at in range(len(frame)))
    return b"".join(parts)


def blocks_of(size):
    """A frame of several blocks of all kinds."""
    random = Random(size)
    parts = [random.randbytes(size), b"a" * size, bytes(random.randrange(16) for _ in range(size)), b"abc" * size]
    return b"".join(parts)


def test_of_a_damaged_frame_comes_all_that_streaming_byte_by_byte_yields():
    content = blocks_of(70_000)
    frame = zstd.compress(content)
    assert zstd.decompress_damaged(frame, 10**7) == content
    whole = []
    for at in [*range(4, 30), *range(31, len(frame), 11_003), *range(len(frame) - 9, len(frame))]:
        damaged = frame[:at] + bytes([frame[at] ^ 1 << at % 8]) + frame[at + 1 :]
        found = zstd.decompress_damaged(damaged, 10**7)
        assert found.startswith(streamed(damaged)), at
        whole.append(len(found) >= len(content))
    assert any(whole)
    for cut in range(1, len(frame), 29_989):
        assert zstd.decompress_damaged(frame[:-cut], 10**7) == streamed(frame[:-cut])


def test_a_size_or_a_checksum_that_cannot_hold_costs_no_block():
    content = blocks_of(100_000)
    frame = zstd.compress(content)
    head = zstandard.frame_header_size(frame[:18])
    wrong = frame[: head - 1] + bytes([frame[head - 1] ^ 1]) + frame[head:-1] + bytes([frame[-1] ^ 1])
    assert zstd.decompress_damaged(wrong, 10**7) == content
    assert zstd.decompress_damaged(b"\0\0\0\0" + frame[4:], 10**7) == content


def test_a_block_that_calls_itself_the_last_does_not_end_what_stands_behind_it():
    content = blocks_of(100_000)
    frame = bytearray(zstd.compress(content))
    frame[zstandard.frame_header_size(bytes(frame[:18]))] |= 1
    assert zstd.decompress_damaged(bytes(frame), 10**7) == content


def test_what_a_damaged_frame_becomes_is_bounded():
    for frame in (zstd.compress(bytes(50_000_000)), zstd.compress(b"")[:6] + b"\x02\0\x10\0" * 400):
        assert len(zstd.decompress_damaged(frame, 1_000_000)) <= 1_000_000 + 131_072
    for frame in (b"", b"\0", b"(\xb5/\xfd", bytes(40)):
        assert zstd.decompress_damaged(frame, 1_000) == b""
