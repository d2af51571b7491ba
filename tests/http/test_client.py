"""The client: what it sends, which errors it raises, and how it stops. The network is mostly a function."""

from __future__ import annotations

import base64
import gc
import itertools
import logging
import threading
import traceback
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import TOKEN
from tests.http.clients import client, client_at, decode, failure, raw_server
from tests.http.fakes import VERSION, Recording, path, query, respond
from tests.readers.simulated import Time

from wats_extract import events
from wats_extract.errors import (
    Interrupted,
    RequestBudgetSpent,
    RequestError,
    ServerUnreachable,
    TokenRefused,
)
from wats_extract.fake.app import App
from wats_extract.fake.faults import Faults
from wats_extract.fake.plant.data import Plant
from wats_extract.flow import Reply
from wats_extract.http.client import Client, Connection, route_url
from wats_extract.http.transport import Request, Response, Transport, TransportError

SECRET = "c2VjcmV0+dG9r/ZW4="

# ── requests ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("token", [TOKEN, SECRET, "a:b", "~!x"])
def test_the_token_is_sent_verbatim(token: str) -> None:
    server = Recording(lambda request: respond(json=1))
    with client(server, token=token) as ask:
        ask.get("Thing", decode=decode)
    assert server.requests[0].authorization == f"Basic {token}"
    assert server.requests[0].headers == {"Accept": "application/json"}


def test_without_a_token_no_authorization_header_is_sent() -> None:
    server = Recording(lambda request: respond(json=1))
    with client(server, token="") as ask:
        ask.get("Thing", decode=decode)
    assert server.requests[0].authorization == ""


@given(
    st.dictionaries(st.sampled_from(["$filter", "$top", "name"]), st.text() | st.booleans() | st.integers())
)
def test_query_parameters_arrive_unchanged(given: dict[str, Any]) -> None:
    given = {name: value for name, value in given.items() if _encodable(value)}
    server = Recording(lambda request: respond(json=1))
    with client(server) as ask:
        ask.get("Thing", query=given, decode=decode)
    assert query(server.requests[0]) == {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()
    }


def _encodable(value: Any) -> bool:
    return not isinstance(value, str) or not any(0xD800 <= ord(letter) < 0xE000 for letter in value)


@pytest.mark.parametrize("base", ["http://wats.test", "http://wats.test/", "http://wats.test/sub"])
def test_routes_are_appended_to_the_server_address(base: str) -> None:
    server = Recording(lambda request: respond(json=1))
    with Client(Connection(base), transport=server) as ask:
        ask.get("Report/Wsjf/a%2Fb", query={"x": "a b"}, decode=decode)
    assert server.requests[0].url == f"{base.rstrip('/')}/api/Report/Wsjf/a%2Fb?x=a%20b"
    assert route_url("A", {"t": True, "n": 3}) == "/api/A?t=true&n=3"


def test_concurrency_reaches_the_limit_and_never_exceeds_it(server: Any) -> None:
    app, url = server(latency=0.01)
    with client_at(url, max_in_flight=4) as ask:
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


# ── error codes ─────────────────────────────────────────────────────────────────────────────────


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
    server = Recording(
        lambda request: respond(status, json={"Message": "So it is."} if status > 204 else None)
    )
    error = failure(client(server))
    assert isinstance(error, RequestError)
    assert not isinstance(error, ServerUnreachable)
    assert isinstance(error, TokenRefused) is (status == 401)
    assert (error.code, error.http_status, error.url) == (code, status, "/api/Thing")
    assert len(server.requests) == error.attempts == tries
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

    def answer(request: Request) -> Response:
        left[0] -= 1
        headers = {"retry-after": asked} if asked else {}
        return respond(429, headers=headers) if left[0] >= 0 else respond(json=5)

    with client(answer, time=time) as ask:
        assert ask.get("Thing", decode=decode) == 5
    assert 3 <= time.now <= 3 * 60 + 1
    assert max(time.waits) <= 60
    if asked == "3":
        assert time.now == 9


def test_endless_429_ends_with_rate_limited_after_a_bounded_time() -> None:
    time = Time()
    server = Recording(lambda request: respond(429, headers={"retry-after": "0"}))
    error = failure(client(server, time=time))
    assert isinstance(error, RequestError)
    assert (error.code, error.http_status) == ("RATE_LIMITED", 429)
    assert time.now < 2500


