"""Off means off: under it no verb and no call of the API creates a file or opens a socket, as strace sees it.

Every way to off x every verb and call x a journal or none.  Exceptions are the verbs whose purpose is a file that the
user named, or the user's choice: `off_cases` lists what each may write, and nothing else may be.
"""

import json
import os
import shutil
import sys

import pytest
from conftest import NOON_MS, Clock
from off_cases import INVOCATIONS, PATHS, ROOT, YES, DisablePath
from off_run import HERE, PROGRAMS, Builder, prepare, problems, run
from traced import traced

import carobatch.cli
import carojournal.cli
from carojournal import Journal, deletion
from carojournal.identity import day_of

OLD = {"type": "session_start", "timestamp": "2026-01-01T00:00:00Z", "caro_version": "1.1.0", "platform": "linux"}
STARTED = {"caro_version": "1.1.0", "os": "linux"}


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    """A folder without a journal, and one whose journal has everything: lanes, segments, packed, index, sent days."""
    place = tmp_path_factory.mktemp("templates")
    work = place / "none" / "work"
    work.mkdir(parents=True)
    (place / "none" / "home").mkdir()
    (work / "events.ndjson").write_text(json.dumps({"event": "session_start", **STARTED}) + "\n")
    (work / "old.json").write_text(json.dumps([OLD]))
    full = place / "full"
    shutil.copytree(place / "none", full)
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("CARO", "XDG_")) or name == "DO_NOT_TRACK":
                patch.delenv(name)
        patch.setenv("HOME", str(full / "home"))
        patch.setattr("carojournal.policy.admin_file", lambda *_: "/nonexistent")
        fill(str(full / ROOT), str(work / "carried.tar.zst"))
    shutil.copy(work / "carried.tar.zst", full / "work")
    return {"none": str(place / "none"), "full": str(full)}


def fill(root, bundle):
    clock = Clock()
    for packed in (True, False):
        for _ in range(2):
            with Journal.open(root, clock=clock) as journal:
                journal.append("session_start", **STARTED)
                journal.record("session_start", caro_version="not one", os="linux")
            clock.advance(86_400_000)
        if packed:
            assert carobatch.cli.main(["export", "-o", bundle]) == 0
    assert carojournal.cli.main(["reindex"]) == 0
    deletion.note(root, f"sent {day_of(NOON_MS)}")
    assert {"index.sqlite3", "drops", "packed", "batch.lock"} <= set(os.listdir(root))
    assert os.listdir(os.path.join(root, "segments"))
    assert os.listdir(os.path.join(root, "packed"))


@pytest.fixture(scope="module")
def done(templates, tmp_path_factory):
    """Every case of every path, run under one strace: {path: its cases}."""
    place = str(tmp_path_factory.mktemp("cases"))
    cases = {}
    for number, (name, path) in enumerate(PATHS.items()):
        builder = Builder(path, templates, os.path.join(place, str(number)))
        cases[name] = [*builder.verbs(), *builder.calls()]
    run([case for some in cases.values() for case in some], place)
    return cases


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_verb_has_an_entry(program):
    assert PROGRAMS[program].keys() <= INVOCATIONS[program].keys()


@pytest.mark.parametrize("name", PATHS)
def test_under_off_nothing_is_created_and_no_socket_opened(name, done):
    found = problems(done[name], exact=name == "DO_NOT_TRACK without a config")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", PATHS)
def test_a_recorder_that_is_off_looks_at_nothing(name, done):
    """From `open` on no call of the system at all; `open` and `append` look at no place below the root.

    Where the files do not plainly say off, the snapshot is looked for before they are parsed; it is only read.
    """
    recorders = [case for case in done[name] if not case.reads_journal]
    assert recorders
    found = [call.line for case in recorders for call in case.api_calls]
    may_look = {f"{ROOT}/policy"} if PATHS[name].looks else set()
    found += [call.line for case in recorders for path, call in case.below_root() if path not in may_look]
    assert not found, "\n".join(found)


def test_the_same_calls_are_seen_to_write_where_telemetry_is_local(templates, tmp_path):
    """The control: without it, a tracer that sees nothing would pass for silence."""
    only = {"full": templates["full"]}
    cases = list(Builder(DisablePath(thorough=True), only, str(tmp_path)).verbs())
    run(cases, str(tmp_path))
    writers = {case.name.removeprefix("full ") for case in cases if case.unexpected()}
    expected = ("append 0", "inspect 0", "reindex 0", "export 3", "delete-remote 0", "migrate 0")
    assert {f"carojournal {name}" for name in (*expected, "demo 0")} <= writers
    assert {"carobatch compact 0", "carobatch export 0"} <= writers
    assert all(case.below_root() for case in cases if " append " in case.name and "--dir" not in case.plan["words"])
    assert not [case.name for case in cases if any(call.is_network for call in case.calls)]


def test_sockets_are_seen(tmp_path):
    _, calls = traced([sys.executable, "-c", "import socket; socket.socket()"], str(tmp_path / "trace"))
    assert next(call.name for call in calls if call.is_network) == "socket"


@pytest.mark.parametrize("words", ["carojournal.cli append --event session_end", "carobatch.cli compact"])
def test_the_programs_create_nothing_from_their_start_to_their_exit(words, templates, tmp_path):
    """Not in a child of the runner: with the interpreter's start, all imports and its end."""
    shutil.copytree(templates["full"], tmp_path / "here")
    repository = os.path.dirname(HERE)
    environ = {
        "HOME": str(tmp_path / "here" / "home"),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{repository}{os.pathsep}{repository}/tools",
        "PYTHONDONTWRITEBYTECODE": "1",
        "DO_NOT_TRACK": "1",
    }
    ended, calls = traced([sys.executable, "-m", *words.split()], str(tmp_path / "trace"), env=environ)
    assert ended.returncode in (0, 77), ended.stderr
    assert [call.line for call in calls if call.changes or call.is_network] == []


def test_what_is_switched_off_would_record(templates, tmp_path):
    """It is the variable, the file or the argument that switches off: with the yes alone, the event is kept."""
    place = str(tmp_path / "here")
    prepare(DisablePath(config=YES), place, templates["full"])
    with Journal.open(environ={"HOME": os.path.join(place, "home")}, admin="/nonexistent") as journal:
        assert journal.mode == "on"
        assert journal.record("session_start", **STARTED)
