"""The throttle keeps the budget per minute and the concurrency limit, and wastes little of either."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest
from tests.simulation import Server, Simulation, most_in_a_minute, persistent

from wats_extract.errors import Interrupted
from wats_extract.fake.app import App
from wats_extract.fake.exchange import Request
from wats_extract.fake.plant.data import Plant
from wats_extract.http.throttle import Throttle


def starts(
    requests: int,
    *,
    budget: int | None,
    threads: int = 10,
    disturb: Callable[[Throttle, int], None] = lambda throttle, number: None,
) -> list[float]:
    """When each of some requests starts; each takes a random time."""
    simulation, chance, lock = Simulation(), random.Random(1), threading.Lock()
    throttle = simulation.throttle(requests_per_minute=budget, max_in_flight=threads)
    started: list[float] = []

    def work(_: int) -> None:
        while True:
            with lock:
                if len(started) + in_flight[0] >= requests:
                    return
                in_flight[0] += 1
            with throttle.slot():
                with lock:
                    started.append(simulation.now)
                    in_flight[0] -= 1
                    number, seconds = len(started), chance.uniform(0.01, 0.9)
                disturb(throttle, number)
                simulation.sleep(seconds)

    in_flight = [0]
    simulation.run(threads, work)
    assert len(started) == requests
    return sorted(started)


@pytest.mark.parametrize(("budget", "threads"), [(1, 1), (7, 3), (60, 10), (500, 10), (500, 40)])
def test_the_budget_is_used_and_never_exceeded(budget: int, threads: int) -> None:
    requests = 6 * budget
    instants = starts(requests, budget=budget, threads=threads)
    assert most_in_a_minute(instants) <= budget
    steady = instants[5 * budget] - instants[0]  # whole minutes; within one they start as fast as they can
    assert 5 * budget / (steady / 60 * budget) >= 0.98


@pytest.mark.parametrize("seconds", [1, 30, 60, 200])
def test_requests_that_waited_for_a_pause_count_from_when_they_start(seconds: float) -> None:
    def disturb(throttle: Throttle, number: int) -> None:
        if number in (4, 33):
            throttle.pause(seconds)
            throttle.pause(seconds / 2)  # pauses do not add up

    instants = starts(60, budget=20, disturb=disturb)
    assert most_in_a_minute(instants) <= 20
    for number in (4, 33):
        assert instants[number] - instants[number - 1] >= seconds


def test_a_server_that_counts_by_arrival_never_responds_with_429() -> None:
    simulation, chance = Simulation(), random.Random(2)
    app = App(Plant(1), clock=simulation.clock, requests_per_minute=500)
    throttle = simulation.throttle()
    ask = Request("GET", "/api/App/Version", headers={"authorization": "Basic demo"})
    left = iter(range(2500))
    statuses: list[int] = []
    arrivals: list[float] = []

    def work(_: int) -> None:
        while next(left, None) is not None:
            with throttle.slot():
                simulation.sleep(chance.uniform(0.0, 0.45))  # on the way
                arrivals.append(simulation.now)
                statuses.append(app(ask).status)
                simulation.sleep(chance.uniform(0.0, 0.3))

    simulation.run(10, work)
    assert statuses == [200] * 2500
    assert 2000 / ((arrivals[2000] - arrivals[0]) / 60 * 500) >= 0.98


def test_without_a_budget_all_concurrency_is_used_soon() -> None:
    simulation = Simulation()
    throttle = simulation.throttle(requests_per_minute=None, max_in_flight=50)
    server = Server(simulation, per_minute=None)
    simulation.run(50, lambda _: persistent(server, throttle, until=60))
    assert throttle.concurrency == server.most_inside == 50
    assert server.done > 0.9 * 60 / 0.255 * 50  # as without a throttle


def test_concurrency_never_exceeds_the_limit() -> None:
    throttle = Throttle(requests_per_minute=None, max_in_flight=3)
    lock, inside, most = threading.Lock(), [0], [0]

    def work() -> None:
        for _ in range(20):
            with throttle.slot():
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                time.sleep(0.002)
                with lock:
                    inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert most == [3]


def test_an_interrupted_wait_costs_no_budget_and_frees_its_slot() -> None:
    now = [0.0]
    broken = [True]

    def wait(seconds: float) -> None:
        if broken[0]:
            raise Interrupted("interrupted")
        now[0] += seconds

    throttle = Throttle(requests_per_minute=2, max_in_flight=1, clock=lambda: now[0], wait=wait)
    for _ in range(2):
        with throttle.slot():
            pass
    for _ in range(5):
        with pytest.raises(Interrupted), throttle.slot():
            pass
    broken[0] = False
    with throttle.slot():
        assert 60 < now[0] < 61


def test_an_error_frees_the_slot() -> None:
    throttle = Throttle(requests_per_minute=None, max_in_flight=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), throttle.slot():
            raise ZeroDivisionError


def test_waits_of_a_second_or_more_are_announced_with_their_reason() -> None:
    now, announced = [0.0], list[tuple[str, float]]()

    def wait(seconds: float) -> None:
        now[0] += seconds

    throttle = Throttle(
        requests_per_minute=2,
        max_in_flight=1,
        clock=lambda: now[0],
        wait=wait,
        announce=lambda reason, seconds: announced.append((reason, round(seconds, 1))),
    )
    for pause in (0.5, 7, 0):
        with throttle.slot():
            throttle.pause(pause)
    budget = "the budget of 2 requests per minute is spent"
    assert announced == [("the server asked for a pause", 7.0), (budget, 53.1)]
