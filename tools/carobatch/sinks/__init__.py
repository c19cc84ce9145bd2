"""Wire formats: how a batch becomes one request, and what an answer to it means.

A sink is judgement without I/O: `render` returns the exact bytes, the same for the same batch at any time; `judge`
turns a 2xx answer into a verdict (every other status has one in `verdicts`, which a sink may sharpen);
`attempt_headers` are the few that differ from try to try; `deletion` is the request that asks the receiver to delete
sessions, or None where a client cannot ask: then `by_hand` says what somebody has to do at the receiver.
"""

import hashlib
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from carojournal.receivers import ENDPOINTS, Receiver

if TYPE_CHECKING:
    from carobatch.batch import Batch, Request
    from carobatch.http import Failure, Reply
    from carobatch.verdicts import Verdict
    from carojournal.deletion import Request as Deletion

__all__ = ["SINKS", "Sink", "deletion_by_hand", "deletion_request", "open_sink", "receiver_of"]

# wire_format -> (module, class)
SINKS = {
    "caro-v1": ("caro", "CaroV1"),
    "caro-array": ("caro", "CaroArray"),
    "posthog": ("posthog", "PostHog"),
    "otlp": ("otlp", "Otlp"),
}


class Sink(Protocol):
    """One wire format, bound to an endpoint."""

    name: str
    by_hand: str  # "" if `deletion` asks; else what to do with the session ids, and where, as one sentence.
    url: str
    target: bytes  # SHA-256 of name, endpoint and key: an intent for another one is not sent.

    def render(self, batch: "Batch") -> "Request":
        """Return the request that carries *batch*; the same bytes every time."""

    def attempt_headers(self, attempt: int, now_ms: int) -> dict[str, str]:
        """Return the headers of the *attempt*-th try (1, 2, ...) at *now_ms* (UTC ms)."""

    def judge(self, answer: "Reply | Failure", events: "frozenset[str]", now_ms: int) -> "Verdict":
        """Return what *answer* means for the events with these ids."""

    def deletion(self, asked: "Deletion") -> "Request | None":
        """Return the request that asks the receiver to delete sessions, None if a client cannot ask that."""


def receiver_of(sink: Sink) -> Receiver:
    """Return whom *sink* sends to, as receipts and requests to delete name it."""
    return Receiver(sink.name, sink.url)


def deletion_request(sink: Sink, asked: "Deletion") -> "Request | None":
    """Return the request that asks the receiver behind *sink* to delete, None if that is not to be asked by a call.

    A request for another receiver is none: this one has never had those sessions, and must not learn their ids.
    """
    return sink.deletion(asked) if asked.receiver in (None, receiver_of(sink)) else None


def deletion_by_hand(name: str) -> str:
    """Return what the sink called *name* (a key of SINKS) says of deleting by hand, "" if it can ask."""
    module, kind = SINKS[name]
    told: str = getattr(import_module(f"carobatch.sinks.{module}"), kind).by_hand
    return told


def open_sink(name: str, endpoint: str, key: str = "") -> Sink:
    """Return the sink called *name* (a key of SINKS).

    *endpoint* is the URL ("" for the sink's own), *key* the receiver's key where it wants one.  Raises ConfigError.
    """
    from carojournal.errors import ConfigError

    module, kind = SINKS[name]
    default = ENDPOINTS.get(name, "")
    if not endpoint and not default:
        raise ConfigError(f"endpoint: wire_format {name} has none of its own")
    sink: Sink = getattr(import_module(f"carobatch.sinks.{module}"), kind)(endpoint or default, key)
    sink.target = hashlib.sha256(f"{name}\n{sink.url}\n{key}".encode()).digest()
    return sink
