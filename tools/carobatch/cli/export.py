"""`carobatch export`: write a bundle for a machine that this one cannot reach."""

import errno
import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carobatch.cli.common import DIR_OPTION, is_made, journal_root, open_store, refuse_off, say_compaction, say_problems
from carojournal import locks
from carojournal.cli.exits import DAMAGED
from carojournal.cli.output import bytes_text, count_text, is_terminal, say
from carojournal.errors import DamagedData, OutputError, UsageError
from carojournal.root import is_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from carobatch.sshsig import Signer

__all__ = ["OPTIONS", "export"]

_FORMATS = ("bundle", "json", "ndjson")
_PROGRESS_S = 0.2
# The name holds the chain and the number of the bundle, and a number is never used for two contents.
_UNCHANGED = "exists already and holds the same events: carry that bundle, or name another place with -o"
OPTIONS = {
    "output": {"flags": ("-o", "--output"), "metavar": "DIR|FILE", "help": "where to write (default: this directory)"},
    "dir": DIR_OPTION,
    "since": {"metavar": "TIME", "help": "events from then on ('yesterday', '2026-09-21 14:00')"},
    "until": {"metavar": "TIME", "help": "events before then"},
    "split": {"metavar": "SIZE", "help": "write parts of that size (700M, 4G), with a list for sha256sum -c"},
    "sign": {"metavar": "KEY", "help": "sign with this OpenSSH Ed25519 private key"},
    "encrypt": {
        "metavar": "RECIPIENT",
        "action": "append",
        "help": "encrypt with age to age1... or an SSH public key; may be repeated",
    },
    "format": {"choices": _FORMATS, "help": "bundle (default), or caro's own json or ndjson without checksums"},
}


