"""Cold: what a host, a shell script or a user waits for, against `python -c pass` of the same interpreter.

Every run is a new process, timed from spawn to exit.  The package is the one that `host` describes; standard input and
output are /dev/null, so nothing here is a terminal.
"""

import itertools
import os
from collections.abc import Callable

from bench.host import Host, Scale
from bench.measure import Figure, Target, compare, paired
from bench.workload import EVENT, FIELDS, WORDS, full_spool, tree_bytes

__all__ = ["run"]

_BARE = "pass"
_LOADED = "import argparse, json, re, typing"
_RECORDED = f"Journal.open(sys.argv[1]).record({EVENT!r}, **{FIELDS!r})"
_FIRST = f"""
import sys
from carojournal import Journal
sys.exit(not {_RECORDED})
"""
# What no program of that size can do without: its compiled modules read, as far as a first append loads them, the
# module that locks, and one write of an event's size under a lock.
_MODULES = f"""
import sys
from carojournal import Journal
assert {_RECORDED}
from importlib.util import cache_from_source
names = ["carojournal", *(name for name in sys.modules if name.startswith("carojournal."))]
with open(sys.argv[2], "w") as file:
    print(*(cache_from_source(sys.modules[name].__file__) for name in names), sep="\\n", end="", file=file)
"""
_FLOOR = """
import marshal, os, sys
from fcntl import LOCK_EX, LOCK_UN, flock
for path in sys.argv[2:]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    code = marshal.loads(memoryview(os.read(descriptor, 1 << 16))[16:])
    os.close(descriptor)
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
flock(descriptor, LOCK_EX)
os.write(descriptor, bytes(165))
flock(descriptor, LOCK_UN)
"""


def run(host: Host, scale: Scale) -> list[Figure]:
    """Measure start-up.  Raises CalledProcessError if a measured program fails."""
    existing = os.path.join(host.scratch, "existing")
    number = itertools.count()
    first = (host.python, "-c", _FIRST, existing)
    loaded = (host.python, "-c", _LOADED + _FIRST, existing)
    append = (*host.program, "append", "--channel", "beta", "--dir", existing, "--event", EVENT, *WORDS)

    def fresh() -> float:
        return host.run_ms(*first[:-1], os.path.join(host.scratch, f"fresh-{next(number)}", "j"))

    host.run_ms(*first)
    listed = os.path.join(host.scratch, "modules")
    host.run_ms(host.python, "-c", _MODULES, existing, listed)
    with open(listed, encoding="utf-8") as file:
        code = file.read().split("\n")
    bare = (host.python, "-c", _FLOOR, os.path.join(host.scratch, "floor"), *code)
    beside = (host.python, "-c", _LOADED + _FLOOR, *bare[3:])
    floor = f"floor: its {len(code)} modules read, one write"
    return [
        _against(host, scale, "first append, existing journal", lambda: host.run_ms(*first), limit=3),
        _against(host, scale, floor, lambda: host.run_ms(*bare)),
        _against(host, scale, "first append, fresh journal", fresh, limit=3),
        _against(host, scale, "first append in a loaded host", lambda: host.run_ms(*loaded), limit=1.5, before=_LOADED),
        _against(host, scale, f"loaded, {floor}", lambda: host.run_ms(*beside), before=_LOADED),
        _against(host, scale, "carojournal append --event", lambda: host.run_ms(*append), limit=10),
        _against(host, scale, "carojournal --help", lambda: host.run_ms(*host.program, "--help"), limit=80),
        *_inspect(host, scale),
    ]


def _inspect(host: Host, scale: Scale) -> list[Figure]:
    """Measure `inspect -n 20` on a full spool, with the index and without one."""
    root = full_spool(host.scratch, host.environ["HOME"], scale.spool_bytes)
    there = host.at(root)
    newest = (*host.program, "inspect", "-n", "20")
    there.run_ms(*host.program, "reindex")
    note = f"{tree_bytes(root) / 1e6:.1f} MB of events, one a second"
    title = "inspect -n 20, full spool"
    indexed = _against(host, scale, f"{title}, index", lambda: there.run_ms(*newest), limit=150, note=note)
    os.unlink(os.path.join(root, "index.sqlite3"))
    newest = (*newest, "--no-index")
    return [indexed, _against(host, scale, f"{title}, no index", lambda: there.run_ms(*newest), limit=150, note=note)]


def _against(
    host: Host,
    scale: Scale,
    name: str,
    subject: Callable[[], float],
    *,
    limit: float | None = None,
    before: str = _BARE,
    note: str = "",
) -> Figure:
    """Measure *subject* against an interpreter that only runs *before*: it may take *limit* milliseconds more."""
    floor = f"python -c '{before}'"
    samples = paired({name: subject, floor: lambda: host.run_ms(host.python, "-c", before)}, scale.cold_rounds)
    target = None if limit is None else Target("difference", limit)
    return compare(name, "ms", samples[name], floor, samples[floor], target, note)
