"""The `carobatch` program."""

import sys

__all__ = ["VERBS", "main"]

# verb -> what it is for; the verb's module is `carobatch.cli.<verb>`, imported only when it is called.
VERBS = {
    "run": "do what is due, quietly: what cron, launchd and systemd call",
    "upload": "send now what the user agreed to send",
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
    if words[:1] == ["run"] and (len(words) == 1 or (len(words) == 3 and words[1] == "--dir")):
        # What cron calls every hour, nearly always for nothing, does without the parser.
        return _quick_run(*words[2:])
    from carojournal.cli import parser

    return parser.run("carobatch", "Pack, carry and deliver what caro's journal keeps.", VERBS, "carobatch.cli", words)


def _quick_run(root: str = "") -> int:
    from carobatch.cli.run import run
    from carojournal.errors import JournalError

    try:
        return run(dir=root)
    except (JournalError, OSError) as error:
        from carojournal.cli.exits import exit_code
        from carojournal.cli.output import say

        say(error, "carobatch")
        return exit_code(error)
