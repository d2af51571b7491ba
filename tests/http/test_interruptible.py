"""Blocking calls of the main thread run elsewhere, so that signals and checks interrupt them."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from wats_extract.http.interruptible import interruptible


def nothing() -> None:
    """A check that never raises."""


class Stopped(Exception):
    """Raised by a check."""


def test_the_main_thread_waits_for_another_thread() -> None:
    assert interruptible(threading.current_thread, check=nothing) is not threading.main_thread()


def test_other_threads_make_their_calls_themselves() -> None:
    made_in: list[threading.Thread] = []
    thread = threading.Thread(
        target=lambda: made_in.append(interruptible(threading.current_thread, check=nothing))
    )
    thread.start()
    thread.join()
    assert made_in == [thread]


@pytest.mark.parametrize(
    "error", [ValueError("no"), TimeoutError("late"), KeyboardInterrupt(), SystemExit(3)]
)
def test_errors_are_passed_on(error: BaseException) -> None:
    def work() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        interruptible(work, check=nothing)
    assert raised.value is error


@pytest.fixture
def blocked() -> Any:
    """Work that blocks until the test is over."""
    over = threading.Event()
    yield lambda: over.wait(timeout=20)
    over.set()


def test_a_check_is_called_several_times_per_second_and_ends_the_wait(blocked: Callable[[], bool]) -> None:
    checks: list[float] = []

    def check() -> None:
        checks.append(time.monotonic())
        if len(checks) == 4:
            raise Stopped

    began = time.monotonic()
    with pytest.raises(Stopped):
        interruptible(blocked, check=check)
    assert 0.3 < checks[-1] - began < 5


@pytest.mark.skipif(sys.platform == "win32", reason="there is no timer signal")
def test_a_signal_ends_the_wait(blocked: Callable[[], bool]) -> None:
    def handler(number: int, frame: object) -> None:
        raise Stopped

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    began = time.monotonic()
    try:
        with pytest.raises(Stopped):
            interruptible(blocked, check=nothing)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 5
