"""The command-line parser of both programs, and the only module that imports argh.

A verb is a module of the program's `cli` package that holds

    def verb(positional: str, *more: str, limit: int = 20, json: bool = False) -> int:

keyword-only parameters become options, the others positional arguments, the docstring the help; it returns an exit code
or None for 0.  `OPTIONS` (optional) maps a parameter to argparse's keywords, with "flags" for its spellings:

    OPTIONS = {"limit": {"flags": ("-n", "--limit"), "type": int, "help": "how many events (default 20)"}}

Names of verbs and parameters have `_` where the command line has `-`.  Only the module of the verb that was called is
imported; `--help` uses the table of verbs alone.  No word of the user's is repeated that might be sensitive.
"""

import argparse
import functools
import importlib
import os
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

import argh

from carojournal.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["dispatch"]

TIME = "TIME"  # The metavar of an option that takes a time, which may begin with "-".


def _without_values(message: str) -> str:
    """Return argparse's *message* without the words that were typed: they may be what should not be shown."""
    for start, kept in (("unrecognized arguments", "unrecognized arguments"), ("ambiguous option", "ambiguous option")):
        if message.startswith(start):
            return kept
    head, choice, rest = message.partition("invalid choice: ")
    if choice:
        return f"{head}invalid choice {rest[rest.rfind('(choose from') :]}"
    for mark in (" value: ", "explicit argument "):
        head, found, _ = message.partition(mark)
        if found:
            return head + found.rstrip(": ")
    return message


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """argparse asks shutil for the terminal's width, which costs 12 ms; argh prints the default of every option."""

    def __init__(self, prog: str) -> None:
        columns = os.environ.get("COLUMNS", "")
        # isdigit alone takes what `int` does not, and `int` refuses what is thousands of digits long.
        given = int(columns) if columns.isascii() and columns.isdigit() and len(columns) < 10 else 0
        super().__init__(prog, width=min(given - 2, 118) if given > 40 else 98)

    def _get_help_string(self, action: argparse.Action) -> str:
        return "" if action.help == argh.constants.DEFAULT_ARGUMENT_TEMPLATE else action.help or ""


class _Parser(argh.ArghParser):
    """argparse exits 2 on a usage error and prints ten lines; ours raises and becomes one line and 64.

    argh guesses one-letter flags.  One that nobody declared would become an interface, or clash with one that is:
    `declared` holds, for the verb that was called, every parameter's own flags, and only those pass.
    """

    declared: "Mapping[str, Mapping[str, object]]" = MappingProxyType({})

    def add_argument(self, *names: str, **keywords: Any) -> argparse.Action:
        """Add an option under its long name and the one-letter flags that its verb declares."""
        dest = max(names, key=len).lstrip("-").replace("-", "_")
        own: Any = self.declared.get(dest, {}).get("flags", ("-h",))
        kept = [name for name in names if len(name) != 2 or name[0] != "-" or name in own]
        return super().add_argument(*kept, **keywords)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{_without_values(message)} (see '{self.prog} --help')")


def _flags(name: str, given: "Mapping[str, object]") -> tuple[str, ...]:
    flags: Any = given.get("flags", (f"--{name.replace('_', '-')}",))
    return (flags,) if isinstance(flags, str) else flags


def _annotated(function: "Callable[..., int | None]", options: "Mapping[str, Mapping[str, object]]") -> None:
    for name, given in options.items():
        keywords = {key: value for key, value in given.items() if key != "flags"}
        argh.arg(*_flags(name, given), **keywords)(function)


def _joined(words: list[str], options: "Mapping[str, Mapping[str, object]]") -> list[str]:
    """Return *words* with "-S -30min" as "-S=-30min": argparse takes any word in "-" for an option, a time never is.

    Only what follows an option for a TIME is joined to it, and only a "-" with a digit behind it.
    """
    timed = {flag for name, given in options.items() if given.get("metavar") == TIME for flag in _flags(name, given)}
    found: list[str] = []
    rest = iter(words)
    for word in rest:
        found.append(word)
        if word == "--":
            break
        if word in timed and (value := next(rest, None)) is not None:
            dashed = value[:1] == "-" and value[1:2].isdecimal()
            found[-1:] = [f"{word}={value}"] if dashed else [word, value]
    return [*found, *rest]


def _verb(package: str, verb: str) -> "tuple[Callable[..., int | None], list[int], Mapping[str, Mapping[str, object]]]":
    """Return the verb's function, wrapped so that its exit code lands in the list instead of being printed."""
    module = importlib.import_module(f"{package}.{verb.replace('-', '_')}")
    function = getattr(module, verb.replace("-", "_"))
    codes: list[int] = []

    @functools.wraps(function)
    def call(*args: object, **keywords: object) -> None:
        codes.append(function(*args, **keywords) or 0)

    options = getattr(module, "OPTIONS", {})
    _annotated(call, options)
    return call, codes, options


def _summary(verb: str, text: str) -> "Callable[[], None]":
    def stub() -> None:
        raise AssertionError(verb)  # pragma: no cover - a parser that only prints help never calls it

    stub.__name__ = verb.replace("-", "_")
    stub.__doc__ = text
    return stub


def dispatch(program: str, about: str, verbs: "Mapping[str, str]", package: str, words: list[str]) -> int:
    """Run `program verb ...` and return its exit code; see the module's docstring for what a verb is.

    Raises what the verb raises, UsageError, and SystemExit after --help; `guard` makes one line of it.
    """
    from carojournal import __version__

    parser = _Parser(prog=program, description=about, formatter_class=_Formatter)
    parser.add_subparsers(metavar="VERB", title="verbs (VERB --help says more)")
    parser.add_argument("--version", action="version", version=f"{program} {__version__}")
    called = words[0] if words else "--help"
    policy = argh.assembling.NameMappingPolicy.BY_NAME_IF_KWONLY
    if called in verbs:
        function, codes, options = _verb(package, called)
        _Parser.declared = options
        parser.add_commands([function], name_mapping_policy=policy, func_kwargs={"formatter_class": _Formatter})
        parser.prog = f"{program} {called}"  # Options that no verb knows are found by this parser, not by the verb's.
        argh.dispatch(parser, argv=_joined(words, options), output_file=sys.stdout, raw_output=True)
        return codes[-1] if codes else 0
    if not called.startswith("-"):
        raise UsageError(f"unknown verb (see '{program} --help')")
    parser.add_commands([_summary(verb, text) for verb, text in verbs.items()], name_mapping_policy=policy)
    parser.parse_args(words or ["--help"])
    raise UsageError(f"a verb is needed (see '{program} --help')")
