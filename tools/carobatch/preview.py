"""What an upload would send now, byte for byte, without sending or changing anything.

Only the headers that say which try it is, and when, are not known yet: what will stand there is named in their place.
"""

import base64
from typing import TYPE_CHECKING

from carobatch import deliveries, plan
from carobatch.batch import Request
from carobatch.outbox import standing_intents
from carobatch.resume import look_again
from carobatch.sinks import deletion_request
from carobatch.wire import headers_of_a_try, headers_sent
from carojournal import deletion
from carojournal.reader import JournalReader
from carojournal.sent import unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carobatch.plan import Withhold
    from carobatch.sinks import Sink

__all__ = ["preview", "request_object", "request_text"]

Headers = list[tuple[str, str]]


def preview(
    root: str,
    sink: "Sink",
    events_max: int,
    consent_ms: int,
    withhold: "Withhold" = lambda _identity, _refusals: None,
) -> "Iterator[tuple[Request, Headers]]":
    """Yield the requests of an upload in their order, each with all headers that it is sent with.

    Open segments, which an upload would seal first, are included.
    *consent_ms* 0 (nothing would be sent) looks at every event, as if all had been agreed to.
    *withhold* is called as in `plan.pending`.  Raises JournalIOError.
    """
    for asked in deletion.pending(root):
        request = deletion_request(sink, asked)
        if request is not None:
            yield request, headers_sent(request)
    tried = headers_of_a_try(sink)
    sessions = deletion.sendable_sessions(root)
    done = deliveries.accounted(root)
    for intent in standing_intents(root):
        fits = (intent.value["target"], intent.value["consent"]) == (sink.target, consent_ms)
        if fits and intent.sessions <= sessions and look_again(JournalReader(root), intent, sink).stands:
            yield intent.request, headers_sent(intent.request, tried)
            deliveries.add(done, [row[:2] for row in intent.value["identities"]])  # type: ignore[attr-defined]
    records = plan.pending(JournalReader(root), consent_ms or None, done, sessions, opened=True, withhold=withhold)
    for batch in plan.batches(records, events_max):
        request = sink.render(batch)
        yield request, headers_sent(request, tried)


def request_object(request: Request, headers: Headers) -> dict[str, object]:
    """Return a request as JSON holds it, with all *headers* and the exact body in base64."""
    return {
        "method": "POST",
        "url": request.url,
        "headers": dict(headers),
        "body_base64": base64.b64encode(request.body).decode(),
        "sha256": request.sha256,
    }


def request_text(request: Request, headers: Headers) -> str:
    """Return a request for people, with all *headers*: its body is shown unpacked."""
    body = unpacked(request.body).decode()
    lines = [f"POST {request.url}", *(f"{name}: {value}" for name, value in headers), "", body]
    return "\n".join([*lines, f"# sha256 {request.sha256}, {len(request.body)} bytes of body"])
