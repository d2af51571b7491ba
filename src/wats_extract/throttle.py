"""How often and how many at a time: one request budget for everything that shares a client."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WINDOW_SECONDS = 60.5
"""The server counts in a sliding minute by arrival; half a second covers what requests spend on the way."""


class Throttle:
    """Lets requests start so that no minute sees more than the budget, and no moment more than the limit.

    Requests start at once until the budget of the last minute is used; then each waits until the one
    that started a budget ago is a minute old. Thread-safe.

    Args:
        requests_per_minute: The budget in any sliding minute, or ``None`` for no limit.
        max_in_flight: The most requests under way at the same time.
        clock: Seconds that only go up.
        wait: Waits for so many seconds; may raise to end the wait early.
        announce: Told the reason and the seconds before a wait of a second or more.
    """

    def __init__(
        self,
        *,
        requests_per_minute: int | None,
        max_in_flight: int,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
        announce: Callable[[str, float], None] = lambda reason, seconds: None,
    ) -> None:
        self._budget = requests_per_minute
        self._in_flight = threading.BoundedSemaphore(max_in_flight)
        self._clock, self._wait, self._announce = clock, wait, announce
        self._lock = threading.Lock()
        self._starts: deque[float] = deque(maxlen=requests_per_minute)
        self._paused_until = float("-inf")

    @contextmanager
    def slot(self) -> Iterator[None]:
        """A request runs inside; entering waits for the budget, for pauses and for a free place."""
        with self._in_flight:
            self._wait_for(self._reserve(), f"the budget of {self._budget} requests a minute")
            while (until := self._paused_until) > self._clock():
                self._wait_for(until, "the server asked for a pause")
            yield

    def pause(self, seconds: float) -> None:
        """Let no request start for so long; pauses do not add up, the longest holds."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock() + seconds)

    def _reserve(self) -> float:
        """Take the next place in the budget and say when it starts."""
        with self._lock:
            now = self._clock()
            if self._budget is None:
                return now
            full = len(self._starts) == self._budget
            start = max(now, self._starts[0] + WINDOW_SECONDS) if full else now
            self._starts.append(start)
            return start

    def _wait_for(self, instant: float, reason: str) -> None:
        seconds = instant - self._clock()
        if seconds >= 1:
            self._announce(reason, seconds)
        if seconds > 0:
            self._wait(seconds)
