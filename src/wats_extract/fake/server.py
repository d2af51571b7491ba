"""An `App` on a loopback port: HTTP/1.1 with keep-alive, one thread per connection, quick to start and stop.

The request head is parsed by hand, in a third of the time that `http.server` takes with its e-mail parser.
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

_MAX_LINE_BYTES = 65_536
_STALL_SECONDS = 300.0
_SECONDS_PER_DRIP = 0.1
_NO_LINGER = struct.pack("HH" if os.name == "nt" else "ii", 1, 0)
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Server(socketserver.ThreadingTCPServer):
    """A running server; `url` is its address."""

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
        """The address, without a trailing slash."""
        return f"http://{HOST}:{self.server_address[1]}"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Register the connection and start its thread."""
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnected. Print any other error: it is a bug of the server."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """Stop at once, and break the connections in use."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            _shut_down(connection)


class _Connection(socketserver.StreamRequestHandler):
    """Handles the requests of one connection, one after another."""

    server: Server
    disable_nagle_algorithm = True

    def handle(self) -> None:
        while not self.server.stopping.is_set():
            request = self._read()
            if request is None:
                return
            closing = request.headers.get("connection", "").lower() == "close"
            with self.server.app.answering(request) as response:
                reusable = self._send(response, closing=closing)
            if closing or not reusable:
                return

    def _read(self) -> Request | None:
        """The next request; None at the end of the connection, or if the request line is malformed."""
        words = self.rfile.readline(_MAX_LINE_BYTES).split()
        if len(words) != 3:
            return None
        headers: dict[str, str] = {}
        while (line := self.rfile.readline(_MAX_LINE_BYTES)) not in (b"\r\n", b"\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        body = self.rfile.read(int(headers.get("content-length") or 0))
        path, _, query = words[1].decode("latin-1").partition("?")
        return Request(words[0].decode("latin-1"), path, query, headers, body)

    def _send(self, response: Response, *, closing: bool) -> bool:
        """Send the response. Returns False if the connection must be closed after it."""
        if response.delay:
            self.server.stopping.wait(response.delay)
        if response.sending is Sending.DROP:
            return False
        data = _head(response, closing=closing) + response.body
        if response.sending in (Sending.WHOLE, Sending.CUT):
            self.wfile.write(data)
            return True
        half = 0 if response.sending is Sending.DRIP_HEAD else len(data) - (len(response.body) + 1) // 2
        self.wfile.write(data[:half])
        if response.sending is Sending.STALL:
            self.server.stopping.wait(_STALL_SECONDS)
        elif response.sending in (Sending.DRIP, Sending.DRIP_HEAD):
            self._drip(data[half:])
        elif response.sending is Sending.RESET:
            self._reset()
        return False

    def _drip(self, data: bytes) -> None:
        for place in range(len(data)):
            if self.server.stopping.wait(_SECONDS_PER_DRIP):
                return
            self.wfile.write(data[place : place + 1])

    def _reset(self) -> None:
        """Close with a TCP reset. The client may lose even the bytes that have arrived."""
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.request.close()


def _head(response: Response, *, closing: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {response.status} {_REASONS.get(response.status, '')}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body) // (2 if response.sending is Sending.CUT else 1)}",
        "Server: Microsoft-IIS/10.0",
        f"Date: {formatdate(usegmt=True)}",
        *(f"{name}: {value}" for name, value in response.headers.items()),
    ]
    return "\r\n".join([*lines, *(["Connection: close"] if closing else []), "", ""]).encode(
        "latin-1", "replace"
    )


def _shut_down(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the client closed it first


@contextmanager
def serve(app: App, port: int = 0) -> Iterator[Server]:
    """Serve the app while the block runs. With port 0 the system chooses a free port.

    Raises:
        OSError: The port is in use.
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
    """Serve the app until the process is interrupted. Calls `on_ready` with the address.

    Raises:
        OSError: The port is in use.
    """
    with serve(app, port) as server:
        on_ready(server.url)
        while not server.stopping.wait(0.5):  # a wait without a timeout would block Ctrl-C on Windows
            continue
