"""The `carojournal` program.  `append` is dispatched before any parser is imported: hosts call it on every event."""

import sys

__all__ = ["VERBS", "main"]

# verb -> what it is for; the verb's module is `carojournal.cli.<verb with _>`, imported only when it is called.
VERBS = {
    "append": "append events from another program (NDJSON on standard input, or --event)",
    "inspect": "show what is kept, newest last",
    "status": "show mode, counts, sizes, refusals and losses",
    "verify": "check every byte that is kept",
    "salvage": "copy what is readable out of a damaged journal",
    "reindex": "rebuild the index from the segments",
    "export": "write what is kept to a file of caro's own JSON shape",
    "clear": "delete what is kept",
    "sent": "list what left this machine, and print any of it",
    "delete-remote": "queue a request to delete what was sent",
    "on": "keep events and agree to send them",
    "local": "keep events on this machine and never send them",
    "off": "keep nothing",
    "consent": "ask, once, whether events may be sent",
    "config": "get, set or list the settings",
    "schema": "print the event schema",
    "audit": "scan files for sensitive strings without trusting the schema",
    "migrate": "take over the queue or exports of caro 1.1",
    "demo": "run a small host on a fresh journal and show what happens",
    "docs": "print the user documentation",
}


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return its exit code (see `carojournal.cli.exits`)."""
    words = sys.argv[1:] if argv is None else argv
    try:
        if words and words[0] == "append":
            from carojournal.cli.append import main as append

            return append(words[1:])
        from carojournal.cli.guard import guarded
    except KeyboardInterrupt:
        return 130
    return guarded("carojournal", lambda: _dispatch(words))


def _dispatch(words: list[str]) -> int:
    from carojournal.cli import parser

    return parser.dispatch("carojournal", "The telemetry journal of caro.", VERBS, "carojournal.cli", words)
