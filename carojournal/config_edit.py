"""Writes the section [telemetry] of caro's config.toml and nothing else in it; the only module that imports tomlkit.

The file is the user's: comments, order, line endings and every other section stay byte for byte, its mode stays, a link
(dotfile managers) stays a link and its target is written.  A file that is not TOML, or that would read differently in
any other place after the edit, is refused and unchanged.  The new file replaces the old one in one step, on the disk
before it counts; writers wait for each other on a lock of the directory, which leaves nothing behind.
"""

import contextlib
import fcntl
import os
import stat
import time
import tomllib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tomlkit
from tomlkit.items import InlineTable, Table

from carojournal.config_keys import SECTION
from carojournal.durable import sync_directory
from carojournal.errors import ConfigError, JournalBusy, JournalIOError
from carojournal.nowhere import NO_HOME
from carojournal.policy import CONFIG_BYTES_MAX, file_signature
from carojournal.root import make_folders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tomlkit import TOMLDocument
    from tomlkit.container import Container

__all__ = ["edit", "edited"]

LOCK_TIMEOUT_S = 2.0  # Another edit takes milliseconds; whoever holds the directory longer is no edit of ours.
LOCK_POLL_S = 0.02

# A key's new value; None takes the key away.  A mapping is the consent record.
Changes = Mapping[str, bool | int | str | Mapping[str, int | str] | None]


def _read_as(text: str) -> dict[str, Any]:
    """Return what *text* says, floats as they are written (nan equals nothing, not even itself)."""
    return tomllib.loads(text, parse_float=str)


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    """Return *document* without what says nothing: an empty section, an empty record in it."""
    section = document.get(SECTION)
    if not isinstance(section, dict):
        return document
    section = {key: value for key, value in section.items() if value != {}}
    rest = {key: value for key, value in document.items() if key != SECTION}
    return {**rest, SECTION: section} if section else rest


def _holds(section: Mapping[str, Any], key: str, value: object) -> bool:
    """Tell whether *section* holds *value* already; True and 1 are equal in Python and different in TOML."""
    given = section.get(key)
    if value is None:
        return given is None or given == {}
    if isinstance(value, Mapping):
        return isinstance(given, dict) and all(_holds(given, name, one) for name, one in value.items())
    return type(given) is type(value) and given == value


def _expected(document: dict[str, Any], changes: Changes) -> dict[str, Any]:
    """Return what the edited file must read as: *document* with *changes* and no other difference."""
    section = dict(document.get(SECTION, {}))
    for key, value in changes.items():
        if value is None:
            section.pop(key, None)
        elif isinstance(value, Mapping):
            before = section.get(key)
            section[key] = {**(before if isinstance(before, dict) else {}), **value}
        else:
            section[key] = value
    return {**document, SECTION: section}


def _sections(document: "TOMLDocument") -> list[Table | InlineTable]:
    """Return the pieces of the section: TOML lets other sections stand between [telemetry] and [telemetry.consent]."""
    found = [item for key, item in document.body if key is not None and key.key == SECTION]
    return [item for item in found if isinstance(item, Table | InlineTable)]


def _add(container: "Container", key: str, value: object, newline: str) -> None:
    """Add *key* after the last key, before the blank lines and comments that lead over to the next section."""
    tail = []
    while container.body and container.body[-1][0] is None:
        tail.append(container.body.pop())
    item = tomlkit.item(value)
    if isinstance(value, Mapping):
        item = tomlkit.inline_table()
        item.update(value)
    item.trivia.trail = newline
    container.append(key, item)
    container.body.extend(reversed(tail))


def _set(document: "TOMLDocument", key: str, value: object, newline: str) -> None:
    sections = _sections(document)
    if not sections:
        if document.body and document.as_string().strip() and not document.as_string().endswith(newline * 2):
            if not document.as_string().endswith("\n"):
                document.add(tomlkit.ws(newline))
            document.add(tomlkit.ws(newline))
        table = tomlkit.table()
        table.trivia.trail = newline
        document.append(SECTION, table)
        sections = _sections(document)
    for section in sections:
        if key not in section:
            continue
        if isinstance(value, Mapping) and isinstance(section[key], Table | InlineTable):
            section[key].update(value)
        else:
            section[key] = value
        return
    section = next(
        (piece for piece in sections if not (isinstance(piece, Table) and piece.is_super_table())), sections[0]
    )
    if isinstance(section, InlineTable):
        section[key] = value
    else:
        _add(section.value, key, value, newline)


