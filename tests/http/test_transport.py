"""The transport over real sockets: broken transfers, timeouts, redirects, forks, signals and process exit."""

from __future__ import annotations

import gzip
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyreqwest.exceptions
import pyreqwest.logging
import pytest
from tests.conftest import TOKEN
from tests.http.clients import client_at, decode, failure, raw_server
from tests.http.fakes import VERSION
from tests.readers.simulated import Time

from wats_extract.errors import (
    Interrupted,
    RequestBudgetSpent,
    RequestError,
    ServerUnreachable,
)
from wats_extract.fake.faults import Faults
from wats_extract.http.client import Client, Connection
from wats_extract.http.error_responses import HINTS
from wats_extract.http.retry import RetryPolicy
from wats_extract.http.sender import Sender
from wats_extract.http.transport import HttpTransport, Request, TransportError, translated

OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
ONE = OK + b"Content-Length: 1\r\n\r\n1"
VERSION_RESPONSE = OK + b'Content-Length: 8\r\n\r\n"2026.1"'

# ── what is sent ────────────────────────────────────────────────────────────────────────────────


def test_a_request_on_the_wire() -> None:
    with raw_server(lambda head: ONE) as (url, heads):
        with client_at(url) as ask:
            assert ask.get("A/b%2Fc%2E", query={"$filter": "a eq 'b|{}'"}, decode=decode) == 1
        with client_at(url, token="") as ask:
            assert ask.get("internal/A", body={"a": "ü"}, decode=decode) == 1
    first, second = (head.decode().split("\r\n") for head in heads)
    assert first[0] == "GET /api/A/b%2Fc%2E?$filter=a%20eq%20%27b%7C%7B%7D%27 HTTP/1.1"
    assert f"Host: {url.removeprefix('http://')}" in first
    assert f"Authorization: Basic {TOKEN}" in first
    assert {"Accept: application/json", "Accept-Encoding: gzip", "User-Agent: wats-extract"} < set(first)
    assert not any(line.startswith(("Cookie", "Referer", "Content-")) for line in first)
    assert second[0] == "POST /api/internal/A HTTP/1.1"
    assert {f"Referer: {url}/", "Content-Type: application/json", "Content-Length: 14"} < set(second)
    assert not any(line.lower().startswith("authorization") for line in second)


def test_cookies_are_not_kept() -> None:
    answer = OK + b"Set-Cookie: a=b\r\nContent-Length: 1\r\n\r\n1"
    with raw_server(lambda head: answer) as (url, heads), client_at(url) as ask:
        for _ in range(2):
            assert ask.get("Thing", decode=decode) == 1
    assert b"cookie" not in heads[1].lower()


def test_connections_are_reused_unless_a_response_was_abandoned() -> None:
    accepted: list[socket.socket] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                accepted.append(listener.accept()[0])
                threading.Thread(target=converse, args=(accepted[-1],), daemon=True).start()

    def converse(connection: socket.socket) -> None:
        with suppress(OSError):
            while head := connection.recv(65536):
                size = 60 if b"/long" in head else 6
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n[1, 2]" % size)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        for largest, target, requests in ((6, "/", 3), (3, "/long", 3)):
            transport = HttpTransport(timeout=5, largest=largest, connections=2)
            for _ in range(requests):
                assert transport(Request("GET", url + target)).body == b"[1, 2]"[: largest + 1]
            transport.close()
        assert len(accepted) == 4
        listener.shutdown(socket.SHUT_RDWR)
    for each in accepted:
        each.close()


def test_a_url_that_is_too_long_is_an_error_without_a_retry(server: Any) -> None:
    app, url = server()
    with client_at(url) as ask, pytest.raises(RequestError) as raised:
        ask.get("Thing", query={"$filter": "x" * 70_000}, decode=decode)
    assert raised.value.code == "UNKNOWN_ERROR"
    assert "cannot be sent" in raised.value.message
    assert len(raised.value.message) < 500
    assert app.requests == []


