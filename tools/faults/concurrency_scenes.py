"""The scenes of `concurrency`: each makes a journal below a folder and returns what happened and what does not hold."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable

from carobatch.compact import compact
from carobatch.store import PackedStore
from carojournal import locks
from carojournal.clear import clear
from carojournal.errors import JournalBusy
from carojournal.follow import follow
from carojournal.reader import JournalReader
from carojournal.recovery import verify
from faults import conservation
from faults.clocks import jumping_clock
from faults.copies import copied, linked
from faults.crew import Crew, open_journal, record, stopped_writer

__all__ = ["NAMES", "check"]

_START_MS = 1_790_000_000_000
Scene = Callable[[str, int], tuple[str, list[str]]]


def check(name: str, scale: int = 1) -> tuple[str, list[str]]:
    """Play the scene *name*; return one line on what happened, and what does not hold."""
    place = tempfile.mkdtemp(prefix="crew-")
    try:
        return _SCENES[name](place, scale)
    finally:
        shutil.rmtree(place)


def _environment(place: str) -> dict[str, str]:
    """Return an environment for programs that find these very modules, and no configuration."""
    return {"PATH": os.environ["PATH"], "HOME": place, "PYTHONPATH": os.pathsep.join(sys.path)}


def _sum(root: str, made: list[tuple[bytes, int]], extra: int = 0) -> tuple[str, list[str]]:
    balance = conservation.check(root, conservation.ranges(made), extra=extra)
    problems = list(balance.problems)
    if len(set(made)) != len(made):
        problems.append("an identity was given twice")
    report = verify(root)
    if report.exit_code:
        problems.append(f"verify: {report.exit_code} {[*report.damage, *report.torn, *report.gaps][:3]}")
    return str(balance), problems


def _writers(place: str, scale: int) -> tuple[str, list[str]]:
    root = os.path.join(place, "journal")
    crew = Crew()
    for _ in range(32):
        crew.start(lambda tell: record(root, 50 * scale, tell))
    reads, problems = 0, []
    while crew.is_busy():
        problems += [f"read twice: {one}" for one in conservation.survey(root).repeated] if os.path.isdir(root) else []
        reads += 1
    text, found = _sum(root, crew.made())
    return f"{text}; read {reads} times meanwhile", [*problems, *found, *crew.problems]


def _threads(place: str, scale: int) -> tuple[str, list[str]]:
    root = os.path.join(place, "journal")
    made: list[tuple[bytes, int]] = []
    crew = Crew()
    with open_journal(root) as journal:
        first = threading.Barrier(17)

        def work() -> None:
            first.wait()
            for number in range(60 * scale):
                identity = journal.append("session_end", session_duration_ms=number)
                assert identity is not None
                made.append(identity)

        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        first.wait()
        for _ in range(8):
            crew.start(lambda tell: record(root, 20 * scale, tell, journal))
        for thread in threads:
            thread.join()
        crew.wait()
    if len(made) != 16 * 60 * scale:
        crew.problems.append(f"threads recorded {len(made)} events")
    text, problems = _sum(root, made + crew.made())
    return text, problems + crew.problems


def _exec(place: str, scale: int) -> tuple[str, list[str]]:
    root = os.path.join(place, "journal")
    code = (
        "import os, sys\n"
        "from carojournal import Journal\n"
        "journal = Journal.open(sys.argv[1], admin='/nonexistent', environ={})\n"
        "for number in range(int(sys.argv[2])):\n"
        "    print(*[part if isinstance(part, int) else part.hex() for part in"
        " journal.append('session_end', session_duration_ms=number)], flush=True)\n"
        "if len(sys.argv) == 4:\n"
        "    journal._lanes[0].acquire()\n"
        "    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:-1]])\n"
    )
    words = [sys.executable, "-c", code, root, str(5 * scale), "again"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=_environment(place))
    made = [(bytes.fromhex(row.split()[0]), int(row.split()[1])) for row in done.stdout.splitlines()]
    problems = [] if len(made) == 10 * scale else [f"{len(made)} events: {done.stderr[-300:]}"]
    if os.listdir(os.path.join(root, "lanes")) != ["0.seg", "0.lock"] and len(os.listdir(f"{root}/lanes")) != 2:
        problems.append("the lock of before held the program that came after")
    text, found = _sum(root, made)
    return text, problems + found


def _tools(place: str, scale: int) -> tuple[str, list[str]]:
    root = os.path.join(place, "journal")
    made = Crew.alone(root, 300 * scale)
    words = [sys.executable, "-m", "carobatch.cli", "compact", "--idle", "0", "--dir", root]
    environ = _environment(place)
    with locks.batch_lock(root):
        late = subprocess.run(words, capture_output=True, check=False, env=environ)
    problems = [] if late.returncode == 75 else [f"the second exits {late.returncode}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    tools = [subprocess.Popen(words, env=environ, **quiet) for _ in range(5)]  # type: ignore[call-overload]
    made += Crew.alone(root, 300 * scale)
    codes = [tool.wait() for tool in tools]
    if not set(codes) <= {0, 75} or 0 not in codes:
        problems.append(f"exit codes {codes}")
    text, found = _sum(root, made)
    return f"{text}; exit codes {sorted(codes)}", problems + found


def _follow(place: str, scale: int) -> tuple[str, list[str]]:
    root = os.path.join(place, "journal")
    made = Crew.alone(root, 10)
    rounds = iter(range(12 * scale))
    fresh: list[tuple[bytes, int]] = []
    with open_journal(root) as journal:

        def work(_: float) -> None:
            """Do between two looks what others do: append over a rotation, pack."""
            number = next(rounds, None)
            for _ in range(200 if number is not None else 0):
                identity = journal.append("session_end", session_duration_ms=1)
                assert identity is not None
                fresh.append(identity)
            if number is not None and number % 3 == 2:
                compact(root, PackedStore(root, 10_000_000), _START_MS * 2, 0)

        seen: list[tuple[bytes, int]] = []
        for found in follow(JournalReader(root), poll_s=0.0, sleep=work, stop=lambda: len(seen) >= 2_400 * scale):
            if found.is_event:
                seen.append((found.segment, found.seq))
            if len(seen) >= 2_400 * scale:
                break
    problems = [] if sorted(seen) == sorted(fresh) else [f"followed {len(seen)} ({len(set(seen))}) of {len(fresh)}"]
    text, found_problems = _sum(root, made + fresh)
    return f"{text}; followed {len(seen):,}", problems + found_problems


def _removed(place: str, scale: int) -> tuple[str, list[str]]:
    root = os.path.join(place, "journal")
    crew = Crew()
    for _ in range(6):
        crew.start(lambda tell: record(root, 150 * scale, tell, raising=False))
    times = 0
    while crew.is_busy():
        trash = os.path.join(place, f"trash-{times}")
        times += 1
        try:
            os.rename(root, trash)
        except FileNotFoundError:
            continue
        shutil.rmtree(trash, ignore_errors=True)
    made = Crew.alone(root, 20)
    present = conservation.survey(root).present
    lost = conservation.count(conservation.without(conservation.ranges(made), present))
    problems = [f"{lost} events of after are gone"] if lost else []
    return f"removed {times} times, {conservation.count(present)} present", problems + crew.problems


def _stopped(place: str, scale: int) -> tuple[str, list[str]]:
    root = os.path.join(place, "journal")
    made = Crew.alone(root, 20 * scale)
    with stopped_writer(root) as (crew, go_on):
        made += Crew.alone(root, 20 * scale)
        done = compact(root, PackedStore(root, 10_000_000), _START_MS * 2, 0)
        problems = [] if done.busy == 1 else [f"{done.busy} lanes are busy"]
        try:
            clear(root, _START_MS, remove_root=False)
            problems.append("cleared around a lane that is held")
        except JournalBusy:
            pass
        report = verify(root)
        if report.damage or report.gaps:
            problems.append(f"verify: {report.damage} {report.gaps}")
        go_on()
        crew.wait()
    told = crew.made()
    problems += [] if len(told) == 2 else [f"the stopped process recorded {len(told)} events"]
    text, found = _sum(root, made + told)
    return text, problems + found + crew.problems


_SCENES: dict[str, Scene] = {
    "writers": _writers,
    "threads": _threads,
    "exec": _exec,
    "tools": _tools,
    "follow": _follow,
    "removed": _removed,
    "clock": jumping_clock,
    "stopped": _stopped,
    "links": linked,
    "copied": copied,
}
NAMES = tuple(_SCENES)
