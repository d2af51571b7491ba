"""Connections to one server that stay open: the straight way for a request, by the standard library alone.

A general HTTP library makes objects of each address, header and stream. For one server, whose requests are
all alike, these are two thirds of the time that a request takes (docs/decisions/0003-http-client.md). Proxies
and redirects are left to it.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from wats_extract.http.http_answer import HttpAnswer

IDLE_SECONDS = 30.0
"""A connection that was idle for longer is not used again: somebody on the way may have dropped it."""

_TARGET = re.compile(r"/[!-~]*")
_LINE = re.compile(r"[ -~]*")


class ConnectTimeout(TimeoutError):
    """The server does not accept a connection in time."""


class Connections:
    """HTTP/1.1 connections to one server. Thread-safe.

    Args:
        url: The server's address.
        context: What its certificate is verified against; ``None`` where it is not ``https``.
        timeout: Seconds of silence after which a request is given up.
        connect_timeout: The same until there is a connection.
        headers: Of every request.
        clock: Seconds that only go up.
    """

    def __init__(
        self,
        url: str,
        *,
        context: ssl.SSLContext | None,
        timeout: float,
        connect_timeout: float,
        headers: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        place = urlsplit(url)
        self._host, self._port = place.hostname or "", place.port
        self._context = context
        self._base = place.path.rstrip("/")
        self._timeouts = timeout, connect_timeout
        self._headers = {"Host": place.netloc.rpartition("@")[2], **headers}
        self._clock = clock
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._closed = False

    def ask(
        self, method: str, target: str, *, headers: Mapping[str, str], body: bytes | None = None
    ) -> Received:
        """Send a request; the head of the answer has come when this returns.

        Raises:
            ConnectTimeout: there is no connection in time.
            TimeoutError: there is no answer in time.
            OSError: there is no connection, or it broke.
            HTTPException: what came is no HTTP.
        """
        if not _TARGET.fullmatch(target):
            raise HTTPException("the address has characters that no address has")
        length = {} if body is None else {"Content-Length": str(len(body))}
        connection = self._take()
        try:
            connection.http.sock.sendall(
                b"%s %s%s HTTP/1.1\r\n%s\r\n%s"
                % (
                    method.encode("ascii"),
                    self._base.encode("ascii"),
                    target.encode("ascii"),
                    _lines({**self._headers, **headers, **length}),
                    body or b"",
                )
            )
            return Received(HttpAnswer(connection.http.sock), self, connection)
        except BaseException:
            self.drop(connection)
            raise

    def close(self) -> None:
        """Close all; requests under way break off."""
        with self._lock:
            self._closed = True
            connections = list(self._open)
        for connection in connections:
            with suppress(OSError, AttributeError):  # it was closed by the other side, or is not open yet
                connection.http.sock.shutdown(socket.SHUT_RDWR)
            self.drop(connection)

    def _take(self) -> _Connection:
        """A connection that nobody uses; the last used first, so that those too many fall out of use."""
        while True:
            with self._lock:
                if self._closed:
                    raise OSError("the connections are closed")
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._connected()
            if self._clock() - connection.used_at < IDLE_SECONDS and not _readable(connection.http.sock):
                return connection
            self.drop(connection)

    def _connected(self) -> _Connection:
        timeout, connect_timeout = self._timeouts
        http = (
            HTTPSConnection(self._host, self._port, timeout=connect_timeout, context=self._context)
            if self._context
            else HTTPConnection(self._host, self._port, timeout=connect_timeout)
        )
        connection = _Connection(http)
        with self._lock:
            self._open.add(connection)
        try:
            http.connect()
            http.sock.settimeout(timeout)
            http.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except TimeoutError:
            self.drop(connection)
            raise ConnectTimeout from None
        except BaseException:
            self.drop(connection)
            raise
        return connection

    def give_back(self, connection: _Connection) -> None:
        """Keep a connection for the next request."""
        connection.used_at = self._clock()
        with self._lock:
            if not (self._closed or connection.spoilt):
                self._idle.append(connection)
                return
        self.drop(connection)

    def spoil(self, connection: _Connection) -> None:
        """What comes on it next is not to be trusted: close it, or let whoever uses it close it."""
        with self._lock:
            connection.spoilt = True
            idle = connection in self._idle
            if idle:
                self._idle.remove(connection)
        if idle:
            self.drop(connection)

    def drop(self, connection: _Connection) -> None:
        """Close a connection."""
        with self._lock:
            self._open.discard(connection)
        connection.http.close()


class _Connection:
    """One connection; ``spoilt`` once the rest of an answer may stand in it."""

    def __init__(self, http: HTTPConnection) -> None:
        self.http = http
        self.used_at = 0.0
        self.spoilt = False


class Received:
    """An answer whose body is still to be read; close it then."""

    def __init__(self, answer: HttpAnswer, connections: Connections, connection: _Connection) -> None:
        self._answer, self._connections, self._connection = answer, connections, connection

    @property
    def status(self) -> int:
        """Its status."""
        return self._answer.status

    def header(self, name: str) -> str | None:
        """A header, by its name in lower case, or ``None``."""
        return self._answer.headers.get(name)

    def parts(self) -> Iterator[bytes]:
        """The body as it comes, still encoded.

        Raises:
            TimeoutError: no byte came for too long.
            OSError: the connection broke.
            HTTPException: it is cut off, or no HTTP.
        """
        return self._answer.parts()

    def close(self) -> None:
        """Let go of it; its connection stays open where the body was read to its end."""
        if self._answer.over:
            self._connections.give_back(self._connection)
        else:
            self._connections.drop(self._connection)

    def hang_up(self) -> None:
        """Close the connection: the rest of an answer that was cut off would be taken for the next one."""
        self._connections.spoil(self._connection)


def _lines(headers: Mapping[str, str]) -> bytes:
    """Header lines; raises ``HTTPException`` where a value would end its line."""
    for value in headers.values():
        if not _LINE.fullmatch(value):
            raise HTTPException("a header has characters that no header has")
    return b"".join(b"%s: %s\r\n" % (name.encode(), value.encode()) for name, value in headers.items())


def _readable(sock: socket.socket) -> bool:
    """Whether something came unasked: then the server has closed it, or talks nonsense."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([sock], [], [], 0)[0])
