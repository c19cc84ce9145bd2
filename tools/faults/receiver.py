"""A receiver on the loopback, in a process of its own: takes every batch and writes down each event it was sent.

The list is written before the answer goes out, one line of JSON per request: the events' ids.
"""

import gzip
import http.server
import json
import os
import signal
import threading
from collections.abc import Callable

__all__ = ["Receiver"]


class Receiver:
    """Starts at once; `url` is where to post, `close` ends it.  `fails` (request number) tells which get a 503."""

    def __init__(self, log: str, fails: Callable[[int], bool] = lambda _: False) -> None:
        self.log = log
        handler = type("Handler", (_Handler,), {"log": log, "fails": staticmethod(fails), "count": 0})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_address[1]}/v1/events"
        with open(log, "wb"):
            pass
        self.pid = os.fork()
        if not self.pid:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                server.serve_forever(0.5)
            finally:
                os._exit(0)
        server.socket.close()

    def size(self) -> int:
        """Return how long the list is now, to be given to `events` later."""
        return os.path.getsize(self.log)

    def events(self, since: int = 0) -> set[str]:
        """Return the ids of what arrived after the list had *since* bytes."""
        with open(self.log, "rb") as file:
            file.seek(since)
            return {event for line in file for event in json.loads(line)}

    def close(self) -> None:
        """End the process."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    log = ""
    fails: Callable[[int], bool]
    count = 0
    _lock = threading.Lock()

    def do_POST(self) -> None:
        """Take a batch."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            data = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            events = [one["event_id"] for one in json.loads(data)["events"]]
        except (OSError, EOFError, ValueError, KeyError):
            events = None  # The sender died in the middle of its request.
        with self._lock:
            type(self).count += 1
            status = 400 if events is None else 503 if type(self).fails(type(self).count) else 200
            if status == 200:
                with open(self.log, "ab") as file:
                    file.write(json.dumps(events).encode() + b"\n")
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def handle_one_request(self) -> None:
        """Do not report what a killed sender does to its connection."""
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""
