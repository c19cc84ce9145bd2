"""The JSON view: keys, order, and what a foreign record may hold."""

import json

from carojournal.view import event_view

ID = "850ad179-1278-83d9-98c1-800c6f017d95"


def test_keys_come_in_a_fixed_order_whatever_the_record_has():
    value = {
        "retries": 1,
        "timestamp": 1_790_000_000_123,
        "generation": 2,
        "session_duration_ms": 5,
        "session_id": b"\x01" * 16,
        "event": "session_end",
        "run_id": b"\xab" * 16,
        "commands_generated": 3,
    }
    assert json.dumps(event_view(value, ID)) == (
        '{"event": "session_end", "event_id": "850ad179-1278-83d9-98c1-800c6f017d95", '
        '"timestamp": "2026-09-21T14:13:20.123Z", "session_id": "01010101010101010101010101010101", '
        '"run_id": "abababababababababababababababab", "generation": 2, '
        '"session_duration_ms": 5, "commands_generated": 3, "retries": 1}'
    )


def test_generation_is_there_only_if_the_record_has_one():
    assert "generation" not in event_view({"event": "session_end", "timestamp": 0}, ID)


def test_what_the_schema_does_not_know_is_shown_last_and_fits_json():
    value = {
        "zeta": b"\x00\xff",
        "alpha": [b"\x01", {"x": float("nan")}],
        "event": "unheard_of",
        "timestamp": 2**63,
        "middle": float("inf"),
        "event_id": "forged",
    }
    view = event_view(value, ID)
    assert list(view)[-3:] == ["alpha", "middle", "zeta"]
    assert (view["zeta"], view["alpha"], view["middle"]) == ("00ff", ["01", {"x": "nan"}], "inf")
    assert view["event_id"] == ID
    assert view["timestamp"] == str(2**63)
    json.dumps(view, allow_nan=False)
