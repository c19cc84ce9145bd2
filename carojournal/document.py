"""An event in the shape of caro's own documents: what exports and the wire format `caro-v1` hold.

    {"event": "session_start", "timestamp": "2026-09-21T12:00:00.000Z", "session_id": 32 hex digits,
     "caro_version": "1.1.0", "platform": {"os": ..., "arch": ..., "shell": ...}, "backend_config": {...}, ...}

Fields come in the schema's order, those of a group (`events.EVENTS`) inside an object of the group's name, absent ones
not at all.  `generation_id` stands for the run and its ordinal: UUIDv8 of SHA-256(run id, 16 bytes, and ordinal, uint64
big-endian), so that the events of one generation share it and nothing else of the run shows.
"""

from typing import TYPE_CHECKING

from carojournal.own_events import ALL_EVENTS
from carojournal.record import derive_event_id
from carojournal.times import utc_text

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["document_view", "generation_id"]


def generation_id(run: bytes, ordinal: int) -> str:
    """Return the UUID of a generation: *run* is 16 bytes, *ordinal* counts from 1."""
    return derive_event_id(run, ordinal)  # The same construction over another pair of 16 and 8 bytes.


def document_view(value: "Mapping[str, object]") -> dict[str, object]:
    """Return the document of an event's decoded payload, which `recheck` has accepted."""
    event, time_ms, session, run = (value[key] for key in ("event", "timestamp", "session_id", "run_id"))
    assert isinstance(event, str)
    assert isinstance(time_ms, int)
    assert isinstance(session, bytes)
    assert isinstance(run, bytes)
    view: dict[str, object] = {"event": event, "timestamp": utc_text(time_ms), "session_id": session.hex()}
    ordinal = value.get("generation")
    if isinstance(ordinal, int):
        view["generation_id"] = generation_id(run, ordinal)
    for key, (_, _, _, group) in ALL_EVENTS[event][1].items():
        if key not in value:
            continue
        place = view.setdefault(group, {}) if group else view
        assert isinstance(place, dict)
        place[key] = value[key]
    return view
