"""Prepares the cases of `test_off`, runs them under one strace, and tells what each of them did."""

import fnmatch
import functools
import json
import os
import shutil
import sys
from dataclasses import dataclass

import off_calls
from off_cases import API_CASES, INVOCATIONS, ROOT, Invocation
from traced import traced

import carobatch.cli
import carojournal.cli

__all__ = ["HERE", "PROGRAMS", "Builder", "Case", "Place", "prepare", "problems", "run"]

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = {"carojournal": carojournal.cli.VERBS, "carobatch": carobatch.cli.VERBS}


class Place:
    """A home, a folder to work in, and what they hold before and after.  Calls that may write nothing share one."""

    def __init__(self, path, folder, template):
        self.folder = folder
        self.environ, self.admin = prepare(path, folder, template)
        self.work = os.path.join(folder, "work")
        self.before = _tree(folder)

    @functools.cached_property
    def differences(self):
        """The files and folders that are new or other, and those that are gone; asked for when all is done."""
        after = _tree(self.folder)
        new = {path for path, data in after.items() if path not in self.before or self.before[path] != data}
        return new, self.before.keys() - after.keys()


@dataclass
class Case:
    """One call, and what came of it."""

    name: str
    place: Place
    plan: dict
    invocation: Invocation
    reads_journal: bool = True
    code: int = -1
    calls: tuple = ()
    api_calls: tuple = ()  # Those after `Journal.open`.

    def inner(self, path):
        return os.path.relpath(os.path.join(self.place.work, path), self.place.folder)

    def unexpected(self):
        """Return the calls that changed something, or tried to, and may not; and all that touch a network."""
        return [
            call
            for call in self.calls
            if call.is_network
            or (call.changes and not (call.paths and all(self._may_write(path) for path in call.paths)))
        ]

    def _may_write(self, path):
        return _matches(self.inner(path), self.invocation.writes)

    def below_root(self):
        """Return (path below the case's folder, call) of every call that so much as looks below the journal's root."""
        found = [(self.inner(path), call) for call in self.calls for path in call.paths]
        return [(path, call) for path, call in found if f"{path}/".startswith(f"{ROOT}/")]


def _matches(path, patterns):
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def _tree(folder):
    """Return {path: bytes} of all files, and of folders with None."""
    found = {}
    for base, folders, names in os.walk(folder):
        found.update({os.path.relpath(os.path.join(base, name), folder): None for name in folders})
        for name in names:
            with open(os.path.join(base, name), "rb") as file:
                found[os.path.relpath(os.path.join(base, name), folder)] = file.read()
    return found


def prepare(path, folder, template):
    """Make the folder of one case and switch it off; return (environment, the administrator's file)."""
    shutil.copytree(template, folder)
    config = os.path.join(folder, "home", ".config", "caro", "config.toml")
    admin = os.path.join(folder, "telemetry.toml")
    for place, text in ((config, path.config), (admin, path.admin)):
        if text == "/":
            os.makedirs(place)
        elif text is not None:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "w") as file:
                file.write(text)
    return {"HOME": os.path.join(folder, "home"), **path.environ}, admin


