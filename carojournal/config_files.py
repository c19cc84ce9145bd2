"""Reads the two files that decide, caro's config.toml and the administrator's; `settings` judges, `config_edit` writes.

    [telemetry]            the keys of `config_keys.KEYS`; unknown keys are tolerated and noted
    [telemetry.consent]    answer = "yes" | "no", version = the prompt's, at = RFC 3339 time of the answer
    administrator's file   the same keys, at the top or in [telemetry]; a consent record there counts for nothing

A file that cannot be read or understood, a wrong type, a value out of range, a name of ours in other letters
(`air-gapped`, `[Telemetry]`): a problem, which means off and names file, key and what is allowed, never the value.
"""

import contextlib
import os
import stat
import tomllib
from datetime import datetime
from typing import TYPE_CHECKING

from carojournal.config_keys import CONSENT, KEYS, SECTION, accept, allowed, meant, plain_name
from carojournal.policy import CONFIG_BYTES_MAX
from carojournal.settings import Consent, Settings, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["load"]

DOTS_MAX = 1_000  # In a line: tomllib takes quadratic time for a dotted key, half a minute for one of 80 kB.
_YEAR_10000_MS = 253_402_300_800_000  # In UTC; an offset can name it by the end of 9999.
_OTHERWISE = "written with other letters, hyphens or blanks, it would not count"
LEGACY = {"first_run": "no longer used: the recorded answer decides whether to ask"}


class _Unreadable(Exception):
    """A file that is there and says nothing we understand; the argument says why."""


def _read(path: str, *, trusted: bool) -> bytes | None:
    """Return the file's bytes, None where there is none.

    A *trusted* file names the endpoint for every user of the machine, so not everybody may be able to write it.
    """
    try:
        # O_NONBLOCK: a FIFO in its place must not hang a host.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(path):
            raise _Unreadable("a link to nowhere") from None
        return None
    except OSError:
        raise _Unreadable("cannot be read") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _Unreadable("not a regular file")
        if trusted and status.st_mode & stat.S_IWOTH:
            raise _Unreadable("writable by everybody")
        if status.st_size > CONFIG_BYTES_MAX:
            raise _Unreadable(f"larger than {CONFIG_BYTES_MAX} bytes")
        data = b""
        while len(data) <= CONFIG_BYTES_MAX and (more := os.read(descriptor, CONFIG_BYTES_MAX)):
            data += more
    except OSError:
        raise _Unreadable("cannot be read") from None
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    return data


def _parse(path: str, *, trusted: bool = False) -> dict[str, object]:
    data = _read(path, trusted=trusted)
    if data is None:
        return {}
    if any(line.count(b".") > DOTS_MAX for line in data.splitlines()):
        raise _Unreadable("a line with more dots than any key needs")
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError:
        raise _Unreadable("not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        # Python's message may quote the file; the position alone tells as much.
        place = str(error).rpartition("(")[2].rstrip(")") if "(at " in str(error) else "unknown place"
        raise _Unreadable(f"not TOML ({place})") from None
    except (ValueError, RecursionError):
        raise _Unreadable("not TOML that can be understood") from None


def _settings_in(
    table: "Mapping[str, object]", where: str, problems: list[str], notes: list[str], *, noted: bool
) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, given in table.items():
        if name == CONSENT:
            continue
        if name not in KEYS:
            if (ours := meant(name)) not in ("", SECTION):
                problems.append(f"{where} {ours}: {_OTHERWISE}")
            elif noted:
                notes.append(f"{where} {plain_name(name)}: {LEGACY.get(name, 'unknown key, ignored')}")
            continue
        value = accept(name, given)
        if value is None:
            problems.append(f"{where} {name}: allowed is {allowed(name)}")
        else:
            values[name] = value
    return values


def _consent_in(given: object, where: str, problems: list[str]) -> Consent | None:
    """Return the recorded answer.  A record that is damaged is a problem: nobody may guess what was agreed to."""
    if given is None or given == {}:
        return None
    record = given if isinstance(given, dict) else {}
    answer, version, at = record.get("answer"), record.get("version"), record.get("at")
    if answer not in ("yes", "no"):
        problems.append(f"{where} {CONSENT}.answer: allowed is yes or no")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        problems.append(f"{where} {CONSENT}.version: allowed is an integer from 1")
        version = 0
    try:
        moment = at if isinstance(at, datetime) else datetime.fromisoformat(str(at))
        at_ms = round(moment.timestamp() * 1000) if moment.tzinfo else 0
    except (ValueError, OverflowError):
        at_ms = 0
    if not 0 < at_ms < _YEAR_10000_MS:
        problems.append(f"{where} {CONSENT}.at: allowed is an RFC 3339 time with its offset, between 1970 and 9999")
    return Consent(str(answer), version, at_ms)


def _section_of(document: "Mapping[str, object]", path: str, problems: list[str]) -> dict[str, object]:
    """Return the section, empty where there is none, or none that holds."""
    if any(meant(name) == SECTION for name in document):
        problems.append(f"{path}: [{SECTION}]: {_OTHERWISE}")
    section = document.get(SECTION, {})
    if isinstance(section, dict):
        return section
    problems.append(f"{path}: {SECTION} must be a table")
    return {}


def _load_user(path: str, problems: list[str], notes: list[str]) -> tuple[dict[str, Value], Consent | None]:
    try:
        section = _section_of(_parse(path), path, problems)
    except _Unreadable as error:
        problems.append(f"{path}: {error}")
        return {}, None
    where = f"{path}: [{SECTION}]"
    values = _settings_in(section, where, problems, notes, noted=True)
    return values, _consent_in(section.get(CONSENT), where, problems)


def _load_admin(path: str, problems: list[str], notes: list[str]) -> dict[str, Value]:
    try:
        document = _parse(path, trusted=True)
    except _Unreadable as error:
        problems.append(f"{path}: {error}")
        return {}
    section = _section_of(document, path, problems)
    if CONSENT in section or CONSENT in document:
        notes.append(f"{path}: {CONSENT}: ignored, the answer is each user's own")
    # At the top there may be settings of other parts of caro.
    top = _settings_in(document, f"{path}:", problems, notes, noted=False)
    inner = _settings_in(section, f"{path}: [{SECTION}]", problems, notes, noted=True)
    problems.extend(f"{path}: {name}: allowed once, at the top or in [{SECTION}]" for name in top.keys() & inner.keys())
    return top | inner


def load(config_path: str, admin_path: str) -> Settings:
    """Return what both files say.  Never raises for what is in them, or for not being allowed to read them."""
    problems: list[str] = []
    notes: list[str] = []
    user, consent = _load_user(config_path, problems, notes)
    admin = _load_admin(admin_path, problems, notes)
    return Settings(config_path, admin_path, user, admin, consent, tuple(problems), tuple(notes))
