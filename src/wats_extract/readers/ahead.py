"""Run requests in background threads, with results in order and bounded memory.

The consuming thread stays free to commit, and notices an interrupt at once. All threads are daemons, so a
request that hangs never keeps the process alive.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from typing import Generic, TypeAlias, TypeVar

from wats_extract.errors import freed

T = TypeVar("T")
V = TypeVar("V")

_CHECK_SECONDS = 0.2
"""How often a waiting thread checks whether it should stop."""

_Task: TypeAlias = tuple[T, "Future[V]"]


class _Items(Generic[T]):
    """An iterator that keeps its error, so that it can be raised after the items before it are consumed."""

    def __init__(self, items: Iterable[T]) -> None:
        self.error: Exception | None = None
        self._items = items

    def __iter__(self) -> Iterator[T]:
        try:
            yield from self._items
        except Exception as error:
            self.error = freed(error)


def in_order(
    items: Iterable[T],
    work: Callable[[T], V],
    *,
    workers: int,
    ahead: int,
    weigh: Callable[[V], int] = lambda result: 0,
    heaviest: int = 1,
    useful: Callable[[], int] | None = None,
    check: Callable[[], None] = lambda: None,
) -> Generator[tuple[T, V]]:
    """Run ``work`` on each item in threads, and yield items and results in the order of the items.

    Args:
        items: Taken as needed, in the consuming thread; may be endless.
        work: Runs in the threads. Its error is raised here, when its item's turn comes.
        workers: The largest number of threads.
        ahead: The largest number of items that are in progress or waiting to be consumed. It bounds memory.
        weigh: The weight of a result.
        heaviest: The weight of all results that wait to be consumed at which no further item is started.
        useful: The number of threads that can make progress now, asked before and after each item. Further
            threads would only wait and slow the others down.
        check: Called while waiting; raises to stop.
    """
    tasks: queue.SimpleQueue[_Task[T, V] | None] = queue.SimpleQueue()
    pending: deque[_Task[T, V]] = deque()
    ended, lock = threading.Event(), threading.Lock()
    threads: list[threading.Thread] = []
    held = 0

    def hold(result: V, sign: int) -> None:
        """Count the weight of a result that begins or ends to wait."""
        nonlocal held
        if weight := weigh(result):
            with lock:
                held += sign * weight

    def serve() -> None:
        # Items start in order. Items that have not started when one fails come after it: nobody needs them.
        while not ended.is_set() and (task := tasks.get()) is not None:
            if _fulfil(task, work):
                hold(task[1].result(), 1)
            else:
                ended.set()
            add_thread()

    def consumed() -> tuple[T, V]:
        item, result = _result(pending.popleft(), check)
        hold(result, -1)
        return item, result

    def add_thread() -> None:
        """Start one more thread, if there is work for it."""
        if len(threads) < workers and not tasks.empty():
            with lock:
                if len(threads) < (min(workers, useful()) if useful else workers) and not ended.is_set():
                    threads.append(_start(serve))

    source = _Items(items)
    try:
        for item in source:
            task: _Task[T, V] = (item, Future())
            pending.append(task)
            tasks.put(task)
            add_thread()
            while pending and (len(pending) >= ahead or held >= heaviest or pending[0][1].done()):
                yield consumed()
        while pending:
            yield consumed()
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
    """Run an iterator in a thread of its own, ahead of the consumer.

    Args:
        values: Runs in the thread. Its error is raised here, after the values before it are consumed.
        ahead: The number of values in the buffer, while one more is produced. With 0 the next value is
            produced once the previous one was taken, with ``None`` only when the consumer asks for it.
        check: Called while waiting; raises to stop.
    """
    # A value travels in a list of one, so that the consumer gets the last reference to it. A page takes tens
    # of megabytes, which have to be free while the next one is read.
    buffer: queue.Queue[tuple[list[T], BaseException | None]] = queue.Queue(maxsize=ahead or 1)
    requested = threading.Semaphore(0)
    abandoned = threading.Event()

    def run() -> None:
        error: BaseException = StopIteration()
        try:
            while ahead or requested.acquire():
                if abandoned.is_set() or not _put(buffer, ([next(values)], None), abandoned):
                    return
        except BaseException as raised:
            error = freed(raised)
        _put(buffer, ([], error), abandoned)

    _start(run)
    if ahead == 0:
        requested.release()
    try:
        while True:
            if ahead is None:
                requested.release()
            value, error = _take(buffer, check)
            if ahead == 0:
                requested.release()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield value.pop()
    finally:
        abandoned.set()
        requested.release()


def _start(target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, name="wats-extract", daemon=True)
    thread.start()
    return thread


def _fulfil(task: _Task[T, V], work: Callable[[T], V]) -> bool:
    """Do the work of a task; whether it succeeded."""
    item, future = task
    try:
        future.set_result(work(item))
    except BaseException as error:
        future.set_exception(freed(error))
        return False
    return True


def _result(task: _Task[T, V], check: Callable[[], None]) -> tuple[T, V]:
    item, future = task
    while True:
        try:
            future.exception(timeout=_CHECK_SECONDS)
        except TimeoutError:
            check()
        else:
            return item, future.result()


def _put(buffer: queue.Queue[T], value: T, abandoned: threading.Event) -> bool:
    """Put a value into the buffer; whether there is still a consumer."""
    while not abandoned.is_set():
        try:
            buffer.put(value, timeout=_CHECK_SECONDS)
        except queue.Full:
            continue
        return True
    return False


def _take(buffer: queue.Queue[T], check: Callable[[], None]) -> T:
    while True:
        try:
            return buffer.get(timeout=_CHECK_SECONDS)
        except queue.Empty:
            check()


def _drain(tasks: queue.SimpleQueue[T]) -> None:
    while True:
        try:
            tasks.get_nowait()
        except queue.Empty:
            return
