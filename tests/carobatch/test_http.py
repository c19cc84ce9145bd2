"""One request: every way in which a network, a server or an environment can be wrong becomes a value."""

import gzip
import os
import socket
import ssl
import threading

import pytest
from receivers import Authority, Receiver
from urllib3.response import HTTPResponse

from carobatch.http import ANSWER_BYTES_MAX, Client, Failure, Reply
from carojournal.errors import ConfigError

BODY = b'{"a": 1}'
HEADERS = {"Content-Type": "application/json"}
SHORT_S = 0.4


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("stranger"), "another authority")


def post(receiver, authority=None, deadline_s=10.0, **options):
    client = Client(ca_file=authority and authority.ca_file, deadline_s=deadline_s, agent="test/1", **options)
    try:
        return client.post(receiver if isinstance(receiver, str) else receiver.url, HEADERS, BODY)
    finally:
        client.close()


def test_what_is_sent_is_what_was_given_and_our_own_agent(authority):
    with Receiver(lambda _: (201, {"X-Thing": "1"}, b"answer"), authority.server()) as receiver:
        found = post(receiver, authority)
        [request] = receiver.requests
    assert (found.status, found.body, found.whole, found.headers["x-thing"]) == (201, b"answer", True, "1")
    assert request.body == BODY
    assert request.headers == {
        "Host": f"127.0.0.1:{receiver.port}",
        "User-Agent": "test/1",
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
        "Content-Length": "8",
    }


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
def test_redirects_are_not_followed(authority, status):
    with Receiver(certificate=authority.server()) as target:
        where = {"Location": target.url}
        with Receiver(lambda _: (status, where, b""), authority.server()) as receiver:
            assert post(receiver, authority).status == status
        assert target.requests == []


def test_a_certificate_of_a_stranger_or_for_another_name_does_not_hold(authority, stranger):
    with Receiver(certificate=stranger.server()) as receiver:
        assert post(receiver, authority) == Failure("tls")
        assert post(receiver) == Failure("tls")
        assert receiver.requests == []
    with Receiver(certificate=authority.server("127.0.0.2")) as receiver:
        assert post(receiver, authority) == Failure("tls")
        assert receiver.requests == []


def test_the_certificate_file_replaces_the_systems(authority):
    context = Client(ca_file=authority.ca_file)._context
    assert [dict(part[0] for part in one["subject"])["commonName"] for one in context.get_ca_certs()] == [
        "test authority"
    ]
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_no_tls_below_1_2(authority):
    with Receiver(
        certificate=authority.server(), minimum=ssl.TLSVersion.TLSv1, maximum=ssl.TLSVersion.TLSv1_1
    ) as receiver:
        assert post(receiver, authority) == Failure("tls")
    with Receiver(certificate=authority.server(), maximum=ssl.TLSVersion.TLSv1_2) as receiver:
        assert post(receiver, authority).status == 200


def test_a_server_without_tls_is_a_tls_failure(authority):
    with Receiver() as receiver:
        assert post(receiver.url.replace("http:", "https:"), authority) in (Failure("tls"), Failure("reset"))


@pytest.mark.parametrize("url", ["http://192.0.2.1/v1", "ftp://127.0.0.1/", "http://example.org/", "https:///x", "x"])
def test_only_https_and_http_to_this_machine(url):
    with pytest.raises(ConfigError):
        post(url)


def test_a_certificate_file_that_is_none(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError):
        Client(ca_file=str(tmp_path / "ca.pem"))
    with pytest.raises(ConfigError):
        Client(ca_file=str(tmp_path / "missing.pem"))


