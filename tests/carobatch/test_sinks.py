"""Wire formats, each held against what its receiver specifies, and the verdicts on its answers."""

import gzip
import hashlib
import json
import re
import uuid

import pytest
from conftest import GENERATED
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from receivers import unpacked
from schema_strategies import any_event, payload
from uploads import consented

from carobatch import plan
from carobatch.event_text import encode, event_texts
from carobatch.http import Failure, Reply
from carobatch.seal import seal_idle_lanes
from carobatch.sinks import SINKS, open_sink
from carojournal import JournalReader, codec, deletion
from carojournal.document import document_view
from carojournal.errors import ConfigError
from carojournal.payload_pattern import parts_of
from carojournal.record import Record

URL = "https://receiver.example/v1/events"
KEY = "phc_key"
NOW_MS = 1_790_000_000_000
UUID8 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture
def batch(root, clock):
    """One event of every kind."""
    with consented(root, clock) as journal:
        journal.append("session_start", caro_version="1.1.0", os="linux", arch="x86_64", shell="bash")
        journal.append("command_generated", generation=journal.new_generation(), **GENERATED)
        clock.advance(5)
        journal.append("command_executed", execution_mode="confirmed", execution_time_ms=12)
        journal.append("safety_triggered", risk_level="high", action_taken="blocked")
        journal.append("error_occurred", error_category="backend_timeout", component="backend")
        journal.append("session_end", session_duration_ms=17)
    seal_idle_lanes(root, clock.now_ms + 10**10, 0)
    [found] = plan.batches(plan.pending(JournalReader(root), None, {}, None), 100)
    assert len(found.records) >= 5
    return found


def body(request):
    return json.loads(unpacked(request.headers, request.body))


def sink(name, url=URL):
    return open_sink(name, url, KEY if name == "posthog" else "")


def reply(status=200, value=b"", headers=None):
    return Reply(status, headers or {}, value if isinstance(value, bytes) else json.dumps(value).encode())


@pytest.mark.parametrize("name", SINKS)
def test_a_batch_renders_to_the_same_bytes_every_time(batch, name):
    first = sink(name).render(batch)
    assert sink(name).render(batch) == first
    lines = [first.url, *(f"{key}: {text}" for key, text in first.headers), ""]
    data = "".join(f"{line}\n" for line in lines).encode() + first.body
    assert first.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("name", SINKS)
def test_every_field_of_every_event_arrives(batch, name):
    text = json.dumps(body(sink(name).render(batch)))
    for record in batch.records:
        assert record.event_id in text
        for value in record.value.values():
            if isinstance(value, str):
                assert value in text
    assert batch.records[0].value["run_id"].hex() not in text


def test_caro_v1(batch):
    request = sink("caro-v1").render(batch)
    assert request.url == URL
    assert dict(request.headers) == {
        "Content-Type": "application/json",
        "Content-Encoding": "gzip",
        "X-Caro-Version": "1.1.0",
    }
    value = body(request)
    assert list(value) == ["batch_id", "client_timestamp", "events"]
    assert UUID8.fullmatch(value["batch_id"])
    assert value["client_timestamp"] == max(event["timestamp"] for event in value["events"])
    assert value["events"] == [{"event_id": record.event_id, **document_view(record.value)} for record in batch.records]


@given(st.lists(st.tuples(any_event(), st.integers(0, 300), st.integers(1 << 40, 4_102_444_799_999)), max_size=4))
def test_the_text_of_an_event_is_that_of_its_document(events):
    """Also of one that no pattern recognises, a time after 2039 say, whose payload is decoded."""
    payloads = [payload(*event, time_ms=time_ms, generation=ordinal) for event, ordinal, time_ms in events]
    records = [Record(bytes(16), seq, raw, "", 0, None) for seq, raw in enumerate(payloads)]
    for record in records:
        record.parts = parts_of(record.payload)
    texts = [
        f'{{"event":"{event}","timestamp":"{time}","session_id":"{session}"{members}}}'
        for event, time, session, members in event_texts(records)
    ]
    assert texts == [encode(document_view(codec.loads(raw))) for raw in payloads]


