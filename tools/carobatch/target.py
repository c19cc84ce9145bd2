"""What the configuration says about uploads: where to, how, and whether at all, asked anew whenever it matters.

Endpoint, wire format, key, certificate file and proxy come from the user's or the administrator's file, never from the
environment or the command line.
"""

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carojournal import policy
from carojournal.config import CHANNEL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from carobatch.http import Client
    from carobatch.sinks import Sink
    from carobatch.upload import Job
    from carojournal.settings import Settings

__all__ = ["Target", "make_job", "may_ask_deletion", "read_target"]

_HOUR_MS = 3_600_000
_MB = 1_000_000
# Bytes of one event in an intent, which hosts cannot make room for in advance: of the body, of ids and of hashes.  An
# intent is at most a segment, by which the spool may exceed its bound; small bounds make batches smaller.
_INTENT_EVENT_BYTES = {"caro-array": 600}  # Not compressed.
_INTENT_EVENT_BYTES_ELSE = 100


@dataclass(frozen=True, slots=True)
class Target:
    """Where uploads go and how; `interval_ms` lies between two of them."""

    sink: "Sink"
    ca_file: str | None
    proxy: str | None
    interval_ms: int
    events_max: int
    cap_bytes: int

    def open_client(self, deadline_s: float | None = None) -> "Client":
        """Return a client for it.  Raises ConfigError."""
        from carobatch.http import DEADLINE_S, Client
        from carobatch.wire import AGENT

        return Client(ca_file=self.ca_file, proxy=self.proxy, deadline_s=deadline_s or DEADLINE_S, agent=AGENT)


def interval_ms(settings: "Settings") -> int:
    """Return the time between two uploads."""
    return int(settings.value("batch_interval_hours") or 24) * _HOUR_MS


def read_target(settings: "Settings") -> Target:
    """Return what *settings* say.  Raises ConfigError, where something is missing."""
    from carobatch.sinks import open_sink

    def text(key: str) -> str | None:
        value = settings.value(key)
        return None if value is None else str(value)

    sink = open_sink(str(settings.value("wire_format")), text("endpoint") or "", text("posthog_key") or "")
    cap_bytes = int(settings.value("offline_spool_max_mb") or 10) * _MB
    fitting = policy.segment_limit(cap_bytes, 0) // _INTENT_EVENT_BYTES.get(sink.name, _INTENT_EVENT_BYTES_ELSE)
    return Target(
        sink=sink,
        ca_file=text("ca_file"),
        proxy=text("proxy"),
        interval_ms=interval_ms(settings),
        events_max=min(int(settings.value("batch_max_events") or 1_000), fitting),
        cap_bytes=cap_bytes,
    )


def sending_allowed(root: str, environ: "Mapping[str, str]") -> int:
    """Return the time of the yes (UTC ms) if events may be sent now, else 0."""
    found = policy.resolve(root, channel=CHANNEL, environ=environ)
    return found.consent_ms if found.mode == "on" else 0


def may_ask_deletion(root: str, environ: "Mapping[str, str]") -> bool:
    """Tell whether a request to delete may be delivered now: only while the mode is `on`.

    Off means that no socket is opened, for no reason.  A request outlives it, and goes out first when the mode is on.
    """
    return policy.resolve(root, channel=CHANNEL, environ=environ).mode == "on"


def make_job(
    root: str,
    target: Target,
    environ: "Mapping[str, str] | None" = None,
    *,
    batches_max: int = 0,
    clock: "Callable[[], int] | None" = None,
) -> "Job":
    """Return the upload of the journal at *root* to *target*.  Raises ConfigError."""
    from carobatch.upload import Job

    environ = os.environ if environ is None else environ
    return Job(
        root=root,
        sink=target.sink,
        client=target.open_client(),
        allowed=lambda: sending_allowed(root, environ),
        may_ask=lambda: may_ask_deletion(root, environ),
        clock=clock or (lambda: time.time_ns() // 1_000_000),
        events_max=target.events_max,
        cap_bytes=target.cap_bytes,
        interval_ms=target.interval_ms,
        batches_max=batches_max,
    )
