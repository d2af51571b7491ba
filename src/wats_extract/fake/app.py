"""The server as one callable, request to response. `server` puts it on a port."""

from __future__ import annotations

import gzip
import math
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, unquote

from wats_extract.fake.exchange import (
    NOT_FOUND_PAGE,
    Call,
    Quirks,
    RefusedError,
    Request,
    Response,
    Route,
    Sending,
    page_response,
)
from wats_extract.fake.faults import Faults, too_many_requests
from wats_extract.fake.odata import Filter, parse_filter
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.plant.stores import Store, Stores
from wats_extract.fake.routes import (
    analytics,
    assets,
    internal,
    production,
    products,
    reports,
    rootcause,
    scim,
    software,
    system,
    traps,
    yields,
)

S = TypeVar("S", bound=Store)

_DOMAINS = (
    system,
    reports,
    products,
    assets,
    scim,
    software,
    rootcause,
    production,
    analytics,
    yields,
    internal,
    traps,
)
ROUTES = tuple(route for domain in _DOMAINS for route in domain.ROUTES)
"""The first match wins, so a fixed path must precede a path with placeholders."""

_LOG_LENGTH = 10_000
_WINDOW = 60.0
_MIN_COMPRESSED_BYTES = 1024
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class LoggedRequest(NamedTuple):
    """A request, and the status of its response: 0 if the connection was dropped."""

    method: str
    path: str
    query: str
    status: int


class App:
    """An embedded WATS server.

    Args:
        plant: The reports; 3,000 generated ones by default.
        token: The text after `Basic ` in the `Authorization` header, compared exactly.
        stores: Stores of another size than the default, such as `[Assets(plant, count=2500)]`.
        faults: The faults to inject; none by default.
        clock: Returns seconds, for the rate limit.
        quirks: The fields of `Quirks`.

    Attributes:
        plant: The reports.
        faults: The faults to inject.
        high_water: The highest number of requests in flight at once.
    """

    def __init__(
        self,
        plant: Plant | None = None,
        *,
        token: str = "demo",  # noqa: S107 - it opens the demo
        stores: Iterable[Store] = (),
        faults: Faults | None = None,
        clock: Callable[[], float] = time.monotonic,
        **quirks: Any,
    ) -> None:
        self.plant = Plant() if plant is None else plant  # an empty plant is falsy
        self.faults = faults or Faults()
        self.faults.settle(len(self.plant), self.plant.uuid)
        self.high_water = 0
        self._stores = Stores(self.plant, stores)
        self._changes: list[LoggedRequest] = []
        self._log: deque[LoggedRequest] = deque(maxlen=_LOG_LENGTH)
        self._per_route: Counter[str] = Counter()
        self._quirks = Quirks(**quirks)
        self._scopes = _scopes(token, self._quirks)
        self._clock = clock
        self._recent: deque[float] = deque()
        self._in_flight = 0
        self._lock = threading.Lock()
        self._routes = [(route, _pattern(route.path)) for route in ROUTES]

    @property
    def requests(self) -> list[LoggedRequest]:
        """The last 10,000 requests, oldest first."""
        with self._lock:
            return list(self._log)

    @property
    def state_changes(self) -> list[LoggedRequest]:
        """All requests that would change data, successful or not. A read-only client sends none."""
        with self._lock:
            return list(self._changes)

    def store(self, kind: type[S]) -> S:
        """The store of a class such as `Assets`, to read and to change."""
        return self._stores.of(kind)

    @property
    def per_route(self) -> Counter[str]:
        """Request counts by the path of the matched route; "" counts requests without a route."""
        with self._lock:
            return self._per_route.copy()

    @property
    def total(self) -> int:
        """The number of requests so far."""
        return self.per_route.total()

    def __call__(self, request: Request) -> Response:
        """Respond to a request. Never raises."""
        with self.answering(request) as response:
            return response

    @contextmanager
    def answering(self, request: Request) -> Iterator[Response]:
        """Respond to a request. It is in flight until the block ends, so send the response inside it."""
        with self._lock:
            self._in_flight += 1
            self.high_water = max(self.high_water, self._in_flight)
        try:
            yield self._logged_response(request)
        finally:
            with self._lock:
                self._in_flight -= 1

    # -------------------------------------------------------- responding

    def _logged_response(self, request: Request) -> Response:
        route, parts = self._match(request)
        response = self._compressed(request, self._response(request, route, parts))
        status = 0 if response.sending is Sending.DROP else response.status
        logged = LoggedRequest(request.method, request.path, request.query, status)
        changes_state = route.changes_state if route else request.method not in _SAFE_METHODS
        with self._lock:
            self._log.append(logged)
            if changes_state:
                self._changes.append(logged)
            self._per_route[route.path if route else ""] += 1
        return replace(response, delay=response.delay + self._quirks.latency)

    def _response(self, request: Request, route: Route | None, parts: tuple[str, ...]) -> Response:
        token = request.headers.get("authorization", "")
        if token not in self._scopes:
            return replace(page_response(401, "Unauthorized"), headers={"WWW-Authenticate": "Basic"})
        wait = self._seconds_to_wait()
        if wait:
            return too_many_requests(wait, self._quirks.retry_after)
        fault = self.faults.draw()
        response = self._route_response(request, route, parts, self._scopes[token])
        return response if fault is None else self.faults.spoil(fault, response)

    def _route_response(
        self, request: Request, route: Route | None, parts: tuple[str, ...], scope: Filter | None
    ) -> Response:
        if route is None:
            return NOT_FOUND_PAGE
        query = {name.lower(): value for name, value in parse_qsl(request.query, keep_blank_values=True)}
        try:
            response = route.handler(
                Call(request, self.plant, self._quirks, query, self._stores, parts, scope)
            )
        except RefusedError as refusal:
            return refusal.response
        return self.faults.spoil_report(parts[0], response) if route.handler is reports.document else response

    def _match(self, request: Request) -> tuple[Route | None, tuple[str, ...]]:
        """The route of a request, and the text at each placeholder of its path."""
        for route, pattern in self._routes:
            match = route.method == request.method and pattern.fullmatch(request.path)
            if match:
                return route, tuple(unquote(part) for part in match.groups())
        return None, ()

    def _seconds_to_wait(self) -> int:
        """Seconds until the rate limit admits the next request; 0 admits and counts this one."""
        limit = self._quirks.requests_per_minute
        if limit is None:
            return 0
        now = self._clock()
        with self._lock:
            while self._recent and self._recent[0] <= now - _WINDOW:
                self._recent.popleft()
            if len(self._recent) >= limit:
                return max(1, math.ceil(self._recent[0] + _WINDOW - now))
            self._recent.append(now)
        return 0

    def _compressed(self, request: Request, response: Response) -> Response:
        accepted = "gzip" in request.headers.get("accept-encoding", "")
        if not accepted or not self._quirks.gzip or len(response.body) < _MIN_COMPRESSED_BYTES:
            return response
        if "Content-Encoding" in response.headers:
            return response
        headers = {**response.headers, "Content-Encoding": "gzip"}
        return replace(response, body=gzip.compress(response.body, 1, mtime=0), headers=headers)


def _scopes(token: str, quirks: Quirks) -> dict[str, Filter | None]:
    """The reports that each `Authorization` header may read; None for all."""
    limited = {f"Basic {each}": parse_filter(text, reports.HEADER) for each, text in quirks.scopes.items()}
    return {f"Basic {token}": None, **limited}


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("([^/]+)".join(re.escape(part) for part in path.split("{}")) + "/?", re.IGNORECASE)
