"""Tell the user about requests that wait long for their response."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

SLOW_SECONDS = 10.0
"""A request is reported once it has waited this long for its response."""

Announce: TypeAlias = Callable[[str, float], None]
"""Takes the reason for a wait and how many seconds it may last; 0 means that it is over."""


class InFlightRequests:
    """The requests that wait for their response now. Thread-safe.

    Args:
        announce: Told about requests that wait for long.
        clock: Monotonic seconds.
        timeout: Seconds without a byte after which a request fails.
        longest: Seconds that a whole response may take.
    """

    def __init__(
        self, announce: Announce, clock: Callable[[], float], *, timeout: float, longest: float
    ) -> None:
        self._announce, self._clock = announce, clock
        self._timeout, self._longest = timeout, longest
        self._waiting: dict[int, _Waiting] = {}

    @contextmanager
    def waiting(self, path: str) -> Iterator[None]:
        """Watch a request for as long as the block runs."""
        began = self._clock()
        request = _Waiting(path, began + SLOW_SECONDS, (began + self._timeout, began + self._longest))
        self._waiting[id(request)] = request
        try:
            yield
        finally:
            del self._waiting[id(request)]
            if request.announced:
                self._announce(request.reason, 0)

    def announce_slow(self) -> None:
        """Announce requests that have waited long: first until their timeout, then until their deadline."""
        now = self._clock()
        for request in list(self._waiting.values()):
            if now >= request.due:
                limit = next((limit for limit in request.limits if limit > now), float("inf"))
                request.due = limit
                if limit < float("inf"):
                    request.announced = True
                    self._announce(request.reason, limit - now)


class _Waiting:
    """A request that waits.

    Attributes:
        reason: What is announced.
        due: When to announce it next.
        limits: When it times out at the latest: for the next bytes, and for the last ones.
        announced: Whether it was announced.
    """

    def __init__(self, path: str, due: float, limits: tuple[float, float]) -> None:
        self.reason = f"no response yet from {path}"
        self.due, self.limits = due, limits
        self.announced = False
