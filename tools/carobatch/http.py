"""One HTTPS request and what became of it, as a value; the only module that imports requests.

What holds for every request, because a library's defaults do not:

    transport    https, or http to this machine only; TLS 1.2 or later; nothing switches verification off
    trust        the system's certificates, or those of one file *instead*; no certificate from the environment
    environment  no proxy, no .netrc, no key log, no certificate path is taken from it
    proxy        named explicitly, and never asked for this machine: it would read what goes there as clear text
    redirects    never followed: 302 would turn our POST into a GET, 307 carry its body to another host
    time         one deadline for all of it, name resolution and a body that drips included
    size         of an answer no more than ANSWER_BYTES_MAX is read
    state        no cookies; the User-Agent is ours alone
    logs         none: a library's warnings quote the receiver

The request runs in a thread of its own, which is left behind if the deadline passes: nothing else ends a name
resolution that hangs.  `requests` raises for a failed transport; callers get a Failure, whose kind is one of KINDS.
"""

import logging
import os
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
import requests.adapters
import requests.utils

from carobatch.wire import client_headers
from carojournal.config_keys import is_loopback
from carojournal.errors import ConfigError

__all__ = ["ANSWER_BYTES_MAX", "DEADLINE_S", "KINDS", "Client", "Failure", "Reply"]

DEADLINE_S = 30.0  # Of caro's own documents; from name resolution to the answer's last byte.
ANSWER_BYTES_MAX = 4_194_304  # A verdict on 100,000 events is 4 MB at most; anything larger is no answer to us.
_CHUNK_BYTES = 65_536

# urllib3 warns of headers that it cannot parse and quotes them; without a handler, Python writes that to stderr.
logging.getLogger("urllib3").addHandler(logging.NullHandler())
logging.getLogger("urllib3").propagate = False

