"""Get: one authenticated, throttled, retrying way from a route to a decoded answer."""

from __future__ import annotations

import builtins
import copy
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote, urlsplit
from weakref import WeakSet

from wats_extract import events
from wats_extract.errors import (
    Interrupted,
    RequestBudgetSpent,
    RequestError,
    ServerUnreachable,
    TokenRefused,
    Unreadable,
)
from wats_extract.flow import Reply
from wats_extract.http.retry import RetryPolicy, retry_after, worth_another_try
from wats_extract.http.shared_budget import SharedBudget
from wats_extract.http.throttle import Throttle
from wats_extract.http.transport import LARGEST_ANSWER, Answer, Transport, Wire, WireError
from wats_extract.masking import Mask, credentials, harmless

T = TypeVar("T")

JSON = "application/json"
"""What answers are, where nothing else is asked for."""

PAYLOAD_CHARACTERS = 2000
"""How much of an unreadable answer is kept."""

SLOW_SECONDS = 10.0
"""A request that has no answer after so long is told of."""

_STATUS_CODES = {
    204: "NOT_FOUND",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    408: "TIMEOUT",
    410: "NOT_FOUND",
    429: "RATE_LIMITED",
    504: "TIMEOUT",
}
_HINTS = {
    "UNAUTHORIZED": "Set WATS_TOKEN to a valid token (WATS: Control panel, Users, Tokens).",
    "FORBIDDEN": "The token's role or level does not reach this; ask the WATS administrator.",
    "NOT_FOUND": "It was deleted on the server, or this server's version has no such route.",
    "RATE_LIMITED": "Lower requests_per_minute, or give the pipeline a token of its own.",
    "TIMEOUT": "Raise source.timeout, or retry when the server is less busy.",
    "CONNECTION_ERROR": "Check the network and the server, then run again.",
    "API_ERROR": "The server failed at this one; retry later, or report it to the WATS administrator.",
    "INVALID_RESPONSE": "Something between here and WATS answers in its place (a proxy, a login page).",
    "UNKNOWN_ERROR": "Please report this with the versions that wats-extract check shows.",
}
_REFUSED_HINT = "The server does not take what was asked; look at filter, expand and the other options."


@dataclass(frozen=True)
class Connection:
    """Where and how to ask.

    Attributes:
        url: The server's address without ``/api``.
        token: Goes verbatim behind ``Authorization: Basic``; shown nowhere.
        requests_per_minute: The budget in any sliding minute, ``None`` for no limit.
        max_in_flight: The most requests at the same time.
        max_requests: Stop cleanly after so many; ``None`` for no limit.
        timeout: Seconds without a byte after which a request is given up; a whole answer may take five
            times as long, and longer where it is large.
        largest_answer: Bytes that an answer may have, inflated.
        ca_file: The private CA that alone is trusted, in PEM; ``None`` for the system's CAs.
        proxy: The proxy's address, with user and password where it wants them; shown nowhere either.
    """

    url: str
    token: str = field(default="", repr=False)
    requests_per_minute: int | None = 500
    max_in_flight: int = 10
    max_requests: int | None = None
    timeout: float = 120.0
    largest_answer: int = LARGEST_ANSWER
    ca_file: Path | None = None
    proxy: str = field(default="", repr=False)


@dataclass
class _Tally:
    """What a client and its parts count together.

    Attributes:
        requests: Requests sent so far, retries included.
        bytes: Bytes of answers so far, inflated.
        answered_at: When the server last answered anything, by the clock.
    """

    requests: int = 0
    bytes: int = 0
    answered_at: float = float("-inf")


class _UnderWay:
    """A request that has no answer yet, and whether that was told."""

    def __init__(self, path: str, began: float, timeout: float, longest: float) -> None:
        self._reason = f"no answer yet to {path}"
        self._limits = (began + timeout, began + longest)
        self._told = False
        self.told_again_at = began + SLOW_SECONDS

    def tell(self, now: float, announce: Callable[[str, float], None]) -> None:
        """Say how long it is waited for at most: for the next bytes, and later for the last ones."""
        limit = next((limit for limit in self._limits if limit > now), float("inf"))
        self.told_again_at = limit
        if limit < float("inf"):
            self._told = True
            announce(self._reason, limit - now)

    def over(self, announce: Callable[[str, float], None]) -> None:
        """There is an answer, or none to be waited for."""
        if self._told:
            announce(self._reason, 0)


