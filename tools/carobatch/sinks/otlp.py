"""OTLP/HTTP logs (opentelemetry-proto 1.x, JSON encoding): one log record per event.

    POST <endpoint> (usually https://HOST:4318/v1/logs)
    Content-Type: application/json, Content-Encoding: gzip

    resourceLogs[0]
      resource.attributes      service.name "caro", telemetry.sdk.name "carojournal", telemetry.sdk.version
      scopeLogs[0]
        scope                  name "carojournal.events", version: that of the event schema
        logRecords[]
          timeUnixNano         the event's time, as a decimal string
          observedTimeUnixNano the same: the recorder is the observer
          severityNumber       9 (INFO); 17 (ERROR) for error_occurred, 13 (WARN) for journal_health
          severityText         INFO, ERROR or WARN
          eventName            "caro." and the event's name
          attributes           event.id: the event id, to deduplicate by; session.id: 32 hex digits;
                               every other key of `carojournal.document`, groups with a dot ("platform.os")
                               a text as stringValue, a bool as boolValue, an integer as intValue (decimal string),
                               another number as doubleValue, a list as arrayValue

There is no trace: an event is not part of one.  Verdicts: a 2xx with an empty body or a JSON object accepts.
`partialSuccess` with `rejectedLogRecords` must not be sent again, and does not say which records it means; they are
counted in the receipt.  Of other statuses OTLP allows retries for 429, 502, 503 and 504 alone; 408, 425 and the other
5xx are held instead, because data that a receiver says it cannot take is data that we keep.

Deletion: OTLP has no such call, and a collector may have passed the records on to anywhere.  A request stays open until
the user confirms it (`carobatch deletion confirm`): whoever runs the backends behind the collector deletes the log
records whose attribute `session.id` is one of the request's.
"""

from typing import TYPE_CHECKING

from carobatch.batch import Request
from carobatch.event_text import encode
from carobatch.sinks.caro import answer_object, compressed
from carobatch.verdicts import ACCEPTED, HOLD, LATER, Verdict, judge_status
from carojournal import __version__
from carojournal.document import document_view
from carojournal.events import SCHEMA_VERSION

if TYPE_CHECKING:
    from carobatch.batch import Batch
    from carobatch.http import Failure, Reply
    from carojournal.deletion import Request as Deletion
    from carojournal.record import Record

__all__ = ["Otlp"]

_RETRYABLE = (429, 502, 503, 504)  # OTLP specification, "Retryable response codes".
_INFO = (9, "INFO")
_SEVERITY = {"error_occurred": (17, "ERROR"), "journal_health": (13, "WARN")}
_OWN = ("event", "timestamp", "session_id")


def _value(value: object) -> dict[str, object]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list | tuple):
        return {"arrayValue": {"values": [_value(one) for one in value]}}
    return {"stringValue": str(value)}


def _attribute(key: str, value: object) -> dict[str, object]:
    return {"key": key, "value": _value(value)}


def _record(record: "Record") -> dict[str, object]:
    view = document_view(record.value)
    nanoseconds = str(int(record.value["timestamp"]) * 1_000_000)  # type: ignore[call-overload]
    number, text = _SEVERITY.get(str(view["event"]), _INFO)
    attributes = [_attribute("event.id", record.event_id), _attribute("session.id", view["session_id"])]
    for key, value in view.items():
        if key in _OWN:
            continue
        if isinstance(value, dict):
            attributes += [_attribute(f"{key}.{inner}", part) for inner, part in value.items()]
        else:
            attributes.append(_attribute(key, value))
    return {
        "timeUnixNano": nanoseconds,
        "observedTimeUnixNano": nanoseconds,
        "severityNumber": number,
        "severityText": text,
        "eventName": f"caro.{view['event']}",
        "attributes": attributes,
    }


class Otlp:
    """`otlp`."""

    name = "otlp"
    by_hand = (
        "OTLP has no call to delete: in every backend behind the collector, whoever runs it deletes the log records of"
        ' service.name "caro" whose attribute session.id is one of these'
    )
    target = b""

    def __init__(self, url: str, key: str = "") -> None:  # noqa: ARG002 - a collector on the way holds the keys
        self.url = url

    def render(self, batch: "Batch") -> Request:
        """Return the request: gzip of an ExportLogsServiceRequest in JSON."""
        resource = [
            _attribute("service.name", "caro"),
            _attribute("telemetry.sdk.name", "carojournal"),
            _attribute("telemetry.sdk.version", __version__),
        ]
        logs = {
            "scope": {"name": "carojournal.events", "version": str(SCHEMA_VERSION)},
            "logRecords": [_record(record) for record in batch.records],
        }
        body = encode({"resourceLogs": [{"resource": {"attributes": resource}, "scopeLogs": [logs]}]})
        headers = (("Content-Type", "application/json"), ("Content-Encoding", "gzip"))
        return Request(self.url, headers, compressed(body.encode()))

    def attempt_headers(self, attempt: int, now_ms: int) -> dict[str, str]:  # noqa: ARG002
        """Return none: OTLP has no such header."""
        return {}

    def judge(self, answer: "Reply | Failure", events: frozenset[str], now_ms: int) -> Verdict:
        """Return the verdict; see the module."""
        verdict = judge_status(answer, now_ms)
        if verdict is not None:
            status = getattr(answer, "status", 0)
            if verdict.kind == LATER and status and status not in _RETRYABLE:
                return Verdict(HOLD, verdict.reason, verdict.retry_after_ms)
            return verdict
        found = answer_object(answer)  # type: ignore[arg-type]
        partial = (found or {}).get("partialSuccess") or {}
        count = partial.get("rejectedLogRecords", 0) if isinstance(partial, dict) else None
        if isinstance(count, str) and count.isascii() and count.isdecimal():
            count = int(count[:9])
        if found is None or type(count) is not int or not 0 <= count <= len(events):
            return Verdict(HOLD, "a 2xx answer that is not OTLP's")
        return Verdict(ACCEPTED, rejected=count)

    def deletion(self, asked: "Deletion") -> Request | None:  # noqa: ARG002
        """Return None: OTLP has no such call."""
        return None