class Builder:
    """Makes the cases of one way to off, in folders below *folder*."""

    def __init__(self, path, templates, folder):
        self.path = path
        self.templates = templates
        self.folder = folder
        self._shared = {}

    def _place(self, state, name, invocation):
        folder = os.path.join(self.folder, f"{state} {name}".replace(" ", "-"))
        if invocation.writes:
            return Place(self.path, folder, self.templates[state])
        if state not in self._shared:
            self._shared[state] = Place(self.path, folder, self.templates[state])
        return self._shared[state]

    def _case(self, state, name, call, invocation, extra=(), *, reads_journal=True):
        place = self._place(state, name, invocation)
        plan = {
            "call": call,
            "words": [*extra, *(word.format(root=os.path.join(place.folder, ROOT)) for word in invocation.words)],
            "environ": place.environ,
            "admin": place.admin,
            "cli_channel": self.path.cli_channel,
            "stdin": os.path.join(place.work, invocation.stdin),
            "folder": place.work,
            "api": {"open": self.path.open, "ensure": self.path.ensure, "asks": self.path.asks},
        }
        return Case(f"{state} {name}", place, plan, invocation, reads_journal)

    def verbs(self):
        """Yield a case for every verb, with and without a journal.

        The first invocation of each is enough for most paths: they differ only in what is read before anything happens.
        """
        for program, verbs in PROGRAMS.items():
            for verb in verbs:
                if self.path.api_only and not (verb == "append" and self.path.append):
                    continue
                extra = (verb, "--channel", "beta", *self.path.append) if verb == "append" else (verb,)
                invocations = INVOCATIONS[program].get(verb, ())
                for number, invocation in enumerate(invocations if self.path.thorough else invocations[:1]):
                    name, reads = f"{program} {verb} {number}", verb != "append"
                    for state in self.templates:
                        yield self._case(state, name, program, invocation, extra, reads_journal=reads)

    def calls(self):
        """Yield a case for every call of the API, with and without a journal."""
        for name, reads in API_CASES.items():
            for state in self.templates:
                yield self._case(state, f"api {name}", name, Invocation(), reads_journal=reads)


def run(cases, place):
    """Run the cases under one strace and give each its calls and its exit code; print what they said."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("CARO", "XDG_", "DO_NOT", "CI"))}
    environ.pop("GITHUB_ACTIONS", None)
    repository = os.path.dirname(HERE)
    environ["PYTHONPATH"] = os.pathsep.join((repository, os.path.join(repository, "tools"), HERE))
    environ |= {"PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C"}
    words = [sys.executable, os.path.join(HERE, "off_runner.py")]
    plan = json.dumps([case.plan for case in cases])
    done, calls = traced(words, os.path.join(place, "trace"), env=environ, input=plan)
    print(done.stderr)
    assert done.returncode == 0
    for case, code in zip(cases, json.loads(done.stdout), strict=True):
        case.code = code
    _share_out(cases, calls)


def _share_out(cases, calls):
    """Give each case what stands between its marks; nothing that counts may stand outside of them."""
    number, phase, mine, later = -1, "end", [], []
    for call in calls:
        if call.paths and call.paths[0].startswith(off_calls.MARK):
            said = call.paths[0].removeprefix(off_calls.MARK)
            if said == "opened":
                phase = said
                continue
            word, _, phase = said.partition("/")
            number = int(word)
            if phase == "end":
                cases[number].calls, cases[number].api_calls = tuple(mine), tuple(later)
            mine, later = [], []
        elif phase == "end":
            assert not call.changes, call.line
            assert not call.is_network, call.line
        else:
            mine.append(call)
            if phase == "opened":
                later.append(call)
    assert (number, phase) == (len(cases) - 1, "end")


def problems(cases, *, exact=False):
    """Return a line for everything that off forbids; with *exact*, also for an exception that was not made use of."""
    found = []
    for case in cases:
        found += [f"{case.name}: {call.line}" for call in case.unexpected()]
        new, gone = case.place.differences
        invocation = case.invocation
        found += [f"{case.name}: new or other: {path}" for path in new if not _may_be_left(path, invocation)]
        found += [f"{case.name}: gone: {path}" for path in gone if not _matches(path, invocation.writes)]
        if case.code not in invocation.codes:
            found.append(f"{case.name}: exit code {case.code}")
        if exact and case.name.startswith("full"):
            left = [pattern for pattern in invocation.leaves if not any(_matches(path, [pattern]) for path in new)]
            found += [f"{case.name}: did not write {pattern}" for pattern in left]
    return found


def _may_be_left(path, invocation):
    """Tell whether a path may be new or other after a call: what it leaves, and the folders on the way there."""
    return any(fnmatch.fnmatchcase(path, leaf) or leaf.startswith(f"{path}/") for leaf in invocation.leaves)