class Client:
    """Asks a WATS server. Thread-safe; use it as a context manager.

    Args:
        connection: Where and how to ask.
        policy: How patient a request is.
        listen: Told what is waited for.
        stopping: Once it is set, every wait and every further request raise ``Interrupted``.
        transport: An HTTP transport instead of the network, for tests.
        clock: Seconds that only go up.
        budgets: The folder where the budget is shared with other processes, ``None`` where it is not.
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
        self._tally = _Tally()
        self._policy = policy or RetryPolicy()
        self._listen = listen
        self._stopping = stopping or threading.Event()
        self._clock = clock
        self._lock = threading.Lock()
        self._secrets = Mask(connection.token, *credentials(connection.proxy))
        self._under_way: dict[int, _UnderWay] = {}
        self._keeping: object = None
        self._parts = WeakSet[Client]()
        self._places: AbstractContextManager[object] = nullcontext()
        self._throttle = Throttle(
            requests_per_minute=connection.requests_per_minute,
            max_in_flight=connection.max_in_flight,
            clock=clock,
            wait=self._wait,
            announce=self._announce,
            shared=self._shared_budget(budgets),
        )
        self._wire = Wire(
            connection.url,
            token=connection.token,
            timeout=connection.timeout,
            connections=connection.max_in_flight + 1,
            largest=connection.largest_answer,
            ca_file=connection.ca_file,
            proxy=connection.proxy,
            transport=transport,
            clock=clock,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; requests under way in other threads end by ``timeout`` at the latest."""
        self.stop()
        self._wire.close()

    @property
    def requests(self) -> int:
        """Requests sent so far, retries included."""
        return self._tally.requests

    @property
    def bytes(self) -> int:
        """Bytes of answers so far, inflated."""
        return self._tally.bytes

    def useful_threads(self) -> int:
        """How many threads may ask at the same time without standing in a queue."""
        return self._throttle.places

    def part(self, *, max_in_flight: int | None = None, keeping: object = None) -> Client:
        """This client for a part of the work that may be stopped by itself, and asks for less at once.

        Connections, budget and counters are shared. The limit of the whole holds as well; closing or
        stopping the whole stops its parts, the event that it was given as ``stopping`` does not. What is
        given as ``keeping`` lives as long as the part: whoever would close the connections on leaving.
        """
        most = min(max_in_flight or self.connection.max_in_flight, self.connection.max_in_flight)
        part = copy.copy(self)
        part.connection = replace(self.connection, max_in_flight=most)
        part._stopping, part._parts = threading.Event(), WeakSet()
        part._places = threading.BoundedSemaphore(most)
        part._keeping = keeping
        with self._lock:
            self._parts.add(part)
        if self._stopping.is_set():
            part.stop()
        return part

    def stop(self) -> None:
        """End every wait, and refuse further requests; what is under way is finished."""
        self._stopping.set()
        with self._lock:
            parts = list(self._parts)
        for part in parts:
            part.stop()

    def check(self) -> None:
        """Raise ``Interrupted`` if the client was told to stop; tell of requests that take long.

        Whoever waits for what a thread fetches calls this several times a second.
        """
        if self._stopping.is_set():
            raise Interrupted("interrupted")
        now = self._clock()
        for request in list(self._under_way.values()):
            if now >= request.told_again_at:
                request.tell(now, self._announce)

    def get(
        self,
        route: str,
        *,
        decode: Callable[[Reply], T],
        query: Mapping[str, str | int | bool] | None = None,
        body: Mapping[str, str | int | bool] | None = None,
        accept: str = JSON,
    ) -> T:
        """Ask for a route below ``/api`` until it gives something that ``decode`` accepts.

        ``decode`` runs inside the retry loop, so that a body which was cut off is asked for again; it
        raises ``Unreadable`` for that, and any other error for a body that is final. ``accept`` names the
        content types that will do. With a ``body`` it is asked by POST: for routes that take a question as
        JSON and change nothing, so that it is safe to ask again.

        Raises:
            RequestError: no usable answer; its ``code`` says why.
            TokenRefused: 401, at once.
            ServerUnreachable: it and others stay without an answer.
            RequestBudgetSpent: ``max_requests`` is reached.
            Interrupted: the client was stopped.
        """
        url = route_url(route, query)
        began = float("-inf")

        def attempt() -> T:
            nonlocal began
            began = self._clock()
            return self._attempt(url, decode, accept, body)

        try:
            return self._policy.call(attempt, wait=self._wait, announce=self._announce)
        except RequestError as error:
            # What others were told before the last try says nothing of a server that goes down.
            if worth_another_try(error) and self._tally.answered_at < began and not self._answers():
                raise ServerUnreachable(
                    f"{self._host} is out of reach: {error.message}",
                    code=error.code,
                    url=self.mask(url),
                    http_status=error.http_status,
                    attempts=error.attempts,
                    hint="What was committed stays; run the same command again later.",
                ) from error
            raise

    def acknowledge(self, route: str) -> None:
        """Delete an item of a queue, which has been committed: the one request that changes the server.

        It may be repeated; that the item is gone already is no error.

        Raises:
            RequestError: the server does not take it.
            TokenRefused: 401, at once.
            Interrupted: the client was stopped.
        """
        url = route_url(route)
        try:
            self._policy.call(
                lambda: self._attempt(url, lambda reply: None, method="DELETE"),
                wait=self._wait,
                announce=self._announce,
            )
        except RequestError as error:
            if error.code != "NOT_FOUND":
                raise

    def mask(self, text: str) -> str:
        """The text without the token, however it is spelled, and without control characters."""
        return harmless(self._secrets(text))

    def excerpt(self, body: builtins.bytes) -> str:
        """The beginning of a body as text, without the token; what is no UTF-8 is replaced."""
        length = 4 * PAYLOAD_CHARACTERS + 8 * self._secrets.longest  # all of a token that begins in it
        return self.mask(body[:length].decode("utf-8", errors="replace"))[:PAYLOAD_CHARACTERS]

    @property
    def _host(self) -> str:
        return urlsplit(self.connection.url).netloc

    def _attempt(
        self,
        url: str,
        decode: Callable[[Reply], T],
        accept: str = JSON,
        body: Mapping[str, str | int | bool] | None = None,
        method: str = "",
    ) -> T:
        with self._places, self._throttle.slot(self._wait, kind=kind(url)) as request:
            self._count_request()
            answer = self._send(url, accept, body, method)
            request.answered(answer.status, len(answer.body))
        reply = Reply(answer.status, answer.body, url, answer.content_type)
        with self._lock:
            self._tally.bytes += len(reply.body)
        if reply.status != 200:
            raise self._refusal(reply, answer.retry_after)
        try:
            value = decode(reply)
        except Unreadable as error:
            answer.hang_up()
            # Its message may hold what the server echoes: the chain would show that unmasked.
            raise self._error("INVALID_RESPONSE", error.message, reply) from None
        self._tally.answered_at = self._clock()
        return value

    def _send(
        self, url: str, accept: str, body: Mapping[str, str | int | bool] | None, method: str
    ) -> Answer:
        with self._watched(url):
            try:
                return self._wire.ask(url, accept=accept, body=body, method=method, check=self.check)
            except WireError as error:
                self.check()  # for closing breaks what is under way
                raise self._broken(error, url) from None

    @contextmanager
    def _watched(self, url: str) -> Iterator[None]:
        """What is under way inside is told of by ``check`` when it takes long, and when it is over then."""
        request = _UnderWay(url.partition("?")[0], self._clock(), self.connection.timeout, self._wire.longest)
        self._under_way[id(request)] = request
        try:
            yield
        finally:
            del self._under_way[id(request)]
            request.over(self._announce)

    def _broken(self, error: WireError, url: str) -> RequestError:
        """The error for a request that has no answer."""
        if error.hopeless:
            return ServerUnreachable(
                self.mask(error.message), code=error.code, url=self.mask(url), hint=error.hint
            )
        broken = self._error(error.code, error.message, url=url)
        broken.http_status = error.status
        broken.hint = error.hint or broken.hint
        return broken

    def _refusal(self, reply: Reply, asked: str | None) -> RequestError:
        code = _STATUS_CODES.get(reply.status, "API_ERROR")
        if reply.status < 500 and code != "RATE_LIMITED":
            self._tally.answered_at = self._clock()
        said = what_it_says(self.excerpt(reply.body))
        message = f"HTTP {reply.status}" + (f": {said}" if said else "")
        error = self._error(code, message, reply, asked=retry_after(asked))
        if code == "RATE_LIMITED" or error.retry_after:
            self._throttle.pause(min(error.retry_after or 1.0, self._policy.longest_wait))
        return error

    def _error(
        self,
        code: str,
        message: str,
        reply: Reply | None = None,
        *,
        url: str = "",
        asked: float | None = None,
    ) -> RequestError:
        kind = TokenRefused if code == "UNAUTHORIZED" else RequestError
        refused = code == "API_ERROR" and reply is not None and reply.status < 500
        return kind(
            self.mask(message),
            code=code,
            url=self.mask(reply.url if reply else url),
            http_status=reply.status if reply else None,
            payload=self.excerpt(reply.body) if reply else "",
            retry_after=asked,
            hint=_REFUSED_HINT if refused else _HINTS.get(code, ""),
        )

    def _count_request(self) -> None:
        self.check()
        with self._lock:
            limit = self.connection.max_requests
            if limit is not None and self._tally.requests >= limit:
                raise RequestBudgetSpent(
                    f"max_requests ({limit}) is reached", hint="Run again to go on from here."
                )
            self._tally.requests += 1

    def _answers(self) -> bool:
        """Whether the server answers anything: the cheapest route, at least."""
        patience = replace(self._policy, attempts=min(self._policy.attempts, 3))
        url = route_url("App/Version")
        try:
            patience.call(lambda: self._attempt(url, _no_page), wait=self._wait, announce=self._announce)
        except RequestError as error:
            return not worth_another_try(error)
        except RequestBudgetSpent:
            return True
        return True

    def _announce(self, reason: str, seconds: float) -> None:
        self._listen(events.Waiting(self.mask(reason), seconds))

    def _note(self, message: str) -> None:
        self._listen(events.Noted(self.mask(message)))

    def _shared_budget(self, folder: Path | None) -> SharedBudget | None:
        place = self.connection
        if folder is None or place.requests_per_minute is None:
            return None
        return SharedBudget(folder, url=place.url, token=place.token, note=self._note)

    def _wait(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise Interrupted("interrupted")


def route_url(route: str, query: Mapping[str, str | int | bool] | None = None) -> str:
    """The path and query of a route below ``/api``, every value percent-encoded."""
    text = "&".join(f"{name}={quote(_query_value(value), safe='')}" for name, value in (query or {}).items())
    return f"/api/{route}?{text}" if text else f"/api/{route}"


def kind(url: str) -> str:
    """What a request does, by the words that its route begins with: the throttle compares like with like.

    Keys stand further behind, or are no words (``Product/PCBA-100``).
    """
    words = url.partition("?")[0].split("/")[2:4]
    return "/".join(word for word in words if word.isalpha() and not word.isupper())


def what_it_says(text: str) -> str:
    """The message in an error body of any of WATS's shapes (JSON, text, HTML), at most 300 characters."""
    text = text.strip()
    found = re.search(r'"(?:message|error|detail|title)"\s*:\s*"((?:[^"\\]|\\.)*)"', text, re.IGNORECASE)
    if found:
        return _unescaped(found.group(1))[:300]
    if text.startswith("<"):
        title = re.search(r"<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        return (title.group(1).strip() if title else "an HTML page")[:300]
    return text.strip('"')[:300]


def _unescaped(text: str) -> str:
    """The text of a JSON string, or the string itself where it is none."""
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text


def _no_page(reply: Reply) -> None:
    """Refuse the page that a proxy shows instead of every answer of the server."""
    if reply.body.lstrip()[:1] in (b"", b"<"):
        raise Unreadable("an HTML page or nothing at all, instead of a version")


def _query_value(value: str | int) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