def _unset(document: "TOMLDocument", key: str) -> None:
    for section in _sections(document):
        if isinstance(section.get(key), Table):
            # Its header stays: the comments below it may belong to the section that follows.
            for name in list(section[key]):
                del section[key][name]
        else:
            section.pop(key, None)


def edited(text: str, changes: Changes) -> str:
    """Return *text* (TOML) with *changes* applied to [telemetry].

    Raises ValueError if *text* is not TOML, or if it cannot be edited without another difference.
    """
    before = _read_as(text)
    try:
        section = before.get(SECTION, {})
        wanted = {key: value for key, value in changes.items() if not _holds(section, key, value)}
        if not wanted:
            return text
        document = tomlkit.parse(text)
        for key, value in wanted.items():
            if value is None:
                _unset(document, key)
            else:
                _set(document, key, value, "\r\n" if "\r\n" in text else "\n")
        result = tomlkit.dumps(document)
        if _plain(_read_as(result)) == _plain(_expected(before, wanted)):
            return result
    except Exception as error:  # noqa: BLE001 - whatever a foreign parser makes of a strange file, the file stays as it is
        raise ValueError(type(error).__name__) from None
    raise ValueError("the edit would change more than was asked for")


@contextlib.contextmanager
def _locked(directory: str) -> "Iterator[None]":
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise JournalBusy(f"{directory}: another program edits the configuration") from None
                time.sleep(LOCK_POLL_S)
            except OSError:
                break  # A file system without locks; the check before the replacement remains.
            else:
                break
        yield
        sync_directory(directory)
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes, like: os.stat_result | None) -> None:
    try:
        if like is not None:
            if like.st_uid != os.geteuid():
                os.fchown(descriptor, like.st_uid, like.st_gid)
            os.fchmod(descriptor, like.st_mode & 0o7777)
        with open(descriptor, "wb", closefd=False) as stream:
            stream.write(data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(path: str, data: bytes, like: os.stat_result | None, signature: str) -> None:
    """Put *data* in the place of *path* with the owner and mode of *like*, unless it is no longer what was read.

    Both conditions are why this is not `durable.write_file`.
    """
    # Under the directory's lock one name serves all, and what a killed edit leaves behind the next one takes away.
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.carojournal")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        _write(descriptor, data, like)
        unchanged = file_signature(path) == signature
        if unchanged:
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if not unchanged:
        os.unlink(temporary)
        raise JournalBusy(f"{path}: another program changed it meanwhile; nothing was changed")


def _edit_target(target: str, changes: Changes) -> bool:
    signature = file_signature(target)
    status, data = None, b""
    if signature != "-":
        with open(target, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{target}: not a regular file; nothing was changed")
            data = stream.read(CONFIG_BYTES_MAX + 1)
    if len(data) > CONFIG_BYTES_MAX:
        raise ConfigError(f"{target}: larger than {CONFIG_BYTES_MAX} bytes; nothing was changed")
    try:
        result = edited(data.decode(), changes).encode()
    except ValueError:
        raise ConfigError(f"{target}: cannot be edited safely (is it TOML?); nothing was changed") from None
    if result == data:
        return False
    _replace(target, result, status, signature)
    return True


def edit(path: str, changes: Changes) -> bool:
    """Apply *changes* to [telemetry] of the file at *path* and return whether it changed.

    A missing file is made (0600, its directories 0700), but not to take keys away.  Raises ConfigError if the file
    cannot be parsed or edited safely, JournalBusy if somebody else is editing it, JournalIOError if the system refuses;
    the file is unchanged then.  ConfigError, too, if *path* is empty: the file has no place.
    """
    if not path:
        raise ConfigError(NO_HOME)
    target = os.path.realpath(path)
    directory = os.path.dirname(target)
    try:
        if not os.path.lexists(path):
            if all(value is None for value in changes.values()):
                return False
            make_folders(directory)
        elif not os.path.isdir(directory):
            raise ConfigError(f"{path}: a link to nowhere; nothing was changed")
        with _locked(directory):
            return _edit_target(target, changes)
    except OSError as error:
        raise JournalIOError("write", path, error.errno, error.strerror or "") from None
