"""What every event and field is, and why it is collected, as data beside the schema of `events`.

    EVENT_DOCS     event -> (what happened, why it is collected)
    FIELD_DOCS     event -> {field: (what it is, why it is collected)}
    ENVELOPE_DOCS  key of the recorder -> (stored as, what it is, why it is collected)
    CONTROL_DOCS   control record -> (what it is, {key: what it is})

A reason names a question about caro that the field answers.  A field for which nobody can write one has no place in the
schema: `undocumented` lists such fields, and a test keeps that list empty.
"""

from carojournal import events, own_events

__all__ = ["CONTROL_DOCS", "ENVELOPE_DOCS", "EVENT_DOCS", "FIELD_DOCS", "IGNORED_DOCS", "OWN_DOCS", "undocumented"]

EVENT_DOCS: dict[str, tuple[str, str]] = {
    "session_start": (
        "Caro was started.",
        "Says on which systems and with which backends caro is used, so that releases are tested where people are.",
    ),
    "session_end": (
        "Caro was left.",
        "Sums the session up, so that even at level minimal the rates of success and error can be told.",
    ),
    "command_generated": (
        "A backend turned a request into a command, or failed to.",
        "Measures speed and reliability of each backend and model; neither the request nor the command is recorded.",
    ),
    "command_executed": (
        "A generated command was run, or shown by a dry run.",
        "Tells whether generated commands work; the command and its output are not recorded.",
    ),
    "safety_triggered": (
        "The safety check found a pattern in a generated command.",
        "Shows whether the safety check blocks too much or too little; the pattern and the command are not recorded.",
    ),
    "error_occurred": (
        "Something failed inside caro.",
        "Tells which part fails how often, by category only; no message, path or stack trace is recorded.",
    ),
    "journal_health": (
        "Since the last such event, events or fields were refused, could not be written, or were lost.",
        "Says how far all other figures can be believed: powers of ten by broad reason, nothing of what is missing.",
    ),
}

FIELD_DOCS: dict[str, dict[str, tuple[str, str]]] = {
    "session_start": {
        "caro_version": ("caro's own version", "attributes every other figure to a release"),
        "os": ("family of the operating system, without its version", "decides which systems are built and tested for"),
        "arch": ("processor architecture", "decides which binaries and model builds are offered"),
        "shell": ("kind of shell caro was started from", "decides which shell's syntax is generated and tested first"),
        "primary": ("the backend configured first", "shows which backends matter to people"),
        "fallback_enabled": (
            "whether another backend may step in",
            "tells a backend's failures from a user's failures",
        ),
        "backend_available": (
            "the backends that answered at the start",
            "shows how often the preferred one is missing",
        ),
        "safety_level": ("configured strictness of the safety check", "puts the counts of blocks into proportion"),
        "output_format": ("configured output format", "shows which formats are worth keeping stable"),
        "is_first_run": ("whether this is caro's first start here", "separates first impressions from daily use"),
    },
    "session_end": {
        "session_duration_ms": ("milliseconds from start to end", "shows whether a session ends before it was of use"),
        "commands_generated": ("number of commands generated", "is the denominator of the rate of success"),
        "commands_executed": ("number of commands executed", "is the numerator of the rate of success"),
        "errors_encountered": ("number of errors", "gives the rate of errors without recording each error's event"),
        "exit_reason": ("how the session ended", "separates people who gave up from people who were done"),
        "safety_blocks": ("number of commands blocked by the safety check", "gives the rate of blocks by session"),
        "retries": ("number of generations that were tried again", "shows how hard it is to get a usable answer"),
    },
    "command_generated": {
        "backend_used": ("the backend that answered", "is what speed and reliability are compared by"),
        "inference_time_ms": ("milliseconds until the answer", "is the speed that people feel"),
        "risk_level": ("risk that the safety check found in the command", "shows how risky a model's answers are"),
        "patterns_matched": (
            "number of safety patterns that matched",
            "shows how sharp the patterns are, not which matched",
        ),
        "success": ("whether a usable command came back", "gives the rate of success of a backend"),
        "error_category": ("why none came back", "tells a slow backend from an absent one"),
        "model_name": ("public name of the model", "compares models; a name that is not public is left out"),
        "input_token_count": ("tokens of the request with caro's own prompt", "explains inference times"),
        "output_token_count": ("tokens of the answer", "explains inference times"),
        "confidence_score": ("the backend's own confidence", "shows whether that figure means anything"),
        "retry_count": ("attempts before this answer", "shows how often a first answer is unusable"),
    },
    "command_executed": {
        "execution_mode": ("how the command came to be run", "shows how far people trust generated commands"),
        "modified_before_execution": (
            "whether the user edited it first",
            "measures how often the answer was nearly right",
        ),
        "exit_code_category": (
            "how the command ended, without its exit code",
            "measures whether generated commands work",
        ),
        "execution_time_ms": ("milliseconds the command ran", "tells instant commands from long-running ones"),
    },
    "safety_triggered": {
        "risk_level": ("risk that the safety check found", "shows which levels people meet"),
        "action_taken": ("what caro did about it", "shows whether caro warns or blocks"),
        "pattern_category": ("broad kind of danger", "shows which kind of check needs work, without the pattern"),
        "user_override": ("whether the user went on anyway", "is the best sign of a false alarm"),
        "safety_level_config": ("configured strictness of the check", "puts overrides into proportion"),
    },
    "error_occurred": {
        "error_category": ("broad kind of failure", "ranks what to mend first"),
        "error_code": ("caro's own code or a published name of the failure", "finds the place in caro's source"),
        "component": ("the part of caro that failed", "says who should look"),
        "backend": ("the backend in use", "tells faults of caro from faults of a backend"),
        "recoverable": ("whether caro went on", "separates nuisances from crashes"),
        "fallback_attempted": ("whether another backend was tried", "shows whether falling back helps"),
    },
    "journal_health": {
        "total": ("how many in all", "is the share of events that an analysis does not see"),
        "refused_unknown": ("events or fields that the schema does not know", "shows a host of another version"),
        "refused_value": ("values that no field may hold", "shows a host that hands over what it must not"),
        "refused_id": ("ids that this recorder did not issue", "shows a host that makes up its own ids"),
        "dropped_full": ("for want of space", "shows disks and spools that are too small"),
        "dropped_denied": ("where the journal may not be written", "shows broken installations"),
        "dropped_busy": ("when lanes, queue or descriptors were used up", "shows limits that are too tight"),
        "dropped_time": ("while the clock could not be right", "explains machines without events"),
        "dropped_io": ("for other errors of the operating system", "shows failing disks"),
        "dropped_bug": ("for mistakes of the journal's own", "is what we have to mend first"),
        "lost_evicted": ("removed to keep the journal within its bound", "shows a bound that is too small"),
        "lost_corrupt": ("unreadable by damage", "shows how often files are damaged"),
    },
}

