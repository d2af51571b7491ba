"""The client: what the server gets to see, and what each way to fail is called."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import logging
import socket
import threading
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import TOKEN
from tests.readers.simulated import Time

from wats_extract import events
from wats_extract.errors import (
    Interrupted,
    RequestBudgetSpent,
    RequestError,
    ServerUnreachable,
    TokenRefused,
    Unreadable,
    WatsExtractError,
)
from wats_extract.fake.app import App
from wats_extract.fake.faults import Faults
from wats_extract.fake.plant.data import Plant
from wats_extract.flow import Reply
from wats_extract.http.client import Client, Connection, route_url, what_it_says
from wats_extract.http.retry import RetryPolicy

VERSION = "/api/App/Version"
SECRET = "c2VjcmV0+dG9r/ZW4="
Answer = Callable[[httpx2.Request], httpx2.Response]


def decode(reply: Reply) -> Any:
    try:
        return json.loads(reply.body)
    except ValueError as error:
        raise Unreadable(f"not JSON: {reply.body[:60]!r}") from error


def client(answer: Answer, *, time: Time | None = None, token: str = TOKEN, **options: Any) -> Client:
    """A client of a function, for which nobody waits."""
    time = time or Time()
    limits = {name: options.pop(name) for name in ("max_requests", "requests_per_minute") if name in options}
    connection = Connection("http://wats.test", token, **{"requests_per_minute": None, **limits})
    return Client(connection, transport=httpx2.MockTransport(answer), stopping=time, clock=time, **options)


def at(url: str, *, time: Time | None = None, **limits: Any) -> Client:
    """A client of a real address, for which nobody waits."""
    time = time or Time()
    options = {"token": TOKEN, "requests_per_minute": None, "timeout": 5.0, **limits}
    return Client(Connection(url, **options), stopping=time, clock=time)


def failure(ask: Client, route: str = "Thing") -> WatsExtractError:
    with ask, pytest.raises(WatsExtractError) as told:
        ask.get(route, decode=decode)
    return told.value


class Counting:
    """Answers by a function, and counts; the version is always answered."""

    def __init__(self, answer: Answer, *, lives: bool = True) -> None:
        self.answer, self.lives = answer, lives
        self.asked: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if self.lives and request.url.path == VERSION:
            return httpx2.Response(200, json="2026.1")
        self.asked.append(request)
        return self.answer(request)


# ── what the server gets to see ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("token", [TOKEN, SECRET, "a:b", "~!x"])
def test_the_token_goes_verbatim(token: str) -> None:
    server = Counting(lambda request: httpx2.Response(200, json=1))
    with client(server, token=token) as ask:
        ask.get("Thing", decode=decode)
    headers = server.asked[0].headers
    assert headers["authorization"] == f"Basic {token}"
    assert headers["accept"] == "application/json"


def test_no_token_no_header() -> None:
    server = Counting(lambda request: httpx2.Response(200, json=1))
    with client(server, token="") as ask:
        ask.get("Thing", decode=decode)
    assert "authorization" not in server.asked[0].headers


@given(
    st.dictionaries(st.sampled_from(["$filter", "$top", "name"]), st.text() | st.booleans() | st.integers())
)
def test_queries_arrive_as_they_were_meant(query: dict[str, Any]) -> None:
    query = {name: value for name, value in query.items() if _encodable(value)}
    server = Counting(lambda request: httpx2.Response(200, json=1))
    with client(server) as ask:
        ask.get("Thing", query=query, decode=decode)
    meant = {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in query.items()
    }
    assert dict(server.asked[0].url.params) == meant


def _encodable(value: Any) -> bool:
    return not isinstance(value, str) or not any(0xD800 <= ord(letter) < 0xE000 for letter in value)


@pytest.mark.parametrize("base", ["http://wats.test", "http://wats.test/", "http://wats.test/sub"])
def test_the_route_stands_below_the_address(base: str) -> None:
    server = Counting(lambda request: httpx2.Response(200, json=1))
    with Client(Connection(base), transport=httpx2.MockTransport(server)) as ask:
        ask.get("Report/Wsjf/a%2Fb", query={"x": "a b"}, decode=decode)
    assert str(server.asked[0].url) == f"{base.rstrip('/')}/api/Report/Wsjf/a%2Fb?x=a%20b"
    assert route_url("A", {"t": True, "n": 3}) == "/api/A?t=true&n=3"


def test_never_more_at_once_than_the_limit_and_not_less(server: Any) -> None:
    app, url = server(latency=0.01)
    with at(url, max_in_flight=4) as ask:
        threads = [
            threading.Thread(target=lambda: [ask.get("App/Version", decode=decode) for _ in range(5)])
            for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
    assert app.total == 60 == ask.requests
    assert app.high_water == 4
    assert ask.bytes == 60 * len(b'"2026.1.5.324"')


def test_answers_are_packed_and_counted_unpacked() -> None:
    body = json.dumps("x" * 5000).encode()
    headers = {"content-encoding": "gzip"}
    with client(lambda request: httpx2.Response(200, content=gzip.compress(body), headers=headers)) as ask:
        assert ask.get("Thing", decode=decode) == "x" * 5000
    assert ask.bytes == len(body)


# ── what each way to fail is called ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "code", "tries", "exit_code"),
    [
        (204, "NOT_FOUND", 1, 2),
        (400, "API_ERROR", 1, 2),
        (401, "UNAUTHORIZED", 1, 2),
        (403, "FORBIDDEN", 1, 2),
        (404, "NOT_FOUND", 1, 2),
        (408, "TIMEOUT", 6, 5),
        (409, "API_ERROR", 1, 5),
        (410, "NOT_FOUND", 1, 2),
        (500, "API_ERROR", 6, 5),
        (501, "API_ERROR", 1, 5),
        (502, "API_ERROR", 6, 5),
        (503, "API_ERROR", 6, 5),
        (504, "TIMEOUT", 6, 5),
    ],
)
def test_statuses(status: int, code: str, tries: int, exit_code: int) -> None:
    server = Counting(
        lambda request: httpx2.Response(status, json={"Message": "So it is."} if status > 204 else None)
    )
    error = failure(client(server))
    assert isinstance(error, RequestError)
    assert not isinstance(error, ServerUnreachable)
    assert isinstance(error, TokenRefused) is (status == 401)
    assert (error.code, error.http_status, error.url) == (code, status, "/api/Thing")
    assert len(server.asked) == error.attempts == tries
    assert error.exit_code == exit_code
    assert f"HTTP {status}" in error.message
    assert error.hint
    if status > 204:
        assert error.message.endswith("So it is.")
        assert error.payload == '{"Message":"So it is."}'


@pytest.mark.parametrize("asked", ["3", None, "Mon, 04 May 2020 12:00:00 GMT", "999999", "0"])
def test_429_is_waited_out(asked: str | None) -> None:
    left = [3]
    time = Time()

    def answer(request: httpx2.Request) -> httpx2.Response:
        left[0] -= 1
        headers = {"retry-after": asked} if asked else {}
        return httpx2.Response(429, headers=headers) if left[0] >= 0 else httpx2.Response(200, json=5)

    with client(answer, time=time) as ask:
        assert ask.get("Thing", decode=decode) == 5
    assert 3 <= time.now <= 3 * 60 + 1
    assert max(time.waits) <= 60
    if asked == "3":
        assert time.now == 9


def test_429_for_ever_is_named_and_bounded() -> None:
    time = Time()
    server = Counting(lambda request: httpx2.Response(429, headers={"retry-after": "0"}))
    error = failure(client(server, time=time))
    assert isinstance(error, RequestError)
    assert (error.code, error.http_status) == ("RATE_LIMITED", 429)
    assert time.now < 2500


def test_a_pause_that_one_request_is_told_holds_for_all() -> None:
    time = Time()
    told = [httpx2.Response(429, headers={"retry-after": "30"})]
    seen: list[tuple[str, float]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append((request.url.path, time.now))
        return told.pop() if told else httpx2.Response(200, json=1)

    class Impatient(Exception):
        pass

    with client(answer, time=time) as ask:
        with pytest.raises(Impatient):
            ask.get("First", decode=_raise(Impatient()))
        told.append(httpx2.Response(429, headers={"retry-after": "30"}))
        other = threading.Thread(target=lambda: ask.get("Second", decode=decode))
        other.start()
        other.join(timeout=10)
    assert seen == [("/api/First", 0.0), ("/api/First", 30.0), ("/api/Second", 30.0), ("/api/Second", 60.0)]


def _raise(error: Exception) -> Callable[[Reply], Any]:
    def raising(reply: Reply) -> Any:
        raise error

    return raising


HTML = "<!DOCTYPE html><html><head><title>Please sign in</title></head></html>"


@pytest.mark.parametrize(
    "broken",
    [
        httpx2.Response(200, html=HTML),
        httpx2.Response(200, content=b""),
        httpx2.Response(200, content=b'[{"uuid": "a'),
        httpx2.Response(200, content=b"\xff\xfe\x00"),
    ],
    ids=["HTML", "empty", "cut off", "no text"],
)
@pytest.mark.parametrize("times", [1, 5, 6])
def test_unreadable_answers_are_asked_for_again_and_then_named(broken: httpx2.Response, times: int) -> None:
    left = [times]

    def answer(request: httpx2.Request) -> httpx2.Response:
        left[0] -= 1
        if left[0] < 0:
            return httpx2.Response(200, json=7)
        return httpx2.Response(200, content=broken.content, headers=broken.headers)

    server = Counting(answer)
    if times < 6:
        with client(server) as ask:
            assert ask.get("Thing", decode=decode) == 7
    else:
        error = failure(client(server))
        assert isinstance(error, RequestError)
        assert (error.code, error.http_status, error.attempts) == ("INVALID_RESPONSE", 200, 6)
        assert error.payload == broken.content.decode("utf-8", "replace").replace("\0", "\\x00")
    assert len(server.asked) == min(times + 1, 6)


OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("sent", "code", "answers"),
    [
        (OK + b"Content-Length: 50\r\n\r\n[1, 2", "CONNECTION_ERROR", False),
        (OK + b"Content-Length: 3\r\n\r\n[1, 2]", "INVALID_RESPONSE", True),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 6\r\n\r\nno zip", "INVALID_RESPONSE", False),
        (OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"[1, 2]")[:15], "INVALID_RESPONSE", False),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n6\r\n[1, 2]\r\n", "CONNECTION_ERROR", False),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "CONNECTION_ERROR", False),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "CONNECTION_ERROR", False),
        (b"", "CONNECTION_ERROR", False),
    ],
    ids=["short", "long", "no gzip", "half a gzip", "half in chunks", "no chunk", "no HTTP", "dropped"],
)
@pytest.mark.parametrize("lives", [True, False])
def test_broken_transfers(sent: bytes, code: str, answers: bool, lives: bool) -> None:
    def answer(head: bytes) -> bytes:
        return VERSION_ANSWER if lives and VERSION.encode() in head else sent

    with raw_server(answer) as (url, heads):
        error = failure(at(url))
    assert isinstance(error, RequestError)
    assert isinstance(error, ServerUnreachable) is not (lives or answers)
    assert error.code == code
    assert error.attempts == sum(b"/api/Thing" in head for head in heads) == 6


VERSION_ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\n"2026.1"'


@contextmanager
def raw_server(answer: Callable[[bytes], bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """A port that answers each connection with bytes and closes it."""
    heads: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
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


def test_a_server_that_says_nothing_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        error = failure(at(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout=0.05))
    assert isinstance(error, ServerUnreachable)
    assert error.code == "TIMEOUT"
    assert "0.05 s" in error.message


def foreign_errors() -> list[type[Exception]]:
    """Every exception of the HTTP library, found by walking its tree."""
    found: list[type[Exception]] = []
    waiting: list[type[Exception]] = [Exception]
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        if kind.__module__.partition(".")[0] == "httpx2" and not issubclass(kind, Warning):
            found.append(kind)
    return sorted(set(found), key=lambda kind: kind.__name__)


_CODES = {
    **dict.fromkeys(
        ["TimeoutException", "ConnectTimeout", "ReadTimeout", "WriteTimeout", "PoolTimeout"], "TIMEOUT"
    ),
    "DecodingError": "INVALID_RESPONSE",
    **dict.fromkeys(
        [
            "InvalidURL",
            "CookieConflict",
            "StreamError",
            "StreamConsumed",
            "StreamClosed",
            "ResponseNotRead",
            "RequestNotRead",
        ],
        "UNKNOWN_ERROR",
    ),
}


@pytest.mark.parametrize("kind", foreign_errors(), ids=lambda kind: kind.__name__)
def test_every_foreign_error_is_translated(kind: type[Exception]) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        error = kind.__new__(kind)
        Exception.__init__(error, f"it holds {TOKEN}")
        raise error

    server = Counting(answer)
    error = failure(client(server))
    assert isinstance(error, RequestError)
    assert error.code == _CODES.get(kind.__name__, "CONNECTION_ERROR")
    assert len(server.asked) == (1 if error.code == "UNKNOWN_ERROR" else 6)
    assert TOKEN not in str(error)
    assert error.hint


def test_the_tree_of_foreign_errors_was_really_walked() -> None:
    assert {kind.__name__ for kind in foreign_errors()} >= {
        *_CODES,
        "ConnectError",
        "ReadError",
        "TooManyRedirects",
    }


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://nobody.invalid", f"http://{'a' * 70}.test", "http://a..b"]
)
def test_nobody_there(url: str) -> None:
    time = Time()
    error = failure(at(url, time=time))
    assert isinstance(error, RequestError)
    assert error.code in ("CONNECTION_ERROR", "UNKNOWN_ERROR")
    assert error.exit_code == 5
    assert time.now < 60


def test_a_url_that_no_library_sends_is_an_error_at_once() -> None:
    server = Counting(lambda request: httpx2.Response(200, json=1))
    with client(server) as ask, pytest.raises(RequestError) as told:
        ask.get("Thing", query={"$filter": "x" * 70_000}, decode=decode)
    assert told.value.code == "UNKNOWN_ERROR"
    assert server.asked == []


# ── limits of time and size ─────────────────────────────────────────────────────────────────────


def test_a_drip_ends_with_its_limit_also_where_no_byte_is_late(server: Any) -> None:
    app, url = server(faults=Faults(rate=1, kinds=["drip"]))
    ask = Client(Connection(url, TOKEN, timeout=0.5), stopping=Time(), policy=RetryPolicy(attempts=1))
    begun = monotonic()
    error = failure(ask, "Report/Query/Header")
    assert type(error) is RequestError
    assert error.code == "TIMEOUT"
    assert "no whole answer within 2.5 s" in error.message
    assert app.total == 2, "the list, and the version, whose few drops come through"
    assert monotonic() - begun < 10


def test_a_large_answer_may_take_longer() -> None:
    time = Time()

    class Slow(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b'"'
            for _ in range(20):
                time.now += 60
                yield b"x" * 2**20
            yield b'"'

    with client(lambda request: httpx2.Response(200, stream=Slow()), time=time) as ask:
        assert len(ask.get("Thing", decode=decode)) == 20 * 2**20
    assert time.now == 1200


@pytest.mark.parametrize("packed", [True, False])
def test_no_more_than_the_largest_answer_is_taken_in(packed: bool) -> None:
    given: list[int] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        body = b"[" + b" " * 5_000_000 + b"]"
        if packed:
            return httpx2.Response(
                200, stream=Counted(gzip.compress(body)), headers={"content-encoding": "gzip"}
            )
        return httpx2.Response(200, stream=Counted(body))

    class Counted(httpx2.SyncByteStream):
        def __init__(self, body: bytes) -> None:
            self.body = body

        def __iter__(self) -> Iterator[bytes]:
            for place in range(0, len(self.body), 1000):
                given.append(place)
                yield self.body[place : place + 1000]

    connection = Connection("http://wats.test", TOKEN, largest_answer=2_000_000)
    server = Counting(answer)
    ask = Client(connection, transport=httpx2.MockTransport(server), stopping=Time())
    error = failure(ask)
    assert isinstance(error, RequestError)
    assert (error.code, error.http_status, error.attempts) == ("INVALID_RESPONSE", 200, 6)
    assert "more than 2 MB when inflated" in error.message
    assert max(given) < (5_000 if packed else 2_100_000)


def test_a_bomb_is_left_before_it_fills_the_memory(server: Any) -> None:
    app, url = server(faults=Faults(rate=1, kinds=["bomb"]))
    tracemalloc.start()
    try:
        with at(url, max_requests=1) as ask, pytest.raises((RequestError, RequestBudgetSpent)):
            ask.get("App/Version", decode=decode)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert app.total == 1
    assert peak < 600e6


def test_documents_of_a_hundred_megabytes_come_through() -> None:
    body = b'"' + b"x" * 100_000_000 + b'"'
    headers = {"content-encoding": "gzip"}
    packed = gzip.compress(body, 1)
    with client(lambda request: httpx2.Response(200, content=packed, headers=headers)) as ask:
        assert ask.get("Thing", decode=lambda reply: len(reply.body)) == len(body)


def test_half_an_answer_on_a_connection_that_stays_open_spoils_no_later_one(server: Any) -> None:
    app, url = server(faults=Faults(rate=0.2, kinds=["cut"], seed=3), gzip=False)
    with at(url, max_in_flight=1) as ask:
        for uuid in app.plant.uuids():
            assert ask.get(f"Report/Wsjf/{uuid}", decode=decode) == app.plant.document(uuid)


def test_a_request_without_an_answer_is_told_of_while_somebody_waits() -> None:
    told: list[events.Event] = []
    time = Time()

    def answer(request: httpx2.Request) -> httpx2.Response:
        for seconds in (5, 12, 13, 125, 130, 700):
            time.now = seconds
            ask.check()
        return httpx2.Response(200, json=1)

    with client(answer, time=time, listen=told.append) as ask:
        ask.get("Thing", query={"$top": 3}, decode=decode)
        ask.check()
    reason = "no answer yet to /api/Thing"
    assert told == [
        events.Waiting(reason, 108.0),
        events.Waiting(reason, 475.0),
        events.Waiting(reason, 0),
    ]


# ── whether the server is there at all ──────────────────────────────────────────────────────────

DEAD: dict[str, Answer] = {
    "500": lambda request: httpx2.Response(500),
    "a proxy's page": lambda request: httpx2.Response(200, html=HTML),
    "dropped": lambda request: (_ for _ in ()).throw(httpx2.ReadError("dropped")),
    "timeout": lambda request: (_ for _ in ()).throw(httpx2.ReadTimeout("timeout")),
}


@pytest.mark.parametrize("dead", DEAD.values(), ids=DEAD)
def test_where_nothing_is_answered_the_server_is_out_of_reach_after_bounded_patience(dead: Answer) -> None:
    time = Time()
    server = Counting(dead, lives=False)
    error = failure(client(server, time=time))
    assert isinstance(error, ServerUnreachable)
    assert error.exit_code == 5
    assert error.message.startswith("wats.test is out of reach: ")
    assert 6 < len(server.asked) <= 10
    assert 5 < time.now < 60


@pytest.mark.parametrize("dead", DEAD.values(), ids=DEAD)
@pytest.mark.parametrize("version", [200, 404, 403, 401])
def test_a_single_broken_report_is_not_the_server(dead: Answer, version: int) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(version, json="2026.1") if request.url.path == VERSION else dead(request)

    error = failure(client(Counting(answer, lives=False)))
    assert type(error) is RequestError
    assert error.attempts == 6


@pytest.mark.parametrize("dead", DEAD.values(), ids=DEAD)
def test_a_probe_that_fails_by_chance_proves_nothing(dead: Answer) -> None:
    unlucky = [2]

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path != VERSION:
            return dead(request)
        unlucky[0] -= 1
        return httpx2.Response(503) if unlucky[0] >= 0 else httpx2.Response(200, json="2026.1")

    assert type(failure(client(Counting(answer, lives=False)))) is RequestError


@pytest.mark.parametrize("other", [200, 404])
def test_no_probe_where_something_else_was_answered_meanwhile(other: int) -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        return httpx2.Response(500 if request.url.path == "/api/Broken" else other, json=1)

    class Busy(Time):
        """While one request waits, another is answered."""

        def wait(self, timeout: float | None = None) -> bool:
            super().wait(timeout)
            with suppress(RequestError):
                ask.get("Other", decode=decode)
            return self.is_set()

    ask = client(answer, time=Busy())
    with ask, pytest.raises(RequestError) as told:
        ask.get("Broken", decode=decode)
    assert type(told.value) is RequestError
    assert VERSION not in asked


def test_401_is_told_at_once(server: Any) -> None:
    app, url = server()
    error = failure(at(url, token="wrong"), "App/Version")
    assert isinstance(error, TokenRefused)
    assert (app.total, error.exit_code) == (1, 2)
    assert "WATS_TOKEN" in error.hint


# ── stopping ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limit", [0, 1, 7])
def test_max_requests_counts_every_try(limit: int) -> None:
    server = Counting(lambda request: httpx2.Response(200 if len(server.asked) % 2 == 0 else 503, json=1))
    with client(server, max_requests=limit) as ask:
        endless = (ask.get("Thing", decode=decode) for _ in itertools.repeat(0))
        with pytest.raises(RequestBudgetSpent, match=f"max_requests \\({limit}\\)"):
            list(endless)
        assert len(server.asked) == ask.requests == limit


def test_max_requests_is_no_sign_of_a_dead_server() -> None:
    server = Counting(lambda request: httpx2.Response(500), lives=False)
    error = failure(client(server, max_requests=6))
    assert type(error) is RequestError
    assert len(server.asked) == 6


def test_max_requests_holds_for_all_threads_together(server: Any) -> None:
    app, url = server()
    spent: list[bool] = []

    def work() -> None:
        try:
            while True:
                ask.get("App/Version", decode=decode)
        except RequestBudgetSpent:
            spent.append(True)

    with at(url, max_requests=50) as ask:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
    assert app.total == 50
    assert spent == [True] * 8


def test_a_client_that_was_told_to_stop_asks_nothing() -> None:
    server = Counting(lambda request: httpx2.Response(200, json=1))
    time = Time()
    with client(server, time=time) as ask:
        time.set()
        with pytest.raises(Interrupted):
            ask.get("Thing", decode=decode)
        with pytest.raises(Interrupted):
            ask.check()
    assert server.asked == []


def test_a_wait_is_interrupted() -> None:
    class Stopping(Time):
        def wait(self, timeout: float | None = None) -> bool:
            self.set()
            return super().wait(timeout)

    server = Counting(lambda request: httpx2.Response(503))
    assert isinstance(failure(client(server, time=Stopping())), Interrupted)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "broken", [httpx2.ReadError("[Errno 9] Bad file descriptor"), RuntimeError("the client has been closed")]
)
def test_closing_ends_what_is_under_way_as_an_interrupt(broken: Exception) -> None:
    reached, closed = threading.Event(), threading.Event()

    def answer(request: httpx2.Request) -> httpx2.Response:
        reached.set()
        closed.wait(timeout=10)
        raise broken

    ask = client(answer)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            ask.get("Thing", decode=decode)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert reached.wait(timeout=10)
    ask.close()
    closed.set()
    thread.join(timeout=10)
    assert [type(error) for error in errors] == [Interrupted]
    assert isinstance(failure(ask), Interrupted)


# ── the token shows nowhere ─────────────────────────────────────────────────────────────────────

ECHOES: dict[str, Callable[[str], httpx2.Response]] = {
    "as it is": lambda token: httpx2.Response(500, text=f"you sent Basic {token}"),
    "message": lambda token: httpx2.Response(403, json={"Message": f"bad token {token}"}),
    "at the cut": lambda token: httpx2.Response(500, text="x" * (2000 - 8) + token),
    "at the message's cut": lambda token: httpx2.Response(400, json={"message": "y" * 290 + token}),
    "after wide letters": lambda token: httpx2.Response(500, text="\N{SLICE OF PIZZA}" * 1990 + token),
    "HTML": lambda token: httpx2.Response(500, html=f"<title>{token.replace('+', '&#43;')}</title>"),
    "JSON escapes": lambda token: httpx2.Response(
        400, text='{"Message":"' + token.replace("+", "\\u002B").replace("/", "\\/") + '"}'
    ),
    "URL": lambda token: httpx2.Response(404, text=quote(token, safe="")),
    "unreadable": lambda token: httpx2.Response(200, text=f"{token} is no JSON"),
    "unreadable page": lambda token: httpx2.Response(200, html=f"<p>{token}"),
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
def test_the_token_shows_nowhere(
    echo: Callable[[str], httpx2.Response], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[events.Event] = []
    ask = client(
        Counting(lambda request: echo(request.headers["authorization"][6:])), token=SECRET, listen=told.append
    )
    error = failure(ask)
    assert isinstance(error, RequestError)
    shown = [repr(ask), repr(ask.connection), str(error), repr(error), error.payload, error.url, error.hint]
    shown += [*traceback.format_exception(error), caplog.text, repr(told), repr(vars(error))]
    for text in shown:
        for spelling in (SECRET, quote(SECRET, safe=""), SECRET[:8], base64.b64decode(SECRET[:8]).decode()):
            assert spelling not in text


def test_an_excerpt_is_as_long_as_it_may_be() -> None:
    with client(lambda request: httpx2.Response(200), token=SECRET) as ask:
        assert ask.excerpt(b"x" * 5000) == "x" * 2000
        assert ask.excerpt("\N{SLICE OF PIZZA}".encode() * 3000) == "\N{SLICE OF PIZZA}" * 2000
        assert ask.mask("nothing secret") == "nothing secret"
        assert ask.mask(f"<{SECRET}{SECRET}>") == "<******>"
    with client(lambda request: httpx2.Response(200), token="") as ask:
        assert ask.mask("anything") == "anything"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_redirect_to_another_host_loses_the_token(server: Any, status: int, elsewhere: bool) -> None:
    location: list[str] = []

    def answer(head: bytes) -> bytes:
        if b"/there" in head.split(b"\r\n")[0]:
            return b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n1"
        return f"HTTP/1.1 {status} Moved\r\nLocation: {location[0]}\r\nContent-Length: 0\r\n\r\n".encode()

    with raw_server(answer) as (here, heads), raw_server(answer) as (other, other_heads):
        location.append(f"{other if elsewhere else here}/there")
        with at(here) as ask:
            assert ask.get("Thing", decode=decode) == 1
    arrived = other_heads[0] if elsewhere else heads[1]
    assert (f"basic {TOKEN}".lower().encode() in arrived.lower()) is not elsewhere


def test_a_redirect_without_end_is_an_error_at_once() -> None:
    server = Counting(lambda request: httpx2.Response(302, headers={"location": str(request.url)}))
    error = failure(client(server))
    assert isinstance(error, RequestError)
    assert (error.code, error.http_status, error.attempts) == ("API_ERROR", 302, 1)
    assert "redirects without end, at last to http://wats.test" in error.message
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    ("base", "location", "followed"),
    [
        ("https://wats.test", "/api/Other", True),
        ("https://wats.test", "https://other.test/", True),
        ("https://wats.test", "http://wats.test/api/Thing", False),
        ("https://wats.test", "http://other.test/", False),
        ("https://wats.test", "http://127.0.0.1/", False),
        ("http://127.0.0.1", "http://localhost:81/", True),
        ("http://127.0.0.1", "http://plant.local/", False),
        ("http://plant.local", "http://plant.local:8080/", True),
        ("http://plant.local", "http://other.local/", False),
        ("http://plant.local", "https://plant.local/", True),
        ("https://wats.test", "ftp://wats.test/", False),
    ],
)
def test_no_redirect_to_plain_http_is_followed(base: str, location: str, followed: bool) -> None:
    asked: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(302, headers={"location": location}) if len(asked) == 1 else OK_ANSWER()

    with Client(Connection(base, TOKEN), transport=httpx2.MockTransport(answer)) as ask:
        if followed:
            assert ask.get("Thing", decode=decode) == 1
        else:
            with pytest.raises(RequestError, match="without encryption; that is not followed") as told:
                ask.get("Thing", decode=decode)
            assert told.value.exit_code == 5
            assert "source.url" in told.value.hint
    assert len(asked) == 1 + followed
    for request in asked[1:]:
        token_kept = "authorization" in request.headers
        assert token_kept is (request.url.host == asked[0].url.host and not request.url.port)


def OK_ANSWER() -> httpx2.Response:  # noqa: N802
    return httpx2.Response(200, json=1)


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("elsewhere", [True, False])
def test_what_is_posted_goes_to_no_other_host(status: int, elsewhere: bool) -> None:
    asked: list[httpx2.Request] = []
    location = "https://other.test/there" if elsewhere else "/there"

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(status, headers={"location": location}) if len(asked) == 1 else OK_ANSWER()

    with Client(Connection("https://wats.test", TOKEN), transport=httpx2.MockTransport(answer)) as ask:
        if elsewhere:
            with pytest.raises(RequestError, match="goes to no other host"):
                ask.get("Thing", body={"partNumber": "A"}, decode=decode)
        else:
            assert ask.get("Thing", body={"partNumber": "A"}, decode=decode) == 1
            assert asked[1].content == asked[0].content == b'{"partNumber":"A"}'
    assert len(asked) == (1 if elsewhere else 2)


@pytest.mark.parametrize("status", [401, 403])
def test_a_sign_in_page_elsewhere_says_nothing_of_the_token(status: int) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.host == "sign-in.test":
            return httpx2.Response(status)
        return httpx2.Response(302, headers={"location": "https://sign-in.test/"})

    error = failure(client(answer))
    assert type(error) is RequestError
    assert f"redirects to https://sign-in.test, which answers HTTP {status}" in error.message
    assert (error.code, error.http_status, error.exit_code) == ("API_ERROR", status, 5)


def test_the_token_is_not_sent_to_another_host_by_its_name(server: Any) -> None:
    """``localhost`` is another host than ``127.0.0.1``, with another server or with the same."""
    app, url = server()
    port = url.rpartition(":")[2]
    location = f"http://localhost:{port}/api/App/Version"

    def answer(head: bytes) -> bytes:
        return f"HTTP/1.1 302 Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()

    with raw_server(answer) as (here, _):
        error = failure(at(here))
    assert isinstance(error, RequestError)
    assert "which answers HTTP 401" in error.message
    assert [asked.status for asked in app.requests] == [401]


# ── what the server says ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"Message":"No such report."}', "No such report."),
        ('{"message": "a \\"b\\" c"}', 'a "b" c'),
        ('{"Message":"\\u00fcber"}', "über"),
        ('{"title":"Bad","detail":"x","errors":{"a":["b"]}}', "Bad"),
        ('{"error":"invalid_token"}', "invalid_token"),
        ('"a bare string"', "a bare string"),
        ("root -> step X -> : rule", "root -> step X -> : rule"),
        (HTML, "Please sign in"),
        ("<html><body>nothing", "an HTML page"),
        ("<html><title>\n 502 \n</title>", "502"),
        ('{"Message":"bad \\x escape"}', "bad \\x escape"),
        ("", ""),
        ("z" * 1000, "z" * 300),
    ],
)
def test_what_an_error_body_says(body: str, said: str) -> None:
    assert what_it_says(body) == said


def test_waits_are_told_to_the_listener() -> None:
    told: list[events.Event] = []
    answers = [httpx2.Response(200, json=1), httpx2.Response(429, headers={"retry-after": "9"})]
    with client(lambda request: answers.pop(), listen=told.append) as ask:
        ask.get("Thing", decode=decode)
    assert told == [events.Waiting("HTTP 429", 9.0)]


def test_the_embedded_server_under_fire_gives_every_answer(server: Any) -> None:
    kinds = (
        "429",
        "429-date",
        "429-none",
        "500",
        "502",
        "503",
        "504",
        "html",
        "empty",
        "truncated",
        "short",
        "drop",
    )
    app: App
    app, url = server(Plant(40), faults=Faults(rate=0.3, kinds=kinds, retry_after=1, seed=4))
    with at(url) as ask:
        for uuid in app.plant.uuids():
            document = ask.get(f"Report/Wsjf/{uuid}", decode=decode)
            assert document == app.plant.document(uuid)
