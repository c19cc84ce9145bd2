"""What both configuration files say together, as a value: judgement without I/O.

What the files name:
    enabled = false                        off
    enabled = true, air_gapped = true      local
    enabled = true                         on with a recorded yes to the current text, else local
    nothing                                the administrator's mode, else the channel's: beta local, ga off
    a recorded no, and nothing else        off

The administrator's `enabled = false`, `air_gapped = true` and `level` are ceilings, which a user may stay below; every
other key there wins.  An administrator can neither turn on what the user turned off nor say yes for them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from carojournal.config_keys import KEYS
from carojournal.events import LEVELS
from carojournal.policy import MODES, PROMPT_VERSION, Policy

__all__ = ["Consent", "Settings", "Value"]

BYTES_PER_MB = 1_000_000

Value = bool | int | str


@dataclass(frozen=True, slots=True)
class Consent:
    """The recorded answer: "yes" or "no", to which version of the text, and when (UTC milliseconds)."""

    answer: str
    version: int
    at_ms: int

    @property
    def current(self) -> bool:
        """Tell whether the answer was given to the text that this release would show."""
        return self.version == PROMPT_VERSION


@dataclass(frozen=True, slots=True)
class Settings:
    """What both files say.  `problems` make the mode off; `notes` are worth showing and change nothing."""

    config_path: str
    admin_path: str
    user: Mapping[str, Value]
    admin: Mapping[str, Value]
    consent: Consent | None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def value(self, key: str) -> Value | None:
        """Return what holds for *key* by the files alone, None where nothing is set and the key has no default."""
        user, admin = self.user.get(key), self.admin.get(key)
        if user is None or admin is None:
            return user if user is not None else admin if admin is not None else KEYS[key].default
        if key == "level":
            return min(str(user), str(admin), key=LEVELS.index)
        if key == "enabled":
            return user and admin
        if key == "air_gapped":
            return user or admin
        return admin

    def source(self, key: str) -> str:
        """Return what set *key*: admin, config or default."""
        if key in self.user and (key not in self.admin or self.user[key] == self.value(key) != self.admin[key]):
            return "config"
        return "admin" if key in self.admin else "config" if key in self.user else "default"

    def locked(self, key: str, value: Value | None) -> bool:
        """Tell whether the administrator's file forbids the user to set *key* to *value* (None: to unset it).

        The ceilings lock upwards only: whoever wants less than the administrator allows may always have it.
        """
        admin = self.admin.get(key)
        if admin is None or value is None or value == admin:
            return False
        if key == "level":
            return LEVELS.index(str(value)) > LEVELS.index(str(admin))
        if key == "enabled":
            return bool(value)
        if key == "air_gapped":
            return not value
        return True

    @property
    def ceiling(self) -> str:
        """Return the widest mode that the administrator's file leaves."""
        if self.admin.get("enabled") is False:
            return "off"
        return "local" if self.admin.get("air_gapped") is True else "on"

    def named_mode(self, channel: str) -> tuple[str, str]:
        """Return (mode, source) that the files name for *channel*, before the administrator's ceiling and problems."""
        enabled, source = self.user.get("enabled"), "config"
        if enabled is None and self.consent is not None and self.consent.answer == "no":
            enabled = False
        if enabled is None:
            enabled, source = self.admin.get("enabled"), "admin"
        if enabled is None:
            channel = "ga" if "ga" in (channel, self.value("channel")) else "beta"
            return ("local" if channel == "beta" else "off"), f"default ({channel})"
        if not enabled:
            return "off", source
        air_gapped = self.user.get("air_gapped", False)
        agreed = self.consent is not None and self.consent.answer == "yes" and self.consent.current
        return ("on" if agreed and not air_gapped else "local"), source

    def policy(self, channel: str) -> Policy:
        """Return the policy that follows from the files, before the environment narrows it."""
        if self.problems:
            source = "config" if any(text.startswith(self.config_path) for text in self.problems) else "admin"
            return Policy("off", source=source, channel=channel, problems=self.problems)
        mode, source = self.named_mode(channel)
        if MODES.index(self.ceiling) < MODES.index(mode):
            mode, source = self.ceiling, "admin"
        megabytes = self.value("offline_spool_max_mb")
        return Policy(
            mode,
            source=source,
            channel=channel,
            level=LEVELS.index(str(self.value("level"))),
            cap_bytes=int(megabytes or 0) * BYTES_PER_MB,
            consent_ms=self.consent.at_ms if mode == "on" and self.consent else 0,
        )
