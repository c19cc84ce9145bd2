"""Fuzz every parser: feed it what nobody wrote, and hold what it says against the rules.

    python tools/faults/fuzz.py --target NAME|all --seconds N --seed S [--engine own|atheris] [--keep DIR]
    python tools/faults/fuzz.py --target NAME --replay FILE

One process a target, one after another, with bounds on memory and on the time of a single input.  Nothing but an error
of `carojournal.errors` may come out of a parser, no message may hold a refused value, and what is accepted must pass
the schema and encode to the same bytes.  A finding is printed and kept as a file below DIR, `--replay` runs such a
file; with the own engine, --target, --seed and --runs name it as well.  Engine atheris needs `pip install atheris`; it
takes coverage from libFuzzer and adds its mutations.
"""

import argparse
import contextlib
import json
import mmap
import os
import subprocess
import sys
import tempfile
import time
from importlib import import_module

sys.path[:0] = [
    path
    for path in (os.path.dirname(os.path.dirname(os.path.abspath(__file__))), os.path.dirname(__file__) + "/../..")
    if path not in sys.path
]

from typing import TYPE_CHECKING, Any  # noqa: E402 - the path comes first where this file is started by its name

if TYPE_CHECKING:
    from faults.fuzz_engine import Campaign
    from faults.fuzz_target import Target

__all__ = ["MODULES", "main", "targets"]

MODULES = tuple(f"fuzz_{name}" for name in "segments packed files batches texts carried keys answers".split())
GRACE_S = 900  # What a worker may take beyond its time, import and samples included, before it is called stuck.
_INPUT_BYTES = 1 << 17


def targets() -> "dict[str, Target]":
    """Return every target by name, in the order in which they run."""
    return {target.name: target for module in MODULES for target in import_module(f"faults.{module}").TARGETS}


def _summary(name: str, campaign: "Campaign", seconds: float) -> dict[str, Any]:
    return {
        "target": name,
        "seconds": round(seconds, 1),
        "runs": campaign.runs,
        "kept": campaign.kept,
        "lines": len(campaign.lines),
        "outcomes": len(campaign.outcomes),
        "slowest_ms": round(campaign.slowest_s * 1000, 1),
        "findings": {key: [data.hex(), text] for key, (data, text) in campaign.findings.items()},
    }


def _work(options: argparse.Namespace) -> None:
    """Fuzz one target in this process; --note is the file where the parent finds the input if it dies."""
    from faults import fuzz_engine

    began = time.monotonic()
    with open(options.note, "r+b") as file, mmap.mmap(file.fileno(), _INPUT_BYTES) as area:

        def save(campaign: "Campaign") -> None:
            with open(f"{options.note}.json", "w", encoding="utf-8") as out:
                json.dump(_summary(options.target, campaign, time.monotonic() - began), out)

        def note(what: "bytes | Campaign") -> None:
            if isinstance(what, bytes):
                area[: 4 + len(what)] = len(what).to_bytes(4, "big") + what
            else:
                save(what)

        if options.engine == "atheris":
            import atheris  # type: ignore[import-not-found]

            with atheris.instrument_imports(include=["carojournal", "carobatch"]):
                target = targets()[options.target]
            target.seeds()
            fuzz_engine.bound_memory()
            with tempfile.TemporaryDirectory() as folder:
                fuzz_engine.fuzz_by_atheris(
                    target, options.seed, folder, runs=options.runs, seconds=options.seconds, note=note
                )
            return
        target = targets()[options.target]
        target.seeds()
        fuzz_engine.bound_memory()
        save(fuzz_engine.fuzz(target, options.seed, runs=options.runs, seconds=options.seconds, note=note))


def _campaign(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run a worker over one target and return its summary; a worker that dies or hangs is a finding."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "note")
        with open(path, "wb") as file:
            file.truncate(_INPUT_BYTES)
        words = [sys.executable, os.path.abspath(__file__), "--worker", "--note", path, "--target", name]
        words += ["--seconds", str(options.seconds), "--seed", str(options.seed), "--runs", str(options.runs)]
        with open(os.path.join(folder, "log"), "wb") as log:
            work = subprocess.Popen([*words, "--engine", options.engine], stdout=log, stderr=log)
            ended = ""
            try:
                if code := work.wait(None if options.runs else options.seconds + GRACE_S):
                    ended = f"the worker ended with {code}"
            except subprocess.TimeoutExpired:
                work.kill()
                work.wait()
                ended = "the worker hung in one input"
        found: dict[str, Any] = {"target": name, "runs": 0, "findings": {}}
        with contextlib.suppress(FileNotFoundError), open(f"{path}.json", encoding="utf-8") as file:
            found = json.load(file)
        if ended:
            with open(path, "rb") as file:
                data = file.read()
            with open(os.path.join(folder, "log"), encoding="utf-8", errors="replace") as file:
                text = file.read()[-4_000:]
            found["findings"][ended] = [data[4 : 4 + int.from_bytes(data[:4], "big")].hex(), text]
    return found


def _report(found: dict[str, Any], keep: str) -> None:
    row = " ".join(f"{key} {value}" for key, value in found.items() if key not in ("target", "findings"))
    print(f"{found['target']:16} {row} findings {len(found['findings'])}", flush=True)
    for number, (signature, (data, text)) in enumerate(found["findings"].items()):
        os.makedirs(keep, exist_ok=True)
        path = os.path.join(keep, f"{found['target']}-{number}")
        with open(path, "wb") as file:
            file.write(bytes.fromhex(data))
        with open(f"{path}.txt", "w", encoding="utf-8") as out:
            out.write(text)
        print(f"  {signature}\n  {path}", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 if there are findings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="all", help="comma-separated names, or all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--runs", type=int, default=0, help="that many inputs instead of --seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("own", "atheris"), default="own")
    parser.add_argument("--keep", default=os.path.join(tempfile.gettempdir(), "fuzz-findings"))
    parser.add_argument("--replay", help="run one input, as a finding was kept")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--note", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker:
        _work(options)
        return 0
    if options.replay:
        with open(options.replay, "rb") as file:
            print(targets()[options.target].run(file.read()))
        return 0
    names = list(targets()) if options.target == "all" else options.target.split(",")
    results = []
    for name in names:
        results.append(_campaign(name, options))
        _report(results[-1], options.keep)
    print(f"{len(names)} targets, {sum(found['runs'] for found in results)} runs", flush=True)
    return int(any(found["findings"] for found in results))


if __name__ == "__main__":
    sys.exit(main())
