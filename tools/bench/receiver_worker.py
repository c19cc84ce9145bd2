"""A receiver for bench_upload: takes every POST and answers 200 at once.  Prints its port, then serves for good."""

import socket
import sys
import threading

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def serve(client: socket.socket) -> None:
    """Answer one connection's requests until it ends."""
    with client, client.makefile("rb") as file:
        while line := file.readline():
            length = 0
            while line not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line[15:])
                line = file.readline()
            file.read(length)
            client.sendall(_ANSWER)


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            accepted, _ = listener.accept()
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve, args=(accepted,), daemon=True).start()
    sys.exit(0)
