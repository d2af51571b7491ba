"""The server as one callable, request to response; `server` puts it on a port."""

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
    Call,
    Quirks,
    RefusedError,
    Request,
    Response,
    Route,
    Sending,
    page_response,
)
from wats_extract.fake.faults import Faults, throttled
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
"""The first that fits answers: a path that is all words precedes one that varies."""

_LOG_LENGTH = 10_000
_WINDOW = 60.0
_WORTH_PACKING = 1024
_READING = ("GET", "HEAD", "OPTIONS")


class Asked(NamedTuple):
    """One request that the app has answered."""

    method: str
    path: str
    query: str
    status: int


class App:
    """An embedded WATS server.

    Args:
        plant: the reports.
        token: what must follow `Basic ` in the `Authorization` header, to the letter.
        stores: what the server holds beside the reports, where it isn't to be as usual, such as
            `[Assets(plant, count=2500)]`.
        faults: what goes wrong.
        clock: seconds, for the rate limit.
        quirks: the fields of `Quirks`.

    Attributes:
        plant: the reports.
        faults: what goes wrong.
        high_water: the highest number of requests that were being answered at once.
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
        self.plant = Plant() if plant is None else plant  # an empty one is falsy
        self.faults = faults or Faults()
        self.faults.settle(len(self.plant), self.plant.uuid)
        self.high_water = 0
        self._stores = Stores(self.plant, stores)
        self._changes: list[Asked] = []
        self._log: deque[Asked] = deque(maxlen=_LOG_LENGTH)
        self._per_route: Counter[str] = Counter()
        self._quirks = Quirks(**quirks)
        self._scopes = _scopes(token, self._quirks)
        self._clock = clock
        self._recent: deque[float] = deque()
        self._in_flight = 0
        self._lock = threading.Lock()
        self._routes = [(route, _pattern(route.path)) for route in ROUTES]

    @property
    def requests(self) -> list[Asked]:
        """The last 10,000 requests, oldest first; the status of a dropped connection is 0."""
        with self._lock:
            return list(self._log)

    @property
    def state_changes(self) -> list[Asked]:
        """The requests that change what a server holds, whatever came of them: who only reads makes none."""
        with self._lock:
            return list(self._changes)

    def store(self, kind: type[S]) -> S:
        """What the server holds of a kind, such as `Assets`, to look at and to change."""
        return self._stores.of(kind)

    @property
    def per_route(self) -> Counter[str]:
        """How many requests by the path of the route in the routing table; "" where there is none."""
        with self._lock:
            return self._per_route.copy()

    @property
    def total(self) -> int:
        """How many requests there were."""
        return self.per_route.total()

    def __call__(self, request: Request) -> Response:
        """Answer a request; never raises."""
        with self.answering(request) as answer:
            return answer

    @contextmanager
    def answering(self, request: Request) -> Iterator[Response]:
        """Answer a request; it counts as being in flight until the block ends, that is, until it is sent."""
        with self._lock:
            self._in_flight += 1
            self.high_water = max(self.high_water, self._in_flight)
        try:
            yield self._logged(request)
        finally:
            with self._lock:
                self._in_flight -= 1

    # -------------------------------------------------------- answering

    def _logged(self, request: Request) -> Response:
        route, parts = self._routed(request)
        answer = self._packed(request, self._answered(request, route, parts))
        status = 0 if answer.sending is Sending.DROP else answer.status
        asked = Asked(request.method, request.path, request.query, status)
        changes = route.changes if route else request.method not in _READING
        with self._lock:
            self._log.append(asked)
            self._changes.extend([asked] * changes)
            self._per_route[route.path if route else ""] += 1
        return replace(answer, delay=answer.delay + self._quirks.latency)

    def _answered(self, request: Request, route: Route | None, parts: tuple[str, ...]) -> Response:
        token = request.headers.get("authorization", "")
        if token not in self._scopes:
            return replace(page_response(401, "Unauthorized"), headers={"WWW-Authenticate": "Basic"})
        wait = self._seconds_to_wait()
        if wait:
            return throttled(wait, self._quirks.retry_after)
        fault = self.faults.draw()
        answer = self._routed_answer(request, route, parts, self._scopes[token])
        return answer if fault is None else self.faults.spoil(fault, answer)

    def _routed_answer(
        self, request: Request, route: Route | None, parts: tuple[str, ...], scope: Filter | None
    ) -> Response:
        if route is None:
            return page_response(404, "404 - File or directory not found.")
        query = {name.lower(): value for name, value in parse_qsl(request.query, keep_blank_values=True)}
        try:
            answer = route.answer(Call(request, self.plant, self._quirks, query, self._stores, parts, scope))
        except RefusedError as refusal:
            return refusal.response
        return self.faults.spoil_report(parts[0], answer) if route.answer is reports.document else answer

    def _routed(self, request: Request) -> tuple[Route | None, tuple[str, ...]]:
        for route, pattern in self._routes:
            match = route.method == request.method and pattern.fullmatch(request.path)
            if match:
                return route, tuple(unquote(part) for part in match.groups())
        return None, ()

    def _seconds_to_wait(self) -> int:
        """How long the rate limit asks to wait, 0 if the request may pass."""
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

    def _packed(self, request: Request, answer: Response) -> Response:
        accepted = "gzip" in request.headers.get("accept-encoding", "")
        if not accepted or not self._quirks.gzip or len(answer.body) < _WORTH_PACKING:
            return answer
        if "Content-Encoding" in answer.headers:
            return answer
        headers = {**answer.headers, "Content-Encoding": "gzip"}
        return replace(answer, body=gzip.compress(answer.body, 1, mtime=0), headers=headers)


def _scopes(token: str, quirks: Quirks) -> dict[str, Filter | None]:
    """What each `Authorization` header may see."""
    limited = {f"Basic {each}": parse_filter(text, reports.HEADER) for each, text in quirks.scopes.items()}
    return {f"Basic {token}": None, **limited}


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("([^/]+)".join(re.escape(part) for part in path.split("{}")) + "/?", re.IGNORECASE)
