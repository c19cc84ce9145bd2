"""Fuzzing targets: what receivers answer.  Bytes on the wire, and answers as every sink judges them."""

import json
import socket
import threading
from functools import cache

from carobatch.http import ANSWER_BYTES_MAX, KINDS, Client, Failure, Reply
from carobatch.sinks import SINKS, Sink, open_sink
from carobatch.verdicts import RETRY_AFTER_MS_MAX, Verdict
from faults import fuzz_samples as samples
from faults.fuzz_mutate import CANARY
from faults.fuzz_target import Target, WrongValue, attempt

__all__ = ["TARGETS"]

_EVENTS = tuple(f"0000000{number}-0000-8000-8000-000000000000" for number in range(3))
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_VERDICTS = ("accepted", "later", "split", "isolate", "hold", "failure")
_WORDS = (
    b"Retry-After: ",
    b"Date: ",
    b"Transfer-Encoding: chunked",
    b"Content-Encoding: gzip",
    b"Content-Length: ",
    b"\r\n",
)


@cache
def _sinks() -> list[Sink]:
    return [open_sink(name, samples.URL, "key") for name in SINKS]


def _bodies() -> list[bytes]:
    values: list[object] = [
        {},
        {"rejected": [_EVENTS[0]], "retry": [_EVENTS[1]]},
        {"results": dict(zip(_EVENTS, ("ok", "drop", "retry"), strict=True))},
        {"status": 1},
        {"status": "Ok"},
        {"partialSuccess": {"rejectedLogRecords": "2", "errorMessage": "no"}},
    ]
    return [json.dumps(value).encode() for value in values] + [b"", b"<html>"]


def _seeds() -> list[bytes]:
    """Status, Retry-After and Date on a line each, then the body."""
    dates = (b"Mon, 21 Sep 2026 12:00:00 GMT", b"", b"Monday, 21-Sep-26 12:00:00 GMT")
    heads = [b"%d\n%s\n%s\n" % row for row in ((200, b"120", b""), (503, dates[0], dates[2]), (429, b"5", dates[0]))]
    return [head + body for head in heads for body in _bodies()]


def _check(verdict: Verdict, answer: "Reply | Failure") -> None:
    status = getattr(answer, "status", 0)
    if verdict.kind not in _VERDICTS or not 0 <= verdict.retry_after_ms <= RETRY_AFTER_MS_MAX:
        raise WrongValue("a verdict out of its bounds")
    if verdict.kind == "accepted" and not 200 <= status < 300:
        raise WrongValue("an answer that is no 2xx and accepted")
    if not verdict.refused | verdict.again <= frozenset(_EVENTS) or verdict.refused & verdict.again:
        raise WrongValue("a verdict on events that were not sent, or two on one")
    if not 0 <= verdict.rejected <= len(_EVENTS) or CANARY in verdict.reason or not verdict.reason.isprintable():
        raise WrongValue("a reason that is not ours, or too many refused")


def _run_answer(data: bytes) -> str:
    status, after, date, body = (data.split(b"\n", 3) + [b""] * 3)[:4]
    number = int(status) if status.isdigit() and len(status) <= 4 else 200
    headers = {"retry-after": after.decode("latin-1"), "date": date.decode("latin-1")}
    reply = Reply(number, headers, body, whole=len(data) % 7 != 0)
    return " ".join(_judged(reply))


def _judged(answer: "Reply | Failure") -> list[str]:
    words = []
    for sink in _sinks():
        verdict, refused = attempt(lambda sink=sink: sink.judge(answer, frozenset(_EVENTS), samples.NOON_MS))  # type: ignore[misc]
        if verdict is None:
            raise WrongValue(f"a judge that raises {refused}")
        _check(verdict, answer)
        words.append(
            verdict.kind + ("" if verdict.kind != "accepted" else f"-{len(verdict.refused)}-{len(verdict.again)}")
        )
    return words


class _Server:
    """Answers every connection with the bytes that it was given, and closes it."""

    def __init__(self) -> None:
        self.data = b""
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=8)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1/events"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            # A thread each: a client that keeps a broken connection for a while must not hold up the next one.
            threading.Thread(target=self._answer, args=(self._socket.accept()[0],), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(5)
            try:
                held = b""
                while not held.endswith(b"\r\n\r\nbody"):
                    part = connection.recv(65_536)
                    if not part:
                        return
                    held += part
                connection.sendall(self.data)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65_536):
                    pass
            except OSError:
                return


_server = cache(_Server)


@cache
def _client() -> Client:
    return Client(deadline_s=60.0)  # A busy machine is no finding: only what never comes may take that long.


def _run_wire(data: bytes) -> str:
    server = _server()
    server.data = data
    client = _client()
    answer, refused = attempt(lambda: client.post(server.url, {"Content-Type": "text/plain"}, b"body"))
    client.close()
    if answer is None:
        raise WrongValue(f"a request that raises {refused}")
    if isinstance(answer, Failure):
        if answer.kind not in KINDS or answer.kind == "deadline":
            raise WrongValue("a failure of no kind, or a wait for what will never come")
        return answer.kind + " ".join(_judged(answer))
    if len(answer.body) > ANSWER_BYTES_MAX:
        raise WrongValue("more of an answer than may be")
    return f"{answer.status} " + " ".join(_judged(answer))


def _wire() -> list[bytes]:
    found = [_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in _bodies()]
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(body), body) for body in _bodies() if body) + b"0\r\n\r\n"
    found.append(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked)
    return [*found, b"HTTP/1.1 100 Continue\r\n\r\n" + found[0], b"HTTP/1.0 302 Found\r\nLocation: http://x/\r\n\r\n"]


TARGETS = [
    Target(
        "answers",
        _seeds,
        _run_answer,
        shape="lines",
        tokens=(b"rejected", b"results", b"GMT", b"+9999", *map(str.encode, _EVENTS)),
        runs=300,
    ),
    Target("http", _wire, _run_wire, shape="lines", tokens=_WORDS, runs=40),
]
