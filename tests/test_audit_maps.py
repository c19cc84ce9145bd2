"""Files beside the segments: clean in their exact form, and whatever is planted in one of them is found."""

import gzip
import hashlib
import json
from base64 import b64encode

import pytest
from audit_samples import EVENT, SECRET, SEGMENT

from carobatch import verdicts
from carobatch.http import KINDS, Failure, Reply
from carobatch.sinks import open_sink
from carobatch.sshsig import load_signer
from carojournal import codec, frame
from carojournal.audit import audit_paths
from carojournal.audit_own import is_own_text
from carojournal.sent import encode_map

BATCH = hashlib.sha256(b"batch").digest()
KEY = "phc_AbCd0123456789xyzABCDEFGHIJ"
URL = "https://192.0.2.1:8443/v1/events"


def target(sink="posthog", url=URL, key=KEY):
    return hashlib.sha256(f"{sink}\n{url}\n{key}".encode()).digest()


def body(**event):
    view = {"event": "session_start", "uuid": "8c3f2e1a-5b6d-8c7e-9f80-a1b2c3d4e5f6", "distinct_id": SEGMENT.hex()}
    return gzip.compress(json.dumps({"api_key": KEY, "batch": [{**view, **event}]}, separators=(",", ":")).encode())


SENT = {"version": 1, "batch": BATCH, "sink": "posthog", "url": URL, "sha256": BATCH, "counts": {"session_start": 1}}
INTENT = {
    **SENT,
    "record": "intent",
    "target": target(),
    "headers": [["Content-Type", "application/json"], ["X-Caro-Version", "1.1.0"], ["Authorization", f"Bearer {KEY}"]],
    "body": body(),
    "day": 20_000,
    "consent": 1_770_000_000_000,
    "created": 1_770_000_000_000,
    "identities": [[SEGMENT, [[1, 9], [90_011, 90_012]], BATCH]],
    "sessions": [SEGMENT],
}
RECEIPT = {
    **SENT,
    "record": "upload",
    "day": 20_000,
    "at": 1_770_000_000_000,
    "status": 200,
    "rejected": 0,
    "ranges": [[SEGMENT, [[1, 9], [11, 12_345_678]]]],
    "refused": [],
}
ROW = [BATCH, 1_770_000_000_000, "caro-v1", URL, BATCH, 200, 5, 0, {"session_end": 5}]
UPLOADS = {
    "record": "uploads",
    "version": 1,
    "segments": [SEGMENT],
    "ranges": [[SEGMENT, [[1, 9]]]],
    "batches": [ROW],
    "earlier": 12_345_678,
}
STATE = {
    "version": 1,
    "since_ms": 0,
    "last_success_ms": 1_770_000_000_123,
    "failures": 3,
    "not_before_ms": 1_770_000_000_123,
    "asked_ms": 0,
    "reason": "status 503",
    "batch": BATCH.hex(),
    "attempts": 2,
    "asked_by": BATCH.hex(),
    "crc": 3_700_000_001,
}
REFUSED = {
    "record": "refused",
    "version": 1,
    "batch": BATCH,
    "status": 422,
    "events": [{"segment": SEGMENT, "seq": 7, "event": codec.dumps(EVENT)}],
}
REASONS = [["session_start", "os", "value"], ["<unknown>", "<unknown>", "unknown_event"]]
WITHHELD = {
    "record": "withheld",
    "version": 1,
    "batch": BATCH,
    "refused": [{"segment": SEGMENT, "seq": 7, "refusals": REASONS}],
}
RECORD = bytearray(frame.encode_record(SEGMENT, 7, codec.dumps(EVENT)))
RECORD[3] ^= 1  # Its checksum does not hold any more.
QUARANTINE = {
    "record": "quarantine",
    "segment": SEGMENT,
    "refused": [{"seq": 7, "refusals": REASONS}],
    "damaged": [
        {"offset": 4_242, "data": bytes(RECORD), "reason": "checksum"},
        {"offset": 4_242, "data": bytes(RECORD)[:40], "reason": "cut"},
    ],
}


