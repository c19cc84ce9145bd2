"""What the tests of `audit` put into files: something sensitive, and an event without anything."""

SECRET = "jane.doe@example.com"
SEGMENT = bytes.fromhex("8c3f2e1a5b6d4c7e9f80a1b2c3d4e5f6")
EVENT = {
    "event": "session_start",
    "caro_version": "1.1.0",
    "os": "linux",
    "timestamp": 1_770_000_000_000,
    "run_id": bytes(range(16)),
    "session_id": bytes(range(16, 32)),
}
