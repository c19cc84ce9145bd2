"""A run with one event of each type, and what a journal holds of such."""

from carojournal import JournalReader

START = {
    "caro_version": "1.1.0-beta",
    "platform": {"os": "linux", "arch": "x86_64", "shell": "bash"},
    "backend_config": {"primary": "ollama", "fallback_enabled": True},
    "backend_available": ["ollama", "static"],
    "safety_level": "strict",
    "is_first_run": False,
}


def record(journal, generated):
    journal.record("session_start", **START)
    journal.record("command_generated", **generated)
    journal.record("command_executed", execution_mode="confirmed", modified_before_execution=False)
    journal.record("safety_triggered", risk_level="high", action_taken="blocked", pattern_category="disk_operation")
    journal.record("error_occurred", error_category="model_load", error_code="E0001", component="backend")
    journal.record("session_end", session_duration_ms=5000, commands_generated=1, exit_reason="user_complete")


def records(root):
    return list(JournalReader(root).records(events_only=True))
