"""Simulated time for threads: it passes only while all of them wait, so an hour takes seconds."""

from __future__ import annotations

import heapq
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.internals import Throttle


class Simulation:
    """A clock for threads that run one at a time. It jumps to the next time that one of them waits for.

    Each thread sleeps on a semaphore of its own and runs when another thread releases it. The order is
    deterministic.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._waiting: list[tuple[float, int, threading.Semaphore]] = []
        self._order = 0
        self._semaphores: dict[int, threading.Semaphore] = {}
        self._threads = 0
        self._over = threading.Event()
        self._errors: list[BaseException] = []

    def clock(self) -> float:
        """Simulated seconds since the start."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let this thread wait for some seconds."""
        own = self._semaphores[threading.get_ident()]
        self.wake(own, self.now + max(0.0, seconds))
        self.run_next(own)

    def throttle(self, **options: Any) -> Throttle:
        """A throttle that uses this clock."""
        given = {"requests_per_minute": 500, "max_in_flight": 10, **options}
        return Throttle(clock=self.clock, wait=self.sleep, turn=self.turn, busy=lambda: 0.0, **given)

    def turn(self) -> Turn:
        """An event that this thread can wait for, for a throttle."""
        return Turn(self, self._semaphores[threading.get_ident()])

    def run(self, threads: int, work: Callable[[int], None]) -> None:
        """Run ``work(0)``, ``work(1)``, … in a thread each until all have ended. Raises their first error."""

        def worker(number: int, own: threading.Semaphore) -> None:
            self._semaphores[threading.get_ident()] = own
            own.acquire()
            try:
                work(number)
            except BaseException as error:
                self._errors.append(error)
            self._threads -= 1
            self.run_next(None)

        self._threads = threads
        self._over.clear()
        for number in range(threads):
            semaphore = threading.Semaphore(0)
            self.wake(semaphore, self.now)
            threading.Thread(target=worker, args=(number, semaphore), daemon=True).start()
        self.run_next(None)
        assert self._over.wait(timeout=300), "the simulation is stuck"
        if self._errors:
            raise self._errors[0]

    def wake(self, semaphore: threading.Semaphore, instant: float) -> None:
        """Let a thread continue at a time."""
        self._order += 1
        heapq.heappush(self._waiting, (instant, self._order, semaphore))

    def run_next(self, own: threading.Semaphore | None) -> None:
        """Let the next thread run, and wait until another thread lets this one run again.

        Args:
            own: The semaphore of this thread; ``None`` if it ends.
        """
        if not self._waiting:
            if self._threads and not self._errors:
                self._errors.append(AssertionError("deadlock: every thread waits for another one"))
            self._over.set()
        else:
            instant, _, semaphore = heapq.heappop(self._waiting)
            self.now = max(self.now, instant)
            if semaphore is own:
                return
            semaphore.release()
        if own is not None:
            own.acquire()


class Turn:
    """The simulated counterpart of ``threading.Event``, for one waiting thread."""

    def __init__(self, simulation: Simulation, semaphore: threading.Semaphore) -> None:
        self._simulation, self._semaphore, self._set = simulation, semaphore, False

    def set(self) -> None:
        """Let the thread continue."""
        if not self._set:
            self._set = True
            self._simulation.wake(self._semaphore, self._simulation.now)

    def is_set(self) -> bool:
        """Whether `set` was called."""
        return self._set

    def wait(self, timeout: float) -> bool:  # noqa: ARG002 - the signature of an event
        """Wait until `set` is called, without a timeout."""
        self._simulation.run_next(self._semaphore)
        return True


