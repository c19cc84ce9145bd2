"""Measure carojournal and print one table, each figure with its floor or peer from the same run.

    python tools/bench/run.py [--quick] [--json FILE] [--svg FILE] [--readme FILE] [--python PYTHON | --here] [NAME ...]
    python tools/bench/run.py --from FILE [--svg FILE] [--readme FILE]

NAME is startup, append, processes, scan, upload, instructions, batch or peers; without one, all.  The package is
installed with pip into a new virtual environment below a temporary directory, for peers with its extra `bench`, unless
--python names the interpreter of one that has it.  --svg plots the peers, --readme writes the table into a file's block
between two comments (`readme_table`); --from takes the figures of an earlier --json instead of measuring.

Reports only: a missed target is no failure.  `best` is the run that was disturbed least; compare machines by it, and
judge by the median.  `ratio` and `difference` are medians over neighbouring runs, not quotients of the columns beside
them.
"""

import argparse
import datetime as dt
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.host import Host
    from bench.measure import Figure, Summary

__all__ = ["NAMES", "main", "render", "report"]

NAMES = ("startup", "append", "processes", "scan", "upload", "instructions", "batch", "peers")
_TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_REMOVED = ("PYTHON", "CARO", "DO_NOT_TRACK", "XDG_")  # What would change what is measured.
_COLUMNS = ("figure", "median", "best", "floor or peer", "median", "best", "difference", "ratio", "target", "met")


def _number(value: float | None, unit: str = "") -> str:
    if value is None:
        return ""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 or not value else 3
    text = f"{value:,.0f}" if value == int(value) else f"{value:,.{digits}f}"
    return f"{text} {unit}".rstrip()


def _row(figure: "Figure") -> tuple[str, ...]:
    target, reference = figure.target, figure.reference
    return (
        figure.name,
        _number(figure.value.median, figure.unit),
        _number(figure.value.best),
        figure.reference_name,
        _number(reference.median if reference else None),
        _number(reference.best if reference else None),
        "" if figure.difference is None else f"{'+' if figure.difference > 0 else ''}{_number(figure.difference)}",
        "" if figure.ratio is None else f"{_number(figure.ratio)} x",
        target.text(figure.unit) if target else "",
        {True: "yes", False: "NO", None: ""}[figure.met],
    )


def render(figures: "Sequence[Figure]") -> str:
    """Return the table as text, notes below it."""
    rows = [_COLUMNS, *map(_row, figures)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numeric = (1, 2, 4, 5, 6, 7)
    lines = [
        "  ".join(
            cell.rjust(width) if at in numeric else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    notes = [f"{figure.name}: {figure.note}" for figure in figures if figure.note]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _summary(summary: "Summary | None") -> dict[str, float] | None:
    return None if summary is None else {key: round(value, 6) for key, value in asdict(summary).items()}


def report(figures: "Sequence[Figure]", host: "Host", *, quick: bool) -> dict[str, Any]:
    """Return what --json writes: the machine, and every figure."""
    rows = [
        {
            **asdict(figure),
            "value": _summary(figure.value),
            "reference": _summary(figure.reference),
            "target": {**asdict(figure.target), "text": figure.target.text(figure.unit)} if figure.target else None,
            "met": figure.met,
        }
        for figure in figures
    ]
    machine = {
        "python": sys.version,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "load": list(os.getloadavg()),
        "installed": host.installed,
        "cbor2": metadata.version("cbor2"),
    }
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    return {"date": now, "quick": quick, "machine": machine, "figures": rows}


def _measure(given: argparse.Namespace) -> int:
    from bench.host import FULL, QUICK, find_host

    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        host = find_host(scratch)
        for name in given.names or NAMES:
            print(f"{name} ...", file=sys.stderr, flush=True)
            figures += import_module(f"bench.bench_{name}").run(host, QUICK if given.quick else FULL)
        result = report(figures, host, quick=given.quick)
    print(render(figures))
    if not host.installed:
        print("\nStart-up is that of a checkout, not of an installed package.")
    if given.json:
        _write(given.json, json.dumps(result, indent=2) + "\n")
    _show(result, given)
    return 0


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _show(result: dict[str, Any], given: argparse.Namespace) -> None:
    """Write plot and table where they are asked for.  Raises ValueError, OSError."""
    from bench.plot import render_svg
    from bench.readme_table import render_table, replace_block

    if given.svg:
        _write(given.svg, render_svg(result))
    if given.readme:
        with open(given.readme, encoding="utf-8") as file:
            text = file.read()
        _write(given.readme, replace_block(text, render_table(result)))


def _measure_in(python: str, argv: Sequence[str]) -> int:
    environ = {key: value for key, value in os.environ.items() if not key.startswith(_REMOVED)}
    return subprocess.run([python, os.path.abspath(__file__), *argv, "--here"], check=False, env=environ).returncode


def main(argv: Sequence[str] | None = None) -> int:
    """Install, measure and print; return 0 unless measuring itself failed."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description="Measure carojournal, each figure beside its floor or peer.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="fewer runs, under a minute")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("--svg", metavar="FILE", help="plot the peers there")
    parser.add_argument("--readme", metavar="FILE", help="write the table into the block of that file")
    parser.add_argument("--from", dest="past", metavar="FILE", help="measure nothing, take the figures of a --json")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--python", metavar="PYTHON", help="measure the package that this interpreter has installed")
    where.add_argument("--here", action="store_true", help="measure the package that the running interpreter imports")
    given = parser.parse_args(argv)
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    if _TOOLS not in sys.path:
        sys.path.append(_TOOLS)
    if given.past:
        with open(given.past, encoding="utf-8") as past:
            _show(json.load(past), given)
        return 0
    if given.here:
        return _measure(given)
    words = [*given.names, *(["--quick"] if given.quick else [])]
    for option in ("json", "svg", "readme"):
        words += [f"--{option}", getattr(given, option)] if getattr(given, option) else []
    if given.python:
        return _measure_in(given.python, words)
    # Needs nothing but the standard library: carojournal need not be importable here.
    from bench.environment import make_environment

    extra = "bench" if "peers" in (given.names or NAMES) else ""
    with tempfile.TemporaryDirectory(prefix="bench-venv-") as folder:
        return _measure_in(make_environment(folder, extra), words)


if __name__ == "__main__":
    sys.exit(main())
