"""Journals with enough in them to be worth an index, and their events as the tests' own reader sees them."""

import os
import random

from conftest import Clock
from segments_by_hand import events

from carojournal import Journal

FULL_BYTES = 9_400_000  # The default cap less what open lanes reserve.


def session(journal, rand, clock):
    """Record one run of a small host, as one write."""
    generated = {
        "backend_used": rand.choice(["ollama", "mlx", "static"]),
        "safety_result": {"risk_level": rand.choice(["safe", "moderate", "high"]), "patterns_matched": 0},
        "model_name": "llama3:8b",
        "success": True,
        "confidence_score": 0.91,
    }
    rows = [("session_start", {"caro_version": "1.1.0", "os": "linux", "arch": "x86_64", "shell": "bash"})]
    for _ in range(rand.randrange(1, 8)):
        rows.append(("command_generated", {**generated, "inference_time_ms": rand.randrange(9_999)}))
        rows.append(("command_executed", {"execution_mode": "confirmed", "execution_time_ms": rand.randrange(9_999)}))
    if rand.random() < 0.02:
        rows.append(("error_occurred", {"error_category": "backend_timeout", "component": "backend"}))
    rows.append(("session_end", {"session_duration_ms": rand.randrange(99_999), "commands_generated": 3}))
    for row in rows:
        clock.advance(rand.randrange(1, 400))
        journal.append(row[0], **row[1])


def fill(root, size, clock=None, **options):
    """Record runs until the journal at *root* holds *size* bytes; return the clock."""
    clock = clock or Clock()
    rand = random.Random(7)
    made = 0
    while made < size:
        environ = {"HOME": "/nonexistent"}
        with Journal.open(root, clock=clock, environ=environ, admin="/nonexistent", **options) as journal:
            for _ in range(5):
                session(journal, rand, clock)
        made = bytes_below(root)
    return clock


def bytes_below(root):
    """Return the bytes of all segments."""
    return sum(
        os.path.getsize(os.path.join(root, folder, name))
        for folder in ("lanes", "segments")
        for name in os.listdir(os.path.join(root, folder))
    )


def by_hand(root):
    """Return every event of a healthy journal as (timestamp, segment, seq, value), in order, read by other means."""
    return sorted(
        ((value["timestamp"], segment, seq, value) for segment, seq, value in events(root)), key=lambda row: row[:3]
    )