@dataclass
class Server:
    """A WATS server in simulated time, reduced to the behaviour that a throttle can observe.

    Attributes:
        simulation: Its clock.
        per_minute: Number of requests allowed per minute, counted on arrival; ``None`` allows all.
        counting: The minute in which requests are counted: any (``sliding``) or one of the clock (``fixed``).
        way: Maximum number of seconds from client to server; the actual number is random.
        seconds: Median response time.
        scatter: Variation of the response time: sigma of a log-normal distribution.
        capacity: Number of requests that it handles at full speed at the same time; ``None`` for any number.
        slower: Factor of the response time at a given time.
        sick: Whether it responds with 503 at a given time.
        arrivals: Time and status of each request.
        answers: Time of each response, and the seconds since its request.
    """

    simulation: Simulation
    per_minute: int | None = 500
    counting: str = "sliding"
    way: float = 0.3
    seconds: float = 0.1
    scatter: float = 0.3
    capacity: int | None = None
    slower: Callable[[float], float] = lambda now: 1.0
    sick: Callable[[float], bool] = lambda now: False
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    answers: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(1)
        self._inside = 0
        self._accepted: deque[float] = deque()
        self.most_inside = 0

    def ask(self, throttle: Throttle, *, kind: str = "Report/Wsjf", size: int = 30_000) -> int:
        """Send one request through a throttle, without retrying; returns its status."""
        simulation = self.simulation
        with throttle.slot(kind=kind) as request:
            began = simulation.now
            self._inside += 1
            self.most_inside = max(self.most_inside, self._inside)
            simulation.sleep(self._chance.uniform(0, self.way))
            status, pause = self._verdict()
            self.arrivals.append((simulation.now, status))
            if pause:
                throttle.pause(pause)
            else:
                simulation.sleep(self._seconds(size) if status == 200 else 0.05)
            self._inside -= 1
            request.answered(status, size if status == 200 else 20)
        self.answers.append((simulation.now, simulation.now - began))
        return status

    def _seconds(self, size: int) -> float:
        """Response time of a request that arrives now."""
        queue = max(1.0, self._inside / self.capacity) if self.capacity else 1.0
        scatter = self._chance.lognormvariate(0, self.scatter)
        return self.seconds * size / 30_000 * queue * scatter * self.slower(self.simulation.now)

    def _verdict(self) -> tuple[int, float]:
        """Status of a request that arrives now, and the seconds that ``Retry-After`` asks for."""
        now = self.simulation.now
        if self.per_minute is not None:
            begin = now - 60 if self.counting == "sliding" else now // 60 * 60
            while self._accepted and self._accepted[0] <= begin:
                self._accepted.popleft()
            if len(self._accepted) >= self.per_minute:
                end = self._accepted[0] if self.counting == "sliding" else begin
                return 429, max(1.0, end + 60 - now)
            self._accepted.append(now)
        return (503, 0.0) if self.sick(now) else (200, 0.0)

    # ── results ──

    @property
    def done(self) -> int:
        """Number of requests that succeeded."""
        return sum(status == 200 for _, status in self.arrivals)

    @property
    def refused(self) -> float:
        """Share of requests that failed."""
        return 1 - self.done / len(self.arrivals)

    @property
    def most_in_a_minute(self) -> int:
        """Largest number of requests in any sliding minute."""
        return most_in_a_minute([instant for instant, _ in self.arrivals])


def most_in_a_minute(instants: Iterable[float]) -> int:
    """Largest number of these times in any sliding minute."""
    ordered = sorted(instants)
    first = most = 0
    for last, instant in enumerate(ordered):
        while ordered[first] <= instant - 60:
            first += 1
        most = max(most, last - first + 1)
    return most


def persistent(
    server: Server,
    throttle: Throttle,
    *,
    until: float,
    then: Callable[[], None] = lambda: None,
    **asked: Any,
) -> int:
    """Make one request after another, and retry each until it succeeds; returns how many succeeded.

    Args:
        server: Receives the requests.
        throttle: Delays them.
        until: Time after which no further request starts.
        then: Called after each response.
        asked: Arguments of `Server.ask`.
    """
    done = 0
    while server.simulation.now < until:
        tries = 0
        while server.ask(throttle, **asked) != 200 and server.simulation.now < until:
            then()
            server.simulation.sleep(min(4.0, 0.5 * 2**tries))
            tries += 1
        then()
        done += 1
    return done