def test_retry_after_pauses_all_requests() -> None:
    time = Time()
    refusals = [respond(429, headers={"retry-after": "30"})]
    seen: list[tuple[str, float]] = []

    def answer(request: Request) -> Response:
        seen.append((path(request), time.now))
        return refusals.pop() if refusals else respond(json=1)

    class Final(Exception):
        pass

    with client(answer, time=time) as ask:
        with pytest.raises(Final):
            ask.get("First", decode=_raising(Final()))
        refusals.append(respond(429, headers={"retry-after": "30"}))
        other = threading.Thread(target=lambda: ask.get("Second", decode=decode))
        other.start()
        other.join(timeout=10)
    assert seen == [("/api/First", 0.0), ("/api/First", 30.0), ("/api/Second", 30.0), ("/api/Second", 60.0)]


def _raising(error: Exception) -> Callable[[Reply], Any]:
    def decoder(reply: Reply) -> Any:
        raise error

    return decoder


PAGE = "<!DOCTYPE html><html><head><title>Please sign in</title></head></html>"


@pytest.mark.parametrize(
    "content", [PAGE.encode(), b"", b'[{"uuid": "a', b"\xff\xfe\x00"], ids=["HTML", "empty", "cut", "binary"]
)
@pytest.mark.parametrize("times", [1, 5, 6])
def test_unreadable_responses_are_retried_and_then_reported(content: bytes, times: int) -> None:
    left = [times]

    def answer(request: Request) -> Response:
        left[0] -= 1
        return respond(json=7) if left[0] < 0 else respond(content=content)

    server = Recording(answer)
    if times < 6:
        with client(server) as ask:
            assert ask.get("Thing", decode=decode) == 7
    else:
        error = failure(client(server))
        assert isinstance(error, RequestError)
        assert (error.code, error.http_status, error.attempts) == ("INVALID_RESPONSE", 200, 6)
        assert error.payload == content.decode("utf-8", "replace").replace("\0", "\\x00")
    assert len(server.requests) == min(times + 1, 6)


def test_slow_requests_are_announced_until_they_end() -> None:
    announced: list[events.Event] = []
    time = Time()

    def answer(request: Request) -> Response:
        for seconds in (5, 12, 13, 125, 130, 700):
            time.now = seconds
            ask.check()
        return respond(json=1)

    with client(answer, time=time, listen=announced.append) as ask:
        ask.get("Thing", query={"$top": 3}, decode=decode)
        ask.check()
    reason = "no response yet from /api/Thing"
    assert announced == [
        events.Waiting(reason, 108.0),
        events.Waiting(reason, 475.0),
        events.Waiting(reason, 0),
    ]


def test_waits_between_attempts_are_announced() -> None:
    announced: list[events.Event] = []
    answers = [respond(json=1), respond(429, headers={"retry-after": "9"})]
    with client(lambda request: answers.pop(), listen=announced.append) as ask:
        ask.get("Thing", decode=decode)
    assert announced == [events.Waiting("HTTP 429", 9.0)]


# ── an unreachable server ───────────────────────────────────────────────────────────────────────


def _failing(code: str) -> Transport:
    def answer(request: Request) -> Response:
        raise TransportError(code, "dropped")

    return answer


DEAD: dict[str, Transport] = {
    "500": lambda request: respond(500),
    "a proxy's page": lambda request: respond(text=PAGE),
    "dropped": _failing("CONNECTION_ERROR"),
    "timeout": _failing("TIMEOUT"),
}


@pytest.mark.parametrize("dead", DEAD.values(), ids=DEAD)
def test_a_server_that_responds_to_nothing_is_unreachable_after_a_bounded_time(dead: Transport) -> None:
    time = Time()
    server = Recording(dead, alive=False)
    error = failure(client(server, time=time))
    assert isinstance(error, ServerUnreachable)
    assert error.exit_code == 5
    assert error.message.startswith("wats.test is out of reach: ")
    assert 6 < len(server.requests) <= 10
    assert 5 < time.now < 60


@pytest.mark.parametrize("dead", DEAD.values(), ids=DEAD)
@pytest.mark.parametrize("version", [200, 404, 403, 401])
def test_one_broken_report_does_not_make_the_server_unreachable(dead: Transport, version: int) -> None:
    def answer(request: Request) -> Response:
        return respond(version, json="2026.1") if path(request) == VERSION else dead(request)

    error = failure(client(answer))
    assert type(error) is RequestError
    assert error.attempts == 6