# ── broken transfers ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("sent", "code", "responds"),
    [
        (OK + b"Content-Length: 50\r\n\r\n[1, 2", "CONNECTION_ERROR", False),
        (OK + b"Content-Length: 3\r\n\r\n[1, 2]", "INVALID_RESPONSE", True),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 6\r\n\r\nno zip", "INVALID_RESPONSE", False),
        (OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"[1, 2]")[:15], "INVALID_RESPONSE", False),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n6\r\n[1, 2]\r\n", "CONNECTION_ERROR", False),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "CONNECTION_ERROR", False),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "CONNECTION_ERROR", False),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2_000_000, "CONNECTION_ERROR", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", "CONNECTION_ERROR", False),
        (OK, "CONNECTION_ERROR", False),
        (b"", "CONNECTION_ERROR", False),
    ],
    ids=[
        *("short", "long", "no gzip", "half a gzip", "half in chunks", "no chunk", "no HTTP"),
        *("endless head", "negative length", "half a head", "dropped"),
    ],
)
@pytest.mark.parametrize("alive", [True, False])
def test_broken_transfers(sent: bytes, code: str, responds: bool, alive: bool) -> None:
    def answer(head: bytes) -> bytes:
        return VERSION_RESPONSE if alive and VERSION.encode() in head else sent

    with raw_server(answer) as (url, heads):
        error = failure(client_at(url))
    assert isinstance(error, RequestError)
    assert isinstance(error, ServerUnreachable) is not (alive or responds)
    assert error.code == code
    assert error.attempts == sum(b"/api/Thing" in head for head in heads) == 6


@pytest.mark.parametrize(
    "sent",
    [
        OK + b"Content-Length: 6\r\n\r\n[1, 2]",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n3;name=value\r\n 2]\r\n0\r\nDigest: abc\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 6\r\n\r\n[1, 2]",
        b"HTTP/1.0 200 OK\r\n\r\n[1, 2]",
        b"HTTP/1.1 200 OK\nContent-Length: 6\n\n[1, 2]",
        OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"[1, 2]"),
        OK + "X-File: Å\x85.pdf\r\nContent-Length: 6\r\n\r\n[1, 2]".encode(),
    ],
    ids=["length", "chunks", "100 Continue", "to the end", "LF", "gzip", "letters beyond ASCII"],
)
def test_every_form_of_response_is_read(sent: bytes) -> None:
    with raw_server(lambda head: sent) as (url, _), client_at(url) as ask:
        assert ask.get("Thing", decode=decode) == [1, 2]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://nobody.invalid", f"http://{'a' * 70}.test", "http://a..b"]
)
def test_a_server_that_is_not_there(url: str) -> None:
    clock = Time()
    error = failure(client_at(url, time=clock))
    assert isinstance(error, RequestError)
    assert error.code in ("CONNECTION_ERROR", "UNKNOWN_ERROR")
    assert error.exit_code == 5
    assert clock.now < 60


def test_the_rest_of_a_response_that_is_cut_off_is_not_taken_for_the_next_one(server: Any) -> None:
    app, url = server(faults=Faults(rate=0.2, kinds=["cut"], seed=3), gzip=False)
    with client_at(url, max_in_flight=1) as ask:
        for uuid in app.plant.uuids():
            assert ask.get(f"Report/Wsjf/{uuid}", decode=decode) == app.plant.document(uuid)


# ── errors of the HTTP library ──────────────────────────────────────────────────────────────────


def foreign_errors() -> list[type[Exception]]:
    """Every exception class of the HTTP library, found by walking its tree."""
    found: list[type[Exception]] = []
    waiting: list[type[Exception]] = [Exception]
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        if kind.__module__.partition(".")[0] == "pyreqwest":
            found.append(kind)
    return sorted(set(found), key=lambda kind: kind.__name__)


_CODES = {
    **dict.fromkeys(
        [
            *("RequestTimeoutError", "ConnectTimeoutError", "ReadTimeoutError", "WriteTimeoutError"),
            "PoolTimeoutError",
        ],
        "TIMEOUT",
    ),
    **dict.fromkeys(
        ["PyreqwestError", "DetailedPyreqwestError", "BuilderError", "RequestPanicError"], "UNKNOWN_ERROR"
    ),
}


@pytest.mark.parametrize("kind", foreign_errors(), ids=lambda kind: kind.__name__)
def test_every_error_of_the_http_library_is_translated(kind: type[Exception]) -> None:
    error = kind.__new__(kind)
    Exception.__init__(error, "it broke")
    error.message = "it broke"  # type: ignore[attr-defined]
    error.details = {"causes": [{"message": "outer"}, {"message": "x" * 1000}]}  # type: ignore[attr-defined]
    found = translated(error, host="wats.test", timeout=5, late=False)
    assert found.code == _CODES.get(kind.__name__, "CONNECTION_ERROR")
    assert len(found.message) < 300
    assert found.code in HINTS


