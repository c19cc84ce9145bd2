"""`carojournal consent`: ask, once, whether events may be kept and sent, or say what was answered."""

import os
import sys
import time
from datetime import UTC, datetime

from carojournal import asking
from carojournal.choices import refuse_if_locked
from carojournal.cli.exits import DENIED
from carojournal.config import load_for
from carojournal.consent import TIMEOUT_S, forbidden_by, put
from carojournal.consent_text import PROMPT, PROMPT_VERSION
from carojournal.errors import ConsentError

__all__ = ["OPTIONS", "consent"]

OPTIONS = {"text": {"help": "print the text that a yes agrees to"}}


def consent(*, text: bool = False) -> int:
    """Ask, once, whether events may be kept and sent.

    The question and its answer stay on the terminal.  Where a yes or a no to the current text is recorded, say so.
    'carojournal off' and 'carojournal local' take a yes back.
    """
    if text:
        print(f"{PROMPT}Version {PROMPT_VERSION} of this text.")
        return 0
    settings = load_for(os.environ)
    if settings.consent is not None and settings.consent.current and not settings.problems:
        at = datetime.fromtimestamp(settings.consent.at_ms / 1000, UTC)
        print(
            f"{settings.consent.answer}, to version {settings.consent.version} of the text, {at:%Y-%m-%d %H:%M:%S} UTC"
        )
        return 0
    refuse_if_locked("on", settings)
    forbidden = forbidden_by(os.environ)
    if forbidden:
        raise ConsentError(f"not asked: {forbidden} is set")
    descriptor = asking.terminal(sys.stdin)
    if descriptor is None or asking.terminal(sys.stderr) is None:
        raise ConsentError("not asked: standard input and standard error must be a terminal")
    outcome = put(settings, descriptor, sys.stderr, time.time_ns, TIMEOUT_S)
    return 0 if outcome.answer else DENIED
