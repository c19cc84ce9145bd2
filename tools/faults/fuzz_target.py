"""What a fuzzing target is, and what it may never do: the oracle that all of them share."""

import atexit
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import TypeVar

from carojournal.errors import DamagedData, JournalError
from faults.fuzz_mutate import CANARY

__all__ = ["Target", "WrongValue", "attempt", "scratch"]


_T = TypeVar("_T")


class WrongValue(Exception):
    """What was accepted is not what it must be; the text says which rule was broken."""


def _unfixed(_: Random, data: bytes) -> bytes:
    return data


@dataclass(frozen=True, slots=True)
class Target:
    """One parser: `seeds()` are inputs that it takes, `run(data)` feeds it and returns what came of it in a few words.

    `run` may raise nothing: it calls what is to be tested through `attempt`, and raises WrongValue where an accepted
    value breaks a rule.  `fix` makes lengths and checksums fit again after a mutation, so that what lies behind them is
    reached.  `shape` and `tokens` are for `fuzz_mutate.mutated`.
    """

    name: str
    seeds: Callable[[], list[bytes]]
    run: Callable[[bytes], str]
    fix: Callable[[Random, bytes], bytes] = _unfixed
    shape: str = "bytes"
    tokens: Sequence[bytes] = ()
    runs: int = 150  # Of the short run in the tests.


def attempt(call: Callable[[], _T], *, quiet: bool = True) -> "tuple[_T | None, str]":
    """Return (what *call* returns, "") or (None, the error's class and reason) for an error of our own tree.

    Anything else passes through, and is a finding.  With *quiet*, an error whose whole chain of causes quotes the
    canary is one too: a traceback shows the chain.
    """
    try:
        return call(), ""
    except JournalError as error:
        if quiet:
            text = "".join(traceback.format_exception_only(error)) + repr(error.args)
            cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
            while cause is not None:
                text += str(cause) + repr(cause.args)
                cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
            if CANARY in text:
                raise WrongValue(f"the text of a {type(error).__name__} quotes a refused value") from error
        reason = error.reason if isinstance(error, DamagedData) else ""
        return None, f"{type(error).__name__} {reason}".strip()


@cache
def scratch(name: str) -> str:
    """Return a directory of this process for one target, in memory where the system has that; it goes at the end."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = tempfile.mkdtemp(prefix=f"fuzz-{name}-", dir=place)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