def test_the_tree_of_errors_was_really_walked() -> None:
    assert {kind.__name__ for kind in foreign_errors()} >= {*_CODES, "ConnectError", "ReadError"}
    assert {kind.__name__ for kind in foreign_errors()} == {
        name for name in dir(pyreqwest.exceptions) if name.endswith("Error") and name != "JSONDecodeError_"
    }


@pytest.mark.parametrize(
    "error", [RuntimeError("closed"), ValueError("bad header"), OSError("no"), UnicodeError()]
)
def test_errors_of_python_are_translated(error: Exception) -> None:
    assert translated(error, host="wats.test", timeout=5, late=False).code in HINTS


# ── limits of time and size ─────────────────────────────────────────────────────────────────────


def test_a_silent_server_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        error = failure(client_at(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout=0.05))
    assert isinstance(error, ServerUnreachable)
    assert error.code == "TIMEOUT"
    assert "no response within 0.05 s" in error.message


def test_a_response_that_stalls_times_out() -> None:
    with stalling(STALLS["in the body"]) as url:
        error = failure(client_at(url, timeout=0.2, max_requests=1))
    assert isinstance(error, (RequestError, RequestBudgetSpent))
    assert isinstance(error, RequestBudgetSpent) or error.code == "TIMEOUT"


def test_a_connection_that_is_not_accepted_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wats_extract.http.transport.CONNECT_SECONDS", 0.2)
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    waiting = [socket.socket() for _ in range(3)]
    try:
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        transport = HttpTransport(timeout=30, largest=1000, connections=1)
        with pytest.raises(TransportError, match=r"no connection within 0\.2 s") as raised:
            transport(Request("GET", f"http://127.0.0.1:{full.getsockname()[1]}/"))
        assert raised.value.code == "TIMEOUT"
        transport.close()
    finally:
        for each in (full, *waiting):
            each.close()


