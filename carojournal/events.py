"""The event schema, as data: what may enter the journal and nothing else.

Hot path: literals only, no imports.  `redact` compiles an event's fields when the event is first used; `schema_docs`
derives EVENTS.md, the JSON Schema and the CDDL from the same literals, and tests keep all of them in step.

    EVENTS   event -> (level, {field: (type, level, required, group)})
    TYPES    type  -> (kind, ...) with one of the kinds
             ("enum", values)               a closed list of words; "other" or "unknown" among them takes misfits
             ("words", type, most)          a list of at most `most` distinct words of an enum type
             ("int", most, exact, step)     0 to `most`; above `exact` rounded to the nearest multiple of `step`
             ("bool",) ("version",) ("model",) ("code",)
             ("score",)                     0 to 1, rounded to 0.01

`group` is the object a field stands in in caro's own documents (`platform.os`); records are flat.
Long durations and large counts are stored rounded: no analysis needs milliseconds of an hour, and a number that was
never a duration (a telephone or card number) does not survive as itself.
"""

__all__ = [
    "ALIASES",
    "DETAILED",
    "ENVELOPE",
    "EVENTS",
    "EVENT_ALIASES",
    "FIELD_ALIASES",
    "GROUPS",
    "LEVELS",
    "LEVEL_ALIASES",
    "MINIMAL",
    "RECORDER_OWNED",
    "SCHEMA_HASH",
    "SCHEMA_VERSION",
    "STANDARD",
    "TYPES",
]

SCHEMA_VERSION = 2
# SHA-256 of the canonical CBOR of [SCHEMA_VERSION, EVENTS, TYPES], those of `own_events` among them; `schema_registry`
# says why of these, and chains it.
# `python -m carojournal.schema_export --write` prints it anew; a test recomputes it.
SCHEMA_HASH = bytes.fromhex("787f0cc8e5c40cf81fed5614f4978fdba058c04a48320fd8fec993f04b0db11d")

MINIMAL, STANDARD, DETAILED = 0, 1, 2
LEVELS = ("minimal", "standard", "detailed")
LEVEL_ALIASES = {"normal": "standard", "verbose": "detailed"}

# The recorder's own fields: (key, meaning).  A caller never sets them, except a generation's ordinal.
ENVELOPE = ("event", "run_id", "timestamp", "generation", "session_id")
RECORDER_OWNED = ("timestamp", "session_id", "run_id", "event_id", "id", "batch_id", "client_timestamp")

TYPES: "dict[str, tuple[object, ...]]" = {
    "os": (
        "enum",
        ("macos", "linux", "windows", "freebsd", "openbsd", "netbsd", "dragonfly", "illumos", "solaris", "aix")
        + ("android", "ios", "unknown"),
    ),
    "arch": (
        "enum",
        ("aarch64", "x86_64", "arm", "x86", "riscv64", "ppc64le", "ppc64", "s390x", "loong64", "mips64", "unknown"),
    ),
    "shell": (
        "enum",
        (
            "bash",
            "zsh",
            "fish",
            "sh",
            "dash",
            "ksh",
            "tcsh",
            "nushell",
            "elvish",
            "xonsh",
            "powershell",
            "cmd",
            "unknown",
        ),
    ),
    "backend": (
        "enum",
        ("embedded-mlx", "embedded-cpu", "embedded", "static", "ollama", "vllm", "exo", "mlx", "claude", "openrouter")
        + ("mock", "other"),
    ),
    "backends": ("words", "backend", 12),
    "safety_level": ("enum", ("strict", "moderate", "permissive", "other")),
    "output_format": ("enum", ("plain", "json", "yaml", "other")),
    "exit_reason": ("enum", ("user_complete", "user_abort", "error", "timeout")),
    "risk_level": ("enum", ("safe", "moderate", "high", "critical")),
    "execution_mode": ("enum", ("confirmed", "auto_confirm", "dry_run", "interactive")),
    "exit_code_category": ("enum", ("success", "error", "timeout")),
    "pattern_category": (
        "enum",
        ("filesystem_destruction", "privilege_escalation", "disk_operation", "network_exfiltration")
        + ("system_modification", "service_control", "config_modification", "other"),
    ),
    "safety_action": ("enum", ("blocked", "warned", "allowed")),
    "error_category": (
        "enum",
        ("backend_timeout", "backend_connection", "backend_parse", "model_load", "config_error", "validation_error")
        + ("execution_error", "unknown"),
    ),
    "component": (
        "enum",
        ("agent", "backend", "cache", "cli", "config", "context", "execution", "generation", "inference", "knowledge")
        + (
            "logging",
            "model",
            "platform",
            "prompt",
            "safety",
            "session",
            "storage",
            "telemetry",
            "validation",
            "other",
        ),
    ),
    "error_code": ("code",),
    "version": ("version",),
    "model": ("model",),
    "flag": ("bool",),
    "score": ("score",),
    # A day in milliseconds: sessions end at midnight UTC.  Exact below 100 s, then whole seconds.
    "day_ms": ("int", 86_400_000, 99_999, 1_000),
    # An hour in milliseconds, with the same rounding.
    "hour_ms": ("int", 3_600_000, 99_999, 1_000),
    "count": ("int", 9_999, 9_999, 1),
    "tokens": ("int", 1_000_000, 9_999, 100),
}

