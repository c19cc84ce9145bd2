"""caro's own two formats: `caro-v1` (an object, gzip) and the older `caro-array` (a bare array).

    POST /v1/events  (caro-v1)                          POST /api/events  (caro-array)
    Content-Type: application/json                      Content-Type: application/json
    Content-Encoding: gzip                              X-Caro-Version: caro's version, or "unknown"
    X-Caro-Version: as on the right                     X-Caro-Batch-Id: UUID of the batch
    {"batch_id": UUID, "client_timestamp": RFC 3339,    [{...}, ...]
     "events": [{...}, ...]}

    every try     X-Caro-Sent-At: RFC 3339 time of this try, X-Caro-Attempt: 1, 2, ...

    batch_id          UUIDv8 of the list of the events' identities and hashes: a retry has the same, a receiver may keep
                      the ids of the last days and answer a repeated batch with 200
    client_timestamp  the newest event's time, not the time of sending: a retry and a preview have the same bytes
    X-Caro-Version    `caro_version` of the newest session_start in the batch
    events[]          `carojournal.document` field by field, and before everything else
      event_id        UUIDv8 of the event's identity: what a receiver deduplicates by
      journal_health  has its fields (total, refused_*, dropped_*, lost_*) beside these, each a word for a power of ten

Answers to a 2xx: an empty body, or a JSON object.  It may hold `rejected` and `retry`, lists of event ids of this batch
that the receiver refuses for good or wants again; every other event is accepted.  Other keys are ignored.  Anything
else with a 2xx (a captive portal's page) is no verdict, and nothing is taken for delivered.

Deletion: POST to `deletions` beside the endpoint, {"request": 32 hex digits, "sessions": [32 hex digits, ...]}; a 2xx
with an empty body or a JSON object confirms it.  The receiver must take the same request twice.
"""

import gzip
import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from carobatch.batch import Request
from carobatch.event_text import encode, event_texts
from carobatch.verdicts import ACCEPTED, HOLD, Verdict, judge_status
from carojournal.frame import encode_text
from carojournal.times import utc_text

if TYPE_CHECKING:
    from carobatch.batch import Batch
    from carobatch.http import Failure, Reply
    from carojournal.deletion import Request as Deletion

__all__ = ["GZIP_LEVEL", "CaroArray", "CaroV1", "answer_object", "compressed"]

GZIP_LEVEL = 6  # Level 9 takes twice the time for 1 % less.
UNKNOWN_VERSION = "unknown"
_VERSION = encode_text("caro_version")


def compressed(data: bytes) -> bytes:
    """Return *data* as gzip without a time in it: the same bytes at any time."""
    return gzip.compress(data, GZIP_LEVEL, mtime=0)


def _events(batch: "Batch") -> str:
    """Return the JSON texts of the events of *batch*, a comma between them."""
    texts = zip(batch.events, event_texts(batch.records), strict=True)
    return ",".join(
        [
            f'{{"event_id":"{id_}","event":"{event}","timestamp":"{time}","session_id":"{session}"{members}}}'
            for id_, (event, time, session, members) in texts
        ]
    )


def answer_object(answer: "Reply") -> dict[str, object] | None:
    """Return the JSON object of an answer, {} for an empty one, None if it is neither."""
    if not answer.whole:
        return None
    if not answer.body.strip():
        return {}
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return found if type(found) is dict else None


def _caro_version(batch: "Batch") -> str:
    starts = [record for record in batch.records if _VERSION in record.payload]
    for record in sorted(starts, key=lambda record: -record.time_ms):
        if "caro_version" in record.value:
            return str(record.value["caro_version"])
    return UNKNOWN_VERSION


def _ids(listed: object, events: frozenset[str]) -> frozenset[str] | None:
    """Return the event ids of a list in an answer, None if it is no list of ids of this batch."""
    if type(listed) is not list or not all(type(one) is str and one in events for one in listed):
        return None
    return frozenset(listed)


class CaroV1:
    """`caro-v1`."""

    name = "caro-v1"
    by_hand = ""
    target = b""

    def __init__(self, url: str, key: str = "") -> None:  # noqa: ARG002 - caro's receiver wants no key
        self.url = url

    def render(self, batch: "Batch") -> Request:
        """Return the request: gzip of one JSON object."""
        head = encode({"batch_id": batch.uuid, "client_timestamp": utc_text(batch.newest_ms)})
        body = f'{head[:-1]},"events":[{_events(batch)}]}}'.encode()
        headers = (
            ("Content-Type", "application/json"),
            ("Content-Encoding", "gzip"),
            ("X-Caro-Version", _caro_version(batch)),
        )
        return Request(self.url, headers, compressed(body))

    def attempt_headers(self, attempt: int, now_ms: int) -> dict[str, str]:
        """Return the number and the time of this try."""
        return {"X-Caro-Attempt": str(attempt), "X-Caro-Sent-At": utc_text(now_ms)}

    def judge(self, answer: "Reply | Failure", events: frozenset[str], now_ms: int) -> Verdict:
        """Return the verdict; see the module for what a 2xx may say."""
        verdict = judge_status(answer, now_ms)
        if verdict is not None:
            return verdict
        found = answer_object(answer)  # type: ignore[arg-type]
        if found is None:
            return Verdict(HOLD, "a 2xx answer that is not the receiver's")
        refused, again = _ids(found.get("rejected", []), events), _ids(found.get("retry", []), events)
        if refused is None or again is None or refused & again:
            return Verdict(HOLD, "a 2xx answer that names other events than were sent")
        return Verdict(ACCEPTED, refused=refused, again=again)

    def deletion(self, asked: "Deletion") -> Request | None:
        """Return the request to delete sessions."""
        parts = urlsplit(self.url)
        path = f"{parts.path.rstrip('/').rpartition('/')[0]}/deletions"
        body = encode({"request": asked.request, "sessions": [session.hex() for _, session in asked.sessions]})
        url = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
        return Request(url, (("Content-Type", "application/json"),), body.encode())


class CaroArray(CaroV1):
    """`caro-array`."""

    name = "caro-array"

    def render(self, batch: "Batch") -> Request:
        """Return the request: a bare JSON array, not compressed."""
        headers = (
            ("Content-Type", "application/json"),
            ("X-Caro-Version", _caro_version(batch)),
            ("X-Caro-Batch-Id", batch.uuid),
        )
        return Request(self.url, headers, f"[{_events(batch)}]".encode())
