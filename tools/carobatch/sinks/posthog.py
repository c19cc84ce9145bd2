"""PostHog: capture v1 with a verdict on every event, or v0 where the endpoint's path ends in /batch.

    POST /i/v1/analytics/events                          POST /batch/                                    (v0)
    Authorization: Bearer <posthog_key>
    Content-Type: application/json                       Content-Type: application/json
    Content-Encoding: zstd                               Content-Encoding: gzip
    PostHog-Sdk-Info: carojournal/<version>
    PostHog-Request-Id: UUID of the batch, the same in every try
    {"created_at", "batch": [...]}                       {"api_key": <posthog_key>, "batch": [...]}

    every try     PostHog-Attempt: 1, 2, ..., PostHog-Request-Timestamp: RFC 3339 time of this try   (v1 alone)

    created_at     the newest event's time, so that a retry has the same bytes
    batch[]
      event        the event's name ("session_start")
      uuid         the event id: what PostHog deduplicates by
      distinct_id  the session id, 32 hex digits: it ends with the UTC day, there is nobody behind it
      timestamp    RFC 3339, UTC, milliseconds
      options      {} (v1 alone)
      properties   every other key of `carojournal.document`, groups as objects ("platform": {"os": ...}), and
                   of journal_health: total, refused_*, dropped_*, lost_*, each a word for a power of ten
                   "$process_person_profile": false  no profile of a person is made
                   "$geoip_disable": true            nor is a place looked up from the address
                   "$lib": "carojournal", "$lib_version"

Verdicts (v1): `results` maps every uuid to ok, warning (both: accepted), drop (refused for good) or retry; an answer
that lacks one or names another is no verdict.  404 is tried again later, as PostHog asks.  v0 answers {"status": 1} or
{"status": "Ok"} for the whole batch.

Deletion: a client cannot ask PostHog, because its key only writes.  A request stays open, `carojournal status` shows
it, and the user hands its session ids to the operator, who deletes with a personal key: POST
/api/projects/<project>/persons/bulk_delete/ with {"distinct_ids": [...], "delete_events": true}, and looks at
`persons_found` in the answer.  Our events make no person profile, so it may be 0, and then nothing was deleted: on a
self-hosted PostHog the operator deletes from ClickHouse (table events, by distinct_id), on PostHog Cloud its support
has to.  Events go asynchronously, at the weekend.  Once they are gone the user says so (`carobatch deletion confirm`).
"""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from carobatch.batch import Request
from carobatch.event_text import encode, event_texts
from carobatch.sinks.caro import answer_object, compressed
from carobatch.verdicts import ACCEPTED, HOLD, LATER, Verdict, judge_status, parse_retry_after
from carojournal import __version__
from carojournal.errors import ConfigError
from carojournal.times import utc_text

if TYPE_CHECKING:
    from carobatch.batch import Batch
    from carobatch.http import Failure, Reply
    from carojournal.deletion import Request as Deletion

__all__ = ["V1_PATH", "PostHog"]

V1_PATH = "/i/v1/analytics/events"
_LIBRARY = {
    "$process_person_profile": False,
    "$geoip_disable": True,
    "$lib": "carojournal",
    "$lib_version": __version__,
}
_OK, _DROP, _RETRY = ("ok", "warning"), "drop", "retry"
ZSTD_LEVEL = 3  # Of zstd's own choice: a third of gzip's time for fewer bytes.


class PostHog:
    """`posthog`; an endpoint without a path gets that of capture v1.  Raises ConfigError without a key."""

    name = "posthog"
    by_hand = (
        "the key of a client only writes: whoever runs the PostHog project deletes the events whose distinct_id is one"
        " of these (persons/bulk_delete with delete_events; where that finds no person: in ClickHouse, or by support)"
    )
    target = b""

    def __init__(self, url: str, key: str = "") -> None:
        if not key:
            raise ConfigError("posthog_key: wire_format posthog needs the project's key")
        bare = urlsplit(url).path in ("", "/")
        self.url = url.rstrip("/") + V1_PATH if bare else url
        self._key = key
        self._old = urlsplit(self.url).path.rstrip("/").endswith("/batch")

    def _events(self, batch: "Batch") -> str:
        """Return the JSON texts of the events, a comma between them."""
        options = "" if self._old else '"options":{},'
        library = encode(_LIBRARY)[1:]
        texts = zip(batch.events, event_texts(batch.records), strict=True)
        return ",".join(
            [
                f'{{"event":"{event}","uuid":"{id_}","distinct_id":"{session}","timestamp":"{time}",{options}'
                f'"properties":{{{members[1:]}{"," if members else ""}{library}}}'
                for id_, (event, time, session, members) in texts
            ]
        )

    def render(self, batch: "Batch") -> Request:
        """Return the request: one JSON object, as zstd, or gzip where the receiver knows nothing better (v0)."""
        from carojournal import zstd

        head = {"api_key": self._key} if self._old else {"created_at": utc_text(batch.newest_ms)}
        body = f'{encode(head)[:-1]},"batch":[{self._events(batch)}]}}'.encode()
        kind = ("Content-Type", "application/json")
        if self._old:
            return Request(self.url, (kind, ("Content-Encoding", "gzip")), compressed(body))
        headers = (
            kind,
            ("Content-Encoding", "zstd"),
            ("Authorization", f"Bearer {self._key}"),
            ("PostHog-Sdk-Info", f"carojournal/{__version__}"),
            ("PostHog-Request-Id", batch.uuid),
        )
        return Request(self.url, headers, zstd.compress(body, ZSTD_LEVEL))

    def attempt_headers(self, attempt: int, now_ms: int) -> dict[str, str]:
        """Return the number and the time of this try."""
        if self._old:
            return {}
        return {"PostHog-Attempt": str(attempt), "PostHog-Request-Timestamp": utc_text(now_ms)}

    def judge(self, answer: "Reply | Failure", events: frozenset[str], now_ms: int) -> Verdict:
        """Return the verdict; see the module."""
        if getattr(answer, "status", None) == 404:
            return Verdict(LATER, "status 404", parse_retry_after(answer.headers, now_ms))  # type: ignore[union-attr]
        verdict = judge_status(answer, now_ms)
        if verdict is not None:
            return verdict
        found = answer_object(answer) or {}  # type: ignore[arg-type]
        if self._old:
            said = found.get("status")
            good = (type(said) is int and said == 1) or (type(said) is str and said.lower() == "ok")
            return Verdict(ACCEPTED) if good else Verdict(HOLD, "a 2xx answer that is not PostHog's")
        results = found.get("results")
        if type(results) is not dict or results.keys() != events:
            return Verdict(HOLD, "a 2xx answer without a verdict on every event")
        if not all(word in (*_OK, _DROP, _RETRY) for word in results.values() if type(word) is str) or not all(
            type(word) is str for word in results.values()
        ):
            return Verdict(HOLD, "a 2xx answer with an unknown verdict")
        refused = frozenset(event for event, word in results.items() if word == _DROP)
        again = frozenset(event for event, word in results.items() if word == _RETRY)
        return Verdict(
            ACCEPTED,
            refused=refused,
            again=again,
            retry_after_ms=parse_retry_after(answer.headers, now_ms),  # type: ignore[union-attr]
        )

    def deletion(self, asked: "Deletion") -> Request | None:  # noqa: ARG002
        """Return None: a client cannot ask."""
        return None
