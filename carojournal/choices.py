"""What the user chose, as it is stored: the only callers of `config_edit` besides `carojournal config`.

    on      enabled = true, air_gapped = false, and the yes with the version of its text and its time
    local   enabled = true, air_gapped = true; a recorded yes is taken back
    off     enabled = false; a recorded yes is taken back
    no      enabled = false, and the no: on every channel, no to the question means off

Taken back means that after `off` or `local` only a new yes lets anything be sent, not a changed setting.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from carojournal.config_keys import CONSENT
from carojournal.errors import ConfigError, ConsentError
from carojournal.policy import MODES, PROMPT_VERSION, environment_limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carojournal.config_edit import Changes
    from carojournal.settings import Settings

__all__ = ["choose", "held_back", "holds", "is_chosen", "refuse_if_locked"]


def _changes(choice: str, now_ns: int) -> "Changes":
    if choice == "local":
        return {"enabled": True, "air_gapped": True, CONSENT: None}
    if choice == "off":
        return {"enabled": False, CONSENT: None}
    at = (
        datetime.fromtimestamp(now_ns // 1_000_000 / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
    record = {"answer": "yes" if choice == "on" else "no", "version": PROMPT_VERSION, "at": at}
    if choice == "on":
        return {"enabled": True, "air_gapped": False, CONSENT: record}
    return {"enabled": False, CONSENT: record}


def is_chosen(choice: str, settings: "Settings") -> bool:
    """Tell whether the user's own file already holds *choice* ("on", "local", "off")."""
    enabled, air_gapped, consent = settings.user.get("enabled"), settings.user.get("air_gapped"), settings.consent
    if choice == "off":
        return enabled is False and (consent is None or consent.answer == "no")
    if choice == "local":
        return enabled is True and air_gapped is True and consent is None
    agreed = consent is not None and consent.answer == "yes" and consent.current
    return enabled is True and air_gapped is not True and agreed


def choose(choice: str, settings: "Settings", now_ns: int) -> bool:
    """Store *choice* ("on", "local", "off" or "no") in the user's file; return whether the file changed.

    *now_ns* is the time of the answer (UTC nanoseconds).  Raises ConfigError, JournalBusy, JournalIOError.
    """
    from carojournal.config_edit import edit

    return edit(settings.config_path, _changes(choice, now_ns))


def refuse_if_locked(choice: str, settings: "Settings") -> None:
    """Raise ConsentError if the administrator allows less than *choice*, ConfigError if a file has a problem."""
    if settings.problems:
        raise ConfigError(settings.problems[0])
    if MODES.index(settings.ceiling) < MODES.index(choice):
        raise ConsentError(f"the administrator's file {settings.admin_path} allows at most {settings.ceiling}")


def held_back(choice: str, environ: "Mapping[str, str]") -> str:
    """Return a sentence on what in the environment keeps the stored *choice* from holding now, or an empty text."""
    mode, source = _limit(choice, environ)
    return source and f"{source} still keeps it {mode}"


def holds(choice: str, meaning: str, environ: "Mapping[str, str]") -> str:
    """Return a line on what holds now that *choice* is stored: its *meaning*, unless the environment keeps it back."""
    mode, source = _limit(choice, environ)
    return f"{choice} is stored, but {mode} holds: {source}" if source else f"{choice}: {meaning}"


def _limit(choice: str, environ: "Mapping[str, str]") -> tuple[str, str]:
    """Return (mode, variable) of what keeps *choice* from holding; the variable is empty where nothing does."""
    mode, _level, source = environment_limits(environ)
    return (mode, source) if MODES.index(mode) < MODES.index(choice) else (choice, "")
