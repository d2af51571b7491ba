"""How often and how many at a time: by the budget, by pauses, and by what the server bears."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from wats_extract.http.adaptive import FlightLimit, Pace
from wats_extract.http.budget import MINUTE, Hindrance, Window
from wats_extract.http.shared_budget import SharedBudget

TOO_MANY = 429
UNAVAILABLE = 503

LOOK_UP_SECONDS = 0.5
"""How often a request that waits for a place looks whether it should stop."""

_WRITES_A_MINUTE = 3000
"""Budgets above that are taken in small lots, so that few requests write the shared file."""


class Turn(Protocol):
    """What a request waits at until there is a place for it: a ``threading.Event``."""

    def set(self) -> None:
        """Let it pass."""

    def is_set(self) -> bool:
        """Whether it may pass."""

    def wait(self, timeout: float) -> bool:
        """Wait until it may pass, or for so many seconds."""


@dataclass(slots=True)
class InFlight:
    """A request under way. Whoever sends it may say what has come back: the throttle learns from it.

    Attributes:
        kind: Requests of a kind do the same; only their response times are compared.
        began: When it started.
        status: The answer's status, ``None`` where there was none.
        size: The answer's bytes.
    """

    kind: str
    began: float
    status: int | None = 200
    size: int = 0

    def answered(self, status: int, size: int) -> None:
        """The whole answer is there."""
        self.status, self.size = status, size


class Throttle:
    """Lets requests start so that no minute sees more than the budget, and no moment more than the limit.

    Requests start at once until the budget of the last minute is used; then each waits until the one
    that started a budget ago is a minute old. What counts is when a request really starts, after every
    wait. Below budget and limit it finds out what the server bears: see ``adaptation``. Thread-safe; places
    are given in the order in which they are asked for.

    Args:
        requests_per_minute: The budget in any sliding minute, or ``None`` for no limit.
        max_in_flight: The most requests under way at the same time.
        clock: Seconds that only go up; the same for all processes of the machine where a budget is shared.
        wait: Waits for so many seconds; may raise to end the wait early.
        announce: Told the reason and the seconds before a wait of a second or more.
        shared: What keeps the budget the same as that of other processes; ``None`` counts alone.
        minute: Its seconds; tests take less.
        turn: What is waited at for a place.
        busy: Seconds of processor that this process has used.
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
        self._under_way = 0
        self._limit, self._pace = FlightLimit(max_in_flight, busy=busy), Pace()
        self._paused_until = float("-inf")
        self._budget, self._shared, self._window = requests_per_minute, shared, Window(minute)
        self._lot, self._lot_until = 0, float("-inf")

    @property
    def places(self) -> int:
        """How many requests at a time the server seems to bear; at most ``max_in_flight``."""
        return self._limit.places

    @contextmanager
    def slot(self, wait: Callable[[float], None] | None = None, *, kind: str = "") -> Iterator[InFlight]:
        """A request runs inside; entering waits for a free place, for pauses and for the budget.

        Args:
            wait: Waits for so many seconds, where that is to end earlier than the throttle's own.
            kind: What the request does; response times are compared within a kind.
        """
        request = self._start(wait or self._wait, kind)
        try:
            yield request
        except BaseException:
            request.status = None
            raise
        finally:
            with self._lock:
                self._learn(request)
                self._leave()

    def pause(self, seconds: float) -> None:
        """Let no request start for so long; pauses do not add up, the longest holds.

        Other processes that share the budget pause as well, for a minute at most.
        """
        with self._lock:
            now = self._clock()
            self._paused_until = max(self._paused_until, now + seconds)
            if self._budget is not None:
                with self._synchronised(now):
                    until = now + min(seconds, self._window.seconds)
                    self._window.paused_until = max(self._window.paused_until, until)

    # ── a place ──

    def _start(self, wait: Callable[[float], None], kind: str) -> InFlight:
        """Wait until nothing hinders a request; no place is kept from others while it waits for the time."""
        while True:
            self._enter(wait)
            with self._lock:
                now = self._clock()
                hindrance = self._hindrance(now)
                if hindrance is None:
                    self._limit.begin(kind, now)
                    return InFlight(kind, now)
                self._leave()
            if hindrance.seconds >= 1:
                self._announce(*hindrance)
            wait(hindrance.seconds)

    def _enter(self, wait: Callable[[float], None]) -> None:
        with self._lock:
            if self._under_way < self._limit.places and not self._queue:
                self._under_way += 1
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
        self._under_way -= 1
        while self._queue and self._under_way < self._limit.places:
            self._under_way += 1
            self._queue.popleft().set()

    # ── the time ──

    def _hindrance(self, now: float) -> Hindrance | None:
        """Take a start out of the budget now; or say what hinders that."""
        if self._paused_until > now:
            return Hindrance("the server asked for a pause", self._paused_until - now)
        if (seconds := self._pace.seconds(now)) > 0:
            return Hindrance("the server refuses more requests a minute", seconds)
        if self._budget is not None and (hindrance := self._over_budget(now, self._budget)) is not None:
            return hindrance
        self._pace.start(now)
        return None

    def _over_budget(self, now: float, budget: int) -> Hindrance | None:
        if self._lot and now < self._lot_until:
            self._lot -= 1
            return None
        with self._synchronised(now):
            window = self._window
            if window.paused_until > now:
                return Hindrance("the server asked for a pause", window.paused_until - now)
            taken = window.take(
                now, budget=budget, most=1 + budget // _WRITES_A_MINUTE if self._shared else 1
            )
            if taken:
                self._lot, self._lot_until = taken - 1, window.end_of_tick(now)
                return None
            reason = f"the budget of {window.budget(now, budget)} requests a minute is used up"
            return Hindrance(reason, window.seconds_until_room(now, budget=budget))

    def _synchronised(self, now: float) -> AbstractContextManager[None]:
        return self._shared.synchronised(self._window, now) if self._shared else nullcontext()

    # ── what comes back ──

    def _learn(self, request: InFlight) -> None:
        now = self._clock()
        full = self._under_way >= self._limit.places
        if request.status is None:
            self._limit.unanswered(request.kind, began=request.began, now=now)
        elif request.status in (TOO_MANY, UNAVAILABLE):
            if self._limit.refused(began=request.began, now=now) and request.status == TOO_MANY:
                self._pace.refused(now)
        else:
            self._pace.accepted(now)
            kind = request.kind if request.status == 200 else f"{request.kind} {request.status}"
            self._limit.answered(kind, size=request.size, began=request.began, now=now, full=full)