def test_texts_are_the_same_once_more_are_met_than_are_kept(monkeypatch):
    monkeypatch.setattr("carobatch.event_text._KNOWN_MAX", 5)
    for number in [*range(40), *range(40)]:
        raw = payload("command_executed", {"execution_mode": "confirmed", "execution_time_ms": number})
        record = Record(bytes(16), number, raw, "", 0, None)
        record.parts = parts_of(raw)
        [(*_, members)] = event_texts([record])
        assert members == f',"execution_mode":"confirmed","execution_time_ms":{number}'


def test_caro_array(batch):
    request = sink("caro-array").render(batch)
    assert dict(request.headers)["X-Caro-Batch-Id"] == batch.uuid
    assert "Content-Encoding" not in dict(request.headers)
    assert body(request) == body(sink("caro-v1").render(batch))["events"]


def test_where_a_batch_has_no_version_of_caro(root, clock):
    with consented(root, clock) as journal:
        journal.append("session_end", session_duration_ms=17)
    [found] = plan.batches(plan.pending(JournalReader(root), None, {}, None, opened=True), 100)
    assert dict(sink("caro-v1").render(found).headers)["X-Caro-Version"] == "unknown"


def test_posthog_capture_v1(batch):
    request = sink("posthog", "https://us.i.posthog.com/").render(batch)
    assert request.url == "https://us.i.posthog.com/i/v1/analytics/events"
    headers = dict(request.headers)
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["PostHog-Request-Id"] == batch.uuid
    assert headers["PostHog-Sdk-Info"].startswith("carojournal/")
    assert headers["Content-Encoding"] == "zstd"
    value = body(request)
    assert set(value) == {"created_at", "batch"}
    for event, record in zip(value["batch"], batch.records, strict=True):
        assert set(event) == {"event", "uuid", "distinct_id", "timestamp", "options", "properties"}
        assert str(uuid.UUID(event["uuid"])) == record.event_id
        assert len(event["event"]) <= 200
        assert event["distinct_id"] == record.value["session_id"].hex()
        assert event["timestamp"].endswith("Z")
        assert event["properties"]["$process_person_profile"] is False
        known = {key: part for key, part in event["properties"].items() if not key.startswith("$")}
        view = document_view(record.value)
        assert known == {key: view[key] for key in view if key not in ("event", "timestamp", "session_id")}


def test_posthog_headers_of_a_try(batch):
    one, two = (
        sink("posthog", "https://us.i.posthog.com").attempt_headers(number, NOW_MS + number) for number in (1, 2)
    )
    assert (one["PostHog-Attempt"], two["PostHog-Attempt"]) == ("1", "2")
    assert one["PostHog-Request-Timestamp"] != two["PostHog-Request-Timestamp"]


@pytest.mark.parametrize("path", ["/batch", "/batch/"])
def test_posthog_v0(batch, path):
    old = sink("posthog", f"https://us.i.posthog.com{path}")
    request = old.render(batch)
    value = body(request)
    assert set(value) == {"api_key", "batch"}
    assert value["api_key"] == KEY
    assert "Authorization" not in dict(request.headers)
    assert dict(request.headers)["Content-Encoding"] == "gzip"
    assert set(value["batch"][0]) == {"event", "uuid", "distinct_id", "timestamp", "properties"}
    assert old.attempt_headers(1, NOW_MS) == {}
    for said, kind in (
        ({"status": 1}, "accepted"),
        ({"status": "Ok"}, "accepted"),
        ({"status": 0}, "hold"),
        ({}, "hold"),
    ):
        assert old.judge(reply(200, said), frozenset(), NOW_MS).kind == kind


def test_posthog_verdicts_on_every_event():
    old = sink("posthog", "https://us.i.posthog.com")
    events = frozenset("abcd")
    said = {"results": {"a": "ok", "b": "warning", "c": "drop", "d": "retry"}}
    found = old.judge(reply(200, said, {"retry-after": "9"}), events, NOW_MS)
    assert (found.kind, found.refused, found.again, found.retry_after_ms) == ("accepted", {"c"}, {"d"}, 9_000)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"results": []},
        {"results": {"a": "ok"}},
        {"results": {"a": "ok", "b": "ok", "c": "ok"}},
        {"results": {"a": "ok", "b": "fine"}},
        {"results": {"a": "ok", "b": 1}},
        {"results": {"a": "ok", "b": None}},
        b"",
        b"<html>",
    ],
)
def test_posthog_answers_that_are_no_verdict(said):
    assert sink("posthog").judge(reply(200, said), frozenset("ab"), NOW_MS).kind == "hold"