@pytest.mark.parametrize("dead", DEAD.values(), ids=DEAD)
def test_the_probe_is_retried(dead: Transport) -> None:
    unlucky = [2]

    def answer(request: Request) -> Response:
        if path(request) != VERSION:
            return dead(request)
        unlucky[0] -= 1
        return respond(503) if unlucky[0] >= 0 else respond(json="2026.1")

    assert type(failure(client(answer))) is RequestError


@pytest.mark.parametrize("other", [200, 404])
def test_there_is_no_probe_if_another_request_got_a_response_meanwhile(other: int) -> None:
    asked: list[str] = []

    def answer(request: Request) -> Response:
        asked.append(path(request))
        return respond(500 if path(request) == "/api/Broken" else other, json=1)

    class Busy(Time):
        """While one request waits, another is sent."""

        def wait(self, timeout: float | None = None) -> bool:
            super().wait(timeout)
            with suppress(RequestError):
                ask.get("Other", decode=decode)
            return self.is_set()

    ask = client(answer, time=Busy())
    with ask, pytest.raises(RequestError) as raised:
        ask.get("Broken", decode=decode)
    assert type(raised.value) is RequestError
    assert VERSION not in asked


def test_401_is_reported_at_once(server: Any) -> None:
    app, url = server()
    error = failure(client_at(url, token="wrong"), "App/Version")
    assert isinstance(error, TokenRefused)
    assert (app.total, error.exit_code) == (1, 2)
    assert "WATS_TOKEN" in error.hint


# ── stopping ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limit", [0, 1, 7])
def test_max_requests_counts_every_attempt(limit: int) -> None:
    server = Recording(lambda request: respond(200 if len(server.requests) % 2 == 0 else 503, json=1))
    with client(server, max_requests=limit) as ask:
        endless = (ask.get("Thing", decode=decode) for _ in itertools.repeat(0))
        with pytest.raises(RequestBudgetSpent, match=f"max_requests \\({limit}\\)"):
            list(endless)
        assert len(server.requests) == ask.requests == limit


def test_max_requests_does_not_make_the_server_unreachable() -> None:
    server = Recording(lambda request: respond(500), alive=False)
    error = failure(client(server, max_requests=6))
    assert type(error) is RequestError
    assert len(server.requests) == 6


def test_max_requests_holds_for_all_threads_together(server: Any) -> None:
    app, url = server()
    spent: list[bool] = []

    def work() -> None:
        try:
            while True:
                ask.get("App/Version", decode=decode)
        except RequestBudgetSpent:
            spent.append(True)

    with client_at(url, max_requests=50) as ask:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
    assert app.total == 50
    assert spent == [True] * 8


def test_a_stopped_client_sends_nothing() -> None:
    server = Recording(lambda request: respond(json=1))
    time = Time()
    with client(server, time=time) as ask:
        time.set()
        with pytest.raises(Interrupted):
            ask.get("Thing", decode=decode)
        with pytest.raises(Interrupted):
            ask.check()
    assert server.requests == []


def test_a_wait_between_attempts_is_interrupted() -> None:
    class Stopping(Time):
        def wait(self, timeout: float | None = None) -> bool:
            self.set()
            return super().wait(timeout)

    server = Recording(lambda request: respond(503))
    assert isinstance(failure(client(server, time=Stopping())), Interrupted)
    assert len(server.requests) == 1


def test_closing_interrupts_requests_in_other_threads() -> None:
    reached, closed = threading.Event(), threading.Event()

    def answer(request: Request) -> Response:
        reached.set()
        closed.wait(timeout=10)
        raise TransportError("CONNECTION_ERROR", "the client is closed")

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


def test_a_part_stops_alone_and_with_the_whole() -> None:
    server = Recording(lambda request: respond(json=1))
    with client(server) as whole:
        first, second = whole.part(max_in_flight=3), whole.part(max_in_flight=99)
        assert (first.connection.max_in_flight, second.connection.max_in_flight) == (3, 10)
        first.stop()
        with pytest.raises(Interrupted):
            first.get("Thing", decode=decode)
        assert second.get("Thing", decode=decode) == whole.get("Thing", decode=decode) == 1
        assert whole.requests == second.requests == len(server.requests) == 2
    with pytest.raises(Interrupted):
        second.get("Thing", decode=decode)
    with pytest.raises(Interrupted):
        whole.part().check()