EVENTS: "dict[str, tuple[int, dict[str, tuple[str, int, bool, str]]]]" = {
    "session_start": (
        MINIMAL,
        {
            "caro_version": ("version", MINIMAL, True, ""),
            "os": ("os", MINIMAL, True, "platform"),
            "arch": ("arch", MINIMAL, False, "platform"),
            "shell": ("shell", MINIMAL, False, "platform"),
            "primary": ("backend", MINIMAL, False, "backend_config"),
            "fallback_enabled": ("flag", MINIMAL, False, "backend_config"),
            "backend_available": ("backends", STANDARD, False, ""),
            "safety_level": ("safety_level", STANDARD, False, ""),
            "output_format": ("output_format", STANDARD, False, ""),
            "is_first_run": ("flag", STANDARD, False, ""),
        },
    ),
    "session_end": (
        MINIMAL,
        {
            "session_duration_ms": ("day_ms", MINIMAL, True, ""),
            "commands_generated": ("count", MINIMAL, False, ""),
            "commands_executed": ("count", MINIMAL, False, ""),
            "errors_encountered": ("count", MINIMAL, False, ""),
            "exit_reason": ("exit_reason", MINIMAL, False, ""),
            "safety_blocks": ("count", STANDARD, False, ""),
            "retries": ("count", DETAILED, False, ""),
        },
    ),
    "command_generated": (
        STANDARD,
        {
            "backend_used": ("backend", STANDARD, True, ""),
            "inference_time_ms": ("hour_ms", STANDARD, True, ""),
            "risk_level": ("risk_level", STANDARD, False, "safety_result"),
            "patterns_matched": ("count", STANDARD, False, "safety_result"),
            "success": ("flag", STANDARD, False, ""),
            "error_category": ("error_category", STANDARD, False, ""),
            "model_name": ("model", STANDARD, False, ""),
            "input_token_count": ("tokens", DETAILED, False, ""),
            "output_token_count": ("tokens", DETAILED, False, ""),
            "confidence_score": ("score", DETAILED, False, ""),
            "retry_count": ("count", DETAILED, False, ""),
        },
    ),
    "command_executed": (
        STANDARD,
        {
            "execution_mode": ("execution_mode", STANDARD, True, ""),
            "modified_before_execution": ("flag", STANDARD, False, ""),
            "exit_code_category": ("exit_code_category", STANDARD, False, ""),
            "execution_time_ms": ("day_ms", STANDARD, False, ""),
        },
    ),
    "safety_triggered": (
        STANDARD,
        {
            "risk_level": ("risk_level", STANDARD, True, ""),
            "action_taken": ("safety_action", STANDARD, True, ""),
            "pattern_category": ("pattern_category", STANDARD, False, ""),
            "user_override": ("flag", STANDARD, False, ""),
            "safety_level_config": ("safety_level", STANDARD, False, ""),
        },
    ),
    "error_occurred": (
        MINIMAL,
        {
            "error_category": ("error_category", MINIMAL, True, ""),
            "error_code": ("error_code", MINIMAL, False, ""),
            "component": ("component", MINIMAL, False, ""),
            "backend": ("backend", STANDARD, False, ""),
            "recoverable": ("flag", STANDARD, False, ""),
            "fallback_attempted": ("flag", STANDARD, False, ""),
        },
    ),
}

# Names of caro's two earlier documents, accepted on the way in and never stored.
EVENT_ALIASES = {
    "session.start": "session_start",
    "session.end": "session_end",
    "command.generated": "command_generated",
    "command.executed": "command_executed",
    "safety.triggered": "safety_triggered",
    "error.occurred": "error_occurred",
    "command_generation": "command_generated",
    "safety_validation": "safety_triggered",
    "backend_error": "error_occurred",
}
FIELD_ALIASES: "dict[str, dict[str, str]]" = {
    "session_start": {"version": "caro_version", "shell_type": "shell", "platform": "os", "backend": "primary"},
    "session_end": {"duration_ms": "session_duration_ms"},
    "command_generated": {"backend": "backend_used", "duration_ms": "inference_time_ms"},
    "command_executed": {"duration_ms": "execution_time_ms"},
    "safety_triggered": {},
    "error_occurred": {"backend_used": "backend"},
}
GROUPS = ("platform", "backend_config", "safety_result")
ALIASES: "dict[str, dict[str, str]]" = {
    "os": {"darwin": "macos", "win32": "windows", "dragonflybsd": "dragonfly", "sunos": "solaris"},
    "arch": {"arm64": "aarch64", "amd64": "x86_64", "x64": "x86_64", "i386": "x86", "i686": "x86", "386": "x86"},
    "shell": {"power_shell": "powershell", "pwsh": "powershell", "nu": "nushell"},
    "backend": {"v_llm": "vllm", "embedded_mlx": "embedded-mlx", "embedded_cpu": "embedded-cpu"},
    "risk_level": {"low": "safe", "medium": "moderate"},
    "pattern_category": {"destructive": "filesystem_destruction"},
    "error_category": {
        "timeout": "backend_timeout",
        "inference_timeout": "backend_timeout",
        "parse_error": "backend_parse",
        "model_load_failed": "model_load",
    },
}
