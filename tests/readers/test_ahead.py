"""Background work comes in order, is bounded, and ends with its consumer."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wats_extract.errors import Interrupted
from wats_extract.readers.ahead import in_background, in_order


def threads() -> int:
    return sum(thread.name == "wats-extract" for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    until = time.monotonic() + 5
    while threads() and time.monotonic() < until:
        time.sleep(0.01)
    assert threads() == 0


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.parametrize(("workers", "ahead"), [(1, 1), (1, 5), (4, 1), (4, 4), (8, 50)])
@pytest.mark.parametrize("count", [0, 1, 40])
def test_results_come_in_the_order_of_the_items(count: int, workers: int, ahead: int) -> None:
    chance = random.Random(workers)
    pauses = [chance.uniform(0, 0.003) for _ in range(count)]

    def work(item: int) -> int:
        time.sleep(pauses[item])
        return -item

    done = list(in_order(range(count), work, workers=workers, ahead=ahead))
    assert done == [(item, -item) for item in range(count)]


def test_a_slow_item_delays_the_results_of_later_items_but_not_their_work() -> None:
    others_done = threading.Barrier(5)

    def work(item: int) -> int:
        if item in range(1, 5):
            others_done.wait(timeout=5)
        if item == 0:
            others_done.wait(timeout=5)
        return item

    assert [item for item, _ in in_order(range(8), work, workers=5, ahead=5)] == list(range(8))


@pytest.mark.parametrize("ahead", [1, 3, 10])
def test_no_more_items_are_started_than_may_be_ahead(ahead: int) -> None:
    taken, begun = itertools.count(), []
    results = in_order(taken, begun.append, workers=4, ahead=ahead)
    for consumed in range(1, 6):
        next(results)
        wait_until(lambda at_least=consumed: len(begun) >= at_least)
        time.sleep(0.01)
        assert len(begun) <= consumed - 1 + ahead
    results.close()
    assert next(taken) <= 5 + ahead


def test_threads_start_when_needed_and_are_never_more_than_the_workers() -> None:
    go = threading.Event()
    results = in_order(range(100), lambda item: go.wait(5), workers=3, ahead=50)
    assert threads() == 0
    ender = threading.Timer(0.05, go.set)
    ender.start()
    next(results)
    assert threads() == 3
    results.close()
    assert [item for item, _ in in_order([1], lambda item: item, workers=9, ahead=9)] == [1]


@pytest.mark.parametrize("at", [0, 3, 9])
def test_an_error_in_the_work_is_raised_when_its_turn_comes(at: int) -> None:
    def work(item: int) -> int:
        if item == at:
            raise ValueError(item)
        return item

    consumed: list[int] = []
    with pytest.raises(ValueError, match=str(at)):
        consumed.extend(item for item, _ in in_order(range(10), work, workers=4, ahead=10))
    assert consumed == list(range(at))


@pytest.mark.parametrize("at", [0, 3, 9])
def test_an_error_in_the_items_is_raised_after_the_results_before_it(at: int) -> None:
    def items() -> Iterator[int]:
        yield from range(at)
        raise ValueError("no more")

    consumed: list[int] = []
    with pytest.raises(ValueError, match="no more"):
        consumed.extend(item for item, _ in in_order(items(), lambda item: item, workers=2, ahead=20))
    assert consumed == list(range(at))


@pytest.mark.parametrize("error", [Interrupted("stop"), KeyboardInterrupt()])
def test_a_check_can_stop_the_wait_for_work_that_hangs(error: BaseException) -> None:
    hanging = threading.Event()
    looks = itertools.count()

    def check() -> None:
        if next(looks) == 1:
            raise error

    try:
        with pytest.raises(type(error)):
            list(in_order([1], lambda item: hanging.wait(10), workers=1, ahead=1, check=check))
    finally:
        hanging.set()


def test_closing_early_starts_no_more_items() -> None:
    begun: list[int] = []
    go, all_taken = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield from range(50)
        all_taken.set()

    def work(item: int) -> None:
        begun.append(item)
        (go if item else all_taken).wait(5)

    results = in_order(items(), work, workers=2, ahead=51)
    assert next(results)[0] == 0
    results.close()
    go.set()
    wait_until(lambda: threads() == 0)
    assert len(begun) <= 3


def test_an_interrupt_in_the_consumer_ends_the_threads() -> None:
    def consume() -> None:
        for _ in in_order(itertools.count(), lambda item: item, workers=3, ahead=9):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()


# ── in the background ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ahead", [1, 4])
def test_values_come_in_order_and_the_buffer_is_bounded(ahead: int) -> None:
    made: list[int] = []

    def values() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    taken = in_background(values(), ahead=ahead)
    assert next(taken) == 0
    wait_until(lambda: len(made) == ahead + 2)  # one taken, the buffer full, and one about to be put into it
    assert list(taken) == list(range(1, 20))


@pytest.mark.parametrize("error", [ValueError("broken"), Interrupted("stop")])
def test_an_error_is_raised_after_the_values_before_it(error: Exception) -> None:
    def values() -> Iterator[int]:
        yield from range(5)
        raise error

    consumed: list[int] = []
    with pytest.raises(type(error)):
        consumed.extend(in_background(values(), ahead=2))
    assert consumed == list(range(5))


@pytest.mark.parametrize("leave", ["close", "error", "interrupt"])
def test_the_thread_ends_with_its_consumer(leave: str) -> None:
    taken = in_background(itertools.count(), ahead=1)
    assert next(taken) == 0
    if leave == "close":
        taken.close()
        return
    kind: Any = {"error": ValueError, "interrupt": KeyboardInterrupt}[leave]
    with pytest.raises(kind):
        taken.throw(kind())


def test_a_check_can_stop_the_wait_for_a_value() -> None:
    hanging = threading.Event()

    def values() -> Iterator[int]:
        hanging.wait(10)
        yield 1

    def check() -> None:
        raise Interrupted("stop")

    try:
        with pytest.raises(Interrupted):
            next(in_background(values(), ahead=1, check=check))
    finally:
        hanging.set()


def test_there_are_no_more_threads_than_are_useful() -> None:
    useful, at_once, most = [1], [0], [0]
    lock = threading.Lock()

    def work(item: int) -> int:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        time.sleep(0.01)
        with lock:
            at_once[0] -= 1
        return item

    # All items are taken at once. Only later are more threads useful.
    results = in_order(range(40), work, workers=4, ahead=40, useful=lambda: useful[0])
    first = [next(results) for _ in range(5)]
    assert most == [1]
    useful[0] = 9
    assert [item for item, _ in (*first, *results)] == list(range(40))
    assert most == [4]


def test_heavy_results_that_wait_keep_further_items_from_starting() -> None:
    started: list[int] = []
    go = threading.Event()

    def work(item: int) -> int:
        started.append(item)
        if item == 0:
            assert go.wait(timeout=10)
        return item

    def items() -> Iterator[int]:
        for item in range(40):
            yield item
            while item in (1, 2) and item not in started:  # these two finish behind the first one
                time.sleep(0.001)

    # The first item that is consumed waits for the others, which are 10 each.
    found = in_order(items(), work, workers=2, ahead=30, weigh=lambda item: 10 * (item > 0), heaviest=20)
    threading.Timer(0.3, go.set).start()
    assert next(found) == (0, 0)
    assert max(started) <= 4, "two wait, and each thread may have one more"
    assert [item for item, _ in found] == list(range(1, 40))
    assert sorted(started) == list(range(40))
