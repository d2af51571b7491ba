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
    that started a budget ago is a minute old. What counts is when a request really starts, after every
    wait. Thread-safe.

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
        self._starts: deque[float] = deque(maxlen=requests_per_minute or 0)
        self._paused_until = float("-inf")

    @contextmanager
    def slot(self, wait: Callable[[float], None] | None = None) -> Iterator[None]:
        """A request runs inside; entering waits for a free place, for pauses and for the budget.

        Args:
            wait: Waits for so many seconds, where that is to end earlier than the throttle's own.
        """
        with self._in_flight:
            while (hindrance := self._start()) is not None:
                reason, seconds = hindrance
                if seconds >= 1:
                    self._announce(reason, seconds)
                (wait or self._wait)(seconds)
            yield

    def pause(self, seconds: float) -> None:
        """Let no request start for so long; pauses do not add up, the longest holds."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock() + seconds)

    def _start(self) -> tuple[str, float] | None:
        """Take a place in the budget now; or say what hinders that, and for how many seconds at least."""
        with self._lock:
            now = self._clock()
            if self._paused_until > now:
                return "the server asked for a pause", self._paused_until - now
            if len(self._starts) == self._budget and self._starts[0] + WINDOW_SECONDS > now:
                reason = f"the budget of {self._budget} requests a minute is used up"
                return reason, self._starts[0] + WINDOW_SECONDS - now
            self._starts.append(now)
            return None