def findings(tmp_path, data):
    (tmp_path / "file").write_bytes(data)
    report = audit_paths([str(tmp_path / "file")])
    assert "jane" not in json.dumps(report.as_json())
    return [(found.member, found.position, found.rule) for found in report.findings] + report.unread


def encoded(value):
    if "record" not in value:
        return json.dumps(value).encode() + b"\n"
    return encode_map(value) if value["record"] in ("intent", "upload", "uploads") else codec.dumps(value)


WHOLE = {
    "intent": INTENT,
    "receipt": RECEIPT,
    "uploads": UPLOADS,
    "state": STATE,
    "refused": REFUSED,
    "withheld": WITHHELD,
    "quarantine": QUARANTINE,
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_carobatch_writes_is_clean(tmp_path, name):
    assert findings(tmp_path, encoded(WHOLE[name])) == []


@pytest.mark.parametrize("name", WHOLE)
def test_a_key_more_or_a_value_of_another_form_is_found(tmp_path, name):
    whole = WHOLE[name]
    assert findings(tmp_path, encoded({**whole, "note": SECRET})) != []
    assert findings(tmp_path, encoded({**whole, "jane.doe": 1})) != []
    for key in whole.keys() - {"record", "crc"}:
        for planted in (SECRET, [SECRET], [[SECRET]], {"os": SECRET}, 12_345_678_901_234_567_890):
            assert findings(tmp_path, encoded({**whole, key: planted})) != [], (key, planted)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("intent", {"url": "https://jane.doe@192.0.2.1/v1/events"}),
        ("intent", {"url": "https://192.0.2.1/v1/events?user=jane"}),
        ("intent", {"url": "https://192.0.2.1/v1/10.20.30.40/"}),
        ("receipt", {"url": "https://jane.doe@192.0.2.1/v1/events"}),
        ("receipt", {"sink": "jane"}),
        ("receipt", {"counts": {"jane": 1}}),
        ("intent", {"headers": [["Content-Type", "text/jane"]]}),
        ("intent", {"headers": [["X-Jane-Doe", "gzip"]]}),
        ("intent", {"headers": [["X-Caro-Version", SECRET]]}),
        ("intent", {"headers": [["Authorization", "Bearer phc_Another0123456789xyzABC"]]}),
        ("intent", {"headers": [["Authorization", f"Basic {KEY}"]]}),
        ("intent", {"target": target(key="phc_Another0123456789xyzABC")}),
        ("intent", {"body": body(os=SECRET)}),
        ("intent", {"body": body(distinct_id="jane")}),
        ("intent", {"body": gzip.compress(json.dumps({"batch": [], "api_key": KEY}).encode())}),
        ("intent", {"body": gzip.compress(body(os=SECRET))}),
        ("intent", {"body": SECRET.encode()}),
        ("uploads", {"batches": [[*ROW[:3], "https://jane@192.0.2.1/", *ROW[4:]]]}),
        ("uploads", {"batches": [[*ROW[:2], "jane", *ROW[3:]]]}),
        ("uploads", {"batches": [[*ROW[:8], {"jane": 5}]]}),
        ("state", {"reason": "status 503 for jane"}),
        ("state", {"batch": "jane"}),
        ("refused", {"events": [{"segment": SEGMENT, "seq": 7, "event": codec.dumps({**EVENT, "os": SECRET})}]}),
        ("refused", {"events": [{"segment": SEGMENT, "seq": 7, "event": SECRET.encode()}]}),
        ("withheld", {"refused": [{"segment": SEGMENT, "seq": 7, "refusals": [["session_start", "jane", "value"]]}]}),
        ("quarantine", {"refused": [{"seq": 7, "refusals": [["session_start", "os", SECRET]]}]}),
        ("quarantine", {"damaged": [{"offset": 1, "data": codec.dumps({"os": SECRET}), "reason": "mark"}]}),
        ("quarantine", {"damaged": [{"offset": 1, "data": b"", "reason": "jane"}]}),
    ],
)
def test_what_is_planted_in_one_is_found(tmp_path, name, change):
    assert findings(tmp_path, encoded({**WHOLE[name], **change})) != []


