"""Run blocking calls in background threads, so that the caller can stop waiting for them at any time.

pyreqwest blocks outside of Python until the server sends something: no signal handler runs meanwhile, and a
``KeyboardInterrupt`` that arrives then aborts the whole process. A caller that waits here instead is
interrupted at once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

POLL_SECONDS = 0.1
"""How often a waiting caller runs its check."""

IDLE_SECONDS = 10.0
"""A thread ends when it has had nothing to do for this long."""

T = TypeVar("T")


def in_background(work: Callable[[], T], *, check: Callable[[], None]) -> T:
    """Call ``work`` in a background thread and return its result, or raise its error.

    Args:
        work: Called with no arguments.
        check: Called while waiting, several times per second. If it raises, its error is raised at once; the
            thread finishes ``work`` unattended and its outcome is dropped.
    """
    call = _Call(work)
    try:
        calls = _idle.pop()
    except IndexError:
        calls = SimpleQueue()
        threading.Thread(target=_make_calls, args=(calls,), name="wats-request", daemon=True).start()
    calls.put(call)
    while not call.done.acquire(timeout=POLL_SECONDS):
        check()
    return call.outcome()


class _Call(Generic[T]):
    """A call and, once ``done`` can be acquired, its outcome."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.done = threading.Lock()
        self.done.acquire()
        self._work = work
        self._results: list[T] = []
        self._error: BaseException | None = None

    def make(self) -> None:
        try:
            self._results.append(self._work())
        except BaseException as error:
            self._error = error

    def outcome(self) -> T:
        error, self._error = self._error, None
        if error is None:
            return self._results.pop()
        try:
            raise error
        finally:
            del error  # its traceback refers to this frame


_idle: list[SimpleQueue[_Call[Any]]] = []
"""The queues of threads that wait for a call; shared by all clients, so that none has threads of its own."""

if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_idle.clear)  # a fork copies the queues, but not the threads


def _make_calls(calls: SimpleQueue[_Call[Any]]) -> None:
    while True:
        try:
            call = calls.get(timeout=IDLE_SECONDS)
        except Empty:
            try:
                _idle.remove(calls)
            except ValueError:
                continue  # a caller has just taken the queue and will put its call there
            return
        call.make()
        _idle.append(calls)
        call.done.release()
        del call  # would keep the result until the next call
