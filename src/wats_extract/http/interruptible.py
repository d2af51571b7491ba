"""Make blocking calls of the main thread interruptible.

pyreqwest blocks outside of Python until a response has arrived. No signal handler runs meanwhile, and a
``KeyboardInterrupt`` that comes then may abort the whole process. Signals are handled in the main thread
only; so a call of the main thread is made in another thread, and the main thread waits in Python.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from wats_extract.errors import freed

POLL_SECONDS = 0.1
"""How often the waiting main thread runs its check."""

T = TypeVar("T")


def interruptible(work: Callable[[], T], *, check: Callable[[], None]) -> T:
    """Call ``work`` and return its result or raise its error; signals interrupt it in the main thread.

    Args:
        work: Blocks. Other threads than the main thread call it directly.
        check: Called several times per second while the main thread waits. If it raises, or a signal handler
            does, ``work`` goes on unattended in its own thread and its outcome is dropped.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    outcome: Future[T] = Future()
    threading.Thread(target=_complete, args=(outcome, work), name="wats-request", daemon=True).start()
    while not wait([outcome], timeout=POLL_SECONDS).done:
        check()
    return outcome.result()


def _complete(outcome: Future[T], work: Callable[[], T]) -> None:
    try:
        outcome.set_result(work())
    except BaseException as error:
        outcome.set_exception(freed(error))
