"""`carojournal append`: a host in any language hands over its events and forgets about them.  Hot path.

Called on every event of a shell script, so it imports nothing that the append itself does not need, and `json` only
when lines are read.  A host must never fail because of telemetry: where nothing may or can be kept, the input is still
read to its end, so that a producer does not die of SIGPIPE.
"""

import os
import sys

import carojournal
from carojournal import redact
from carojournal.cli import streams
from carojournal.cli.append_words import HELP, parse_words, typed_value
from carojournal.journal import Journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    _Event = tuple[object, dict[str, object]]  # (type, fields)

__all__ = ["main"]

CHANNEL_DEFAULT = "ga"  # A host that does not say that it is a beta must not be collected where nobody chose that.
REPORTS_MAX = 1_000  # Lines on standard error: about 60 KB, which fits into a pipe that nobody reads.
HINT = "'carojournal schema' lists what is allowed, 'carojournal append --help' says how to write it"
_SEVERITY = {0: 0, 69: 1, 75: 2}  # When a stream met several, the worst counts; all others are worse than these.


class _Outcome:
    """What came of one call: its exit code, and what was said about it."""

    def __init__(self) -> None:
        self.code = 0
        self.quiet = False
        self._reports = 0
        self._said: set[str] = set()

    def worsen(self, code: int) -> None:
        if _SEVERITY.get(code, 3) > _SEVERITY.get(self.code, 3):
            self.code = code

    def report(self, text: str) -> None:
        """Say one line about a refused event."""
        self._reports += 1
        if not self.quiet and self._reports <= REPORTS_MAX:
            _say(text)

    def trouble(self, error: BaseException) -> None:
        """Take note of an error, and say it once."""
        from carojournal.cli.exits import error_text, exit_code

        text = error_text(error)
        if isinstance(error, carojournal.errors.EventRefused):
            text = "--run: not a run id that this journal issued"
        self.worsen(exit_code(error))
        if text not in self._said:
            self._said.add(text)
            _say(text)

    def close(self) -> None:
        if self._reports > REPORTS_MAX and not self.quiet:
            _say(f"{self._reports - REPORTS_MAX} more events were refused")
        if self._reports and not self.quiet:
            _say(HINT)


def _say(text: str) -> None:
    # Not descriptor 2: where a host closed it, that number may by now be a file of the journal.
    if sys.stderr is not None:
        try:
            sys.stderr.write(f"carojournal: {''.join(c if c.isprintable() else '?' for c in text)}\n")
        except (OSError, ValueError):
            return


def _keep(journal: Journal, outcome: _Outcome, events: "Iterable[tuple[str, _Event | str]]") -> None:
    """Append what may be kept, with one write; report and count the rest.  Raises JournalError.

    An event is (where it stands, type and fields); or, as text, why there is none.
    """
    good: list[tuple[str, dict[str, object]]] = []
    bad: list[tuple[str, dict[str, object]]] = []
    for place, event in events:
        if isinstance(event, str):
            outcome.report(f"{place}: {event}")
            bad.append((redact.UNKNOWN, {}))
            continue
        name, fields = event
        event_type = name if type(name) is str else redact.UNKNOWN
        found = redact.check(event_type, fields, journal.policy.level)
        if found is None:
            continue
        refusals = found.refusals
        accepted = type(found) is redact.Accepted
        if type(found) is redact.Accepted and found.generation is not None:
            reason = carojournal.runs.generation_reason(journal, found.generation)
            refusals += ((found.event, "generation", reason),) if reason else ()
        if refusals:
            reasons = "; ".join(f"{event}.{field}: {reason}" for event, field, reason in refusals)
            outcome.report(f"{place}: kept, but {reasons}" if accepted else f"{place}: {reasons}")
        (good if accepted else bad).append((event_type, fields))
    if good:
        journal.append_many(good)
    if bad:
        outcome.worsen(69)
        _count(journal, bad)


def _count(journal: Journal, events: "Iterable[tuple[str, dict[str, object]]]") -> None:
    """Let the journal refuse the events too: that is how they are counted, also where the journal is not made yet."""
    for event in events:
        try:
            journal.append_many((event,))
        except carojournal.errors.EventRefused as error:
            if error.reasons[0][1] == "run_id":
                raise


def _read_stdin(size: int) -> bytes:
    while True:
        try:
            return os.read(0, size)
        except BlockingIOError:  # The host made its end non-blocking, which both ends of a terminal or socket share.
            from select import select

            select((0,), (), ())


def _stream(journal: Journal, outcome: _Outcome) -> None:
    """Append the lines of standard input.  Raises JournalOff; other trouble costs its lines, not those that follow."""
    from carojournal.ndjson import TOO_LONG, read_batches, read_event

    for batch in read_batches(_read_stdin):
        events = (
            (f"line {number}", TOO_LONG if line is None else read_event(line))
            for number, line in batch
            if line is None or line.strip()
        )
        try:
            _keep(journal, outcome, events)
        except carojournal.errors.JournalOff:
            raise
        except (carojournal.errors.JournalError, OSError) as error:
            outcome.trouble(error)


def _drain() -> None:
    """Read standard input to its end, as a host expects of whom it writes to."""
    try:
        while _read_stdin(65_536):
            continue
    except OSError:
        return


def _check_stdin() -> None:
    if sys.stdin is None:
        raise carojournal.errors.UsageError("standard input is closed (see 'carojournal append --help')")
    if os.isatty(0):
        raise carojournal.errors.UsageError(
            "expected --event NAME key=value ..., or JSON lines on standard input (see --help)"
        )


def _run(outcome: _Outcome, options: dict[str, str], events: list[tuple[str, dict[str, str]]]) -> None:
    with Journal.open(
        options.get("--dir"),
        channel=options.get("--channel", CHANNEL_DEFAULT),
        level=options.get("--level"),
        run=options.get("--run") or None,
        durability=options.get("--durability", "os"),
        no_telemetry="--no-telemetry" in options,
    ) as journal:
        if journal.mode == "off":
            return
        if "--new-run" in options:
            streams.write_output(f"{journal.issue_run()}\n")
        elif events:
            typed = [
                (f"event {number}", (name, {key: typed_value(name, key, text) for key, text in fields.items()}))
                for number, (name, fields) in enumerate(events, 1)
            ]
            _keep(journal, outcome, typed)
        else:
            _stream(journal, outcome)


def main(argv: list[str]) -> int:
    """Run `carojournal append` with the words after the verb; return the exit code.  Never raises."""
    outcome = _Outcome()
    reads = False
    try:
        if "-h" in argv or "--help" in argv:
            streams.stand_in_for_closed()
            streams.write_output(HELP)
            return 0
        options, events = parse_words(argv)
        outcome.quiet = "--quiet" in options
        if not events and "--new-run" not in options:
            _check_stdin()
            reads = True
        else:
            streams.stand_in_for_closed()
        _run(outcome, options, events)
    except carojournal.errors.JournalOff:
        pass  # Nothing is kept, as the user wants it: no failure.
    except carojournal.errors.UsageError as error:
        _say(str(error))
        return 64
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        pass  # Whoever asked for the help or the run id has gone.
    except (carojournal.errors.JournalError, OSError) as error:
        outcome.trouble(error)
    except Exception as error:  # noqa: BLE001 - the host must not see a traceback, and no value may stand in one
        _say(f"this is a bug in carojournal: {type(error).__name__}")
        outcome.worsen(70)
    if reads:
        _drain()
    elif sys.stdout is not None:
        streams.abandon_output()
    outcome.close()
    return outcome.code
