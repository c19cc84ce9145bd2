"""The instruction count of one warm append (`instructions`) as a figure of the table."""

import os
import shutil

import carojournal
from bench.host import Host, Scale
from bench.instructions import GUARD, count_instructions, read_reference
from bench.measure import Figure, Summary, Target, single

__all__ = ["run"]

_NAME = "instructions of a warm append"


def run(host: Host, scale: Scale) -> list[Figure]:
    """Count instructions; nothing where there is no valgrind.  Raises CalledProcessError if the program fails."""
    if shutil.which("valgrind") is None:
        return []
    place = os.path.dirname(os.path.dirname(os.path.abspath(carojournal.__file__)))
    found = float(count_instructions(host.python, scale.counted_appends, place).instructions)
    reference = read_reference()
    if reference is None:
        return [single(_NAME, "", found, note="no reference for this interpreter")]
    before = float(reference.instructions)
    return [
        Figure(
            _NAME,
            "",
            Summary(found, found, found, 1),
            "committed count",
            Summary(before, before, before, 1),
            found - before,
            found / before,
            Target("ratio", 1 + GUARD),
        )
    ]
