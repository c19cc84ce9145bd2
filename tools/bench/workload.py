"""What all benchmarks record: one full `command_generated` event, and a spool that is full of them."""

import os
import time

from carojournal import Journal, codec, redact
from carojournal.errors import JournalError

__all__ = ["EVENT", "FIELDS", "WORDS", "full_spool", "open_journal", "packed_event", "sample_event", "tree_bytes"]

EVENT = "command_generated"
FIELDS: dict[str, object] = {
    "backend_used": "ollama",
    "inference_time_ms": 843,
    "safety_result": {"risk_level": "safe", "patterns_matched": 0},
    "model_name": "llama3:8b",
    "success": True,
    "input_token_count": 120,
    "output_token_count": 33,
    "confidence_score": 0.91,
    "retry_count": 0,
}
# The same for the command line of `carojournal append`.
WORDS = (
    "backend_used=ollama",
    "inference_time_ms=843",
    "risk_level=safe",
    "patterns_matched=0",
    "model_name=llama3:8b",
    "success=true",
    "input_token_count=120",
    "output_token_count=33",
    "confidence_score=0.91",
    "retry_count=0",
)
_STEP_NS = 1_000_000_000  # One event a second: the spool of a user who is busy all day.
_EVENT_BYTES_MIN = 150  # No record of a full event is smaller; says how far back the first one has to lie.
_CHUNK = 100


def open_journal(root: str, home: str, **options: object) -> Journal:
    """Open the journal at *root*, ruled by nothing but the configuration in *home*."""
    return Journal.open(root, environ={"HOME": home}, admin="/nonexistent", **options)  # type: ignore[arg-type]


def packed_event() -> bytes:
    """Return the bytes that `record` writes of the full event, checked and encoded anew from the caller's fields."""
    found = redact.check(EVENT, FIELDS)
    assert type(found) is redact.Accepted
    return found.payload(1_790_000_000_000, bytes(range(16)), bytes(range(16, 32)), 1)


def sample_event() -> dict[str, object]:
    """Return the full event as a journal keeps it, ids as text: what a peer is given."""
    event = codec.loads_fast(packed_event())
    assert isinstance(event, dict)
    return {key: value.hex() if isinstance(value, bytes) else value for key, value in event.items()}


def tree_bytes(root: str) -> int:
    """Return the bytes of all files below *root*."""
    return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(root) for name in names)


def full_spool(scratch: str, home: str, size: int) -> str:
    """Return the root of a journal below *scratch* that holds about *size* bytes, or evicts; made at the first call.

    Raises JournalError if an event is not kept.
    """
    root = os.path.join(scratch, "full")
    if os.path.exists(root):
        return root
    now_ns = time.time_ns() - size // _EVENT_BYTES_MIN * _STEP_NS
    before = 0
    with open_journal(root, home, clock=lambda: now_ns) as journal:
        while before < size:
            for _ in range(_CHUNK):
                now_ns += _STEP_NS
                if not journal.record(EVENT, **FIELDS):
                    raise JournalError("an event of the benchmark was not kept")
            held = tree_bytes(root)
            if held < before:
                break
            before = held
    return root
