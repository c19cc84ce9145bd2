"""Receivers on the loopback: HTTPS servers under a certificate authority made on the spot, scripted per request."""

import contextlib
import datetime as dt
import gzip
import http.server
import ipaddress
import json
import os
import ssl
import subprocess
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(subject, key, issuer, issuer_key, *, names=(), authority=False):
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Authority:
    """A certificate authority in a folder: `ca_file` to trust, `server()` a certificate and key for 127.0.0.1."""

    def __init__(self, folder, name="test authority"):
        self.folder, self.name = str(folder), name
        self.key = ec.generate_private_key(ec.SECP256R1())
        own = _certificate(name, self.key, name, self.key, authority=True)
        self.ca_file = os.path.join(self.folder, f"{name.replace(' ', '-')}.pem")
        with open(self.ca_file, "wb") as file:
            file.write(own.public_bytes(serialization.Encoding.PEM))

    def server(self, address="127.0.0.1"):
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.IPAddress(ipaddress.ip_address(address))]
        made = _certificate("receiver", key, self.name, self.key, names=names)
        path = os.path.join(self.folder, f"server-{self.name.replace(' ', '-')}-{address}.pem")
        with open(path, "wb") as file:
            file.write(_pem(key) + made.public_bytes(serialization.Encoding.PEM))
        return path


class Receiver:
    """A server whose `script(request)` answers: (status, headers, body), or a function of the handler.

    `requests` lists what arrived; `events` maps an event id to how often it was accepted in a 2xx of `caro-v1`.
    """

    def __init__(self, script=None, certificate=None, minimum=None, maximum=None):
        self.requests, self.events, self.bodies = [], {}, {}
        self.script = script or (lambda _: (200, {}, b""))
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(self.path, dict(self.headers.items()), body)
                outer.requests.append(request)
                answer = outer.script(request)
                if callable(answer):
                    self.close_connection = True
                    with contextlib.suppress(OSError):
                        answer(self)
                    return
                status, headers, data = answer
                if 200 <= status < 300:
                    outer.accept(request, data)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST  # noqa: N815 - the name that http.server asks for

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            if minimum:
                context.minimum_version = minimum
            if maximum:
                context.maximum_version = maximum
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
            scheme = "https"
        self.port = self.server.server_address[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}/v1/events"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def accept(self, request, answer):
        """Count events as a receiver does that takes what it does not name."""
        left_out = set()
        if answer[:1] == b"{":
            said = json.loads(answer)
            left_out = {*said.get("rejected", ()), *said.get("retry", ())}
        for event in request.events():
            if event["event_id"] not in left_out:
                self.events[event["event_id"]] = self.events.get(event["event_id"], 0) + 1
                self.bodies.setdefault(event["event_id"], event)

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def unpacked(headers, body):
    """What a receiver reads; zstd as its own program undoes it."""
    encoding = dict(headers).get("Content-Encoding")
    if encoding == "zstd":
        return subprocess.run(["zstd", "-d", "-c", "-q"], input=body, capture_output=True, check=True).stdout
    assert encoding in (None, "gzip")
    return gzip.decompress(body) if encoding else body


class Request:
    def __init__(self, path, headers, body):
        self.path, self.headers, self.body = path, headers, body

    def json(self):
        return json.loads(unpacked(self.headers, self.body))

    def events(self):
        value = self.json()
        found = value if isinstance(value, list) else value.get("events", [])
        return [one for one in found if "event_id" in one]


def answers(*rows):
    """A script that gives one answer after another, then 200 for good."""
    left = list(rows)
    return lambda _request: left.pop(0) if left else (200, {}, b"")
