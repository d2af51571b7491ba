"""Clients that never really wait, of fake transports and of raw servers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from tests.conftest import TOKEN
from tests.readers.simulated import Time

from wats_extract.errors import Unreadable, WatsExtractError
from wats_extract.flow import Reply
from wats_extract.http.client import Client, Connection
from wats_extract.http.transport import Transport


def decode(reply: Reply) -> Any:
    """The JSON of a response."""
    try:
        return json.loads(reply.body)
    except ValueError as error:
        raise Unreadable(f"not JSON: {reply.body[:60]!r}") from error


def client(transport: Transport, *, time: Time | None = None, token: str = TOKEN, **options: Any) -> Client:
    """A client of a fake transport."""
    time = time or Time()
    limits = {name: options.pop(name) for name in ("max_requests", "requests_per_minute") if name in options}
    connection = Connection("http://wats.test", token, **{"requests_per_minute": None, **limits})
    return Client(connection, transport=transport, stopping=time, clock=time, **options)


def client_at(url: str, *, time: Time | None = None, **limits: Any) -> Client:
    """A client of a real address that never waits between attempts."""
    time = time or Time()
    options = {"token": TOKEN, "requests_per_minute": None, "timeout": 5.0, **limits}
    return Client(Connection(url, **options), stopping=time, clock=time)


def failure(ask: Client, route: str = "Thing") -> WatsExtractError:
    """The error that a request ends with; closes the client."""
    with ask, pytest.raises(WatsExtractError) as raised:
        ask.get(route, decode=decode)
    return raised.value


@contextmanager
def raw_server(answer: Callable[[bytes], bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """A port that responds to each connection with raw bytes and closes it; gives its URL and the heads."""
    heads: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):  # the client hangs up on nonsense
                head = b""
                while b"\r\n\r\n" not in head and (more := connection.recv(65536)):
                    head += more
                heads.append(head)
                connection.sendall(answer(head))
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    continue

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", heads
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=5)