def drip(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        handler.wfile.write(b"x")
        handler.connection.settimeout(1)
        threading.Event().wait(0.05)


def drip_head(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        handler.wfile.write(b"X-A: b\r\n")
        threading.Event().wait(0.05)


def hang(handler):
    handler.connection.settimeout(20)
    handler.rfile.read(1)


def reset(handler):
    linger = b"\x01\0\0\0\0\0\0\0"
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()


def reset_in_the_middle(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
    reset(handler)


def too_short(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")


def garbage(handler):
    handler.wfile.write(b"\x00\x01\x02 what is this\r\n\r\n")


def nothing(_handler):
    pass


def endless(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        handler.wfile.write(bytes(65_536))


@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize(
    ("script", "kinds"),
    [
        (drip, {"deadline"}),
        (drip_head, {"deadline", "protocol"}),
        (hang, {"deadline"}),
        (reset, {"reset", "tls"}),
        (reset_in_the_middle, {"reset", "cut_off", "tls"}),
        (too_short, {"cut_off", "tls"}),
        (garbage, {"protocol"}),
        (nothing, {"reset", "tls"}),
    ],
)
def test_no_whole_answer_is_a_failure_within_the_deadline(authority, script, kinds, tls):
    slow = script in (drip, drip_head, hang)
    with Receiver(lambda _: script, authority.server() if tls else None) as receiver:
        found = post(receiver, authority, SHORT_S if slow else 10.0)
    assert isinstance(found, Failure)
    assert found.kind in kinds


def test_an_endless_answer_is_read_to_its_bound(authority):
    with Receiver(lambda _: endless, authority.server()) as receiver:
        found = post(receiver, authority, 20.0)
    assert (found.status, len(found.body), found.whole) == (200, ANSWER_BYTES_MAX, False)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_of_a_redirect_no_more_is_read_than_of_any_other_answer(authority, monkeypatch, status):
    """Told not to follow it, the library still read and unpacked all of its body."""
    taken = []
    read = HTTPResponse.read

    def counted(self, amt=None, **options):
        part = read(self, amt, **options)
        taken.append(len(part))
        return part

    body = gzip.compress(bytes(10 * ANSWER_BYTES_MAX)) + bytes(2 * ANSWER_BYTES_MAX)
    answer = (status, {"Location": "x", "Content-Encoding": "gzip"}, body)
    monkeypatch.setattr(HTTPResponse, "read", counted)
    with Receiver(lambda _: answer, authority.server()) as receiver:
        found = post(receiver, authority)
    assert (found.status, len(found.body), found.whole) == (status, ANSWER_BYTES_MAX, False)
    assert body.startswith(found.body)
    assert sum(taken) == ANSWER_BYTES_MAX + 1


def test_a_compressed_answer_is_not_unpacked(authority):
    with Receiver(lambda _: (200, {"Content-Encoding": "gzip"}, b"no gzip"), authority.server()) as receiver:
        assert post(receiver, authority).body == b"no gzip"


def test_a_name_that_does_not_resolve_and_a_port_where_nobody_listens(authority, monkeypatch):
    def unknown(*_arguments, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert post(f"https://127.0.0.1:{port}/", authority) == Failure("connect")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert post("https://receiver.invalid/", authority) == Failure("name")


def test_a_name_resolution_that_hangs_ends_with_the_deadline(authority, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: over.wait(20))
    try:
        assert post("https://receiver.invalid/", authority, SHORT_S) == Failure("deadline")
    finally:
        over.set()


def test_nothing_is_taken_from_the_environment(authority, stranger, home, monkeypatch, tmp_path):
    """Proxies, .netrc, certificate paths and key logs of the environment change nothing."""
    with open(os.path.join(home, ".netrc"), "w") as file:
        file.write("machine 127.0.0.1 login thief password secret\n")
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, stranger.ca_file)
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    with Receiver(certificate=authority.server()) as receiver:
        assert post(receiver, authority).status == 200
        assert "Authorization" not in receiver.requests[0].headers
    with Receiver(certificate=stranger.server()) as receiver:
        assert post(receiver) == Failure("tls")
    assert not (tmp_path / "keys").exists()


def test_cookies_are_not_kept(authority):
    with Receiver(lambda _: (200, {"Set-Cookie": "id=1"}, b""), authority.server()) as receiver:
        client = Client(ca_file=authority.ca_file)
        for _ in range(2):
            assert client.post(receiver.url, HEADERS, BODY).status == 200
        client.close()
        assert not any("Cookie" in request.headers for request in receiver.requests)


FAR = "192.0.2.1"  # No address of this machine (RFC 5737); the proxy knows the way.


class Proxy:
    """A CONNECT proxy that counts, or refuses; FAR it finds here."""

    def __init__(self, *, refuses=False):
        self.targets, self.refuses = [], refuses
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            self.targets.append(head.split()[1].decode())
            if self.refuses:
                client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                client.close()
                continue
            host, port = self.targets[-1].rsplit(":", 1)
            far = socket.create_connection((host.replace(FAR, "127.0.0.1"), int(port)))
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            for source, sink in ((client, far), (far, client)):
                threading.Thread(target=self.pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def pump(source, sink):
        try:
            while data := source.recv(65_536):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            sink.close()


def test_a_proxy_that_is_configured_is_used_and_tls_holds_through_it(authority, stranger):
    proxy = Proxy()
    with Receiver(certificate=authority.server(FAR)) as receiver:
        url = receiver.url.replace("127.0.0.1", FAR)
        assert post(url, authority, proxy=proxy.url).status == 200
        assert proxy.targets == [f"{FAR}:{receiver.port}"]
        assert post(url, stranger, proxy=proxy.url) in (Failure("tls"), Failure("proxy"))
        assert len(receiver.requests) == 1


def test_a_proxy_that_refuses_or_is_not_there(authority):
    with Receiver(certificate=authority.server(FAR)) as receiver:
        url = receiver.url.replace("127.0.0.1", FAR)
        assert post(url, authority, proxy=Proxy(refuses=True).url) == Failure("proxy")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        assert post(url, authority, proxy=f"http://127.0.0.1:{port}") == Failure("proxy")
        assert receiver.requests == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("tls", [False, True])
def test_this_machine_is_never_asked_through_a_proxy(authority, monkeypatch, host, tls):
    """The proxy read in clear text what may be sent without TLS only because it does not leave the machine."""
    proxy = Proxy(refuses=True)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    with Receiver(certificate=authority.server() if tls else None) as receiver:
        url = receiver.url.replace("127.0.0.1", host)
        found = [post(url, authority, proxy=given) for given in (proxy.url, None)]
        certified = host == "127.0.0.1" or not tls
        assert all(one.status == 200 if certified else one == Failure("tls") for one in found)
        assert len(receiver.requests) == (2 if certified else 0)
    assert proxy.targets == []


def test_a_client_with_a_proxy_goes_by_each_url(authority):
    proxy = Proxy()
    client = Client(ca_file=authority.ca_file, proxy=proxy.url, deadline_s=10.0)
    with Receiver(certificate=authority.server(FAR)) as far, Receiver() as near:
        for url in (near.url, far.url.replace("127.0.0.1", FAR), near.url):
            assert client.post(url, HEADERS, BODY).status == 200
        assert proxy.targets == [f"{FAR}:{far.port}"]
    client.close()


def test_a_connection_that_was_kept_open_and_then_closed_is_opened_again(authority):
    served = []

    def script(_request):
        served.append(1)
        if len(served) == 2:
            return reset
        return (200, {}, b"")

    with Receiver(script, authority.server()) as receiver:
        client = Client(ca_file=authority.ca_file)
        assert [client.post(receiver.url, HEADERS, BODY).status for _ in range(2)] == [200, 200]
        client.close()
    assert len(served) == 3


def test_an_answer_of_a_reply_is_a_value():
    assert Reply(200) == Reply(200, {}, b"", True)
