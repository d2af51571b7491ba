"""Redirects and the limit of size, with a function as the network."""

from __future__ import annotations

import pytest
from tests.conftest import TOKEN
from tests.http.clients import client, decode, failure
from tests.http.fakes import Recording, respond
from tests.readers.simulated import Time

from wats_extract.errors import RequestError
from wats_extract.http.client import Client, Connection
from wats_extract.http.transport import Request, Response


@pytest.mark.parametrize(("size", "fits"), [(2_000_000, True), (2_000_001, False)])
def test_a_response_above_the_limit_of_size_is_an_error(size: int, fits: bool) -> None:
    server = Recording(lambda request: respond(content=b"1" * size))
    ask = Client(
        Connection("http://wats.test", TOKEN, largest_response=2_000_000), transport=server, stopping=Time()
    )
    if fits:
        with ask:
            assert ask.get("Thing", decode=lambda reply: len(reply.body)) == size
        return
    error = failure(ask)
    assert isinstance(error, RequestError)
    assert (error.code, error.http_status, error.attempts) == ("INVALID_RESPONSE", 200, 1), "it is final"
    assert "more than 2 MB when inflated" in error.message


@pytest.mark.parametrize(("status", "code", "tries"), [(500, "API_ERROR", 6), (404, "NOT_FOUND", 1)])
def test_the_size_of_an_error_response_says_nothing(status: int, code: str, tries: int) -> None:
    server = Recording(lambda request: respond(status, content=b"1" * 2_000_001))
    connection = Connection("http://wats.test", TOKEN, largest_response=2_000_000)
    error = failure(Client(connection, transport=server, stopping=Time()))
    assert isinstance(error, RequestError)
    assert (error.code, error.http_status, error.attempts) == (code, status, tries)


# ── redirects ───────────────────────────────────────────────────────────────────────────────────


def test_endless_redirects_are_an_error_without_a_retry() -> None:
    server = Recording(lambda request: respond(302, headers={"location": request.url}))
    error = failure(client(server))
    assert isinstance(error, RequestError)
    assert (error.code, error.http_status, error.attempts) == ("API_ERROR", 302, 1)
    assert "redirects without end, at last to http://wats.test" in error.message
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("base", "location", "followed"),
    [
        ("https://wats.test", "/api/Other", True),
        ("https://wats.test", "//other.test/", True),
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
def test_redirects_to_plain_http_are_not_followed(base: str, location: str, followed: bool) -> None:
    requests: list[Request] = []

    def answer(request: Request) -> Response:
        requests.append(request)
        return respond(302, headers={"location": location}) if len(requests) == 1 else respond(json=1)

    with Client(Connection(base, TOKEN), transport=answer) as ask:
        if followed:
            assert ask.get("Thing", decode=decode) == 1
        else:
            with pytest.raises(RequestError, match="without encryption; that is not followed") as raised:
                ask.get("Thing", decode=decode)
            assert raised.value.exit_code == 5
            assert "source.url" in raised.value.hint
    assert len(requests) == 1 + followed
    for request in requests[1:]:
        same_server = request.url.split("/")[2] == requests[0].url.split("/")[2]
        assert bool(request.authorization) is same_server


def test_the_token_stays_dropped_on_the_way_back() -> None:
    """A redirect chain over another server is that server's word, not ours."""
    requests: list[Request] = []
    locations = ["https://other.test/", "https://wats.test/api/Other"]

    def answer(request: Request) -> Response:
        requests.append(request)
        return respond(302, headers={"location": locations.pop(0)}) if locations else respond(json=1)

    with Client(Connection("https://wats.test", TOKEN), transport=answer) as ask:
        assert ask.get("Thing", decode=decode) == 1
    assert [bool(request.authorization) for request in requests] == [True, False, False]


@pytest.mark.parametrize(
    "location", ["https://wats.test\\@evil.test/", "http://[", "https://a:b/", "/a b", "/ü"]
)
def test_a_location_that_is_no_url_is_not_followed(location: str) -> None:
    server = Recording(lambda request: respond(302, headers={"location": location}))
    error = failure(client(server))
    assert isinstance(error, RequestError)
    assert (error.code, error.attempts, len(server.requests)) == ("API_ERROR", 1, 1)
    assert "not a URL" in error.message


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_request_body_is_sent_to_no_other_server(status: int, elsewhere: bool) -> None:
    requests: list[Request] = []
    location = "https://other.test/there" if elsewhere else "/there"

    def answer(request: Request) -> Response:
        requests.append(request)
        return respond(status, headers={"location": location}) if len(requests) == 1 else respond(json=1)

    with Client(Connection("https://wats.test", TOKEN), transport=answer) as ask:
        if elsewhere:
            with pytest.raises(RequestError, match="is sent to no other server"):
                ask.get("Thing", body={"partNumber": "A"}, decode=decode)
        else:
            assert ask.get("Thing", body={"partNumber": "A"}, decode=decode) == 1
            assert requests[1].body == requests[0].body == b'{"partNumber":"A"}'
    assert len(requests) == (1 if elsewhere else 2)


@pytest.mark.parametrize("status", [301, 302, 303])
def test_after_these_redirects_a_post_becomes_a_get(status: int) -> None:
    requests: list[Request] = []

    def answer(request: Request) -> Response:
        requests.append(request)
        return respond(status, headers={"location": "/there"}) if len(requests) == 1 else respond(json=1)

    with client(answer) as ask:
        assert ask.get("Thing", body={"partNumber": "A"}, decode=decode) == 1
    assert [(request.method, request.body is None) for request in requests] == [
        ("POST", False),
        ("GET", True),
    ]
    assert "Content-Type" not in requests[1].headers


@pytest.mark.parametrize("status", [401, 403])
def test_a_sign_in_page_on_another_server_says_nothing_about_the_token(status: int) -> None:
    def answer(request: Request) -> Response:
        if request.url.startswith("https://sign-in.test"):
            return respond(status)
        return respond(302, headers={"location": "https://sign-in.test/"})

    error = failure(client(answer))
    assert type(error) is RequestError
    assert f"redirects to https://sign-in.test, which responds with HTTP {status}" in error.message
    assert (error.code, error.http_status, error.exit_code) == ("API_ERROR", status, 5)
