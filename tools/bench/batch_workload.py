"""What carobatch's benchmark carries: runs of caro as a fixed seed draws them, and a journal full of them.

Short runs of one to four commands, half a minute between events, with the fields that caro's documents give them.
"""

from typing import TYPE_CHECKING

from carojournal import Journal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from random import Random

__all__ = ["Clock", "drawn", "fill"]

MODELS = ("llama3:8b", "qwen2.5-coder:7b", "gpt-4o-mini", "claude-3-5-sonnet-20241022")


def drawn(rng: "Random", count: int) -> "Iterator[tuple[str, dict[str, object]]]":
    """Yield (event, fields); a session_start begins a run."""
    made = 0
    while made < count:
        commands = rng.randint(1, 4)
        yield (
            "session_start",
            {
                "caro_version": "1.1.0",
                "os": "linux",
                "arch": "x86_64",
                "shell": "bash",
                "primary": "ollama",
                "fallback_enabled": True,
                "backend_available": ["ollama", "static"],
                "safety_level": "moderate",
                "output_format": "plain",
                "is_first_run": False,
            },
        )
        model = rng.choice(MODELS[:2])
        made += 2
        for _ in range(commands):
            risk = rng.choices(["safe", "moderate", "high", "critical"], [80, 14, 5, 1])[0]
            made += 1
            yield (
                "command_generated",
                {
                    "backend_used": "ollama",
                    "inference_time_ms": int(rng.lognormvariate(7, 0.6)),
                    "risk_level": risk,
                    "patterns_matched": 0 if risk == "safe" else rng.randint(1, 3),
                    "success": rng.random() < 0.96,
                    "model_name": model,
                    "input_token_count": rng.randint(40, 400),
                    "output_token_count": rng.randint(8, 90),
                    "confidence_score": round(rng.betavariate(8, 2), 2),
                    "retry_count": int(rng.random() > 0.95),
                },
            )
            if risk != "safe":
                made += 1
                yield (
                    "safety_triggered",
                    {
                        "risk_level": risk,
                        "action_taken": rng.choice(["warned", "blocked"]),
                        "pattern_category": rng.choice(["filesystem_destruction", "privilege_escalation"]),
                        "user_override": False,
                        "safety_level_config": "moderate",
                    },
                )
            if rng.random() < 0.7:
                made += 1
                yield (
                    "command_executed",
                    {
                        "execution_mode": "confirmed",
                        "modified_before_execution": rng.random() < 0.1,
                        "exit_code_category": rng.choices(["success", "error"], [9, 1])[0],
                        "execution_time_ms": int(rng.lognormvariate(5, 1.5)),
                    },
                )
        yield (
            "session_end",
            {
                "session_duration_ms": rng.randint(1_000, 300_000),
                "commands_generated": commands,
                "commands_executed": commands - 1,
                "errors_encountered": 0,
                "exit_reason": "user_complete",
                "safety_blocks": 0,
                "retries": 0,
            },
        )


class Clock:
    """UTC nanoseconds that move on by a few seconds an event, and a night after a few hundred."""

    def __init__(self, rng: "Random") -> None:
        self.now_ms = 1_790_000_000_000
        self.rng = rng

    def __call__(self) -> int:
        """Return the present."""
        return self.now_ms * 1_000_000

    def tick(self) -> None:
        """Let some time go by."""
        self.now_ms += int(self.rng.expovariate(1 / 30_000))


def fill(root: str, clock: Clock, events: "Iterable[tuple[str, dict[str, object]]]") -> int:
    """Record *events* (pairs) with one handle a run; return how many were kept."""
    journal: Journal | None = None
    kept = 0
    for name, fields in events:
        clock.tick()
        if journal is None or name == "session_start":
            if journal is not None:
                journal.close()
            environ = {"HOME": "/nonexistent"}
            journal = Journal.open(root, clock=clock, environ=environ, admin="/nonexistent", level="detailed")
        kept += journal.record(name, **fields)
    if journal is not None:
        journal.close()
    return kept