def test_a_packed_file_that_was_damaged_cannot_be_looked_at(tmp_path):
    frame_ = b"\x28\xb5\x2f\xfd\xe0\x6c\x06\x06\x06\x63\x63\x63\x63"
    damaged = [{"offset": 1, "data": frame_, "reason": "packed"}]
    [(_, member, _)] = findings(tmp_path, encoded({**QUARANTINE, "damaged": damaged}))
    assert member == "#damaged0"


def test_attributes_of_otlp_are_judged_as_the_values_that_they_stand_for(tmp_path):
    def log(*attributes):
        rows = [{"key": key, "value": value} for key, value in attributes]
        return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"attributes": rows}]}]}]}).encode()

    good = (
        ("session.id", {"stringValue": SEGMENT.hex()}),
        ("platform.os", {"stringValue": "linux"}),
        ("session_duration_ms", {"intValue": "12345678"}),
        ("retries", {"arrayValue": {"values": [{"intValue": "0"}, {"stringValue": "bash"}]}}),
    )
    assert findings(tmp_path, log(*good[:3])) == []
    for key, value in (
        ("session.id", {"stringValue": "jane"}),
        ("platform.os", {"stringValue": SECRET}),
        ("platform.os", {"intValue": "4915123456789"}),
        ("platform.os", {"arrayValue": {"values": [{"intValue": "0"}, {"stringValue": SECRET}]}}),
        ("platform.os", {"kvlistValue": SECRET}),
        ("jane.doe", {"boolValue": True}),
    ):
        assert findings(tmp_path, log(*good[:3], (key, value))) != [], (key, value)


def test_every_reason_that_an_upload_can_note_is_known(tmp_path):
    """Of every wire format, for every status and answer; and those of the upload itself."""
    answers = [Failure(kind) for kind in KINDS] + [Reply(status) for status in range(201, 600)]
    bodies = (b"<html>", b'{"rejected": ["x"]}', b'{"results": {}}', b'{"results": {"8c": "jane"}}', b"[]")
    answers += [Reply(200, {}, data) for data in bodies]
    said = {
        "",
        "the receiver wants every event again",
        "the receiver wants some events again",
        "status 422 to everything",
    }
    said |= {
        "a file of the journal cannot be read now",
        f"deletion request: {verdicts.judge_status(Reply(500), 0).reason}",
    }
    for wire in ("caro-v1", "caro-array", "otlp", "posthog"):
        sink = open_sink(wire, URL, KEY)
        for answer in answers:
            said.add(sink.judge(answer, frozenset(("8c",)), 0).reason)
    assert len(said) > 300
    for reason in said:
        assert findings(tmp_path, encoded({**STATE, "reason": reason})) == [], reason


def test_a_signature_is_known_by_its_fields(tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    openssh, plain = serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    key = Ed25519PrivateKey.generate().private_bytes(serialization.Encoding.PEM, openssh, plain)
    (tmp_path / "key").write_bytes(key)
    signature = load_signer(str(tmp_path / "key")).sign(b"x").decode()
    assert is_own_text(signature)
    begin, *lines, end = signature.splitlines(keepends=True)
    planted = b64encode(b"SSHSIG" + SECRET.encode().ljust(200)).decode()
    for other in (signature + SECRET, begin + planted + "\n" + end, begin + "".join(lines[1:]) + end):
        assert not is_own_text(other)


def test_a_list_of_segments_that_are_spared_holds_nothing_else():
    assert is_own_text(f"{SEGMENT.hex()}\n" * 3)
    assert not is_own_text(f"{SEGMENT.hex()}\n{SECRET}\n")


def test_what_is_encrypted_cannot_be_looked_at(tmp_path):
    assert [reason for _, _, reason in findings(tmp_path, b"age-encryption.org/v1\n-> X25519 abc\n")] == ["encrypted"]
