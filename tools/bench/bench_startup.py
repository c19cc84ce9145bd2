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
_FIRST = f"""
import sys
from carojournal import Journal
sys.exit(not Journal.open(sys.argv[1]).record({EVENT!r}, **{FIELDS!r}))
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
    return [
        _against(host, scale, "first append, existing journal", lambda: host.run_ms(*first), limit=3),
        _against(host, scale, "first append, fresh journal", fresh, limit=3),
        _against(host, scale, "first append in a loaded host", lambda: host.run_ms(*loaded), limit=1.5, before=_LOADED),
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
    limit: float,
    before: str = _BARE,
    note: str = "",
) -> Figure:
    """Measure *subject* against an interpreter that only runs *before*: it may take *limit* milliseconds more."""
    floor = f"python -c '{before}'"
    samples = paired({name: subject, floor: lambda: host.run_ms(host.python, "-c", before)}, scale.cold_rounds)
    return compare(name, "ms", samples[name], floor, samples[floor], Target("difference", limit), note)