KINDS = {
    "name": "the host's name does not resolve",
    "connect": "no connection to the host",
    "proxy": "the proxy does not answer or refuses",
    "tls": "no TLS connection, or the certificate does not hold",
    "deadline": f"no whole answer within {DEADLINE_S:.0f} s",
    "reset": "the connection ended without an answer",
    "cut_off": "the answer is shorter than it says",
    "protocol": "the answer is not HTTP",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: status, headers (names in lower case), at most ANSWER_BYTES_MAX bytes of body; `whole` if all."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer; `kind` is a key of KINDS."""

    kind: str


class _Adapter(requests.adapters.HTTPAdapter):
    """Connections with our own TLS settings; requests would add its bundled certificates to whatever we trust."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(max_retries=0, pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *arguments: Any, **keywords: Any) -> None:
        super().init_poolmanager(*arguments, ssl_context=self._context, **keywords)

    def proxy_manager_for(self, proxy: Any, **keywords: Any) -> Any:
        contexts = {"ssl_context": self._context, "proxy_ssl_context": self._context}
        return super().proxy_manager_for(proxy, **contexts, **keywords)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:  # noqa: ARG002
        conn.cert_reqs = "CERT_REQUIRED"

    def add_headers(self, request: Any, **_: Any) -> None:
        """Add nothing: what is shown before is what is sent."""

    def proxy_headers(self, proxy: Any) -> dict[str, str]:  # noqa: ARG002
        return {}


class _Session(requests.Session):
    """A session that knows no redirects: told not to follow one, requests still reads and unpacks its whole body."""

    def get_redirect_target(self, resp: Any) -> None:  # noqa: ARG002
        return None


def _trust(ca_file: str | None) -> ssl.SSLContext:
    # Not `create_default_context`: that writes the session's keys to $SSLKEYLOGFILE and looks at $SSL_CERT_FILE.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError("ca_file: no certificates (PEM) can be read from it") from error
        return context
    built_in = ssl.get_default_verify_paths()
    file, folder = built_in.openssl_cafile, built_in.openssl_capath
    if os.path.isfile(file):
        context.load_verify_locations(cafile=file)
    elif os.path.isdir(folder) and os.listdir(folder):
        context.load_verify_locations(capath=folder)
    else:
        context.load_verify_locations(cafile=requests.utils.DEFAULT_CA_BUNDLE_PATH)
    return context


def _refuse_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme != "http" or not is_loopback(parts.hostname or ""):
        raise ConfigError("endpoint: https is needed (http for this machine only)")


class Client:
    """Sends requests one after another, over one connection where the server keeps it open.

    *ca_file* (PEM) replaces the system's certificates, *proxy* is http(s)://HOST:PORT, *deadline_s* seconds.
    Raises ConfigError if *ca_file* cannot be used.
    """

    def __init__(
        self, *, ca_file: str | None = None, proxy: str | None = None, deadline_s: float = DEADLINE_S, agent: str = ""
    ) -> None:
        self._context = _trust(ca_file)
        self._proxy = proxy
        self._deadline_s = deadline_s
        self._agent = agent
        self._session: requests.Session | None = None
        self._used = False

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply | Failure:
        """POST *body* to *url* and return what became of it.  Raises ConfigError for a URL that is not allowed."""
        _refuse_url(url)
        again = self._used
        found = self._once(url, headers, body)
        if again and found == Failure("reset"):
            # The server closed the connection that it had kept open: that says nothing about this request.
            found = self._once(url, headers, body)
        return found

    def _once(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply | Failure:
        if self._session is None:
            self._session = self._open()
        session, self._used = self._session, True
        local = is_loopback(urlsplit(url).hostname or "")
        session.proxies = {} if local or self._proxy is None else {"https": self._proxy}
        box: list[Reply | Failure] = []
        over = threading.Event()
        work = threading.Thread(target=lambda: box.append(_exchange(session, url, headers, body, over)), daemon=True)
        work.start()
        work.join(self._deadline_s)
        found = box[0] if box else Failure("deadline")
        if isinstance(found, Failure) or not found.whole:
            over.set()
            self._session, self._used = None, False
        return found

    def _open(self) -> requests.Session:
        session = _Session()
        session.trust_env = False
        session.headers.clear()
        session.headers.update(client_headers(self._agent or "carobatch"))
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for prefix in ("https://", "http://"):
            session.mount(prefix, _Adapter(self._context))
        return session

    def close(self) -> None:
        """Close the connection that is kept open."""
        if self._session is not None:
            self._session.close()
            self._session = None


def _exchange(
    session: requests.Session, url: str, headers: Mapping[str, str], body: bytes, over: threading.Event
) -> Reply | Failure:
    try:
        with session.post(
            url, data=body, headers=dict(headers), timeout=DEADLINE_S, allow_redirects=False, stream=True
        ) as answer:
            parts, size = [], 0
            while size <= ANSWER_BYTES_MAX and not over.is_set():
                # Not `iter_content`, which undoes a compression that we did not ask for, without a bound.
                part = answer.raw.read(min(_CHUNK_BYTES, ANSWER_BYTES_MAX + 1 - size), decode_content=False)
                if not part:
                    break
                parts.append(part)
                size += len(part)
            names = {name.lower(): value for name, value in answer.headers.items()}
            data = b"".join(parts)
            return Reply(answer.status_code, names, data[:ANSWER_BYTES_MAX], len(data) <= ANSWER_BYTES_MAX)
    except Exception as error:  # noqa: BLE001 - urllib3's come through where the body is read; a Failure names them all
        return Failure(_kind(error))


def _kind(error: BaseException) -> str:
    """Return the key of KINDS for what requests or urllib3 raised; they nest the cause in arguments and `reason`."""
    seen: list[BaseException] = []
    waiting: list[BaseException] = [error]
    while waiting and len(seen) < 32:
        one = waiting.pop()
        if one in seen:
            continue
        seen.append(one)
        inner = [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
        waiting += [part for part in inner if isinstance(part, BaseException)]
    names = {kind.__name__ for one in seen for kind in type(one).__mro__}
    for kind, marks in (
        ("proxy", {"ProxyError", "ProxySchemeUnknown"}),
        ("name", {"NameResolutionError", "gaierror", "LocationParseError", "UnicodeError"}),
        ("tls", {"SSLError", "CertificateError"}),
        ("connect", {"NewConnectionError", "ConnectionRefusedError"}),  # Which urllib3 derives from a timeout.
        ("deadline", {"TimeoutError", "Timeout", "ReadTimeoutError"}),
        ("cut_off", {"IncompleteRead", "InvalidChunkLength"}),
        ("protocol", {"BadStatusLine", "LineTooLong", "InvalidHeader", "HeaderParsingError", "UnknownProtocol"}),
    ):
        if names & marks and not (kind == "protocol" and "RemoteDisconnected" in names):
            return kind
    return "reset" if names & {"ConnectionError", "ProtocolError", "RemoteDisconnected"} else "protocol"