def test_a_slow_drip_ends_with_the_deadline_although_no_byte_is_late(server: Any) -> None:
    app, url = server(faults=Faults(rate=1, kinds=["drip"]))
    ask = Client(Connection(url, TOKEN, timeout=0.5), stopping=Time(), policy=RetryPolicy(attempts=1))
    begun = time.monotonic()
    error = failure(ask, "Report/Query/Header")
    assert type(error) is RequestError
    assert error.code == "TIMEOUT"
    assert "no complete response within 2.5 s" in error.message
    assert app.total == 2, "the list, and the version, whose few bytes arrive in time"
    assert time.monotonic() - begun < 10


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG = b"Content-Length: 1000000\r\n\r\n"
DRIPS = {
    "status line": (b"HTTP/1.1 200 O", b"K"),
    "header name": (b"HTTP/1.1 200 OK\r\nX-", b"a"),
    "header value": (b"HTTP/1.1 200 OK\r\nX: ", b"a"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: a\r\n"),
    "empty lines": (b"", b"\r\n"),
    "interim responses": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "chunk size": (CHUNKED, b"0"),
    "chunk extension": (CHUNKED + b"1;", b"a"),
    "chunks": (CHUNKED, b"1\r\n1\r\n"),
    "trailer name": (CHUNKED + b"1\r\n1\r\n0\r\n", b"X"),
    "trailers": (CHUNKED + b"1\r\n1\r\n0\r\n", b"X: a\r\n"),
    "body": (b"HTTP/1.1 200 OK\r\n" + LONG, b"1"),
    "body to the end": (b"HTTP/1.1 200 OK\r\n\r\n", b"1"),
    "body of an error": (b"HTTP/1.1 500 No\r\n" + LONG, b"1"),
    "body of a redirect": (b"HTTP/1.1 302 No\r\nLocation: /\r\n" + LONG, b"1"),
    "gzip": (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n" + LONG, b"\x1f"),
}


@contextmanager
def dripping(begin: bytes, drop: bytes, *, seconds: float = 0.02) -> Iterator[str]:
    """A server that sends a beginning, and then the same few bytes for ever; gives its URL."""

    def drip(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(begin)
            while not ended.wait(seconds):
                connection.sendall(drop)

    def serve() -> None:
        with suppress(OSError):
            while True:
                thread = threading.Thread(target=drip, args=(listener.accept()[0],))
                threads.append(thread)
                thread.start()

    ended, threads = threading.Event(), [threading.Thread(target=serve)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads[0].start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def limited(transport: HttpTransport, request: Request) -> tuple[TransportError, float]:
    """The error of a request, and after how many seconds it came; closes the transport."""
    began = time.monotonic()
    with pytest.raises(TransportError) as raised:
        transport(request)
    transport.close()
    return raised.value, time.monotonic() - began


@pytest.mark.parametrize("part", DRIPS)
def test_a_drip_in_any_part_of_a_response_ends_with_the_deadline(part: str) -> None:
    with dripping(*DRIPS[part]) as url:
        error, seconds = limited(
            HttpTransport(timeout=0.2, largest=10_000, connections=1), Request("GET", url)
        )
    assert error.code == "TIMEOUT"
    assert seconds < 2, "five times the timeout, and some leeway"


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\nX: "])
def test_a_proxy_that_drips_ends_with_the_deadline(begin: bytes) -> None:
    with dripping(begin, b"a") as url:
        transport = HttpTransport(timeout=0.2, largest=10_000, connections=1, proxy=url)
        error, seconds = limited(transport, Request("GET", "https://wats.test/"))
    assert error.code in ("TIMEOUT", "CONNECTION_ERROR")
    assert seconds < 2


def test_a_tls_handshake_that_drips_ends_with_the_deadline() -> None:
    hello = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03"  # a ServerHello of 16 kB
    with dripping(hello, b"a") as url:
        transport = HttpTransport(timeout=0.2, largest=10_000, connections=1)
        error, seconds = limited(transport, Request("GET", url.replace("http:", "https:")))
    assert error.code in ("TIMEOUT", "CONNECTION_ERROR")
    assert seconds < 2


def test_redirects_share_the_deadline_of_the_response() -> None:
    def answer(head: bytes) -> bytes:
        time.sleep(0.3)  # much less than the timeout, each time
        return b"HTTP/1.1 302 Found\r\nLocation: /api/Thing\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    with raw_server(answer) as (url, heads):
        transport = HttpTransport(timeout=5, largest=1000, connections=1)
        sender = Sender(url, token="", largest=1000, transport=transport, longest=1)
        with pytest.raises(TransportError, match="no complete response") as raised:
            sender.send("/api/Thing", accept="*/*")
        transport.close()
    assert raised.value.code == "TIMEOUT"
    assert len(heads) < 6


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    "head",
    [
        b"200 OK\r\nContent-Length: %(size)d\r\nContent-Length: 1",
        b"200 OK\r\nContent-Length: 1\r\nContent-Length: %(size)d",
        b"200 OK\r\nContent-Length: %(size)d, 1",
        b"200 OK\r\nContent-Length: +%(size)d",
        b"200 OK\r\nContent-Length: %(size)d\r\nTransfer-Encoding: chunked",
        b"200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: %(size)d",
        b"200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: %(size)d",
        b"200 OK\r\nTransfer-Encoding: gzip",
        b"200 OK\r\nTransfer-Encoding: chunked, identity",
        b"200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"101 Switching Protocols",
        b"101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket",
        b"101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\nHTTP/1.1 200 OK",
    ],
)
def test_a_response_whose_end_is_ambiguous_is_refused(head: bytes, compressed: bool) -> None:
    body = gzip.compress(b"[1, 2]") if compressed else b"[1, 2]"
    size = len(body)
    if b"chunked" in head:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    encoding = b"\r\nContent-Encoding: gzip" if compressed else b""
    if b"Connection" not in head:
        encoding += b"\r\nConnection: close"  # or the next request may go where nobody reads it
    sent = b"HTTP/1.1 " + head % {b"size": size} + encoding + b"\r\n\r\n" + body
    with raw_server(lambda head: VERSION_RESPONSE if VERSION.encode() in head else sent) as (url, heads):
        error = failure(client_at(url))
    assert isinstance(error, RequestError)
    assert error.code in ("CONNECTION_ERROR", "INVALID_RESPONSE")
    assert sum(b"/api/Thing" in head for head in heads) == 6, "such a response may come from a broken proxy"


def test_a_gzip_bomb_is_abandoned_before_it_fills_the_memory(server: Any) -> None:
    app, url = server(faults=Faults(rate=1, kinds=["bomb"]))
    tracemalloc.start()
    try:
        with client_at(url, max_requests=1) as ask, pytest.raises((RequestError, RequestBudgetSpent)):
            ask.get("App/Version", decode=decode)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert app.total == 1
    assert peak < 600e6


BOMB = """
import resource
from wats_extract.errors import WatsExtractError
from wats_extract.http.client import Client, Connection

with Client(Connection({url!r}, {token!r}, max_requests=1, largest_response=20_000_000)) as client:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        client.get("App/Version", decode=len)
    except WatsExtractError as error:
        print(type(error).__name__)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is measured in the kB of Linux")
def test_a_gzip_bomb_fills_no_memory_outside_of_python_either(server: Any) -> None:
    _, url = server(faults=Faults(rate=1, kinds=["bomb"]))
    error, megabytes = python(BOMB.format(url=url, token=TOKEN)).stdout.split()
    assert error == "RequestError"
    assert int(megabytes) < 100


# ── redirects and secrets ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_redirect_to_another_server_drops_the_token(status: int, elsewhere: bool) -> None:
    location: list[str] = []

    def answer(head: bytes) -> bytes:
        if b"/there" in head.split(b"\r\n")[0]:
            return ONE
        return f"HTTP/1.1 {status} Moved\r\nLocation: {location[0]}\r\nContent-Length: 0\r\n\r\n".encode()

    with raw_server(answer) as (here, heads), raw_server(answer) as (other, other_heads):
        location.append(f"{other if elsewhere else here}/there")
        with client_at(here) as ask:
            assert ask.get("Thing", decode=decode) == 1
    arrived = other_heads[0] if elsewhere else heads[1]
    assert (f"basic {TOKEN}".lower().encode() in arrived.lower()) is not elsewhere


def test_the_token_is_not_sent_to_another_name_of_the_same_machine(server: Any) -> None:
    """``localhost`` is another host than ``127.0.0.1``; a different server may listen there."""
    app, url = server()
    location = f"http://localhost:{url.rpartition(':')[2]}{VERSION}"

    def answer(head: bytes) -> bytes:
        return f"HTTP/1.1 302 Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()

    with raw_server(answer) as (here, _):
        error = failure(client_at(here))
    assert isinstance(error, RequestError)
    assert "which responds with HTTP 401" in error.message
    assert [request.status for request in app.requests] == [401]


def test_the_http_library_logs_no_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    logging.getLogger("pyreqwest").setLevel(1)
    with raw_server(lambda head: ONE) as (url, heads), client_at(url) as ask:
        ask.get("Thing", decode=decode)
    failure(client_at("http://127.0.0.1:1"))
    pyreqwest.logging.flush_logs()
    assert TOKEN in heads[0].decode()
    assert TOKEN not in caplog.text


# ── stopping ────────────────────────────────────────────────────────────────────────────────────


class stalling:  # noqa: N801 - a context manager
    """A server that sends the beginning of a response, and then nothing more."""

    def __init__(self, sent: bytes) -> None:
        self._sent = sent
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.reached = threading.Event()

    def __enter__(self) -> str:
        threading.Thread(target=self._serve, daemon=True).start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            each.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            with suppress(OSError):  # the client is already gone
                connection.recv(65536)
                connection.sendall(self._sent)
            self.reached.set()


STALLS = {"before the head": b"", "in the head": OK, "in the body": OK + b"Content-Length: 9\r\n\r\n[1,"}


@pytest.mark.parametrize("sent", STALLS.values(), ids=STALLS)
def test_closing_ends_requests_in_flight_within_a_fraction_of_a_second(sent: bytes) -> None:
    server = stalling(sent)
    with server as url, Client(Connection(url, TOKEN, timeout=60)) as ask:
        errors: list[BaseException] = []

        def work() -> None:
            try:
                ask.get("Thing", decode=decode)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert server.reached.wait(timeout=10)
        closed = time.monotonic()
        ask.close()
        for thread in threads:
            thread.join(timeout=10)
        assert time.monotonic() - closed < 1
    assert [type(error) for error in errors] == [Interrupted, Interrupted]


@pytest.mark.parametrize("sent", STALLS.values(), ids=STALLS)
def test_stopping_ends_a_request_of_the_main_thread_within_a_fraction_of_a_second(sent: bytes) -> None:
    server = stalling(sent)
    stopped: list[float] = []

    def stop() -> None:
        server.reached.wait(timeout=10)
        stopped.append(time.monotonic())
        part.stop()

    with server as url, Client(Connection(url, TOKEN, timeout=60)) as ask:
        part = ask.part()
        threading.Thread(target=stop, daemon=True).start()
        with pytest.raises(Interrupted):
            part.get("Thing", decode=decode)
        assert time.monotonic() - stopped[0] < 1


SIGNALLED = """
import os, signal, sys, threading, time
from wats_extract.http.client import Client, Connection

with Client(Connection({url!r}, {token!r}, timeout=60)) as client:
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    try:
        client.get("Thing", decode=len)
    except KeyboardInterrupt:
        print(time.monotonic() - began)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot send itself Ctrl-C there")
@pytest.mark.parametrize("sent", STALLS.values(), ids=STALLS)
def test_ctrl_c_in_a_script_interrupts_a_request_of_the_main_thread(sent: bytes) -> None:
    with stalling(sent) as url:
        done = python(SIGNALLED.format(url=url, token=TOKEN))
    assert (done.returncode, done.stderr) == (0, "")
    assert 0.4 < float(done.stdout) < 1.5


EXITING = """
import threading, time
from wats_extract.http.client import Client, Connection

client = Client(Connection({url!r}, {token!r}, timeout=60))
for _ in range(10):
    threading.Thread(target=lambda: client.get("Thing", decode=len), daemon=True).start()
while client.requests < {waiting}:
    time.sleep(0.01)
time.sleep(0.2)
{end}
"""


@pytest.mark.parametrize("sent", STALLS.values(), ids=STALLS)
@pytest.mark.parametrize("end", ["", "client.close()"], ids=["open", "closed"])
def test_the_interpreter_ends_cleanly_with_requests_in_flight(sent: bytes, end: str) -> None:
    with stalling(sent) as url:
        began = time.monotonic()
        done = python(EXITING.format(url=url, token=TOKEN, waiting=2, end=end))
    assert done.returncode == 0, done.stderr
    assert "panicked" not in done.stderr
    assert time.monotonic() - began < 20


# ── other processes ─────────────────────────────────────────────────────────────────────────────

FORKING = """
import multiprocessing, os, sys
from wats_extract.errors import ConfigurationError
from wats_extract.http.client import Client, Connection

CONNECTION = Connection({url!r}, {token!r}, requests_per_minute=None, timeout=20)
ROUTE = "App/Version"


def version(client=None):
    client = client or Client(CONNECTION)
    try:
        print("version", client.get(ROUTE, decode=lambda reply: reply.body.decode()))
    except ConfigurationError as error:
        print("refused", error.message, error.hint)
    client.close()


def in_fork(client=None):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            version(client)
            sys.stdout.flush()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def in_pool(method):
    sys.stdout.flush()
    process = multiprocessing.get_context(method).Process(target=version)
    process.start()
    process.join()
    assert process.exitcode == 0


if __name__ == "__main__":
    {script}
"""

FORKS = {
    "a process that only imported the package, as Airflow's": ("in_fork(); in_fork()", ["version"] * 2),
    "a client that was made and not used": (
        "client = Client(CONNECTION); in_fork(client); version(client)",
        ["version", "version"],
    ),
    "a used client": (
        "client = Client(CONNECTION); client.get(ROUTE, decode=str); in_fork(client); version(client)",
        ["refused", "version"],
    ),
    "a new client after another was used": (
        "version(); in_fork(); version()",
        ["version", "refused", "version"],
    ),
    "a new client after another was used, by multiprocessing": (
        "version(); in_pool('fork'); version()",
        ["version", "refused", "version"],
    ),
    "spawn after a client was used": ("version(); in_pool('spawn'); version()", ["version"] * 3),
    "forkserver after a client was used": ("version(); in_pool('forkserver'); version()", ["version"] * 3),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize(("script", "expected"), FORKS.values(), ids=FORKS)
def test_forks(server: Any, tmp_path: Path, script: str, expected: list[str]) -> None:
    _, url = server()
    file = tmp_path / "forking.py"
    file.write_text(FORKING.format(url=url, token=TOKEN, script=script), encoding="utf-8")
    began = time.monotonic()
    done = python(file)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == expected, done.stderr
    assert done.returncode == 0
    for line in lines:
        assert "2026.1" in line if line.startswith("version") else "spawn or forkserver" in line
    assert time.monotonic() - began < 20


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_importing_the_transport_starts_no_thread() -> None:
    script = "import os, wats_extract.http.transport; print(len(os.listdir('/proc/self/task')))"
    assert python(script).stdout.split() == ["1"]


def python(script: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a script in a new interpreter."""
    arguments = [str(script)] if isinstance(script, Path) else ["-c", script]
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, encoding="utf-8", timeout=60, check=False
    )
