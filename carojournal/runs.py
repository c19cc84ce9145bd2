"""Runs that span processes, and generations that a host names itself: what `journal.Journal` loads when it meets one.

The same class in another file, hence the look at its attributes: a first event should not pay for this part.
"""
# ruff: noqa: SLF001 - see above

import carojournal
from carojournal.redact import GENERATION_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carojournal.journal import Journal

__all__ = ["continue_run", "generation_reason", "issue_run", "ordinal_of"]


def issue_run(journal: "Journal") -> str:
    """Do what `Journal.issue_run` says."""
    if journal._closed:
        raise carojournal.errors.JournalClosed("the journal is closed")
    now_ms = journal._clock() // 1_000_000
    journal._refresh(now_ms)
    return carojournal.identity.open_identity(journal.root, now_ms, journal._random).issue_run(now_ms).hex()


def continue_run(journal: "Journal", given: bytes | str, now_ms: int) -> bytes:
    """Return today's id of the run that another process was given as *given*.  Raises EventRefused, OSError."""
    if isinstance(given, str):
        try:
            given = bytes.fromhex(given)
        except ValueError:
            given = b""  # None of ours.
    identity = carojournal.identity.open_identity(journal.root, now_ms, journal._random)
    run = carojournal.identity.run_on(identity.secret, given, now_ms)
    if run is None:
        refusal = ("session_start", "run_id", "foreign_id")
        carojournal.tally.count_refusals(journal, (refusal,))
        raise carojournal.errors.EventRefused((refusal,))
    return run


def ordinal_of(journal: "Journal", event: str, given: object) -> int:
    """Return the ordinal of the generation that the host calls *given*: an ordinal or a UUID of its own.

    Once the journal was cleared, an ordinal that the new run has not reached is a name like a UUID: handed out before,
    or counted by the host itself, it would tell which run of before this one goes on with.
    """
    if type(given) is int and 0 < given <= GENERATION_MAX:
        if journal._renumbers and given > journal._generation:
            return _ordinal_called(journal, str(given))
        journal._generation = max(journal._generation, given)
        return given
    reason = generation_reason(journal, given)
    if reason:
        carojournal.tally.count_refusals(journal, ((event, "generation", reason),))
        return 0
    return _ordinal_called(journal, _uuid_digits(given))


def _ordinal_called(journal: "Journal", name: str) -> int:
    """Return the ordinal of the generation called *name*, a new one for a name that is new."""
    if name not in journal._generations and len(journal._generations) < GENERATION_MAX:
        journal._generations[name] = journal.new_generation()
    return journal._generations.get(name, 0)


def generation_reason(journal: "Journal", given: object) -> str:
    """Return why *given* is left out as a generation, empty where it is not."""
    if type(given) is int:
        return "" if 0 < given <= GENERATION_MAX else "range"
    # Another process of this run cannot know which ordinal this one chose: only ordinals span processes.
    return "" if journal._given_run is None and _uuid_digits(given) else "foreign_id"


def _uuid_digits(given: object) -> str:
    """Return the 32 hexadecimal digits of a UUID, as text or as a `uuid.UUID`; "" for anything else."""
    name = str(given) if type(given) is str or type(given).__module__ == "uuid" else ""
    digits = name.replace("-", "")
    if len(name) not in (32, 36) or len(digits) != 32 or digits.strip("0123456789abcdefABCDEF"):
        return ""
    return digits
