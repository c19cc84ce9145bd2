"""What an upload would send now, byte for byte, without sending or changing anything."""

import base64
from typing import TYPE_CHECKING

from carobatch import deliveries, plan
from carobatch.batch import Request
from carobatch.outbox import standing_intents
from carobatch.resume import look_again
from carobatch.sinks import deletion_request
from carojournal import deletion
from carojournal.reader import JournalReader
from carojournal.sent import unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carobatch.sinks import Sink

__all__ = ["preview", "request_object", "request_text"]


def preview(root: str, sink: "Sink", events_max: int, consent_ms: int) -> "Iterator[Request]":
    """Yield the requests of an upload in their order; open segments, which it would seal first, are included.

    *consent_ms* 0 (nothing would be sent) looks at every event, as if all had been agreed to.  Raises JournalIOError.
    """
    for asked in deletion.pending(root):
        request = deletion_request(sink, asked)
        if request is not None:
            yield request
    sessions = deletion.sendable_sessions(root)
    done = deliveries.accounted(root)
    for intent in standing_intents(root):
        fits = (intent.value["target"], intent.value["consent"]) == (sink.target, consent_ms)
        if fits and intent.sessions <= sessions and look_again(JournalReader(root), intent, sink).stands:
            yield intent.request
            deliveries.add(done, [row[:2] for row in intent.value["identities"]])  # type: ignore[attr-defined]
    records = plan.pending(JournalReader(root), consent_ms or None, done, sessions, opened=True)
    for batch in plan.batches(records, events_max):
        yield sink.render(batch)


def request_object(request: Request) -> dict[str, object]:
    """Return a request as JSON holds it, the exact body in base64."""
    return {
        "method": "POST",
        "url": request.url,
        "headers": dict(request.headers),
        "body_base64": base64.b64encode(request.body).decode(),
        "sha256": request.sha256,
    }


def request_text(request: Request) -> str:
    """Return a request for people: its body is shown unpacked."""
    body = unpacked(request.body).decode()
    lines = [f"POST {request.url}", *(f"{name}: {value}" for name, value in request.headers), "", body]
    return "\n".join([*lines, f"# sha256 {request.sha256}, {len(request.body)} bytes of body"])