def test_a_part_has_its_own_limit_of_concurrent_requests() -> None:
    lock = threading.Lock()
    in_flight, most = [0], [0]
    full = threading.Barrier(2)

    def answer(request: Request) -> Response:
        with lock:
            in_flight[0] += 1
            most[0] = max(most[0], in_flight[0])
        full.wait(timeout=10)
        with lock:
            in_flight[0] -= 1
        return respond(json=1)

    with client(answer) as whole:
        part = whole.part(max_in_flight=2)
        threads = [threading.Thread(target=lambda: part.get("Thing", decode=decode)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
    assert (whole.requests, most[0]) == (6, 2)


def test_a_part_keeps_an_object_alive() -> None:
    class Owner:
        pass

    owner = Owner()
    alive = weakref.ref(owner)
    with client(lambda request: respond(json=1)) as whole:
        part = whole.part(keeping=owner)
        del owner
        gc.collect()
        assert alive() is not None
        del part
        gc.collect()
        assert alive() is None


# ── secrets ─────────────────────────────────────────────────────────────────────────────────────

ECHOES: dict[str, Callable[[str], Response]] = {
    "verbatim": lambda token: respond(500, text=f"you sent Basic {token}"),
    "message": lambda token: respond(403, json={"Message": f"bad token {token}"}),
    "at the cut": lambda token: respond(500, text="x" * (2000 - 8) + token),
    "at the message's cut": lambda token: respond(400, json={"message": "y" * 290 + token}),
    "after wide letters": lambda token: respond(500, text="\N{SLICE OF PIZZA}" * 1990 + token),
    "HTML": lambda token: respond(500, text=f"<title>{token.replace('+', '&#43;')}</title>"),
    "JSON escapes": lambda token: respond(
        400, text='{"Message":"' + token.replace("+", "\\u002B").replace("/", "\\/") + '"}'
    ),
    "URL": lambda token: respond(404, text=quote(token, safe="")),
    "unreadable": lambda token: respond(200, text=f"{token} is no JSON"),
    "unreadable page": lambda token: respond(200, text=f"<p>{token}"),
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
def test_an_echoed_token_is_never_shown(
    echo: Callable[[str], Response], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    announced: list[events.Event] = []
    server = Recording(lambda request: echo(request.authorization[6:]))
    ask = client(server, token=SECRET, listen=announced.append)
    error = failure(ask)
    assert isinstance(error, RequestError)
    shown = [repr(ask), repr(ask.connection), str(error), repr(error), error.payload, error.url, error.hint]
    shown += [*traceback.format_exception(error), caplog.text, repr(announced), repr(vars(error))]
    shown += [repr(server.requests)]
    for text in shown:
        for spelling in (SECRET, quote(SECRET, safe=""), SECRET[:8], base64.b64decode(SECRET[:8]).decode()):
            assert spelling not in text


def test_an_error_of_the_network_that_holds_the_token_is_masked() -> None:
    def answer(request: Request) -> Response:
        raise TransportError("CONNECTION_ERROR", f"it holds {TOKEN}")

    error = failure(client(answer))
    assert isinstance(error, ServerUnreachable)
    assert "it holds ***" in error.message
    assert TOKEN not in "".join(traceback.format_exception(error))


def test_an_excerpt_has_2000_characters() -> None:
    with client(lambda request: respond(200), token=SECRET) as ask:
        assert ask.excerpt(b"x" * 5000) == "x" * 2000
        assert ask.excerpt("\N{SLICE OF PIZZA}".encode() * 3000) == "\N{SLICE OF PIZZA}" * 2000
        assert ask.mask("nothing secret") == "nothing secret"
        assert ask.mask(f"<{SECRET}{SECRET}>") == "<******>"
    with client(lambda request: respond(200), token="") as ask:
        assert ask.mask("anything") == "anything"


# ── with the embedded server ────────────────────────────────────────────────────────────────────


def test_the_probe_is_sent_three_times_at_most() -> None:
    def answer(head: bytes) -> bytes:
        return b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    with raw_server(answer) as (url, heads):
        error = failure(client_at(url))
    assert isinstance(error, ServerUnreachable)
    assert sum(VERSION.encode() in head for head in heads) == 3


def test_every_document_arrives_from_a_server_with_faults(server: Any) -> None:
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
    with client_at(url) as ask:
        for uuid in app.plant.uuids():
            document = ask.get(f"Report/Wsjf/{uuid}", decode=decode)
            assert document == app.plant.document(uuid)
