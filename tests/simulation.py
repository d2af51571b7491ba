"""Time that passes only while every thread waits for it: concurrency, without a second of waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Simulation:
    """A clock for a fixed number of threads; it jumps to the next instant that one of them waits for."""

    def __init__(self) -> None:
        self.now = 0.0
        self._changed = threading.Condition()
        self._asleep: dict[int, float] = {}
        self._threads = 0

    def clock(self) -> float:
        """Seconds since the beginning."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Wait; the time jumps when all threads do."""
        with self._changed:
            wake = self.now + seconds
            self._asleep[threading.get_ident()] = wake
            self._jump()
            while self.now < wake:
                assert self._changed.wait(timeout=20), "the simulation is stuck"
            del self._asleep[threading.get_ident()]

    def run(self, threads: int, work: Callable[[int], None]) -> None:
        """Let threads work until all are through; what one raises is raised."""
        errors: list[BaseException] = []

        def worker(number: int) -> None:
            try:
                work(number)
            except BaseException as error:
                errors.append(error)
            with self._changed:
                self._threads -= 1
                self._jump()

        self._threads = threads
        started = [threading.Thread(target=worker, args=(number,), daemon=True) for number in range(threads)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join(timeout=60)
        if errors:
            raise errors[0]

    def _jump(self) -> None:
        if self._asleep and len(self._asleep) == self._threads:
            self.now = max(self.now, min(self._asleep.values()))
            self._changed.notify_all()
