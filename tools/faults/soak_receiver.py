"""The soak's receiver: `python soak_receiver.py LOGS SEED` prints its port and answers POSTs until SIGTERM, badly.

Three quarters of the batches it takes.  Of the others, each drawn at random: it is busy (503, 429), wants them smaller
(413), finds fault (400), takes them and dies before it can say so, dies before it reads, takes some and wants the
others again, refuses one for good, or answers like a captive portal.  A batch that it took before it takes again,
whatever was drawn, as a receiver does that remembers batch ids.  LOGS/ids gets the 16 bytes of every event id
that it took, each time that it took it, before it says so.
"""

import json
import os
import random
import re
import signal
import socket
import sys
import threading
import zlib
from collections.abc import Callable

__all__ = ["ID_BYTES", "judge"]

ID_BYTES = 16
_EVENT_ID = re.compile(rb'"event_id":"([0-9a-f-]{36})"')
_FAULTS = (
    (0.765, "take"),
    (0.04, "busy"),
    (0.03, "slow down"),
    (0.02, "smaller"),
    (0.01, "fault"),
    (0.04, "take and die"),
    (0.04, "die"),
    (0.03, "again"),
    (0.005, "refuse"),
    (0.02, "portal"),
)
_Answer = tuple[int, list[bytes], bytes]  # Status (0: none at all), ids that were taken, body.
assert abs(sum(part for part, _ in _FAULTS) - 1) < 1e-9


def judge(what: str, ids: list[bytes]) -> _Answer:
    """Return the answer that *what*, one of the ten words, stands for."""
    some = ids[::7]
    names = [name.decode() for name in some]
    rest = [name for at, name in enumerate(ids) if at % 7]
    return {
        "take": lambda: (200, ids, b""),
        "busy": lambda: (503, [], b""),
        "slow down": lambda: (429, [], b""),
        "smaller": lambda: (413, [], b""),
        "fault": lambda: (400, [], b""),
        "take and die": lambda: (0, ids, b""),
        "die": lambda: (0, [], b""),
        "again": lambda: (200, rest, json.dumps({"retry": names}).encode()),
        "refuse": lambda: (200, ids[1:], json.dumps({"rejected": names[:1]}).encode()),
        "portal": lambda: (200, [], b"<html>please log in</html>"),
    }[what]()


def _serve(client: socket.socket, draw: Callable[[], str], taken: int, known: set[bytes]) -> None:
    with client, client.makefile("rb") as file:
        while line := file.readline():
            length = 0
            while line not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line[15:])
                line = file.readline()
            text = zlib.decompress(file.read(length), 31)
            batch, ids = text[: text.find(b",")], _EVENT_ID.findall(text)
            status, kept, body = judge("take" if batch in known else draw(), ids)
            if kept == ids:
                known.add(batch)
            os.write(taken, b"".join(bytes.fromhex(name.replace(b"-", b"").decode()) for name in kept))
            if not status:
                return
            client.sendall(b"HTTP/1.1 %d .\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))


def main(logs: str, seed: str) -> None:
    """Serve until SIGTERM."""
    rand = random.Random(int(seed))
    parts, words = zip(*_FAULTS, strict=True)
    taken = os.open(f"{logs}/ids", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        known: set[bytes] = set()
        while True:
            client, _ = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            draw = lambda: rand.choices(words, parts)[0]  # noqa: E731
            threading.Thread(target=_serve, args=(client, draw, taken, known), daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:3])
