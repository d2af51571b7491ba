"""Get: one authenticated, throttled, retrying way from a route to a decoded answer.

The only module beside ``fake`` that knows the HTTP library (docs/decisions/0003-http-client.md).
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx2

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
from wats_extract.retry import RetryPolicy, retry_after, worth_another_try
from wats_extract.throttle import Throttle

T = TypeVar("T")

JSON = "application/json"
"""What answers are, where nothing else is asked for."""

PAYLOAD_CHARACTERS = 2000
"""How much of an unreadable answer is kept."""

CONNECT_SECONDS = 15.0
"""A server that is there accepts a connection much sooner than it answers."""

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

_FOREIGN = (httpx2.HTTPError, httpx2.InvalidURL, httpx2.CookieConflict, RuntimeError, UnicodeError)
"""Whatever the HTTP library may raise for a request; its stream errors are runtime errors."""


@dataclass(frozen=True)
class Connection:
    """Where and how to ask.

    Attributes:
        url: The server's address without ``/api``.
        token: Goes verbatim behind ``Authorization: Basic``; shown nowhere.
        requests_per_minute: The budget in any sliding minute, ``None`` for no limit.
        max_in_flight: The most requests at the same time.
        max_requests: Stop cleanly after so many; ``None`` for no limit.
        timeout: Seconds without a byte after which a request is given up.
    """

    url: str
    token: str = field(default="", repr=False)
    requests_per_minute: int | None = 500
    max_in_flight: int = 10
    max_requests: int | None = None
    timeout: float = 120.0


class Client:
    """Asks a WATS server. Thread-safe; use it as a context manager.

    Args:
        connection: Where and how to ask.
        policy: How patient a request is.
        listen: Told what is waited for.
        stopping: Once it is set, every wait and every further request raise ``Interrupted``.
        transport: An HTTP transport instead of the network, for tests.
        clock: Seconds that only go up.

    Attributes:
        requests: Requests sent so far, retries included.
        bytes: Bytes of answers so far, inflated.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        policy: RetryPolicy | None = None,
        listen: events.Listener = events.nobody,
        stopping: threading.Event | None = None,
        transport: httpx2.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.connection = connection
        self.requests = 0
        self.bytes = 0
        self._policy = policy or RetryPolicy()
        self._listen = listen
        self._stopping = stopping or threading.Event()
        self._clock = clock
        self._lock = threading.Lock()
        self._token = _spellings(connection.token)
        self._answered_at = float("-inf")
        self._throttle = Throttle(
            requests_per_minute=connection.requests_per_minute,
            max_in_flight=connection.max_in_flight,
            clock=clock,
            wait=self._wait,
            announce=self._announce,
        )
        self._http = httpx2.Client(
            base_url=connection.url,
            headers=_headers(connection.token),
            timeout=httpx2.Timeout(connection.timeout, connect=min(connection.timeout, CONNECT_SECONDS)),
            limits=httpx2.Limits(
                max_connections=connection.max_in_flight + 1,
                max_keepalive_connections=connection.max_in_flight + 1,
                keepalive_expiry=30.0,
            ),
            follow_redirects=True,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; requests under way in other threads end by ``timeout`` at the latest."""
        self._stopping.set()
        self._http.close()

    def check(self) -> None:
        """Raise ``Interrupted`` if the client was told to stop."""
        if self._stopping.is_set():
            raise Interrupted("interrupted")

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
        started = self._clock()
        try:
            return self._policy.call(
                lambda: self._attempt(url, decode, accept, body), wait=self._wait, announce=self._announce
            )
        except RequestError as error:
            if worth_another_try(error) and not self._answers(since=started):
                raise ServerUnreachable(
                    f"{self._host} is out of reach: {error.message}",
                    code=error.code,
                    url=url,
                    http_status=error.http_status,
                    attempts=error.attempts,
                    hint="What was committed stays; run the same command again later.",
                ) from error
            raise

    def mask(self, text: str) -> str:
        """The text without the token, however JSON, HTML or a URL spell it."""
        return self._token.sub("***", text) if self._token else text

    def excerpt(self, body: bytes) -> str:
        """The beginning of a body as text, without the token; what is no UTF-8 is replaced."""
        length = 4 * PAYLOAD_CHARACTERS + 6 * len(self.connection.token)  # all of a token that begins in it
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
    ) -> T:
        with self._throttle.slot():
            self._count_request()
            response = self._send(url, accept, body)
        reply = Reply(response.status_code, response.content, url, response.headers.get("content-type", ""))
        with self._lock:
            self.bytes += len(reply.body)
        if reply.status != 200:
            raise self._refusal(reply, response.headers.get("retry-after"))
        try:
            value = decode(reply)
        except Unreadable as error:
            # Its message may hold what the server echoes: the chain would show that unmasked.
            raise self._error("INVALID_RESPONSE", error.message, reply) from None
        self._answered_at = self._clock()
        return value

    def _send(self, url: str, accept: str, body: Mapping[str, str | int | bool] | None) -> httpx2.Response:
        method, content = ("GET", None) if body is None else ("POST", dict(body))
        try:
            return self._http.request(method, url, json=content, headers={"Accept": accept})
        except _FOREIGN as error:
            self.check()  # for closing breaks what is under way
            raise self._error(*self._translated(error), url=url) from error

    def _translated(self, error: Exception) -> tuple[str, str]:
        """The code and the message for an error of the HTTP library."""
        reason = str(error) or type(error).__name__
        match error:
            case httpx2.ConnectTimeout():
                return "TIMEOUT", f"no connection within {min(self.connection.timeout, CONNECT_SECONDS):g} s"
            case httpx2.TimeoutException():
                return "TIMEOUT", f"no answer within {self.connection.timeout:g} s"
            case httpx2.DecodingError():
                return "INVALID_RESPONSE", f"the answer's compression is broken ({reason})"
            case httpx2.HTTPError():
                return "CONNECTION_ERROR", f"no connection, or it broke ({reason})"
            case _:
                return "UNKNOWN_ERROR", f"it cannot be asked for ({reason})"

    def _refusal(self, reply: Reply, asked: str | None) -> RequestError:
        code = _STATUS_CODES.get(reply.status, "API_ERROR")
        if reply.status < 500 and code != "RATE_LIMITED":
            self._answered_at = self._clock()
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
            url=reply.url if reply else url,
            http_status=reply.status if reply else None,
            payload=self.excerpt(reply.body) if reply else "",
            retry_after=asked,
            hint=_REFUSED_HINT if refused else _HINTS.get(code, ""),
        )

    def _count_request(self) -> None:
        self.check()
        with self._lock:
            limit = self.connection.max_requests
            if limit is not None and self.requests >= limit:
                raise RequestBudgetSpent(
                    f"max_requests ({limit}) is reached", hint="Run again to go on from here."
                )
            self.requests += 1

    def _answers(self, *, since: float) -> bool:
        """Whether the server answers anything: something did lately, or the cheapest route does now."""
        if self._answered_at > since:
            return True
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

    def _wait(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise Interrupted("interrupted")


def route_url(route: str, query: Mapping[str, str | int | bool] | None = None) -> str:
    """The path and query of a route below ``/api``, every value percent-encoded."""
    text = "&".join(f"{name}={quote(_query_value(value), safe='')}" for name, value in (query or {}).items())
    return f"/api/{route}?{text}" if text else f"/api/{route}"


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


def _spellings(token: str) -> re.Pattern[str] | None:
    """What finds a token, also where an echo escapes its ``+``, ``/`` and ``=``."""

    def spelling(letter: str) -> str:
        code = ord(letter)
        return rf"(?:\\?{re.escape(letter)}|\\u{code:04x}|%{code:02x}|&#(?:{code}|x{code:x});)"

    parts = (letter if letter.isalnum() else spelling(letter) for letter in token)
    return re.compile("".join(parts), re.IGNORECASE) if token else None


def _headers(token: str) -> dict[str, str]:
    headers = {"Accept": JSON, "Accept-Encoding": "gzip", "User-Agent": "wats-extract"}
    return headers | ({"Authorization": f"Basic {token}"} if token else {})


def _query_value(value: str | int) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
