"""The headers of a request as they go out: those of a batch (`sinks`), and what every request has around them.

    Host              of the URL, without the scheme's own port
    User-Agent        AGENT
    Accept-Encoding   identity
    ...               of the batch: always the same bytes, and what its SHA-256 is over
    ...               of the try: `Sink.attempt_headers`, not known before
    Content-Length    of the body

A test compares this with what a socket receives.
"""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from carojournal import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from carobatch.batch import Request
    from carobatch.sinks import Sink

__all__ = ["AGENT", "client_headers", "headers_of_a_try", "headers_sent"]

AGENT = f"carojournal/{__version__}"
_PORTS = {"http": 80, "https": 443}
_NUMBER, _TIME = "<number of the try>", "<time of the try>"
Headers = list[tuple[str, str]]


def client_headers(agent: str) -> dict[str, str]:
    """Return what stands before a batch's own headers, but for Host."""
    return {"User-Agent": agent, "Accept-Encoding": "identity"}


def headers_of_a_try(sink: "Sink") -> Headers:
    """Return the headers that differ from try to try, with what will stand there in place of their values."""
    tried = sink.attempt_headers(1, 0)
    return [(name, _NUMBER if text.isdigit() else _TIME) for name, text in tried.items()]


def headers_sent(request: "Request", of_a_try: "Iterable[tuple[str, str]]" = ()) -> Headers:
    """Return all headers of *request* in the order in which they are sent."""
    parts = urlsplit(request.url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    port = "" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}"
    return [
        ("Host", f"{host}{port}"),
        *client_headers(AGENT).items(),
        *request.headers,
        *of_a_try,
        ("Content-Length", str(len(request.body))),
    ]
