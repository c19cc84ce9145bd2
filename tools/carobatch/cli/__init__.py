"""The `carobatch` program."""

import sys

__all__ = ["VERBS", "main"]

ABOUT = "Pack, carry and deliver what caro's journal keeps."
# verb -> what it is for; the verb's module is `carobatch.cli.<verb>`, imported only when it is called.
VERBS = {
    "run": "do what is due, quietly: what cron, launchd and systemd call",
    "upload": "send now what the user agreed to send",
    "deletion": "list requests to delete, and confirm what was deleted by hand",
    "schedule": "have cron, launchd or systemd call run every hour",
    "compact": "seal, pack and merge what the journal keeps",
    "export": "write a bundle for a machine that this one cannot reach",
    "verify": "check bundles, and any BagIt directory",
    "import": "take bundles over into journals of their own, and write receipts",
    "ack": "take an importer's receipts back to the source",
    "status": "show what is packed, carried and acknowledged",
    "list": "list bundles, batches, receipts and gaps",
}


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return its exit code (see `carojournal.cli.exits`)."""
    words = sys.argv[1:] if argv is None else argv
    try:
        from carojournal.cli.guard import guarded
    except KeyboardInterrupt:
        return 130
    return guarded("carobatch", lambda: _dispatch(words))


def _dispatch(words: list[str]) -> int:
    if words[:1] == ["run"] and (len(words) == 1 or (len(words) == 3 and words[1] == "--dir")):
        # What cron calls every hour, nearly always for nothing, does without the parser.
        from carobatch.cli.run import run

        return run(dir=words[2] if words[1:] else None)
    from carojournal.cli import parser

    return parser.dispatch("carobatch", ABOUT, VERBS, "carobatch.cli", words)
