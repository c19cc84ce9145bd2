"""What an earlier release meant to send is sent only if this one would send the same bytes."""

import base64
import errno
import glob
import gzip
import hashlib
import json
import os
from pathlib import Path

import cbor2
import pytest
from forge import closed_path, event, segment_bytes
from forgeries import FORGERIES, SECRET, is_anywhere, issue_session
from receivers import Receiver, answers, unpacked
from uploads import YES_MS, ids, record, upload

from carobatch import deliveries
from carobatch.batch import batch_of
from carobatch.outbox import Outbox
from carobatch.preview import preview
from carobatch.sinks import open_sink
from carojournal import JournalReader, deletion, sent
from carojournal.errors import JournalIOError
from carojournal.record import derive_event_id

SEGMENT = bytes(range(16))
SINKS = [("caro-v1", ""), ("caro-array", ""), ("posthog", "phc_key"), ("otlp", "")]


@pytest.fixture
def receiver():
    with Receiver() as made:
        yield made


def outbox(root):
    folder = os.path.join(root, "outbox")
    return [os.path.join(folder, name) for name in os.listdir(folder)]


def change(path, **changed):
    with open(path, "rb") as file:
        value = cbor2.load(file)
    value |= changed
    value["sha256"] = hashlib.sha256(sent.request_bytes(value)).digest()
    with open(path, "wb") as file:
        cbor2.dump(value, file, canonical=True)