@pytest.mark.parametrize("status", [404, 408, 429, 500, 502, 503, 504])
def test_posthog_is_tried_again(status):
    assert sink("posthog").judge(reply(status), frozenset("ab"), NOW_MS).kind == "later"


def test_otlp_is_what_the_real_classes_read(batch):
    request = sink("otlp").render(batch)
    text = gzip.decompress(request.body).decode()
    message = json_format.Parse(text, ExportLogsServiceRequest(), ignore_unknown_fields=False)
    [resource] = message.resource_logs
    assert {one.key: one.value.string_value for one in resource.resource.attributes}["service.name"] == "caro"
    [scope] = resource.scope_logs
    assert scope.scope.name == "carojournal.events"
    for found, record in zip(scope.log_records, batch.records, strict=True):
        view = document_view(record.value)
        assert found.time_unix_nano == record.value["timestamp"] * 1_000_000
        assert found.event_name == f"caro.{view['event']}"
        assert found.severity_number == (17 if view["event"] == "error_occurred" else 9)
        attributes = {one.key: plain(one.value) for one in found.attributes}
        assert len(attributes) == len(found.attributes)
        assert attributes.pop("event.id") == record.event_id
        assert attributes.pop("session.id") == view["session_id"]
        assert attributes == flat(view)


def plain(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(one) for one in value.array_value.values]
    return getattr(value, kind)


def flat(view):
    found = {}
    for key, value in view.items():
        if key in ("event", "timestamp", "session_id"):
            continue
        if isinstance(value, dict):
            found |= {f"{key}.{inner}": part for inner, part in value.items()}
        else:
            found[key] = value
    return found


@pytest.mark.parametrize(
    ("answer", "kind", "rejected"),
    [
        (reply(200, {}), "accepted", 0),
        (reply(200, b""), "accepted", 0),
        (reply(200, {"partialSuccess": {}}), "accepted", 0),
        (reply(200, {"partialSuccess": {"rejectedLogRecords": "2", "errorMessage": "no"}}), "accepted", 2),
        (reply(200, {"partialSuccess": {"rejectedLogRecords": 1}}), "accepted", 1),
        (reply(200, {"partialSuccess": {"rejectedLogRecords": "9"}}), "hold", 0),
        (reply(200, {"partialSuccess": {"rejectedLogRecords": -1}}), "hold", 0),
        (reply(200, {"partialSuccess": [1]}), "hold", 0),
        (reply(200, b"<html>"), "hold", 0),
        *((reply(status), "later", 0) for status in (429, 502, 503, 504)),
        *((reply(status), "hold", 0) for status in (408, 425, 500, 501, 505, 401, 404)),
        (reply(400), "isolate", 0),
        (reply(413), "split", 0),
        (Failure("reset"), "later", 0),
    ],
)
def test_otlp_verdicts(answer, kind, rejected):
    found = sink("otlp").judge(answer, frozenset("abcd"), NOW_MS)
    assert (found.kind, found.rejected) == (kind, rejected)


def test_an_answer_that_was_cut_at_the_bound_is_no_verdict():
    cut = Reply(200, {}, b"{}", whole=False)
    for name in SINKS:
        assert sink(name).judge(cut, frozenset("ab"), NOW_MS).kind == "hold"


def test_deletion(batch):
    asked = deletion.Request("ab" * 16, 5, (("2026-01-01", bytes(16)),), None)
    request = sink("caro-v1").deletion(asked)
    assert request.url == "https://receiver.example/v1/deletions"
    assert json.loads(request.body) == {"request": "ab" * 16, "sessions": ["00" * 16]}
    assert sink("posthog").deletion(asked) is None
    assert sink("otlp").deletion(asked) is None


def test_what_a_sink_lacks():
    with pytest.raises(ConfigError):
        open_sink("posthog", "", "")
    with pytest.raises(ConfigError):
        open_sink("otlp", "", "")
    assert open_sink("caro-v1", "").url == "https://telemetry.caro.sh/v1/events"
    assert open_sink("caro-array", "").url == "https://telemetry.caro.sh/api/events"


def test_another_endpoint_or_key_is_another_target():
    targets = {open_sink("posthog", url, key).target for url in ("https://a/x", "https://b/x") for key in "kl"}
    assert len(targets) == 4
    assert open_sink("caro-v1", "https://a/x").target != open_sink("caro-array", "https://a/x").target
