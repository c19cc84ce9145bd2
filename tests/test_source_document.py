"""The source document's export, as its Rust would write it, and the bound on what can be made of the same events."""

import json
import random

from bench import source_document
from carojournal.document import generation_id


def test_the_source_documents_export_is_as_its_rust_would_write_it():
    """Members in the order of the structs, and nothing that they do not have; as serde_json indents it."""
    value = {
        "event": "command_generated",
        "timestamp": 1_790_000_088_617,
        "session_id": bytes(16),
        "run_id": bytes(16),
        "generation": 1,
        "success": True,
        "risk_level": "safe",
        "patterns_matched": 0,
        "backend_used": "ollama",
        "inference_time_ms": 843,
        "confidence_score": 0.91,
    }
    text = source_document.pretty_export([value], random.Random(1), nanos=False).decode()
    assert text.split('"events": ')[1] == (
        '[\n    {\n      "event": "command_generated",\n'
        '      "timestamp": {\n        "secs_since_epoch": 1790000088,\n'
        '        "nanos_since_epoch": 617000000\n      },\n'
        '      "session_id": "00000000000000000000000000000000",\n'
        f'      "generation_id": "{generation_id(bytes(16), 1)}",\n'
        '      "backend_used": "ollama",\n      "inference_time_ms": 843,\n'
        '      "safety_result": {\n        "risk_level": "safe",\n        "patterns_matched": 0\n      },\n'
        '      "confidence_score": 0.91\n    }\n  ]\n}'
    )
    other = json.loads(source_document.pretty_export([value, value], random.Random(1)))["events"]
    assert other[0]["generation_id"] == other[1]["generation_id"] != generation_id(bytes(16), 1)
    assert other[0]["timestamp"]["nanos_since_epoch"] // 1_000_000 == 617


def test_what_no_coder_can_leave_out():
    """Sixteen random bytes a run; one bit for every fair choice; nothing for what is always the same."""
    event = {"event": "safety_triggered", "risk_level": "high", "pattern_category": "other", "session_id": bytes(16)}
    events = [
        {**event, "run_id": bytes([number // 40] * 16), "timestamp": 1_000 * number, "action_taken": action}
        for number, action in enumerate(("warned", "blocked") * 40, 1)
    ]
    assert source_document.unavoidable_bytes(events) == 3 * 16 + 80 // 8
