"""How the peers from PyPI are opened, used and counted; imported names are theirs (extra `bench` in pyproject.toml).

Nothing here reaches a network: where a client would send, it is pointed at a port of the loopback that nobody serves.
Each imports what it needs and nothing else: a process that starts is measured too.
"""
# mypy: disable-error-code="import-not-found,import-untyped,unused-ignore"

import os
from collections.abc import Callable
from typing import Any

__all__ = [
    "in_diskcache",
    "in_glean",
    "in_litequeue",
    "in_persist_queue",
    "in_persist_queue_sqlite",
    "in_posthog",
    "litequeue",
    "open_diskcache",
    "open_glean",
    "open_litequeue",
    "open_persist_queue",
    "open_persist_queue_sqlite",
    "open_posthog",
]

_NOBODY = "http://127.0.0.1:9"  # Port 9 is `discard`, which nobody serves any more.
_GLEAN_PING = "bench-ping"


def _persist_queue(folder: str) -> Any:
    from persistqueue import Queue

    return Queue(os.path.join(folder, "queue"), tempdir=folder)


def open_persist_queue(folder: str, event: dict[str, Any]) -> Callable[[], object]:
    """Append to the queue of files."""
    queue, row = _persist_queue(folder), event
    return lambda: queue.put(row)


def in_persist_queue(folder: str) -> int:
    """Count."""
    return _persist_queue(folder).qsize()


def _persist_queue_sqlite(folder: str) -> Any:
    from persistqueue import SQLiteQueue

    return SQLiteQueue(os.path.join(folder, "queue"), auto_commit=True, timeout=60)


def open_persist_queue_sqlite(folder: str, event: dict[str, Any]) -> Callable[[], object]:
    """Append to the queue in sqlite."""
    queue, row = _persist_queue_sqlite(folder), event
    return lambda: queue.put(row)


def in_persist_queue_sqlite(folder: str) -> int:
    """Count."""
    return _persist_queue_sqlite(folder).size


def litequeue(folder: str) -> Any:
    """Return the queue."""
    from litequeue import LiteQueue

    return LiteQueue(os.path.join(folder, "queue.db"), timeout=60)


def open_litequeue(folder: str, event: dict[str, Any]) -> Callable[[], object]:
    """Append text."""
    import json

    queue, row = litequeue(folder), event
    return lambda: queue.put(json.dumps(row))


def in_litequeue(folder: str) -> int:
    """Count."""
    return litequeue(folder).qsize()


def _diskcache(folder: str) -> Any:
    from diskcache import Deque

    return Deque(directory=os.path.join(folder, "deque"))


def open_diskcache(folder: str, event: dict[str, Any]) -> Callable[[], object]:
    """Append to the deque."""
    queue, row = _diskcache(folder), event
    return lambda: queue.append(row)


def in_diskcache(folder: str) -> int:
    """Count."""
    return len(_diskcache(folder))


def open_glean(folder: str, event: dict[str, Any]) -> Callable[[], object]:
    """Record an event of a ping that is never submitted; the only values that an event of Glean has are texts."""
    import pathlib

    from glean import Configuration, Glean
    from glean._uniffi import CommonMetricData, Lifetime
    from glean.metrics import EventMetricType, PingType
    from glean.metrics.event import EventExtras

    class Extras(EventExtras):  # type: ignore[misc]
        def to_ffi_extra(self) -> dict[str, str]:
            return texts

    settings = Configuration(
        server_endpoint=_NOBODY, max_events=1 << 30, enable_internal_pings=False, allow_multiprocessing=False
    )
    place = pathlib.Path(folder, "glean")
    Glean.initialize("bench", "1", upload_enabled=True, configuration=settings, data_dir=place)
    PingType(
        name=_GLEAN_PING,
        include_client_id=False,
        send_if_empty=False,
        precise_timestamps=True,
        include_info_sections=False,
        schedules_pings=[],
        reason_codes=[],
        uploader_capabilities=[],
    )
    texts = {key: str(value) for key, value in event.items()}
    data = CommonMetricData(
        category="bench", name="event", send_in_pings=[_GLEAN_PING], lifetime=Lifetime.PING, disabled=False
    )
    metric, extras = EventMetricType(data, list(texts)), Extras()
    return lambda: metric.record(extras)


def in_glean(folder: str) -> int:
    """Count the whole lines of the ping's file."""
    path = os.path.join(folder, "glean", "events", _GLEAN_PING)
    if not os.path.exists(path):
        return 0
    with open(path, "rb") as file:
        return sum(line.endswith(b"}\n") for line in file)


def open_posthog(_folder: str, event: dict[str, Any]) -> Callable[[], object]:
    """Queue in memory, far from a full queue, so that what is measured is `capture` and no network."""
    import logging

    from posthog import Posthog

    logging.getLogger("posthog").disabled = True
    client = Posthog("phc_bench", host=_NOBODY, max_queue_size=10_000_000, flush_at=10_000_000, flush_interval=3600)
    row = event
    return lambda: client.capture("command_generated", distinct_id=row["session_id"], properties=row)


def in_posthog(_folder: str) -> int:
    """Nothing is kept anywhere."""
    return 0
