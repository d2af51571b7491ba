"""Time that passes only while every thread waits for it: concurrency, without a second of waiting."""

from __future__ import annotations

import heapq
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from wats_extract.http.throttle import Throttle


class Simulation:
    """A clock for threads that run one at a time; it jumps to the next instant that one of them waits for.

    So an hour of thousands of requests takes seconds, and always goes the same way.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._waiting: list[tuple[float, int, threading.Semaphore]] = []
        self._order = 0
        self._baton: dict[int, threading.Semaphore] = {}
        self._threads = 0
        self._over = threading.Event()
        self._errors: list[BaseException] = []

    def clock(self) -> float:
        """Seconds since the beginning."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Wait; the time jumps when all threads do."""
        baton = self._baton[threading.get_ident()]
        self.wake(baton, self.now + max(0.0, seconds))
        self.hand_on(baton)

    def throttle(self, **options: Any) -> Throttle:
        """A throttle that lives in this time."""
        given = {"requests_per_minute": 500, "max_in_flight": 10, **options}
        return Throttle(clock=self.clock, wait=self.sleep, turn=self.turn, busy=lambda: 0.0, **given)

    def turn(self) -> Turn:
        """An event of this time, as a throttle wants it."""
        return Turn(self, self._baton[threading.get_ident()])

    def run(self, threads: int, work: Callable[[int], None]) -> None:
        """Let threads work until all are through; what one raises is raised."""

        def worker(number: int, baton: threading.Semaphore) -> None:
            self._baton[threading.get_ident()] = baton
            baton.acquire()
            try:
                work(number)
            except BaseException as error:
                self._errors.append(error)
            self._threads -= 1
            self.hand_on(None)

        self._threads = threads
        self._over.clear()
        for number in range(threads):
            baton = threading.Semaphore(0)
            self.wake(baton, self.now)
            threading.Thread(target=worker, args=(number, baton), daemon=True).start()
        self.hand_on(None)
        assert self._over.wait(timeout=300), "the simulation is stuck"
        if self._errors:
            raise self._errors[0]

    def wake(self, baton: threading.Semaphore, instant: float) -> None:
        """Let a thread go on at an instant."""
        self._order += 1
        heapq.heappush(self._waiting, (instant, self._order, baton))

    def hand_on(self, own: threading.Semaphore | None) -> None:
        """Let the thread run that is next, and wait until it is one's own turn again."""
        if not self._waiting:
            if self._threads and not self._errors:
                self._errors.append(AssertionError("every thread waits for another one"))
            self._over.set()
        else:
            instant, _, baton = heapq.heappop(self._waiting)
            self.now = max(self.now, instant)
            if baton is own:
                return
            baton.release()
        if own is not None:
            own.acquire()


class Turn:
    """What a thread waits at, in simulated time, until another one lets it pass."""

    def __init__(self, simulation: Simulation, baton: threading.Semaphore) -> None:
        self._simulation, self._baton, self._passed = simulation, baton, False

    def set(self) -> None:
        """Let it pass."""
        if not self._passed:
            self._passed = True
            self._simulation.wake(self._baton, self._simulation.now)

    def is_set(self) -> bool:
        """Whether it may pass."""
        return self._passed

    def wait(self, timeout: float) -> bool:
        """Wait until it may pass, however long that takes."""
        self._simulation.hand_on(self._baton)
        return True


@dataclass
class Server:
    """A WATS server in simulated time, as far as a throttle can tell.

    Attributes:
        simulation: Its time.
        per_minute: Requests that it allows in a minute, counted when they arrive; ``None`` allows all.
        counting: In which minute: any (``sliding``), or that of the clock (``fixed``).
        way: Seconds that a request is on the way, at most; by chance.
        seconds: What an answer takes usually.
        scatter: By how much that varies, as the sigma of a log-normal distribution.
        capacity: Requests that it works on at once; with more, all take longer. ``None`` for any number.
        slower: How many times as long it takes, by the time.
        sick: Whether it answers 503, by the time.
        arrivals: When each request arrived, and the status it got.
        answers: When each answer was there, and after how many seconds.
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
        """One request by a throttle, without another try; its status."""
        simulation = self.simulation
        with throttle.slot(kind=kind) as request:
            began = simulation.now
            self._inside += 1
            self.most_inside = max(self.most_inside, self._inside)
            simulation.sleep(self._chance.uniform(0, self.way))
            status, pause = self._judged()
            self.arrivals.append((simulation.now, status))
            if pause:
                throttle.pause(pause)
            else:
                simulation.sleep(self._work(size) if status == 200 else 0.05)
            self._inside -= 1
            request.answered(status, size if status == 200 else 20)
        self.answers.append((simulation.now, simulation.now - began))
        return status

    def _work(self, size: int) -> float:
        queue = max(1.0, self._inside / self.capacity) if self.capacity else 1.0
        scatter = self._chance.lognormvariate(0, self.scatter)
        return self.seconds * size / 30_000 * queue * scatter * self.slower(self.simulation.now)

    def _judged(self) -> tuple[int, float]:
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

    # ── what there is to see afterwards ──

    @property
    def done(self) -> int:
        """How many requests got an answer that serves."""
        return sum(status == 200 for _, status in self.arrivals)

    @property
    def refused(self) -> float:
        """The share of requests that were refused."""
        return 1 - self.done / len(self.arrivals)

    @property
    def most_in_a_minute(self) -> int:
        """The most requests that arrived in any minute."""
        return most_in_a_minute([instant for instant, _ in self.arrivals])


def most_in_a_minute(instants: Iterable[float]) -> int:
    """The most of these instants in any sliding minute."""
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
    """Ask for one thing after another until a time, each as often as it takes; how many there were.

    ``then`` is called after each answer. The waits between tries are those of ``patience``.
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
