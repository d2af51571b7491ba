"""Work ahead of whoever consumes it, in threads, in order, with bounded memory.

All requests run in these threads, so that the consuming thread stays free to commit, and to notice an
interrupt at once. The threads are daemons: one that hangs in a dead connection never keeps a process alive.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
V = TypeVar("V")

_LOOK_UP_SECONDS = 0.2
"""How often a waiting consumer looks whether it should stop."""


def _held() -> threading.Lock:
    """A lock that is released once, by another thread: less to make for each item than an event."""
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(slots=True)
class _Slot(Generic[T, V]):
    """One item under way, and what came of it."""

    item: T
    value: V | None = None
    error: BaseException | None = None
    done: bool = False
    _under_way: threading.Lock = field(default_factory=_held)

    def fill(self, work: Callable[[T], V]) -> None:
        try:
            self.value = work(self.item)
        except BaseException as error:
            self.error = error
        self.done = True
        self._under_way.release()

    def result(self, check: Callable[[], None]) -> V:
        while not (self.done or self._under_way.acquire(timeout=_LOOK_UP_SECONDS)):
            check()
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


class _Source(Generic[T]):
    """An iterator whose error waits until what it gave before has been consumed."""

    def __init__(self, values: Iterator[T]) -> None:
        self.error: Exception | None = None
        self._values = values

    def __iter__(self) -> Iterator[T]:
        try:
            yield from self._values
        except Exception as error:
            self.error = error


def in_order(
    items: Iterable[T],
    work: Callable[[T], V],
    *,
    workers: int,
    ahead: int,
    useful: Callable[[], int] | None = None,
    check: Callable[[], None] = lambda: None,
) -> Generator[tuple[T, V]]:
    """Do ``work`` on each item in threads, and give the results in the order of the items.

    Args:
        items: May be endless; taken as needed, in the consuming thread.
        work: Runs in the threads. What it raises is raised here, when its item's turn comes.
        workers: Threads, at most.
        ahead: The most items under way or waiting to be consumed: memory is this many results.
        useful: How many threads are of use by now; asked before and after each item. Those that only wait
            stand in the way of the others.
        check: Called while waiting; may raise to stop.
    """
    tasks: queue.SimpleQueue[_Slot[T, V] | None] = queue.SimpleQueue()
    pending: deque[_Slot[T, V]] = deque()

    ended, lock = threading.Event(), threading.Lock()
    threads: list[threading.Thread] = []

    def serve() -> None:
        # What was not begun before an error comes after it, and nobody will ask for it.
        while not ended.is_set() and (slot := tasks.get()) is not None:
            slot.fill(work)
            if slot.error is not None:
                ended.set()
            add_thread()

    def add_thread() -> None:
        """Where there is work for another one."""
        if len(threads) < workers and not tasks.empty():
            with lock:
                if len(threads) < (min(workers, useful()) if useful else workers) and not ended.is_set():
                    threads.append(_start(serve))

    source = _Source(iter(items))
    try:
        for item in source:
            slot: _Slot[T, V] = _Slot(item)
            pending.append(slot)
            tasks.put(slot)
            add_thread()
            while pending and (len(pending) >= ahead or pending[0].done):
                first = pending.popleft()
                yield first.item, first.result(check)
        while pending:
            first = pending.popleft()
            yield first.item, first.result(check)
        if source.error is not None:
            raise source.error
    finally:
        _drain(tasks)
        with lock:
            ended.set()
        for _ in threads:
            tasks.put(None)


def in_background(
    values: Iterator[T], *, ahead: int | None, check: Callable[[], None] = lambda: None
) -> Generator[T]:
    """Run an iterator in a thread of its own, in front of the consumer.

    Args:
        values: Runs in the thread. What it raises is raised here, behind what it gave before.
        ahead: Values that wait to be consumed, while the next one is made; 0 makes the next one only when
            the last one was taken, ``None`` only when it is asked for.
        check: Called while waiting; may raise to stop.
    """
    ready: queue.Queue[tuple[list[T], BaseException | None]] = queue.Queue(maxsize=ahead or 1)
    wanted = threading.Semaphore(0)
    abandoned = threading.Event()

    def run() -> None:
        error: BaseException = StopIteration()
        try:
            while ahead or wanted.acquire():
                if abandoned.is_set() or not _put(ready, ([next(values)], None), abandoned):
                    return
        except BaseException as raised:
            error = raised
        _put(ready, ([], error), abandoned)

    _start(run)
    if ahead == 0:
        wanted.release()
    try:
        while True:
            if ahead is None:
                wanted.release()
            taken, error = _take(ready, check)
            if ahead == 0:
                wanted.release()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield taken.pop()  # so that it lives no longer than the consumer wants
    finally:
        abandoned.set()
        wanted.release()


def _start(target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, name="wats-extract", daemon=True)
    thread.start()
    return thread


def _put(ready: queue.Queue[T], value: T, abandoned: threading.Event) -> bool:
    while not abandoned.is_set():
        try:
            ready.put(value, timeout=_LOOK_UP_SECONDS)
        except queue.Full:
            continue
        return True
    return False


def _take(ready: queue.Queue[T], check: Callable[[], None]) -> T:
    while True:
        try:
            return ready.get(timeout=_LOOK_UP_SECONDS)
        except queue.Empty:
            check()


def _drain(tasks: queue.SimpleQueue[_Slot[T, V] | None]) -> None:
    while True:
        try:
            tasks.get_nowait()
        except queue.Empty:
            return
