"""The error tree of both programs, in one file.

Errors carry attributes, never a refused value: what a caller passed in appears in no message, not even shortened,
hashed or counted in bytes.  The map from class to exit code lives in `carojournal.cli.exits`.
"""

__all__ = [
    "INTERRUPTED",
    "ClockUnusable",
    "ConfigError",
    "ConsentError",
    "CorruptRecord",
    "DamagedData",
    "EventRefused",
    "JournalBusy",
    "JournalClosed",
    "JournalError",
    "JournalIOError",
    "JournalOff",
    "JournalUnavailable",
    "LaneLost",
    "MalformedCBOR",
    "OutputError",
    "RecordTooLarge",
    "SpoolFull",
    "UnsafeRoot",
    "UsageError",
]


class JournalError(Exception):
    """Base of every error that carojournal raises on purpose."""


class UsageError(JournalError):
    """The caller's words are off: an unknown verb, option or value."""


class ConfigError(JournalError):
    """The configuration cannot be read or holds a value outside its allowed set."""


class ConsentError(JournalError):
    """The user's choice, or the lack of one, forbids what was asked."""


class JournalOff(ConsentError):
    """Telemetry is off; nothing was looked at and nothing was written."""


class JournalClosed(JournalError):
    """`append` was called on a journal after `close`."""


class JournalUnavailable(JournalError):
    """There is nothing to work with: no journal, no platform support, or a refused input."""


INTERRUPTED = "what this call interrupts is recording an event"


class JournalBusy(JournalError):
    """Another process, or the call that this one interrupts, holds what is needed; it may succeed later."""


class UnsafeRoot(JournalError):
    """The journal's directory belongs to somebody else, is a link, or is writable by others."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class JournalIOError(JournalError):
    """The operating system refused a read or write below the journal's root.

    `step` names the call in the field's words ("open", "write", "rename"); `errno` is the system's number or None.
    """

    def __init__(self, step: str, path: str, errno: int | None, detail: str = "") -> None:
        super().__init__(f"{step} {path}: {detail}" if detail else f"{step} {path}")
        self.step = step
        self.path = path
        self.errno = errno
        self.detail = detail


class SpoolFull(JournalIOError):
    """Everything that is left in the spool belongs to a batch under way or is quarantined: no room can be made."""


class ClockUnusable(JournalError):
    """The system's clock stands before November 2004 or after 2099: what is recorded now could not be read again."""


class LaneLost(JournalError):
    """A lane's lock file is no longer the one at its path: the directory was removed or replaced.  Open it anew."""


class OutputError(JournalIOError):
    """A file that the user named as output could not be written; the journal itself is untouched."""


class EventRefused(JournalError):
    """An event was refused.  `reasons` holds (event, field, reason) triples from closed vocabularies, never a value."""

    def __init__(self, reasons: tuple[tuple[str, str, str], ...]) -> None:
        super().__init__("; ".join(f"{event}.{field}: {reason}" for event, field, reason in reasons))
        self.reasons = reasons


class RecordTooLarge(JournalError):
    """An encoded payload exceeds the format's limit; `size` and `limit` are in bytes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"payload of {size} bytes exceeds {limit}")
        self.size = size
        self.limit = limit


class DamagedData(JournalError):
    """Stored bytes do not verify.  `path`, `offset` (bytes from the start) and `reason` say where and why."""

    def __init__(self, path: str, offset: int, reason: str) -> None:
        super().__init__(f"{path} at byte {offset}: {reason}")
        self.path = path
        self.offset = offset
        self.reason = reason


class CorruptRecord(JournalError):
    """The bytes at `offset` are not the record they should be; `reason` is from a closed vocabulary."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"record at byte {offset}: {reason}")
        self.offset = offset
        self.reason = reason


class MalformedCBOR(JournalError):
    """Bytes are not the strict, deterministic CBOR that our formats allow."""
