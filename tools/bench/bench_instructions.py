"""The instruction counts of an append, warm and first (`instructions`), as figures of the table."""

import os
import shutil

import carojournal
from bench.host import Host, Scale
from bench.instructions import GUARD, count_instructions, read_reference
from bench.measure import Figure, Summary, Target, single

__all__ = ["run"]

_NAMES = {"instructions": "instructions of a warm append", "first": "instructions of a process's first append"}


def run(host: Host, scale: Scale) -> list[Figure]:
    """Count instructions; nothing where there is no valgrind.  Raises CalledProcessError if the program fails."""
    if shutil.which("valgrind") is None:
        return []
    place = os.path.dirname(os.path.dirname(os.path.abspath(carojournal.__file__)))
    found = count_instructions(host.python, scale.counted_appends, place)
    reference = read_reference()
    if reference is None:
        return [
            single(name, "", float(getattr(found, key)), note="no reference for this interpreter")
            for key, name in _NAMES.items()
        ]
    return [_figure(name, float(getattr(found, key)), float(getattr(reference, key))) for key, name in _NAMES.items()]


def _figure(name: str, found: float, before: float) -> Figure:
    return Figure(
        name,
        "",
        Summary(found, found, found, 1),
        "committed count",
        Summary(before, before, before, 1),
        found - before,
        found / before,
        Target("ratio", 1 + GUARD),
    )
