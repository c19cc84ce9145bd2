"""The question whether events may be kept and sent: when it is asked, and what becomes of the answer.

    from carojournal import consent
    consent.ensure(channel="beta")          # before Journal.open, once at the start of an interactive program

It is asked at most until it is answered, and never unless standard input and standard error are both terminals, nothing
waits to be read, no variable says CI, no switch of the environment is set, and neither the user nor the administrator
has decided already.  No answer (end of input, Ctrl-C, 60 seconds, any other word) stores nothing: next time it is asked
again.  Standard output is never touched.
"""

import os
import sys
import time

from carojournal import asking, policy, snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TextIO

    from carojournal.settings import Settings

__all__ = ["CI_VARIABLES", "PROMPT_VERSION", "TIMEOUT_S", "Outcome", "decided", "ensure", "forbidden_by", "put"]

PROMPT_VERSION = policy.PROMPT_VERSION
TIMEOUT_S = 60.0  # Long enough to read the text; a forgotten terminal must not hold a host for ever.

# Set by the usual build services; "false", "0" and nothing count as not set.
CI_VARIABLES = (
    "CI",
    "CONTINUOUS_INTEGRATION",
    "BUILD_ID",
    "BUILD_NUMBER",
    "APPVEYOR",
    "BITBUCKET_BUILD_NUMBER",
    "BUILDKITE",
    "CIRCLECI",
    "CIRRUS_CI",
    "CODEBUILD_BUILD_ID",
    "DRONE",
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "JENKINS_URL",
    "SEMAPHORE",
    "TEAMCITY_VERSION",
    "TF_BUILD",
    "TRAVIS",
)
_SWITCHES = ("CARO_TELEMETRY_ENABLED", "CARO_TELEMETRY", "CARO_TELEMETRY_AIR_GAPPED")
_NO = ("", "0", "false")


class Outcome:
    """What `ensure` found: `answer` is "yes", "no" or None; `asked` whether the question was shown; `reason` why.

    `reason` is "answered", "no answer", "not stored", or why it was not asked: "recorded", "declined" (chosen without
    having been asked), "--no-telemetry", a variable's name, "no terminal", "in the background", "input waits",
    "administrator", "configuration".
    """

    __slots__ = ("answer", "asked", "reason")

    def __init__(self, answer: str | None, reason: str, *, asked: bool = False) -> None:
        self.answer = answer
        self.asked = asked
        self.reason = reason

    def __repr__(self) -> str:
        return f"Outcome({self.answer!r}, {self.reason!r}, asked={self.asked!r})"


def forbidden_by(environ: "Mapping[str, str]", *, no_telemetry: bool = False) -> str:
    """Return what in the call or the environment forbids to ask, or an empty text.

    A switch that says yes counts too: whoever sets one has automated the decision.
    """
    if no_telemetry:
        return "--no-telemetry"
    for name in _SWITCHES:
        if environ.get(name, "").strip():
            return name
    for name in ("DO_NOT_TRACK", *CI_VARIABLES):
        if environ.get(name, "").strip().lower() not in _NO:
            return name
    return ""


def _plainly_decided(environ: "Mapping[str, str]", channel: str, admin: str | None) -> Outcome | None:
    """Return what snapshot and file plainly say: no TOML is parsed, which keeps start-up short."""
    found = policy.resolve(policy.find_root(environ), channel=channel, environ=environ, admin=admin)
    if found.problems:
        return None
    if found.mode == "on":
        return Outcome("yes", "recorded")
    try:
        data = snapshot.read(policy.config_file(environ), policy.CONFIG_BYTES_MAX)
    except OSError:
        return None
    off = snapshot.says(data, b"enabled", b"false")
    if b"consent" not in data and (off or snapshot.says(data, b"air_gapped", b"true")):
        return Outcome(None, "declined")
    if off and b'consent = {answer = "no", version = %d,' % PROMPT_VERSION in data:
        return Outcome("no", "recorded")
    return None


def decided(settings: "Settings") -> Outcome | None:
    """Return what the files have decided, None where the question is open.

    A text that has changed is a new question, for a recorded no too; not for a choice made without having been asked.
    """
    if settings.problems:
        return Outcome(None, "configuration")
    if settings.ceiling != "on":
        return Outcome(None, "administrator")
    recorded = settings.consent.answer if settings.consent is not None else ""
    current = settings.consent is not None and settings.consent.current
    if recorded == "no" and current:
        return Outcome("no", "recorded")
    if settings.user.get("air_gapped") is True or (settings.user.get("enabled") is False and recorded != "no"):
        return Outcome(None, "declined")
    return Outcome("yes", "recorded") if current else None


def put(settings: "Settings", stdin: int, stderr: "TextIO", clock: "Callable[[], int]", timeout_s: float) -> Outcome:
    """Show the text, ask, and store a yes or a no.

    Raises ConfigError, JournalBusy, JournalIOError if storing fails.
    """
    from carojournal.choices import choose
    from carojournal.consent_text import PROMPT, QUESTION

    answer = asking.ask(f"\n{PROMPT}{QUESTION}", stdin, stderr, timeout_s)
    if answer is None:
        _say(stderr, "No answer, so nothing changes.")
        return Outcome(None, "no answer", asked=True)
    choose("on" if answer == "yes" else "no", settings, clock())
    _say(
        stderr,
        "Thank you.  Events are kept and sent; 'carojournal off' ends that."
        if answer == "yes"
        else "Nothing is kept.  'carojournal on' and 'carojournal local' change that.",
    )
    return Outcome(answer, "answered", asked=True)


def _say(stderr: "TextIO", line: str) -> None:
    try:
        stderr.write(f"{line}\n\n")
        stderr.flush()
    except (OSError, ValueError):
        return


def _inconvenient(descriptor: int) -> Outcome | None:
    if asking.in_background(descriptor):
        return Outcome(None, "in the background")
    return Outcome(None, "input waits") if asking.input_waits(descriptor) else None


def ensure(
    *,
    channel: str = "beta",
    environ: "Mapping[str, str] | None" = None,
    stdin: "TextIO | None" = None,
    stderr: "TextIO | None" = None,
    admin: str | None = None,
    no_telemetry: bool = False,
    clock: "Callable[[], int]" = time.time_ns,
    timeout_s: float = TIMEOUT_S,
) -> Outcome:
    """Ask the user once, if that is allowed here and now, and return what is known.

    *channel* is the host's ("beta", "ga"); *stdin* and *stderr* default to the process's; *admin* is the
    administrator's file (default: the platform's); *clock* gives UTC nanoseconds; *timeout_s* bounds the wait for an
    answer, in seconds.  Never raises, and never blocks longer than that.
    """
    environ = os.environ if environ is None else environ
    stderr = sys.stderr if stderr is None else stderr
    forbidden = forbidden_by(environ, no_telemetry=no_telemetry)
    if forbidden:
        return Outcome(None, forbidden)
    descriptor = asking.terminal(sys.stdin if stdin is None else stdin)
    if descriptor is None or stderr is None or asking.terminal(stderr) is None:
        return Outcome(None, "no terminal")
    known = _plainly_decided(environ, channel, admin)
    if known is not None:
        return known
    from carojournal.config import load_for
    from carojournal.errors import JournalError

    settings = load_for(environ, admin)
    known = decided(settings) or _inconvenient(descriptor)
    if known is not None:
        return known
    try:
        return put(settings, descriptor, stderr, clock, timeout_s)
    except (JournalError, OSError, ValueError) as error:
        _say(stderr, f"The answer could not be stored, so nothing changes: {error}")
        return Outcome(None, "not stored", asked=True)
