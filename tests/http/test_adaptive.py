"""The adaptive limits find what a server handles, and recover after it was slow or refused requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.simulation import Server, Simulation, persistent

from wats_extract.http.adaptive import ConcurrencyLimit, RateLimiter


def ask(
    hours: float,
    *,
    budget: int | None = 500,
    concurrency: int = 10,
    see: Callable[[float, int], None] | None = None,
    **quirks: Any,
) -> Server:
    """Send requests to a simulated server for some hours, from as many threads as the limit allows."""
    simulation = Simulation()
    server = Server(simulation, **quirks)
    throttle = simulation.throttle(requests_per_minute=budget, max_in_flight=concurrency)

    def then() -> None:
        if see is not None:
            see(simulation.now, throttle.concurrency)

    simulation.run(concurrency, lambda _: persistent(server, throttle, until=hours * 3600, then=then))
    assert server.most_inside <= concurrency
    return server


@pytest.mark.parametrize(
    "quirks",
    [
        pytest.param({}, id="sliding"),
        pytest.param({"counting": "fixed"}, id="fixed", marks=pytest.mark.long),
        pytest.param({"way": 0.45}, id="a long way", marks=pytest.mark.long),
        pytest.param({"scatter": 0.8}, id="scatter", marks=pytest.mark.long),
    ],
)
def test_the_budget_is_used_for_hours_and_nothing_is_refused(quirks: dict[str, Any]) -> None:
    server = ask(2, **quirks)
    assert server.refused == 0
    assert server.most_in_a_minute <= 500
    assert server.done >= 0.98 * 2 * 60 * 500


@pytest.mark.parametrize("counting", ["sliding", pytest.param("fixed", marks=pytest.mark.long)])
@pytest.mark.parametrize("allowed", [300, pytest.param(450, marks=pytest.mark.long)])
def test_a_server_with_a_smaller_budget_refuses_few_requests(counting: str, allowed: int) -> None:
    server = ask(2, per_minute=allowed, counting=counting)
    assert server.refused < 0.005
    assert server.done >= 0.9 * 2 * 60 * allowed


@pytest.mark.parametrize("capacity", [1, 2, 4])
def test_the_capacity_of_a_server_is_found_and_response_times_stay_flat(capacity: int) -> None:
    seen: list[int] = []
    server = ask(
        1,
        budget=None,
        concurrency=20,
        see=lambda now, concurrency: seen.append(concurrency),
        per_minute=None,
        capacity=capacity,
        seconds=0.5,
        way=0.02,
    )
    assert server.done >= 0.88 * 3600 * capacity / 0.523
    late = [seconds for instant, seconds in server.answers if instant > 600]
    # The limit starts at two, which take twice as long at a capacity of one.
    assert sum(late) / len(late) < (1.8 if capacity > 1 else 2.5) * 0.53
    assert sum(seen) / len(seen) < 1.5 * capacity + 1


def test_concurrency_drops_while_a_server_is_slow_and_recovers() -> None:
    seen: list[tuple[float, int]] = []
    slow = (1800, 2400)
    ask(
        1,
        see=lambda now, concurrency: seen.append((now, concurrency)),
        slower=lambda now: 8.0 if slow[0] <= now < slow[1] else 1.0,
    )
    assert max(concurrency for now, concurrency in seen if 1900 < now < 2400) <= 5
    assert min(concurrency for now, concurrency in seen if 1900 < now < 2400) >= 2
    assert min(concurrency for now, concurrency in seen if now > 2400 + 180) == 10


def test_concurrency_drops_to_one_while_a_server_responds_with_503_and_recovers() -> None:
    seen: list[tuple[float, int]] = []
    ask(1, see=lambda now, concurrency: seen.append((now, concurrency)), sick=lambda now: 1800 <= now < 2400)
    assert {concurrency for now, concurrency in seen if 1900 < now < 2400} == {1}
    assert min(concurrency for now, concurrency in seen if now > 2400 + 180) == 10


def test_larger_responses_are_not_late() -> None:
    simulation = Simulation()
    server = Server(simulation, per_minute=None)
    throttle = simulation.throttle(requests_per_minute=None)

    def work(number: int) -> None:
        for size in (30_000, 300_000, 3_000_000):
            persistent(server, throttle, until=simulation.now + 300, size=size)
        assert throttle.concurrency == 10

    simulation.run(10, work)


# ── single responses ────────────────────────────────────────────────────────────────────


class Asking:
    """A limit, and responses that take a given time."""

    def __init__(self, most: int = 10, busy: float = 0.0) -> None:
        self.now = 0.0
        self.limit = ConcurrencyLimit(most, busy=lambda: busy * self.now)

    def answers(self, number: int, seconds: float, *, kind: str = "Thing", size: int = 1000) -> int:
        for _ in range(number):
            began = self.now
            self.limit.begin(kind, began)
            self.now += seconds
            self.limit.answered(kind, size=size, began=began, now=self.now, full=True)
        return self.limit.concurrency


def test_the_limit_doubles_while_response_times_stay_flat() -> None:
    asking = Asking()
    assert [asking.answers(16, 0.1) for _ in range(4)] == [4, 8, 10, 10]


def test_late_responses_lower_the_limit_only_once_if_that_does_not_help() -> None:
    asking = Asking()
    asking.answers(1000, 0.1)
    assert asking.answers(64, 0.5) == 4
    assert asking.answers(300, 0.5) == 4
    assert asking.answers(1000, 0.1) == 10


def test_late_responses_lower_the_limit_further_while_that_helps() -> None:
    asking = Asking()
    asking.answers(100, 0.1)
    for _ in range(1000):
        asking.answers(1, 0.1 * asking.limit.concurrency)
    assert asking.limit.concurrency <= 2


def test_late_responses_do_not_count_while_this_process_is_busy() -> None:
    asking = Asking(busy=0.9)
    asking.answers(100, 0.1)
    assert asking.answers(1000, 0.5) == 10


def test_the_limit_does_not_grow_while_this_process_is_the_bottleneck() -> None:
    assert Asking(busy=1.0).answers(1000, 0.005) == 2
    assert Asking(busy=0.5).answers(1000, 0.005) == 10, "the process has time for more"
    assert Asking(busy=1.0).answers(1000, 0.1) == 10, "something else in this process is busy"


def test_a_few_milliseconds_more_are_not_late() -> None:
    asking = Asking()
    asking.answers(100, 0.002)
    assert asking.answers(1000, 0.03) == 10


def test_a_new_kind_of_request_starts_low() -> None:
    asking = Asking()
    asking.answers(100, 0.1)
    assert asking.answers(1, 5.0, kind="Other") == 2
    assert asking.answers(100, 5.0, kind="Other") == 10


def test_refusals_of_requests_in_flight_count_as_one() -> None:
    asking = Asking()
    asking.answers(100, 0.1)
    began = asking.now
    assert [asking.limit.refused(began=began, now=began + each) for each in (0.1, 0.2, 0.3)] == [
        True,
        False,
        False,
    ]
    assert asking.limit.concurrency == 5
    for _ in range(20):
        asking.limit.refused(began=asking.now + 1, now=asking.now + 1)
        asking.now += 1
    assert asking.limit.concurrency == 1


def test_requests_without_a_response_are_late() -> None:
    asking = Asking()
    asking.answers(100, 0.1)
    for _ in range(40):
        asking.limit.unanswered("Thing", began=asking.now, now=asking.now + 120)
        asking.now += 120
    assert asking.limit.concurrency == 4


def test_single_refusals_do_not_space_requests_out() -> None:
    limiter = RateLimiter()
    for second in range(600):
        if second % 40 == 0:
            limiter.refused(float(second))
        limiter.start(float(second))
        assert limiter.seconds(float(second)) <= 0


def test_repeated_refusals_space_requests_out_until_they_end() -> None:
    limiter = RateLimiter()
    for second in range(120):
        for _ in range(5):
            limiter.accepted(float(second))
    limiter.refused(60.0)
    assert limiter.rate(60.0) == float("inf")
    limiter.refused(120.0)
    assert 4 < limiter.rate(120.0) < 5
    assert 4 < limiter.rate(180.0) < 5 < limiter.rate(300.0) < 10
    assert limiter.rate(120.0 + 600) == float("inf")
