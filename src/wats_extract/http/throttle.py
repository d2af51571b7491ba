"""The rate limiter: requests per minute, pauses that the server asks for, and adaptive concurrency."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from wats_extract.http.adaptive import ConcurrencyLimit, RateLimiter
from wats_extract.http.budget import MINUTE, SlidingWindow, Wait
from wats_extract.http.shared_budget import SharedBudget

TOO_MANY = 429
UNAVAILABLE = 503

LOOK_UP_SECONDS = 0.5
"""How often a request that waits for a slot checks whether it should stop."""

_WRITES_PER_MINUTE = 3000
"""Above this budget several starts are reserved at once, so that few requests write the shared file."""


class Turn(Protocol):
    """The event at which a request waits for a slot; a ``threading.Event`` in production."""

    def set(self) -> None:
        """Let the request pass."""

    def is_set(self) -> bool:
        """Whether the request may pass."""

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds; whether the request may pass."""


@dataclass(slots=True)
class Slot:
    """A request in flight. The throttle learns from its response time and status.

    Attributes:
        kind: Only response times of the same kind of request are compared.
        began: When the request started.
        status: The response's status, ``None`` if there was no response.
        size: The response's size in bytes.
    """

    kind: str
    began: float
    status: int | None = 200
    size: int = 0

    def answered(self, status: int, size: int) -> None:
        """Note that the whole response has arrived."""
        self.status, self.size = status, size


class Throttle:
    """Delays requests so that they stay within a budget per minute and a number of concurrent requests.

    Requests start at once until the budget of the last minute is spent; after that, each waits until the
    request that started one budget earlier is a minute old. A request counts from when it really starts.
    Within these limits the throttle adapts to the server; see ``adaptive``. Thread-safe; slots are given in
    the order in which they were asked for.

    Args:
        requests_per_minute: The budget in any sliding minute, or ``None`` for no limit.
        max_in_flight: The most concurrent requests.
        clock: Monotonic seconds; the same for all processes of the machine if the budget is shared.
        wait: Waits for some seconds; may raise to end the wait early.
        announce: Told the reason and the seconds before a wait of a second or more.
        shared: Keeps the budget in step with other processes; ``None`` to count alone.
        minute: The length of a minute in seconds; tests shorten it.
        turn: Makes the event at which a request waits for a slot.
        busy: Seconds of CPU time that this process has used.
    """

    def __init__(
        self,
        *,
        requests_per_minute: int | None,
        max_in_flight: int,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
        announce: Callable[[str, float], None] = lambda reason, seconds: None,
        shared: SharedBudget | None = None,
        minute: float = MINUTE,
        turn: Callable[[], Turn] = threading.Event,
        busy: Callable[[], float] = time.process_time,
    ) -> None:
        self._clock, self._wait, self._announce, self._turn = clock, wait, announce, turn
        self._lock = threading.Lock()
        self._queue: deque[Turn] = deque()
        self._in_flight = 0
        self._limit, self._rate = ConcurrencyLimit(max_in_flight, busy=busy), RateLimiter()
        self._paused_until = float("-inf")
        self._budget, self._shared, self._window = requests_per_minute, shared, SlidingWindow(minute)
        self._reserved, self._reserved_until = 0, float("-inf")

    @property
    def concurrency(self) -> int:
        """How many concurrent requests the server seems to handle well; at most ``max_in_flight``."""
        return self._limit.concurrency

    @contextmanager
    def slot(self, wait: Callable[[float], None] | None = None, *, kind: str = "") -> Iterator[Slot]:
        """Run a request inside the block; entering waits for a free slot, for pauses and for the budget.

        Args:
            wait: Waits for some seconds; default: the throttle's own.
            kind: What the request does; response times are compared within a kind.
        """
        slot = self._start(wait or self._wait, kind)
        try:
            yield slot
        except BaseException:
            slot.status = None
            raise
        finally:
            with self._lock:
                self._learn(slot)
                self._leave()

    def pause(self, seconds: float) -> None:
        """Start no request for this long. Pauses do not add up; the longest one holds.

        Other processes that share the budget pause too, for a minute at most.
        """
        with self._lock:
            now = self._clock()
            self._paused_until = max(self._paused_until, now + seconds)
            if self._budget is not None:
                with self._synchronised(now):
                    until = now + min(seconds, self._window.seconds)
                    self._window.paused_until = max(self._window.paused_until, until)

    # ── slots ──

    def _start(self, wait: Callable[[float], None], kind: str) -> Slot:
        """Wait until a request may start. It holds no slot while it waits for a pause or for the budget."""
        while True:
            self._enter(wait)
            with self._lock:
                now = self._clock()
                delay = self._delay(now)
                if delay is None:
                    self._limit.begin(kind, now)
                    return Slot(kind, now)
                self._leave()
            if delay.seconds >= 1:
                self._announce(*delay)
            wait(delay.seconds)

    def _enter(self, wait: Callable[[float], None]) -> None:
        with self._lock:
            if self._in_flight < self._limit.concurrency and not self._queue:
                self._in_flight += 1
                return
            turn = self._turn()
            self._queue.append(turn)
        try:
            while not turn.wait(LOOK_UP_SECONDS):
                wait(0)
        except BaseException:
            with self._lock:
                if turn.is_set():
                    self._leave()
                else:
                    self._queue.remove(turn)
            raise

    def _leave(self) -> None:
        self._in_flight -= 1
        while self._queue and self._in_flight < self._limit.concurrency:
            self._in_flight += 1
            self._queue.popleft().set()

    # ── pauses and the budget ──

    def _delay(self, now: float) -> Wait | None:
        """Take one start from the budget, or say why and how long the request has to wait."""
        if self._paused_until > now:
            return Wait("the server asked for a pause", self._paused_until - now)
        if (seconds := self._rate.seconds(now)) > 0:
            return Wait("the server refuses more requests per minute", seconds)
        if self._budget is not None and (delay := self._over_budget(now, self._budget)) is not None:
            return delay
        self._rate.start(now)
        return None

    def _over_budget(self, now: float, budget: int) -> Wait | None:
        if self._reserved and now < self._reserved_until:
            self._reserved -= 1
            return None
        with self._synchronised(now):
            window = self._window
            if window.paused_until > now:
                return Wait("the server asked for a pause", window.paused_until - now)
            taken = window.take(
                now, budget=budget, most=1 + budget // _WRITES_PER_MINUTE if self._shared else 1
            )
            if taken:
                self._reserved, self._reserved_until = taken - 1, window.end_of_tick(now)
                return None
            reason = f"the budget of {window.budget(now, budget)} requests per minute is spent"
            return Wait(reason, window.seconds_until_room(now, budget=budget))

    def _synchronised(self, now: float) -> AbstractContextManager[None]:
        return self._shared.synchronised(self._window, now) if self._shared else nullcontext()

    # ── adaptation ──

    def _learn(self, slot: Slot) -> None:
        now = self._clock()
        full = self._in_flight >= self._limit.concurrency
        if slot.status is None:
            self._limit.unanswered(slot.kind, began=slot.began, now=now)
        elif slot.status in (TOO_MANY, UNAVAILABLE):
            if self._limit.refused(began=slot.began, now=now) and slot.status == TOO_MANY:
                self._rate.refused(now)
        else:
            self._rate.accepted(now)
            kind = slot.kind if slot.status == 200 else f"{slot.kind} {slot.status}"
            self._limit.answered(kind, size=slot.size, began=slot.began, now=now, full=full)
