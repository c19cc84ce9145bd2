"""What a batch tool does in a swarm, a verb or a few at a time, and the children that do it."""

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Iterator

from carobatch.cli import main as carobatch
from faults.place import Place

__all__ = ["ACTS", "child", "kill"]


@contextlib.contextmanager
def child() -> Iterator[None]:
    """Be a child that never returns to what its parent was doing."""
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        yield
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        sys.stderr.flush()
        os._exit(70)


def kill(pid: int) -> int:
    """Kill a child and return how it ended."""
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _compact(_: Place) -> int:
    return carobatch(["compact", "--idle", "0"])


def _upload(_: Place) -> int:
    return carobatch(["upload"])


def _run(_: Place) -> int:
    return carobatch(["run"])


def _carry(place: Place) -> int:
    """Export, import and acknowledge."""
    stick, back = place.folder("stick"), place.folder("back")
    code = carobatch(["export", "-o", stick])
    for name in os.listdir(stick):
        if code in (0, 65) and name.endswith(".tar.zst"):
            bundle = os.path.join(stick, name)
            code = carobatch(["import", bundle, "--into", place.folder("imported"), "--receipts", back])
            if code == 0:
                os.unlink(bundle)
    for name in os.listdir(back):
        if code in (0, 65) and name.startswith("receipt-"):
            path = os.path.join(back, name)
            code = carobatch(["ack", path, "--reclaim"])
            if code == 0:
                os.unlink(path)
    return code


ACTS = {"send": (_compact, _upload, _upload, _run), "carry": (_compact, _carry)}
