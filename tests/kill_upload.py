"""Run as a program: upload copies of a journal, each in a process of its own that dies at the n-th system call.

    python kill_upload.py TEMPLATE FOLDER URL SEED

A call counts where it is made (`os`, sockets) if it can change a disk or a receiver: a kill before one that only reads
is the same as one before the next that writes.  Every copy is uploaded
again until nothing is left, now and then with a second kill on the way; what the journal then holds is printed as one
line of JSON per copy: {"n", "kind", "left", "outbox", "verify", "refused", "noted"}; `noted` tells that the first kill
left a journal that knows whom to ask for the deletion of what it sent, if it sent anything.
"""

import json
import os
import random
import shutil
import signal
import socket
import sys
from pathlib import Path

from conftest import Clock
from uploads import ids, upload

from carojournal import deletion
from carojournal.recovery import verify

CALLS = ("open", "write", "fsync", "rename", "link", "unlink", "mkdir")
SOCKET_CALLS = ("connect", "sendall", "recv_into")
_OPEN, _CLOSE = os.open, os.close  # Not counted.


class _KilledAt:
    """Kills this process before call number *nth*; 0: never, but counts."""

    def __init__(self, nth, sent):
        self.nth, self.count, self.sent = nth, 0, sent
        for place, names in ((os, CALLS), (socket.socket, SOCKET_CALLS)):
            for name in names:
                setattr(place, name, self._wrapped(name, getattr(place, name)))

    def _wrapped(self, name, call):
        def counted(*arguments, **options):
            self.count += name != "open" or bool(arguments[1] & os.O_CREAT)
            if name == "sendall":
                _CLOSE(_OPEN(self.sent, os.O_CREAT, 0o600))
            if self.count == self.nth:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return counted


def run(root, url, nth, points):
    """Upload once in a child; return whether it lived."""
    child = os.fork()
    if not child:
        counter = _KilledAt(nth, Path(f"{points}-sent"))
        upload(root, url, Clock(), events_max=3)
        with open(points, "w") as file:
            file.write(str(counter.count))
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def is_noted(root, url, points):
    """Tell whether the journal names the receiver at *url*, if a byte may have gone there."""
    if not Path(f"{points}-sent").exists():
        return True
    identity = deletion.read_identity(root)
    return deletion.to_ask(root, identity).keys() == {("caro-v1", url)}


def report(root, n, outcome, noted):
    refused = [name for name in os.listdir(os.path.join(root, "quarantine")) if name.startswith("refused-")]
    return {
        "n": n,
        "kind": outcome.kind,
        "left": len(ids(root)),
        "outbox": os.listdir(os.path.join(root, "outbox")),
        "verify": verify(root).exit_code,
        "refused": len(refused),
        "noted": noted,
    }


def main(template, folder, url, seed):
    rand = random.Random(int(seed))
    n, lived = 0, False
    os.fsync = lambda _descriptor: None  # A kill costs no page of the cache, and a thousand real ones take minutes.
    points = os.path.join(folder, "points")
    while not lived:
        n += 1
        root = os.path.join(folder, f"journal-{n}")
        shutil.copytree(template, root)
        Path(f"{points}-sent").unlink(missing_ok=True)
        lived = run(root, f"{url}/{n}/v1/events", n, points)
        noted = is_noted(root, f"{url}/{n}/v1/events", points)
        if not lived and rand.random() < 0.5:
            run(root, f"{url}/{n}/v1/events", rand.randrange(1, 200), points)
        clock = Clock()
        clock.advance(60_000)
        outcome = upload(root, f"{url}/{n}/v1/events", clock, events_max=3)
        print(json.dumps(report(root, n, outcome, noted)), flush=True)
        shutil.rmtree(root)


if __name__ == "__main__":
    main(*sys.argv[1:])