def left_behind(root, clock, wire, key, url):
    """An intent of a release that allowed everything: two good events, and between them one that is not allowed now."""
    record(root, clock, 1)
    issue_session(root)
    payloads = [event(1), FORGERIES["text field"], event(2)]
    closed_path(Path(root), SEGMENT).write_bytes(segment_bytes(SEGMENT, payloads, consent=YES_MS))
    records = [one for one in JournalReader(root).records(events_only=True) if one.segment == SEGMENT]
    sink = open_sink(wire, url, key)
    batch = batch_of(records, clock.now_ms // 86_400_000)
    request = sink.render(batch)
    assert SECRET.encode() in unpacked(request.headers, request.body)
    Outbox(root, 1_000_000).write(batch, request, sink, YES_MS, clock.now_ms)
    return batch


@pytest.mark.parametrize(("wire", "key"), SINKS)
def test_what_is_no_longer_allowed_is_named_and_not_sent(root, clock, receiver, wire, key):
    batch = left_behind(root, clock, wire, key, receiver.url)
    shown = [request for request, _ in preview(root, open_sink(wire, receiver.url, key), 1_000, YES_MS)]
    if wire == "posthog":
        receiver.script = lambda request: (200, {}, verdicts(request))
    found = upload(root, receiver.url, clock, wire=wire, key=key)
    assert (found.kind, found.withheld, found.events) == ("done", 1, 3)
    bodies = [unpacked(one.headers, one.body) for one in receiver.requests]
    assert [one.body for one in receiver.requests] == [one.body for one in shown]
    assert not any(SECRET.encode() in body for body in bodies)
    said = b"".join(bodies).decode()
    assert derive_event_id(SEGMENT, 1) in said
    assert derive_event_id(SEGMENT, 2) not in said
    with open(os.path.join(root, "quarantine", f"withheld-{batch.id.hex()}.cbor"), "rb") as file:
        named = cbor2.load(file)
    refusals = [["session_start", "caro_version", "shape"]]
    assert named["refused"] == [{"segment": SEGMENT, "seq": 2, "refusals": refusals}]
    assert outbox(root) == []
    assert not is_anywhere(*(os.path.join(root, name) for name in os.listdir(root) if name != "segments"))


def verdicts(request):
    return json.dumps({"results": {one["uuid"]: "ok" for one in request.json()["batch"]}}).encode()


@pytest.mark.parametrize("part", ["body", "url", "headers", "sessions", "day"])
def test_an_intent_that_was_tampered_with_is_not_sent(root, clock, receiver, part):
    wanted = record(root, clock, 3)
    receiver.script = answers((503, {}, b""))
    upload(root, receiver.url, clock)
    [path] = outbox(root)
    forged = {
        "body": gzip.compress(SECRET.encode()),
        "url": f"{receiver.url}/{base64.b16encode(SECRET.encode()).decode()}",
        "sessions": [bytes(16)],
        "day": 1,
        "headers": [["X-Caro-Version", "1.1.0"], ["X-Note", "forged"]],
    }
    change(path, **{part: forged[part]})
    assert upload(root, receiver.url, clock).events == 3
    first, second = receiver.requests
    assert (second.path, second.body) == (first.path, first.body)
    assert "X-Note" not in second.headers
    assert receiver.events == dict.fromkeys(wanted, 1)
    assert "1970-01-02" not in deletion.sent_days(deletion.read_identity(root))


def test_an_intent_that_names_events_recorded_without_a_yes_is_not_sent(root, clock, receiver):
    record(root, clock, 3, consent_ms=0)
    sink = open_sink("caro-v1", receiver.url)
    batch = batch_of(list(JournalReader(root).records(events_only=True)), clock.now_ms // 86_400_000)
    Outbox(root, 1_000_000).write(batch, sink.render(batch), sink, YES_MS, clock.now_ms)
    assert upload(root, receiver.url, clock).requests == 0
    assert outbox(root) == []


def test_an_intent_without_its_events_is_not_sent(root, clock, receiver):
    record(root, clock, 3)
    receiver.script = answers((503, {}, b""))
    upload(root, receiver.url, clock)
    for name in os.listdir(os.path.join(root, "segments")):
        os.unlink(os.path.join(root, "segments", name))
    assert upload(root, receiver.url, clock).requests == 0
    assert (outbox(root), ids(root)) == ([], [])


def test_another_release_that_renders_otherwise_sends_its_own_bytes_of_the_same_batch(root, clock, receiver):
    wanted = record(root, clock, 3)
    receiver.script = answers((503, {}, b""))
    upload(root, receiver.url, clock)
    [path] = outbox(root)
    with open(path, "rb") as file:
        old = cbor2.load(file)
    change(path, body=gzip.compress(gzip.decompress(old["body"]).replace(b'"batch_id"', b'"batch"')))
    upload(root, receiver.url, clock)
    first, second = (request.json() for request in receiver.requests)
    assert first == second
    assert receiver.events == dict.fromkeys(wanted, 1)


def test_what_stands_is_sent_as_it_is(root, clock, receiver):
    """The control: the same intent, untouched, is resumed and not planned anew."""
    record(root, clock, 3)
    receiver.script = answers((503, {}, b""))
    upload(root, receiver.url, clock)
    before = os.lstat(outbox(root)[0])
    receiver.script = answers((503, {}, b""))
    upload(root, receiver.url, clock)
    after = os.lstat(outbox(root)[0])
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize("name", ["outbox", "outbox/*", "receipts/uploads.cbor"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EACCES])
def test_what_cannot_be_read_now_is_neither_sent_again_nor_written_anew(
    root, clock, receiver, monkeypatch, name, number
):
    record(root, clock, 2)
    receiver.script = answers((503, {}, b""))
    assert upload(root, receiver.url, clock).kind == "later"
    deliveries.list_removed(root, [bytes(16)])
    before = {path: Path(path).read_bytes() for path in [*outbox(root), f"{root}/receipts/uploads.cbor"]}
    (hidden,) = glob.glob(os.path.join(root, name))

    def refuse(real):
        def call(path, *arguments, **keywords):
            if path == hidden:
                raise OSError(number, os.strerror(number), path)
            return real(path, *arguments, **keywords)

        return call

    with monkeypatch.context() as patched:
        for call in ("open", "stat", "listdir"):
            patched.setattr(os, call, refuse(getattr(os, call)))
        with pytest.raises((JournalIOError, OSError)):
            upload(root, receiver.url, clock)
    assert {path: Path(path).read_bytes() for path in before} == before
    assert len(receiver.requests) == 1
    clock.advance(86_400_000)
    assert upload(root, receiver.url, clock).kind == "done"
    assert sent.uploads(root)["segments"][0] == bytes(16)
