"""FORMAT.md and the golden files against the writer: three descriptions of the same bytes."""

import importlib.util
import io
import os
import re

import cbor2
import pytest

from carojournal import Journal, drops, events, frame, lanes, packed_header, policy, snapshot
from carojournal.frame import decode_record

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(events.__file__)))


def load(name):
    spec = importlib.util.spec_from_file_location(name, os.path.join(HERE, "golden", f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = load("make_v1")
FILES = make.files()


def golden(name):
    with open(os.path.join(HERE, "golden", "v1", name), "rb") as file:
        return file.read()


class Serial:
    """The random source of the golden files: 1, 2, 3 ..."""

    calls = 0

    def __call__(self, size):
        self.calls += 1
        return self.calls.to_bytes(size, "big")


@pytest.mark.parametrize("name", FILES)
def test_the_golden_file_is_what_its_maker_makes(name):
    assert golden(name) == FILES[name]


def test_no_golden_file_is_left_over():
    assert set(os.listdir(os.path.join(HERE, "golden", "v1"))) == set(FILES)


@pytest.fixture
def written(home, root, clock):
    """A journal into which the real writer wrote the golden events."""
    clock.now_ms = make.NOW_MS
    with Journal.open(clock=clock, random=Serial(), admin="/nonexistent", level=None) as journal:
        journal._policy.level = events.DETAILED
        resolve = journal._resolve
        journal._resolve = lambda: (resolve(), setattr(journal._policy, "level", events.DETAILED))
        for value in make.EVENTS:
            fields = {key: kept for key, kept in value.items() if key not in ("event", *events.ENVELOPE)}
            clock.now_ms = value["timestamp"]
            assert journal.record(value["event"], **fields)
    return root


@pytest.mark.parametrize(
    ("path", "name"), [("lanes/0.seg", "open.seg"), ("lanes/0.lock", "lock"), ("journal", "journal")]
)
def test_the_writer_writes_the_golden_bytes(written, path, name):
    """But for the schema that the header names, which is today's."""
    with open(f"{written}/{path}", "rb") as file:
        assert file.read() == make.files(events.SCHEMA_HASH)[name]


def test_a_count_is_the_golden_line(tmp_path):
    drops.add_counts(str(tmp_path), {"refuse session_start caro_version value": 7})
    assert (tmp_path / "drops").read_bytes() == golden("drops-line")


@pytest.mark.parametrize("name", ["open.seg", "sealed.seg", "loss.seg"])
def test_any_cbor_tool_reads_a_segment(name):
    stream = io.BytesIO(golden(name))
    items = []
    while stream.tell() < len(golden(name)):
        items.append(cbor2.load(stream))
    label, *records = items
    assert label.tag == 55800
    assert [seq for _, seq, _, _ in records] == list(range(len(records)))
    assert all(
        "event" in value or "record" in value for value in (cbor2.loads(payload) for _, _, payload, _ in records)
    )


def test_a_seal_covers_everything_before_it():
    data = golden("sealed.seg")
    at = frame.last_record_offset(data)
    _, start, end = decode_record(make.serial(make.SEGMENT), data, at)
    seal = cbor2.loads(data[start:end])
    assert (seal["count"], seal["bytes"]) == (5, at)


def test_the_writer_continues_a_golden_segment(home, root, clock):
    """But for the schema that the header names, which is today's: what names another is closed."""
    files = make.files(events.SCHEMA_HASH)
    os.makedirs(f"{root}/lanes", mode=0o700)
    os.chmod(root, 0o700)
    for name, path in (("open.seg", "lanes/0.seg"), ("lock", "lanes/0.lock"), ("journal", "journal")):
        with open(f"{root}/{path}", "wb") as file:
            file.write(files[name])
    clock.now_ms = make.NOW_MS + 10
    with Journal.open(clock=clock, admin="/nonexistent") as journal:
        assert journal.append("session_end", session_duration_ms=1) == (make.serial(make.SEGMENT), 5)
    with open(f"{root}/lanes/0.seg", "rb") as file:
        assert file.read().startswith(files["open.seg"])


def test_the_worked_example_is_a_record():
    with open(os.path.join(PACKAGE, "carojournal", "FORMAT.md"), encoding="utf-8") as file:
        text = file.read()
    example = text[text.index("### 3.1") : text.index("## 4.")]
    rows = re.findall(r"^\+(\d+) +((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:  |$)", example, re.MULTILINE)
    data = b""
    for offset, digits in rows:
        assert len(data) == int(offset)
        data += bytes.fromhex(digits)
    uuid = bytes.fromhex("00112233445566778899aabbccddeeff")
    value = {
        "event": "session_end",
        "timestamp": 1_790_000_000_000,
        "session_id": bytes(range(16)),
        "run_id": bytes(range(16, 32)),
        "session_duration_ms": 1234,
    }
    assert data == make.record(uuid, 1, value)
    assert decode_record(uuid, data, 0) == (1, 20, len(data) - 5)


def test_the_limits_in_the_document_are_the_codes():
    with open(os.path.join(PACKAGE, "carojournal", "FORMAT.md"), encoding="utf-8") as file:
        text = file.read()
    assert f"| payload | {frame.PAYLOAD_BYTES_MAX:,} bytes |" in text
    assert f"| lanes | {lanes.LANES_MAX} |" in text
    assert lanes.SEGMENT_AGE_MS_MAX == 6 * 3_600_000
    assert "| age of a segment | 6 hours," in text
    assert frame.LABEL.hex().upper() in text.replace(" ", "")


def section(number):
    with open(os.path.join(PACKAGE, "carojournal", "FORMAT.md"), encoding="utf-8") as file:
        text = file.read()
    return text[text.index(f"## {number}") :].partition("\n## ")[0]


def test_the_document_names_every_reason_of_a_drop():
    listed = section("7.").partition("for each reason of a drop: ")[2].partition(".")[0]
    assert re.findall("`([a-z_]+)`", listed) == list(drops.DROP_REASONS)


def test_the_document_names_every_program_that_a_section_may_name():
    assert re.findall("`([a-z]+)/V`", section("8.")) == list(packed_header._PROGRAMS)
    assert f"else it is `{packed_header.OTHER_WRITER}`" in section("8.")
    assert packed_header.is_writer(packed_header.OTHER_WRITER)


def test_the_document_has_the_lines_of_the_snapshot():
    text = section("5.").partition("### 5.5")[2]
    listed = re.findall("^([a-z_-]+) [a-z1<]", text.partition("```\n")[2].partition("```")[0], re.MULTILINE)
    made = snapshot.encode_snapshot(policy.default_policy("beta"), "- -").decode().splitlines()
    assert listed == [line.partition(" ")[0] for line in made]
    assert f"prompt {policy.PROMPT_VERSION} " in text
    assert f"the cap {policy.CAP_BYTES_DEFAULT:,}, consent 0" in text
