"""What a server bears is found: flat response times, no crawl for other reasons, and back again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.simulation import Server, Simulation, persistent

from wats_extract.http.adaptive import FlightLimit, Pace


def ask(
    hours: float,
    *,
    budget: int | None = 500,
    places: int = 10,
    see: Callable[[float, int], None] | None = None,
    **quirks: Any,
) -> Server:
    """So many hours of a server, with as many askers as places."""
    simulation = Simulation()
    server = Server(simulation, **quirks)
    throttle = simulation.throttle(requests_per_minute=budget, max_in_flight=places)

    def then() -> None:
        if see is not None:
            see(simulation.now, throttle.places)

    simulation.run(places, lambda _: persistent(server, throttle, until=hours * 3600, then=then))
    assert server.most_inside <= places
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
def test_the_budget_is_used_and_nothing_refused_for_hours(quirks: dict[str, Any]) -> None:
    server = ask(2, **quirks)
    assert server.refused == 0
    assert server.most_in_a_minute <= 500
    assert server.done >= 0.98 * 2 * 60 * 500


@pytest.mark.parametrize("counting", ["sliding", pytest.param("fixed", marks=pytest.mark.long)])
@pytest.mark.parametrize("allowed", [300, pytest.param(450, marks=pytest.mark.long)])
def test_a_server_that_allows_less_than_it_is_said_to_refuses_few(counting: str, allowed: int) -> None:
    server = ask(2, per_minute=allowed, counting=counting)
    assert server.refused < 0.005
    assert server.done >= 0.9 * 2 * 60 * allowed


@pytest.mark.parametrize("capacity", [1, 2, 4])
def test_what_a_server_works_on_at_once_is_found_and_response_times_stay_flat(capacity: int) -> None:
    seen: list[int] = []
    server = ask(
        1,
        budget=None,
        places=20,
        see=lambda now, places: seen.append(places),
        per_minute=None,
        capacity=capacity,
        seconds=0.5,
        way=0.02,
    )
    assert server.done >= 0.88 * 3600 * capacity / 0.523
    late = [seconds for instant, seconds in server.answers if instant > 600]
    assert sum(late) / len(late) < (1.8 if capacity > 1 else 2.5) * 0.53  # two at a time are twice as slow
    assert sum(seen) / len(seen) < 1.5 * capacity + 1


def test_a_server_that_is_slow_for_ten_minutes_is_asked_less_and_then_as_before() -> None:
    seen: list[tuple[float, int]] = []
    slow = (1800, 2400)
    ask(
        1,
        see=lambda now, places: seen.append((now, places)),
        slower=lambda now: 8.0 if slow[0] <= now < slow[1] else 1.0,
    )
    assert max(places for now, places in seen if 1900 < now < 2400) <= 5
    assert min(places for now, places in seen if 1900 < now < 2400) >= 2
    assert min(places for now, places in seen if now > 2400 + 180) == 10


def test_a_server_that_says_503_for_ten_minutes_is_asked_one_by_one_and_then_as_before() -> None:
    seen: list[tuple[float, int]] = []
    ask(1, see=lambda now, places: seen.append((now, places)), sick=lambda now: 1800 <= now < 2400)
    assert {places for now, places in seen if 1900 < now < 2400} == {1}
    assert min(places for now, places in seen if now > 2400 + 180) == 10


def test_larger_answers_are_not_late() -> None:
    simulation = Simulation()
    server = Server(simulation, per_minute=None)
    throttle = simulation.throttle(requests_per_minute=None)

    def work(number: int) -> None:
        for size in (30_000, 300_000, 3_000_000):
            persistent(server, throttle, until=simulation.now + 300, size=size)
        assert throttle.places == 10

    simulation.run(10, work)


# ── one answer after another ────────────────────────────────────────────────────────────────────


class Asking:
    """A limit, and answers that take as long as they are told to."""

    def __init__(self, most: int = 10, busy: float = 0.0) -> None:
        self.now = 0.0
        self.limit = FlightLimit(most, busy=lambda: busy * self.now)

    def answers(self, number: int, seconds: float, *, kind: str = "Thing", size: int = 1000) -> int:
        for _ in range(number):
            began = self.now
            self.limit.begin(kind, began)
            self.now += seconds
            self.limit.answered(kind, size=size, began=began, now=self.now, full=True)
        return self.limit.places


def test_places_double_while_answers_come_as_fast_as_ever() -> None:
    asking = Asking()
    assert [asking.answers(16, 0.1) for _ in range(4)] == [4, 8, 10, 10]


def test_late_answers_leave_fewer_places_but_only_once_where_that_does_not_help() -> None:
    asking = Asking()
    asking.answers(1000, 0.1)
    assert asking.answers(64, 0.5) == 4
    assert asking.answers(300, 0.5) == 4
    assert asking.answers(1000, 0.1) == 10


def test_late_answers_leave_one_place_where_that_helps() -> None:
    asking = Asking()
    asking.answers(100, 0.1)
    for _ in range(1000):
        asking.answers(1, 0.1 * asking.limit.places)
    assert asking.limit.places <= 2


def test_a_process_that_is_busy_itself_does_not_blame_the_server() -> None:
    asking = Asking(busy=0.9)
    asking.answers(100, 0.1)
    assert asking.answers(1000, 0.5) == 10


def test_a_process_that_is_the_limit_itself_does_not_ask_for_more_at_a_time() -> None:
    assert Asking(busy=1.0).answers(1000, 0.005) == 2
    assert Asking(busy=0.5).answers(1000, 0.005) == 10, "it has time for more"
    assert Asking(busy=1.0).answers(1000, 0.1) == 10, "something else in this process is what is busy"


def test_some_milliseconds_more_are_not_late() -> None:
    asking = Asking()
    asking.answers(100, 0.002)
    assert asking.answers(1000, 0.03) == 10


def test_a_new_kind_of_request_begins_with_a_few() -> None:
    asking = Asking()
    asking.answers(100, 0.1)
    assert asking.answers(1, 5.0, kind="Other") == 2
    assert asking.answers(100, 5.0, kind="Other") == 10


def test_a_refusal_halves_and_those_that_were_under_way_count_as_one() -> None:
    asking = Asking()
    asking.answers(100, 0.1)
    began = asking.now
    assert [asking.limit.refused(began=began, now=began + each) for each in (0.1, 0.2, 0.3)] == [
        True,
        False,
        False,
    ]
    assert asking.limit.places == 5
    for _ in range(20):
        asking.limit.refused(began=asking.now + 1, now=asking.now + 1)
        asking.now += 1
    assert asking.limit.places == 1


def test_requests_that_are_given_up_are_late() -> None:
    asking = Asking()
    asking.answers(100, 0.1)
    for _ in range(40):
        asking.limit.unanswered("Thing", began=asking.now, now=asking.now + 120)
        asking.now += 120
    assert asking.limit.places == 4


def test_a_single_refusal_and_a_server_that_refuses_all_do_not_space_requests_out() -> None:
    pace = Pace()
    for second in range(600):
        if second % 40 == 0:
            pace.refused(float(second))
        pace.start(float(second))
        assert pace.seconds(float(second)) <= 0


def test_refusals_again_and_again_space_requests_out_until_there_are_none() -> None:
    pace = Pace()
    for second in range(120):
        for _ in range(5):
            pace.accepted(float(second))
    pace.refused(60.0)
    assert pace.rate(60.0) == float("inf")
    pace.refused(120.0)
    assert 4 < pace.rate(120.0) < 5
    assert 4 < pace.rate(180.0) < 5 < pace.rate(300.0) < 10
    assert pace.rate(120.0 + 600) == float("inf")
