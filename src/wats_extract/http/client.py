"""The client: authenticated, rate-limited requests with retries, from a route to a decoded response."""

from __future__ import annotations

import builtins
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from urllib.parse import quote, urlsplit
from weakref import WeakSet

from wats_extract import events
from wats_extract.errors import Interrupted, RequestBudgetSpent, RequestError, Unreadable
from wats_extract.flow import Reply
from wats_extract.http.error_responses import ErrorResponses
from wats_extract.http.in_flight import InFlightRequests
from wats_extract.http.interruptible import interruptible
from wats_extract.http.retry import RetryPolicy, retry_after, worth_another_try
from wats_extract.http.sender import Body, Sender
from wats_extract.http.shared_budget import SharedBudget
from wats_extract.http.throttle import Throttle
from wats_extract.http.transport import RESPONSE_TIMEOUTS, HttpTransport, Response, Transport, TransportError
from wats_extract.masking import Mask, credentials

T = TypeVar("T")

JSON = "application/json"
"""The content type that is asked for by default."""

LARGEST_RESPONSE = 256 * 2**20
"""The most bytes of a response, inflated. Full reports with attachments reach tens of megabytes; one megabyte
of gzip can hold a gigabyte."""

PROBE_ATTEMPTS = 3
"""The most attempts to find out whether a server responds at all."""


