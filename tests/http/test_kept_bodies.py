"""No response body stays in memory while a request waits for its next attempt, nor after it has failed."""

from __future__ import annotations

import gzip
import json
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.conftest import TOKEN
from tests.http.clients import raw_server
from tests.http.test_transport import python
from tests.readers.simulated import Time

from wats_extract.errors import RequestError, Unreadable, freed
from wats_extract.flow import Failure, Reply, Selection, Window
from wats_extract.http.client import Client, Connection
from wats_extract.readers.ahead import in_background, in_order
from wats_extract.readers.by_key import ByKeyReader, Wanted
from wats_extract.readers.reader import Source
from wats_extract.resources.catalogue import RESOURCES

SIZE = 4_000_000
LIMIT = 1_000_000
UUID = "3f1c2c1e-0000-4000-8000-000000000001"

HEAD = b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"


def response(body: bytes, *, status: bytes = b"200 OK") -> bytes:
    """A whole response."""
    return HEAD % (status, len(body)) + body


def packed(body: bytes) -> bytes:
    """A whole response, compressed."""
    return response(body, status=b"200 OK\r\nContent-Encoding: gzip")


BAD: dict[str, bytes] = {
    "a 500 with a large body": response(b"x" * SIZE, status=b"500 No"),
    "a 503 with a large body": response(b"x" * SIZE, status=b"503 No\r\nRetry-After: 1"),
    "a 429 with a large body": response(b"x" * SIZE, status=b"429 No"),
    "a 404 with a large body": response(b"x" * SIZE, status=b"404 No"),
    "a 401 with a large body": response(b"x" * SIZE, status=b"401 No"),
    "large JSON that breaks off": response(b'{"a": ["' + b"x" * SIZE + b'",'),
    "large invalid JSON": response(b'{"a": "' + b"x" * SIZE + b'" "'),
    "a large wrong object": response(b'{"Message": "' + b"x" * SIZE + b'"}'),
    "a large list": response(b'["' + b"x" * SIZE + b'"]'),
    "a large page of HTML": response(b"<html>" + b"x" * SIZE),
    "large blanks": response(b" " * SIZE),
    "a large broken gzip": packed(gzip.compress(b"x" * SIZE, 0)[:-9] + b"x"),
    "half a gzip": packed(gzip.compress(b"x" * SIZE, 0)[: SIZE // 2]),
    "no gzip": packed(b"x" * SIZE),
    "a gzip bomb": packed(gzip.compress(b" " * 20 * SIZE)),
    "a body that is too large": response(b" " * 3 * SIZE),
    "a body that breaks off": response(b"1" * SIZE)[:-1],
    "a login page behind a redirect": response(b"x" * SIZE, status=b"302 Found\r\nLocation: ftp://a/"),
}


class Measured(Time):
    """A clock that measures at each wait how much more memory is in use than at the beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._begin = tracemalloc.get_traced_memory()[0]

    def wait(self, timeout: float | None = None) -> bool:
        self.measure()
        return super().wait(timeout)

    def measure(self) -> None:
        """Measure now."""
        self.most = max(self.most, tracemalloc.get_traced_memory()[0] - self._begin)


@pytest.fixture(autouse=True)
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@contextmanager
def asking(sent: bytes) -> Iterator[tuple[Client, Measured]]:
    """A client of a server that always responds with these bytes."""
    with raw_server(lambda head: sent) as (url, _):
        time = Measured()
        connection = Connection(url, TOKEN, requests_per_minute=None, timeout=5, largest_response=2 * SIZE)
        with Client(connection, stopping=time, clock=time) as client:
            yield client, time


def refused(reply: Reply) -> Any:
    """Refuse a response, with errors behind the error that hold all of its body."""
    try:
        json.loads(reply.body)
    except ValueError as error:
        raise Unreadable("it is not JSON") from error
    try:
        raise UnicodeDecodeError("utf-8", reply.body, 0, 1, "it is wrong")
    except ValueError:
        raise Unreadable("it is another thing")  # noqa: B904 - the context is meant


@pytest.mark.parametrize("kind", BAD)
def test_nothing_is_kept_for_a_retry(kind: str) -> None:
    with asking(BAD[kind]) as (client, time):
        with pytest.raises(RequestError):
            client.get("Thing", decode=refused)
        time.measure()
    assert time.most < LIMIT


@pytest.mark.parametrize("kind", [each for each in BAD if "401" not in each])
@pytest.mark.parametrize("resource", ["reports", "product_details"])
def test_nothing_is_kept_for_a_retry_of_a_document(kind: str, resource: str) -> None:
    reader = RESOURCES[resource].reader
    assert isinstance(reader, ByKeyReader)
    with asking(BAD[kind]) as (client, time):
        source = Source(resource, client)
        try:
            failure = reader.fetch(source, Window(resource, Selection()), Wanted(UUID))
        except RequestError as error:  # the server responds to the probe with the same bytes
            failure = error
        time.measure()
    assert isinstance(failure, Failure | RequestError)
    assert time.most < LIMIT


@pytest.mark.parametrize("kind", ["a gzip bomb", "a body that is too large"])
def test_a_response_that_is_too_large_is_requested_once(kind: str) -> None:
    with raw_server(lambda head: BAD[kind]) as (url, heads):
        connection = Connection(url, TOKEN, requests_per_minute=None, largest_response=2 * SIZE)
        with Client(connection, stopping=Time()) as client, pytest.raises(RequestError) as raised:
            client.get("Thing", decode=refused)
    assert len(heads) == raised.value.attempts == 1
    assert raised.value.final


# ── errors that other threads keep ──────────────────────────────────────────────────────────────


def broken(body_size: int) -> Any:
    """Fail with a large body in a frame, and with an error behind the error."""
    body = b"x" * body_size
    try:
        raise ValueError(len(body))
    except ValueError:
        raise RequestError("it failed", code="TIMEOUT", url="/")  # noqa: B904 - the context is meant


@pytest.mark.parametrize("keep", ["future", "background", "listing"])
def test_errors_that_wait_for_their_turn_keep_no_body(keep: str) -> None:
    failed = threading.Event()

    def fail() -> Any:
        try:
            return broken(SIZE)
        finally:
            failed.set()

    def work(item: int) -> Any:
        return fail() if item else failed.wait(timeout=10)

    def listed() -> Iterator[int]:
        yield 0
        fail()

    consumers: dict[str, Callable[[], Iterator[Any]]] = {
        "future": lambda: in_order(range(2), work, workers=2, ahead=2),
        "background": lambda: in_background(listed(), ahead=1),
        "listing": lambda: in_order(listed(), work, workers=1, ahead=2),
    }
    begin = tracemalloc.get_traced_memory()[0]
    consumed = consumers[keep]()
    next(consumed)
    assert failed.wait(timeout=10)
    with pytest.raises(RequestError) as raised:
        list(consumed)
    assert tracemalloc.get_traced_memory()[0] - begin < LIMIT
    assert raised.traceback[-1].name == "broken", "the lines stay"


def test_a_freed_error_may_refer_to_itself() -> None:
    with pytest.raises(RequestError) as raised:
        broken(1)
    raised.value.__cause__ = raised.value
    assert freed(raised.value) is raised.value


# ── outside of Python ───────────────────────────────────────────────────────────────────────────

ATTEMPTS = """
import resource
from wats_extract.errors import WatsExtractError
from wats_extract.http.client import Client, Connection
from wats_extract.http.retry import RetryPolicy

policy = RetryPolicy(attempts=9, first_wait=0.01, longest_backoff=0.01)
connection = Connection({url!r}, {token!r}, requests_per_minute=None, largest_response=50_000_000)
with Client(connection, policy=policy) as client:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        client.get("Thing", decode=lambda reply: 1 / 0)
    except WatsExtractError as error:
        print(error.attempts)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is measured in the kB of Linux")
@pytest.mark.parametrize(
    ("sent", "attempts"),
    [
        (packed(gzip.compress(bytes(256 * 2**20), 9)), 1),
        (response(b"x" * 40_000_000, status=b"500 No"), 9),
    ],
    ids=["a gzip bomb", "a 500 with a large body"],
)
def test_attempts_take_the_memory_of_one(sent: bytes, attempts: int) -> None:
    tracemalloc.stop()
    with raw_server(lambda head: sent) as (url, _):
        tried, megabytes = python(ATTEMPTS.format(url=url, token=TOKEN)).stdout.split()
    assert int(tried) == attempts
    assert int(megabytes) < 200, "nine times 40 MB are 360"
