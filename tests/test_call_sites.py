"""Every call of the check exists and matters: broken at one place, what must not pass there passes; whole, it does not.

Stored events are forged byte by byte (valid checksums, a payload that no recorder writes).  With the check in place the
value leaves in no file, stays in none but the one that was forged, and is said nowhere; the refusal is counted.
"""

import ast
import contextlib
import os
import sys
import tempfile

import pytest
from forgeries import FORGERIES, GOOD, SECRET, Leaving, is_anywhere, old_rows

import carojournal.cli
from carojournal import Collector, Journal, drops, events, redact
from carojournal.cbor import encode_text
from carojournal.errors import EventRefused

STARTED = {"caro_version": SECRET, "os": "linux"}
REAL = redact.check

# Every way into a journal, each with an event that holds SECRET.
WAYS_IN = {
    "record": lambda journal, _: journal.record("session_start", **STARTED),
    "append": lambda journal, _: _quietly(journal.append, "session_start", **STARTED),
    "append_many": lambda journal, _: _quietly(journal.append_many, [("session_start", STARTED)]),
    "append_timed": lambda journal, _: journal.append_timed([(journal._clock() // 10**6, "session_start", STARTED)]),
    "Collector": lambda journal, _: _collect(journal),
    "carojournal append": lambda _, run: run(
        "append", "--channel", "beta", "--event", "session_start", f"caro_version={SECRET}", "os=linux"
    ),
    "carojournal migrate": lambda _, run: run("migrate", run.old),
}
# The verb says which events are refused, and hands them to the journal all the same, whose check counts them.
HANDED_ON = ("carojournal append", "_keep")


def _quietly(call, *args, **keywords):
    with contextlib.suppress(EventRefused):
        call(*args, **keywords)


def _collect(journal):
    with Collector(journal) as collector:
        collector.record("session_start", **STARTED)


class Check:
    """Stands for `redact.check` wherever it is used: notes who calls it, and lets SECRET through to *broken* ones."""

    def __init__(self, monkeypatch, broken=()):
        self.callers = []
        self._broken = broken
        for name, module in list(sys.modules.items()):
            if name.startswith("carojournal") and vars(module).get("check") is REAL:
                monkeypatch.setattr(module, "check", self)

    def __call__(self, event_type, fields, level=events.DETAILED):
        # Before Python 3.12 a comprehension is a function of its own inside the one that is meant.
        caller = sys._getframe(1).f_code.co_qualname.partition(".<locals>")[0]
        self.callers.append(caller)
        if caller not in self._broken:
            return REAL(event_type, fields, level)
        found = REAL("session_start", {"caro_version": "1.1.0", "os": "linux"}, level)
        key = encode_text("caro_version")
        [place] = [place for place, slot in enumerate(found.slots) if slot.startswith(key)]
        found.slots[place] = key + encode_text(SECRET)
        return found


@pytest.fixture
def run(root, monkeypatch, tmp_path):
    """Run a verb of `carojournal` on the journal at *root*."""
    monkeypatch.setattr("carojournal.policy.admin_file", lambda *_: "/nonexistent")
    monkeypatch.setenv("CAROJOURNAL_DIR", root)
    old = tmp_path / "old.json"

    def call(*words):
        return carojournal.cli.main([str(word) for word in words])

    call.old = old
    old.write_text(old_rows(version=SECRET))
    return call


@pytest.mark.parametrize("way", WAYS_IN)
def test_what_is_refused_gets_in_nowhere_and_is_counted(way, journal, root, run, capfd):
    WAYS_IN[way](journal, run)
    journal.close()
    assert not is_anywhere(root, said="".join(capfd.readouterr()) + repr(journal.stats))
    if way != "carojournal migrate":  # What was refused of a foreign file is in the report of that call.
        assert drops.read_counts(root)[0]["refuse session_start caro_version shape"] >= 1


@pytest.fixture
def again(clock, tmp_path, run, monkeypatch):
    """Return a function that goes one way into a journal of its own, with some calls of the check broken."""

    def go(way, broken=()):
        with monkeypatch.context() as patch, tempfile.TemporaryDirectory(dir=tmp_path) as place:
            patch.setenv("CAROJOURNAL_DIR", f"{place}/journal")
            check = Check(patch, broken)
            with Journal.open(clock=clock, admin="/nonexistent") as journal:
                WAYS_IN[way](journal, run)
            return list(dict.fromkeys(check.callers)), is_anywhere(place)

    return go


@pytest.mark.parametrize("way", WAYS_IN)
def test_each_call_of_the_check_keeps_it_out_alone_and_without_any_it_gets_in(way, again):
    callers, got_in = again(way)
    assert callers
    assert not got_in
    # Whoever is only reached because another was passed is found by breaking that one.
    while not (found := again(way, callers))[1]:
        assert set(found[0]) > set(callers)
        callers = found[0]
    for whole in (caller for caller in callers if (way, caller) != HANDED_ON):
        assert not again(way, [caller for caller in callers if caller != whole])[1]


def test_nobody_else_calls_the_check(again):
    """A new way in needs an entry above; `_check_hosts` is the check of stored events, below."""
    package = os.path.dirname(carojournal.__file__)
    found = set()
    for base, _, names in os.walk(package):
        for name in names:
            if name.endswith(".py"):
                with open(os.path.join(base, name), encoding="utf-8") as file:
                    found |= callers_in(ast.parse(file.read()))
    known = {caller.rpartition(".")[2] for way in WAYS_IN for caller in again(way)[0]}
    known |= {caller.rpartition(".")[2] for way in WAYS_IN for caller in again(way, again(way)[0])[0]}
    assert found == known | {"_check_hosts"}


def callers_in(tree):
    """Return the functions that call `redact.check`, under whatever name it was imported."""
    names = {"redact.check"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "carojournal.redact":
            names |= {alias.asname or alias.name for alias in node.names if alias.name == "check"}
    return {
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in names
    }


# Where each way out looks up its check.
CHECKS = {
    "salvage": "carojournal.salvage.check_payload",
    "salvage_as_ndjson": "carojournal.salvage.check_payload",
    "export": "carojournal.export.refusals",
    "plain": "carojournal.export.refusals",
    "compact": "carobatch.sections.refusals",
    "bundle": "carobatch.sections.refusals",
    **dict.fromkeys(
        ("upload_caro_v1", "upload_caro_array", "upload_posthog", "upload_otlp", "dry_run"), "carobatch.plan.refusals"
    ),
}
NOTHING_WRONG = dict.fromkeys(
    ("carobatch.sections.refusals", "carobatch.plan.refusals", "carojournal.export.refusals"), ()
)


@pytest.fixture
def leaving(root, run, tmp_path):
    """Return a function that forges a journal with one payload and hands out the ways to leave it."""
    return lambda payload: Leaving(root, tmp_path, payload)


@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.parametrize("way", CHECKS)
def test_no_forgery_leaves_and_none_is_repeated(way, forgery, leaving, root, capfd):
    place = leaving(FORGERIES[forgery])
    done, said = getattr(place, way)()
    assert done == GOOD
    # No way out copies control records, so one that is malformed is only noticed where a segment is taken apart.
    assert said == 1 or b"frecord" in FORGERIES[forgery]
    assert not is_anywhere(place.out, said="".join(capfd.readouterr()))
    if way in ("compact", "bundle"):
        # The forged file itself is gone by now, and neither quarantine nor counters nor names have taken it over.
        assert not is_anywhere(root)
        counted = drops.read_counts(root)[0]
        assert sum(count for key, count in counted.items() if key.startswith("refuse ")) >= 1


@pytest.mark.parametrize("way", CHECKS)
def test_a_way_out_without_its_check_lets_it_out(way, leaving, root, monkeypatch):
    place = leaving(FORGERIES["text field"])
    monkeypatch.setattr(CHECKS[way], lambda _: NOTHING_WRONG.get(CHECKS[way]))
    getattr(place, way)()
    assert is_anywhere(place.out if way != "compact" else os.path.join(root, "packed"))
