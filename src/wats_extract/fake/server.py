"""The app on a loopback port: HTTP/1.1, keep-alive, a thread for each connection, quick to start and stop.

The request head is read by hand, which takes a third of the time of `http.server` with its e-mail parser.
"""

from __future__ import annotations

import os
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from wats_extract.fake.app import App
from wats_extract.fake.exchange import Request, Response, Sending

HOST = "127.0.0.1"

_LONGEST_LINE = 65_536
_LONGEST_STALL = 300.0
_SECONDS_A_DROP = 0.1
_NO_LINGER = struct.pack("HH" if os.name == "nt" else "ii", 1, 0)
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Server(socketserver.ThreadingTCPServer):
    """A running server; `url` is where."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = os.name == "posix"
    request_queue_size = 256

    def __init__(self, app: App, port: int) -> None:
        self.app = app
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((HOST, port), _Connection)

    @property
    def url(self) -> str:
        """The address, without a slash at the end."""
        return f"http://{HOST}:{self.server_address[1]}"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Keep track of the connection and give it a thread."""
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about clients that went away; anything else is a bug of the server and shown."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """Stop at once, whatever the connections are doing."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            _hang_up(connection)


class _Connection(socketserver.StreamRequestHandler):
    """Reads requests from one connection and answers them, one after another."""

    server: Server
    disable_nagle_algorithm = True

    def handle(self) -> None:
        while not self.server.stopping.is_set():
            request = self._read()
            if request is None:
                return
            closing = request.headers.get("connection", "").lower() == "close"
            with self.server.app.answering(request) as answer:
                sent = self._send(answer, closing=closing)
            if closing or not sent:
                return

    def _read(self) -> Request | None:
        """The next request; None when the client is through, or talks nonsense."""
        words = self.rfile.readline(_LONGEST_LINE).split()
        if len(words) != 3:
            return None
        headers: dict[str, str] = {}
        while (line := self.rfile.readline(_LONGEST_LINE)) not in (b"\r\n", b"\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        body = self.rfile.read(int(headers.get("content-length") or 0))
        path, _, query = words[1].decode("latin-1").partition("?")
        return Request(words[0].decode("latin-1"), path, query, headers, body)

    def _send(self, answer: Response, *, closing: bool) -> bool:
        """Send the answer in one piece; False if the connection is to be closed."""
        if answer.delay:
            self.server.stopping.wait(answer.delay)
        if answer.sending is Sending.DROP:
            return False
        data = _head(answer, closing=closing) + answer.body
        if answer.sending in (Sending.WHOLE, Sending.CUT):
            self.wfile.write(data)
            return True
        half = len(data) - (len(answer.body) + 1) // 2
        self.wfile.write(data[:half])
        if answer.sending is Sending.STALL:
            self.server.stopping.wait(_LONGEST_STALL)
        elif answer.sending is Sending.DRIP:
            self._drip(data[half:])
        elif answer.sending is Sending.RESET:
            self._reset()
        return False

    def _drip(self, data: bytes) -> None:
        for place in range(len(data)):
            if self.server.stopping.wait(_SECONDS_A_DROP):
                return
            self.wfile.write(data[place : place + 1])

    def _reset(self) -> None:
        """Close without a farewell: the other side may lose even what has arrived."""
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.request.close()


def _head(answer: Response, *, closing: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, '')}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body) // (2 if answer.sending is Sending.CUT else 1)}",
        "Server: Microsoft-IIS/10.0",
        f"Date: {formatdate(usegmt=True)}",
        *(f"{name}: {value}" for name, value in answer.headers.items()),
    ]
    return "\r\n".join([*lines, *(["Connection: close"] if closing else []), "", ""]).encode(
        "latin-1", "replace"
    )


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the client was quicker


@contextmanager
def serve(app: App, port: int = 0) -> Iterator[Server]:
    """Serve the app while the block runs, at a port that the system chooses unless one is given.

    Raises:
        OSError: the port is taken.
    """
    server = Server(app, port)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="wats", daemon=True
    )
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


def serve_forever(app: App, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve the app until the process is interrupted; `on_ready` is called with the address.

    Raises:
        OSError: the port is taken.
    """
    with serve(app, port) as server:
        on_ready(server.url)
        while not server.stopping.wait(0.5):  # in steps, or Windows wouldn't hear Ctrl-C
            continue