@dataclass(frozen=True)
class Connection:
    """Where the server is, how to authenticate, and the limits of requests.

    Attributes:
        url: The server's address without ``/api``.
        token: Sent verbatim after ``Authorization: Basic``; never shown.
        requests_per_minute: The request budget in any sliding minute, ``None`` for no limit.
        max_in_flight: The most concurrent requests.
        max_requests: Stop cleanly after this many requests; ``None`` for no limit.
        timeout: Seconds without a byte after which a request fails; a whole response may take five times as
            long.
        largest_response: The most bytes of a response, inflated.
        ca_file: A private CA's certificate, in PEM, trusted in addition to the system's CAs; ``None`` for
            those alone.
        proxy: The proxy's URL, with user and password if it needs them; never shown.
    """

    url: str
    token: str = field(default="", repr=False)
    requests_per_minute: int | None = 500
    max_in_flight: int = 10
    max_requests: int | None = None
    timeout: float = 120.0
    largest_response: int = LARGEST_RESPONSE
    ca_file: Path | None = None
    proxy: str = field(default="", repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle everything but the token and a proxy with a password."""
        hidden = {"token": ""} | ({"proxy": ""} if credentials(self.proxy) else {})
        return {**self.__dict__, **hidden}


class Client:
    """Sends requests to a WATS server. Thread-safe; use it as a context manager.

    Args:
        connection: Where the server is, and the limits of requests.
        policy: When and how often a request is retried.
        listen: Told about waits.
        stopping: Once it is set, every wait and every further request raise ``Interrupted``.
        transport: Sends single requests; default: over the network.
        clock: Monotonic seconds.
        budgets: The folder in which the request budget is shared with other processes; ``None`` to share it
            with none.

    Raises:
        ConfigurationError: ``ca_file`` holds no certificate.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        policy: RetryPolicy | None = None,
        listen: events.Listener = events.nobody,
        stopping: threading.Event | None = None,
        transport: Transport | None = None,
        clock: Callable[[], float] = time.monotonic,
        budgets: Path | None = None,
    ) -> None:
        self.connection = connection
        self._stopping = stopping or threading.Event()
        self._places: AbstractContextManager[object] = nullcontext()
        self._parts = WeakSet[Client]()
        self._shared = _Shared(connection, policy or RetryPolicy(), listen, transport, clock, budgets)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Requests in other threads end with ``Interrupted``."""
        self.stop()
        self._shared.close()

    @property
    def requests(self) -> int:
        """How many requests were sent, retries included."""
        return self._shared.totals.requests

    @property
    def bytes(self) -> int:
        """How many bytes were received, inflated."""
        return self._shared.totals.bytes

    def useful_threads(self) -> int:
        """How many threads can send requests without waiting for one another."""
        return self._shared.throttle.concurrency

    def part(self, *, max_in_flight: int | None = None, keeping: object = None) -> Client:
        """A client that can be stopped by itself and may have a lower limit of concurrent requests.

        It shares connections, request budget and counters with this client, whose limit of concurrent
        requests holds as well. Closing or stopping this client stops its parts too; setting the event that
        this client was given as ``stopping`` does not.

        Args:
            max_in_flight: The most concurrent requests of this part.
            keeping: Kept alive as long as the part: the object that would otherwise close the connections
                when it is garbage-collected.
        """
        most = min(max_in_flight or self.connection.max_in_flight, self.connection.max_in_flight)
        part = _Part(self._shared, replace(self.connection, max_in_flight=most), keeping)
        with self._shared.lock:
            self._parts.add(part)
        if self._stopping.is_set():
            part.stop()
        return part

    def stop(self) -> None:
        """End every wait and refuse further requests; those in flight in other threads are finished."""
        self._stopping.set()
        with self._shared.lock:
            parts = list(self._parts)
        for part in parts:
            part.stop()

    def check(self) -> None:
        """Raise ``Interrupted`` if the client was stopped, and announce requests that take long.

        Call it several times per second while waiting for a thread that sends requests.
        """
        if self._stopping.is_set():
            raise Interrupted("interrupted")
        self._shared.in_flight.announce_slow()

    def get(
        self,
        route: str,
        *,
        decode: Callable[[Reply], T],
        query: Mapping[str, str | int | bool] | None = None,
        body: Body | None = None,
        accept: str = JSON,
    ) -> T:
        """Request a route below ``/api`` until ``decode`` accepts the response; return the decoded value.

        Args:
            route: Path below ``/api``, percent-encoded.
            decode: Decodes a response with status 200. It raises ``Unreadable`` if the response may be
                complete on the next attempt; any other error is final and passed on.
            query: Query parameters, not yet encoded.
            body: Sent as JSON by POST, to routes that take a filter and change nothing.
            accept: The content types that will do.

        Raises:
            RequestError: no usable response; ``code`` says why.
            TokenRefused: 401, without a retry.
            ServerUnreachable: the server does not respond to this request nor to a probe.
            RequestBudgetSpent: ``max_requests`` is reached.
            Interrupted: the client was stopped.
        """
        call = _Call(route_url(route, query), decode, accept, body)
        try:
            return self._retried(self._shared.policy, call)
        except RequestError as error:
            # A response that came before the last attempt does not show that the server still runs.
            silent = self._shared.totals.responded_at < call.began
            if silent and worth_another_try(error) and not self._responds():
                raise self._shared.errors.unreachable(error, self._host) from error
            raise

    def acknowledge(self, route: str) -> None:
        """Delete a committed item from a queue: the only request that changes the server.

        It is safe to repeat; it is no error if the item is already gone.

        Raises:
            RequestError: the server refuses.
            TokenRefused: 401, without a retry.
            Interrupted: the client was stopped.
        """
        call = _Call(route_url(route), _nothing, method="DELETE")
        try:
            self._retried(self._shared.policy, call)
        except RequestError as error:
            if error.code != "NOT_FOUND":
                raise

    def mask(self, text: str) -> str:
        """The text without the token, however it is spelled, and without control characters."""
        return self._shared.errors.mask(text)

    def excerpt(self, body: builtins.bytes) -> str:
        """The beginning of a body as text without the token; bytes that are not UTF-8 are replaced."""
        return self._shared.errors.excerpt(body)

    @property
    def _host(self) -> str:
        return urlsplit(self.connection.url).netloc

    def _retried(self, policy: RetryPolicy, call: _Call[T]) -> T:
        return policy.call(lambda: self._attempt(call), wait=self._wait, announce=self._shared.announce)

    def _attempt(self, call: _Call[T]) -> T:
        """Send a request once and decode its response."""
        shared = self._shared
        call.began = shared.clock()
        with self._places, shared.throttle.slot(self._wait, kind=kind(call.url)) as request:
            self._count_request()
            response = self._response(call)
            request.answered(response.status, len(response.body))
        shared.count_bytes(len(response.body))
        headers = response.headers
        reply = Reply(response.status, response.body, call.url, headers.get("content-type", ""), headers)
        if reply.status != 200:
            raise shared.refusal(reply, retry_after(headers.get("retry-after")))
        try:
            value = call.decode(reply)
        except Unreadable as error:
            # `from None`: the message may hold what the server echoes, and the chain would show it unmasked.
            raise shared.errors.unreadable(reply, error.message) from None
        shared.responded()
        return value

    def _response(self, call: _Call[T]) -> Response:
        shared = self._shared
        with shared.in_flight.waiting(call.url.partition("?")[0]):
            try:
                return shared.send(call, check=self.check)
            except TransportError as error:
                self.check()  # requests also break because the client was closed
                raise shared.errors.no_response(error, call.url) from None

    def _count_request(self) -> None:
        self.check()
        self._shared.count_request()

    def _responds(self) -> bool:
        """Whether the server responds to anything: at least to its cheapest route."""
        policy = replace(self._shared.policy, attempts=min(self._shared.policy.attempts, PROBE_ATTEMPTS))
        try:
            self._retried(policy, _Call(route_url("App/Version"), _no_page))
        except RequestError as error:
            return not worth_another_try(error)
        except RequestBudgetSpent:
            return True
        return True

    def _wait(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise Interrupted("interrupted")


class _Part(Client):
    """A client for a part of the work; see :meth:`Client.part`."""

    def __init__(self, shared: _Shared, connection: Connection, keeping: object) -> None:
        self.connection = connection
        self._stopping = threading.Event()
        self._places = threading.BoundedSemaphore(connection.max_in_flight)
        self._parts = WeakSet[Client]()
        self._shared = shared
        self._keeping = keeping


@dataclass(eq=False)
class _Call(Generic[T]):
    """A request with its retries.

    Attributes:
        url: Path and query.
        decode: Decodes a response with status 200.
        accept: The content types that will do.
        body: Sent as JSON.
        method: The HTTP method, or empty for the usual one.
        began: When the last attempt began, by the client's clock.
    """

    url: str
    decode: Callable[[Reply], T]
    accept: str = JSON
    body: Body | None = None
    method: str = ""
    began: float = float("-inf")


@dataclass
class _Totals:
    """What a client and its parts count together.

    Attributes:
        requests: Requests sent, retries included.
        bytes: Bytes received, inflated.
        responded_at: When the server last responded with anything, by the client's clock.
    """

    requests: int = 0
    bytes: int = 0
    responded_at: float = float("-inf")


class _Shared:
    """What a client and its parts share: connections, rate limiter, counters, and who is told about waits."""

    def __init__(
        self,
        connection: Connection,
        policy: RetryPolicy,
        listen: events.Listener,
        transport: Transport | None,
        clock: Callable[[], float],
        budgets: Path | None,
    ) -> None:
        self.policy, self.clock = policy, clock
        self.lock = threading.Lock()
        self.totals = _Totals()
        self.errors = ErrorResponses(Mask(connection.token, *credentials(connection.proxy)))
        self._listen = listen
        self._max_requests = connection.max_requests
        self.throttle = Throttle(
            requests_per_minute=connection.requests_per_minute,
            max_in_flight=connection.max_in_flight,
            clock=clock,
            announce=self.announce,
            shared=self._shared_budget(connection, budgets),
        )
        self._network: HttpTransport | None = None
        if transport is None:
            transport = self._network = _network(connection)
        self._sender = Sender(
            connection.url,
            token=connection.token,
            largest=connection.largest_response,
            transport=transport,
            longest=RESPONSE_TIMEOUTS * connection.timeout,
        )
        self.in_flight = InFlightRequests(
            self.announce,
            clock,
            timeout=connection.timeout,
            longest=RESPONSE_TIMEOUTS * connection.timeout,
        )

    def close(self) -> None:
        """Close the connections."""
        if self._network:
            self._network.close()

    def send(self, call: _Call[T], *, check: Callable[[], None]) -> Response:
        """Send a request once; ``check`` may raise to stop waiting, if this is the main thread.

        Raises:
            TransportError: there was no usable response.
        """

        def send() -> Response:
            return self._sender.send(call.url, accept=call.accept, body=call.body, method=call.method)

        return interruptible(send, check=check) if self._network else send()

    def announce(self, reason: str, seconds: float) -> None:
        """Tell the listener about a wait."""
        self._listen(events.Waiting(self.errors.mask(reason), seconds))

    def count_request(self) -> None:
        """Count a request, or raise ``RequestBudgetSpent``."""
        with self.lock:
            limit = self._max_requests
            if limit is not None and self.totals.requests >= limit:
                raise RequestBudgetSpent(
                    f"max_requests ({limit}) is reached", hint="Run again to go on from here."
                )
            self.totals.requests += 1

    def count_bytes(self, size: int) -> None:
        """Count the bytes of a response."""
        with self.lock:
            self.totals.bytes += size

    def responded(self) -> None:
        """Note that the server responds."""
        self.totals.responded_at = self.clock()

    def refusal(self, reply: Reply, asked: float | None) -> RequestError:
        """The error for a response whose status is not 200; pauses all requests if the server asks for it."""
        error = self.errors.refusal(reply, retry_after=asked)
        if reply.status < 500 and error.code != "RATE_LIMITED":
            self.responded()
        if error.code == "RATE_LIMITED" or asked:
            self.throttle.pause(min(asked or 1.0, self.policy.longest_wait))
        return error

    def _shared_budget(self, connection: Connection, folder: Path | None) -> SharedBudget | None:
        if folder is None or connection.requests_per_minute is None:
            return None
        return SharedBudget(folder, url=connection.url, token=connection.token, note=self._note)

    def _note(self, message: str) -> None:
        self._listen(events.Noted(self.errors.mask(message)))


def _network(connection: Connection) -> HttpTransport:
    return HttpTransport(
        timeout=connection.timeout,
        largest=connection.largest_response,
        connections=connection.max_in_flight + 1,
        ca_file=connection.ca_file,
        proxy=connection.proxy,
    )


def route_url(route: str, query: Mapping[str, str | int | bool] | None = None) -> str:
    """The path and query of a route below ``/api``; every value of ``query`` is percent-encoded."""
    text = "&".join(f"{name}={quote(_query_value(value), safe='')}" for name, value in (query or {}).items())
    return f"/api/{route}?{text}" if text else f"/api/{route}"


def kind(url: str) -> str:
    """What a request does, by the words that its route begins with; the throttle compares like with like.

    Keys come later in a route, or are not plain words (``Product/PCBA-100``).
    """
    words = url.partition("?")[0].split("/")[2:4]
    return "/".join(word for word in words if word.isalpha() and not word.isupper())


def _query_value(value: str | int) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _nothing(reply: Reply) -> None:
    """Accept any response."""


def _no_page(reply: Reply) -> None:
    """Refuse the page that a proxy shows in place of every response of the server."""
    if reply.body.lstrip()[:1] in (b"", b"<"):
        raise Unreadable("an HTML page or nothing at all, instead of a version")
