"""Fixtures: an isolated home, a journal root in it, and a clock that stands until it is moved."""

import os
import shutil
import signal

import one_of_each
import pytest
from carobatch_journals import bounded, fill, squeezed
from hypothesis import HealthCheck, settings
from small_journals import CAP
from told_losses import CAP_BYTES, lost

from bench.workload import FIELDS as GENERATED
from carojournal import Journal, policy

# Time decides no test: neither how long an example takes nor how long it takes to make one.
settings.register_profile("carojournal", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("carojournal")
# Where a shell started the tests in the background SIGINT is ignored, and what a test starts inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

NOON_MS = 1_790_000_000_000 // 86_400_000 * 86_400_000 + 43_200_000  # Noon UTC of some day in 2026.


class Clock:
    """UTC nanoseconds for `Journal.open(clock=...)`; `advance` takes milliseconds."""

    def __init__(self, now_ms=NOON_MS):
        self.now_ms = now_ms

    def __call__(self):
        return self.now_ms * 1_000_000

    def advance(self, ms):
        self.now_ms += ms


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home directory; every variable that could lead to another journal or policy is gone."""
    place = tmp_path / "home"
    place.mkdir(mode=0o700)
    for name in list(os.environ):
        if name.startswith(("CARO", "XDG_")) or name == "DO_NOT_TRACK":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(place))
    return str(place)


@pytest.fixture
def root(home):
    """The default journal's root; not made yet."""
    return os.path.join(home, ".local", "share", "caro", "telemetry", "journal")


@pytest.fixture
def folders(home):
    """Under an umask that takes nothing away: a function that returns path -> mode of the folders in the home."""
    before = os.umask(0)

    def modes():
        found = {}
        for parent, names, _ in os.walk(home):
            for name in names:
                path = os.path.join(parent, name)
                found[os.path.relpath(path, home)] = os.stat(path).st_mode & 0o777
        return found

    yield modes
    os.umask(before)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def journal(root, clock):
    """A journal in mode local (the beta channel's default) whose clock stands at noon."""
    with Journal.open(clock=clock, admin="/nonexistent") as opened:
        yield opened


@pytest.fixture
def narrow(home, clock, monkeypatch):
    """A journal whose spool is bounded at CAP."""
    monkeypatch.setattr(policy, "resolve", bounded(CAP))
    with Journal.open(clock=clock, admin="/nonexistent") as opened:
        yield opened


@pytest.fixture
def telling(root, clock):
    """A journal whose segments tell of losses; returns (its writer, how many events were acknowledged)."""
    with squeezed(root, clock, CAP_BYTES) as journal:
        made = len(fill(journal, clock, 900, 1))
        assert lost(root)
        yield journal, made


@pytest.fixture
def generated():
    """A full command_generated event."""
    return dict(GENERATED)


@pytest.fixture
def kept(journal, root, generated):
    """The root of a journal with six events of a run, one of each type."""
    one_of_each.record(journal, generated)
    return root


@pytest.fixture
def tree(tmp_path):
    """An empty journal's folders."""
    for folder in ("lanes", "segments", "packed"):
        (tmp_path / folder).mkdir()
    return tmp_path


@pytest.fixture(scope="module")
def worth_an_index(tmp_path_factory):
    """A journal that is just worth an index; not to be changed."""
    from full_journals import fill

    root = str(tmp_path_factory.mktemp("some") / "journal")
    fill(root, 900_000)
    return root


@pytest.fixture
def small(worth_an_index, tmp_path):
    """A copy of it that a test may change."""
    return shutil.copytree(worth_an_index, str(tmp_path / "journal"))
