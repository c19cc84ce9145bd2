"""Queues as caro 1.1 left them, and what `migrate` makes of one."""

import json
import sqlite3
from contextlib import closing

from conftest import NOON_MS

from carojournal import JournalReader, migrate, policy
from carojournal.times import utc_text

__all__ = ["DAY_MS", "HOUR_MS", "LOCAL", "SESSION", "events_of", "old_event", "queue", "queue_of_five", "take"]

HOUR_MS = 3_600_000
DAY_MS = 86_400_000
LOCAL = policy.Policy("local", source="test")
SESSION = "0123456789abcdef"  # caro 1.1: 16 hex digits of a hash of the machine's id and the date.


def old_event(number, time_ms=NOON_MS, session=SESSION, **more):
    """An event as serde flattens it into `data`."""
    return {
        "id": f"00000000-0000-4000-8000-{number:012d}",
        "session_id": session,
        "timestamp": utc_text(time_ms).replace("Z", "123456+00:00"),
        "type": "command_generation",
        "backend": "embedded",
        "duration_ms": 100 + number,
        "success": True,
        "error_category": None,
    } | more


def queue(path, events):
    """A queue as caro 1.1 makes it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY, session_id TEXT NOT NULL, "
            "timestamp TEXT NOT NULL, event_type TEXT NOT NULL, data TEXT NOT NULL)"
        )
        connection.execute("CREATE INDEX IF NOT EXISTS idx_timestamp ON events(timestamp)")
        for event in events:
            name = event.get("type") or event["event_type"]["type"]
            row = (event["id"], event["session_id"], event["timestamp"], name, json.dumps(event))
            connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", row)
        connection.commit()
    return path


def events_of(root):
    return [record.value for record in JournalReader(root).records(events_only=True)]


def take(path, root, **keywords):
    return migrate.migrate(str(path), root, keywords.pop("policy", LOCAL), NOON_MS + HOUR_MS, **keywords)


def queue_of_five(path):
    """The five events of the progress document, as caro's main.rs writes them."""
    common = {"session_id": SESSION, "timestamp": utc_text(NOON_MS)}
    return queue(
        path,
        [
            {"id": "a1", **common, "type": "session_start", "version": "1.1.0-beta", "platform": "linux"}
            | {"shell_type": "Bash", "backend_available": ["static", "embedded"]},
            {"id": "a2", **common, "type": "command_generation", "backend": "embedded", "duration_ms": 1500}
            | {"success": False, "error_category": "timeout"},
            {"id": "a3", **common, "type": "safety_validation", "risk_level": "medium", "action_taken": "blocked"}
            | {"pattern_category": "destructive"},
            {"id": "a4", **common, "type": "backend_error", "backend": "ollama", "error_category": "inference_timeout"}
            | {"recoverable": True},
            {"id": "a5", **common, "type": "session_end", "duration_ms": 9000, "commands_generated": 1}
            | {"commands_executed": 0},
            {"id": "a6", **common, "type": "advisor_invoked", "advisor": "claude", "accepted": True, "duration_ms": 5},
        ],
    )
