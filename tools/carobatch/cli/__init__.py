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
    from carojournal.cli import parser

    words = sys.argv[1:] if argv is None else argv
    return parser.run("carobatch", "Pack, carry and deliver what caro's journal keeps.", VERBS, "carobatch.cli", words)