ENVELOPE_DOCS: dict[str, tuple[str, str, str]] = {
    "event": ("text", "the event's name", "says which fields the record has"),
    "timestamp": (
        "unsigned integer, UTC milliseconds since 1970",
        "when the recorder took the event",
        "orders events and gives rates by time; set by the recorder, not by the caller",
    ),
    "session_id": (
        "16 random bytes",
        "the day's pseudonym of this journal: random, replaced at midnight UTC, derived from nothing",
        "counts sessions without counting people, and names what a deletion request asks for",
    ),
    "run_id": (
        "16 random bytes; if caro consists of several processes, half of them a mark that the journal knows as its own",
        "one start of caro",
        "joins the events of one start of caro, and of its processes",
    ),
    "generation": (
        "unsigned integer from 1, or absent",
        "ordinal of a generation within its run",
        "joins a generated command's event with its execution and its safety event; a caller's own id is not kept",
    ),
}

# What the keys of events.RECORDER_OWNED do when a caller gives them.
IGNORED_DOCS = (
    "A caller that sends one of these has it ignored: an identifier or time that the recorder did not make is not kept."
)

OWN_DOCS = (
    "Recorded by `carobatch run` alone, at most once a day, and only if there is something to tell; from a host it is"
    " refused as an unknown event."
)

CONTROL_DOCS: dict[str, tuple[str, dict[str, str]]] = {
    "header": (
        "First record of every segment: which segment this is, and under which schema and consent it was written.",
        {
            "version": "version of the segment format",
            "segment": "random id of the segment",
            "created": "UTC microseconds since 1970",
            "lane": "number of the lane that was written, from 0",
            "previous": "the lane's segment before: its id, last sequence number or null, length in bytes; or null",
            "schema": "SHA-256 of the schema the events were checked against (schema/registry.json)",
            "writer": "program and version that wrote the segment",
            "consent": "UTC milliseconds of the recorded yes that held at its start; 0: none, so it is never sent",
        },
    ),
    "loss": (
        "Events that were removed to keep the spool within its bound, recorded before they went.",
        {
            "reason": "why they were removed, a word of a closed list",
            "segment": "id of the removed segment",
            "first_seq": "first removed sequence number",
            "last_seq": "last removed sequence number",
            "events": "number of events removed",
            "bytes": "bytes removed",
            "carried": "losses that stood in the removed segment, summed by reason",
        },
    ),
    "seal": (
        "Last record of a finished segment.",
        {
            "count": "number of records before this one",
            "bytes": "number of bytes before this one",
            "sha256": "SHA-256 of those bytes",
        },
    ),
}


def undocumented() -> list[str]:
    """Return what stands in only one of schema and documentation, as "event", "event.field" or an envelope key."""
    declared = {f"{event}.{field}" for event, (_, fields) in own_events.ALL_EVENTS.items() for field in fields}
    described = {f"{event}.{field}" for event, fields in FIELD_DOCS.items() for field in fields}
    declared |= set(own_events.ALL_EVENTS) | {f"<{key}>" for key in events.ENVELOPE}
    described |= set(EVENT_DOCS) | {f"<{key}>" for key in ENVELOPE_DOCS}
    return sorted(declared ^ described)