def export(
    *,
    output: str = ".",
    dir: str | None = None,  # noqa: A002 - the option's name
    since: str = "",
    until: str = "",
    split: str = "",
    sign: str = "",
    encrypt: "list[str] | None" = None,
    format: str = "bundle",  # noqa: A002 - the option's name
) -> int:
    """Write everything that is kept, or a span of it, as a bundle for another machine.

    A bundle is a BagIt bag in a tar.zst: tar, zstd, sha256sum and any BagIt validator check it; README.txt inside says
    how.  Before it is written, lanes are sealed and everything is packed, as by 'carobatch compact --idle 0'; then it
    is noted in the journal, so that its receipt can be taken back.  No event is removed by that, though what is damaged
    or refused goes to quarantine/: only 'carobatch ack --reclaim' with the importer's receipt makes room.  A journal
    that has not changed gives the same bundle, of the same name.

    --format json and ndjson only read the journal, and alone work while telemetry is off.  Exit 65: some of the journal
    is damaged or was refused, and is not in the file; 73: the file cannot be written, or stands there already.
    """
    from carojournal.times import parse_time

    now_ms = time.time_ns() // 1_000_000
    window = (parse_time(since, now_ms) if since else None, parse_time(until, now_ms) if until else None)
    root = journal_root(dir)
    if format != "bundle":
        if split or sign or encrypt:
            raise UsageError("--split, --sign and --encrypt are for bundles")
        return _plain(root, output, format, window, now_ms)
    if output == "-":
        raise UsageError("a bundle needs a place: name a folder or a file with -o, or say --format json")
    # A bundle is made of packed files and noted in the ledger, both below the root; json and ndjson need neither.
    refuse_off(root)
    wanted = _read_options(output, split, sign, encrypt or [])  # Wrong ones are wrong of an empty journal, too.
    if not is_made(root):
        say("nothing to export", "carobatch")
        return 0
    from carojournal.deletion import check_not_half_cleared

    with locks.batch_lock(root):
        check_not_half_cleared(root)
        return _bundle(root, wanted, window, now_ms)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A bundle as the options ask for it: `output` is a folder if it goes `inside`; `part_bytes` 0: in one file."""

    output: str
    inside: bool
    part_bytes: int
    signer: "Signer | None"
    keys: "list[Any]"


def _read_options(output: str, split: str, sign: str, recipients: list[str]) -> _Wanted:
    """Return what the options ask for.  Raises OutputError, UsageError, and what keys that cannot be used raise."""
    from carobatch import age, bundle, sshsig
    from carobatch.media import parse_size

    inside = is_folder(output)
    if not inside:
        _check_name(output, "a bundle", bundle.SUFFIX, *((bundle.SUFFIX + ".age",) if recipients else ()))
    return _Wanted(
        output=output,
        inside=inside,
        part_bytes=parse_size(split) if split else 0,
        signer=sshsig.load_signer(sign) if sign else None,
        keys=age.parse_recipients(recipients) if recipients else [],
    )


def _check_name(output: str, what: str, *endings: str) -> None:
    """Refuse an *output* that is no folder and is not named like *what*: a medium that is not mounted, most likely.

    Raises OutputError.  What stands there under such a name is left to whoever would write it, who says so.
    """
    if not output.endswith(endings) and not os.path.lexists(output):
        detail = f"no such folder, and no name of {what} ({', '.join(endings)}): is the medium mounted?"
        raise OutputError("write", output, errno.ENOENT, detail)


def _plain(root: str, output: str, form: str, window: tuple[int | None, int | None], now_ms: int) -> int:
    from carojournal import export as exporting
    from carojournal.identity import day_of
    from carojournal.reader import JournalReader

    class Window(JournalReader):
        """The journal, but only the events of a span."""

        def records(self, since_ms=None, until_ms=None, events_only=False, *, decode=True):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG002
            return super().records(window[0], window[1], events_only, decode=decode)

    if is_folder(output):
        output = os.path.join(output, f"telemetry-export-{day_of(now_ms)}.{form}")
    elif output != exporting.STDOUT:
        _check_name(output, f"a file of {form}", f".{form}")
    reader = Window(root)
    plan = exporting.plan_export(reader)
    size = exporting.export(reader, plan, output, form, now_ms)
    if output != exporting.STDOUT:
        print(f"Wrote {count_text(plan.events, 'event')} to {output} ({bytes_text(size)}).")
    damage = [(found.path, found.reason) for found in reader.damage if not found.torn]
    say_problems(damage)
    return DAMAGED if damage or plan.refused else 0


def _bundle(root: str, wanted: _Wanted, window: tuple[int | None, int | None], now_ms: int) -> int:
    from carobatch import age, bundle
    from carobatch.compact import compact
    from carobatch.export import plan_export
    from carobatch.ledger import Ledger
    from carobatch.media import write_media
    from carobatch.sessions import Sessions
    from carojournal.identity import open_identity

    keys = wanted.keys
    store, ledger = open_store(root), Ledger(root)
    done = compact(root, store, now_ms, 0)
    was_damaged = say_compaction(done)
    journal = open_identity(root, now_ms, os.urandom).journal
    bad: frozenset[str] = frozenset()
    while True:
        sessions = Sessions.of(root)
        try:
            plan = plan_export(store, ledger, journal, window, wanted.signer, bad, sessions)
            if plan is None:
                _say_withheld(sessions.withheld)
                say("nothing to export", "carobatch")
                return DAMAGED if bad or was_damaged else 0
            path = os.path.join(wanted.output, plan.name + bundle.SUFFIX) if wanted.inside else wanted.output
            path += ".age" if keys and not path.endswith(".age") else ""
            _remove_abandoned(path, plan.name if wanted.inside else "")
            paths, size = write_media(
                plan.chunks(),
                path,
                part_bytes=wanted.part_bytes,
                encrypt=(lambda reader, writer: age.encrypt(reader, writer, keys)) if keys else None,  # type: ignore[arg-type]
                before_commit=lambda entry=plan.entry: ledger.write_bundle(entry),  # type: ignore[misc]
                told=_progress(plan.size_guess),
            )
        except DamagedData as error:
            # A packed file whose frame does not verify: the bundle goes without it, and names what is not in it.
            if error.path in bad or not error.path.startswith(store.folder):
                raise
            say(f"{error.path}: {error.reason}", "carobatch")
            bad |= {error.path}
            continue
        except FileNotFoundError as error:
            # Evicted by a host meanwhile: its loss record names it, and the bundle is planned anew.
            if not str(error.filename).startswith(store.folder):
                raise
            continue
        except OutputError as error:
            if error.errno == errno.EEXIST and wanted.inside and not wanted.part_bytes:
                raise OutputError(error.step, error.path, error.errno, _UNCHANGED) from error
            raise
        break
    for written in paths:
        print(written)
    say(f"{count_text(plan.events, 'event')} in {bytes_text(size)}; nothing was removed here", "carobatch")
    _say_withheld(sessions.withheld)
    say_problems([problem for problem in plan.problems if problem not in done.problems])
    return DAMAGED if bad or plan.problems or was_damaged else 0


def _say_withheld(events: int) -> None:
    if events:
        why = "their session is none that this journal has issued, or its deletion was asked for"
        say(f"{count_text(events, 'event')} left out: {why}", "carobatch")


def _remove_abandoned(path: str, name: str) -> None:
    """Remove what an export of this journal that was killed has left there; we hold the lock that it held.

    Its chain and number may have been others than those in *name*.
    """
    from carojournal.durable import remove_abandoned

    folder, base = os.path.split(path)
    prefix = name[: name.index("-", name.index("-") + 1) + 1] if name else base
    remove_abandoned(folder or ".", prefix, 0)


def _progress(total: int) -> "Callable[[int], None]":
    """Return what is told of bytes written; it shows them on a terminal, now and then."""
    if not is_terminal(sys.stderr):
        return lambda _: None
    shown = [time.monotonic()]

    def told(count: int) -> None:
        if time.monotonic() - shown[0] >= _PROGRESS_S:
            shown[0] = time.monotonic()
            print(f"\r{bytes_text(count)} of about {bytes_text(total)}\033[K", end="", file=sys.stderr, flush=True)
        if count >= total:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    return told
