"""Simulates hours of the rate limiter against different servers.

``python -m benchmarks.throttle`` takes two minutes, prints a table and writes ``docs/throttle.svg``.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

import altair as alt
import polars as pl

from benchmarks.internals import SharedBudget, Throttle
from benchmarks.simulation import Server, Simulation, persistent

PLOT = Path(__file__).parents[1] / "docs" / "throttle.svg"
TROUBLE = (1800.0, 2400.0)
"""The ten minutes in which a server is slow or fails, in seconds from the start."""


def _in_trouble(now: float) -> bool:
    return TROUBLE[0] <= now < TROUBLE[1]


@dataclass(frozen=True)
class Scenario:
    """A server and its clients.

    Attributes:
        name: Its name in the table.
        server: Differences from a server that allows 500 requests per minute and responds within 0.1 s.
        budget: Requests per minute that each process is configured for; ``None`` for no limit.
        best: Maximum number of requests per minute that can succeed; ``None`` if unknown.
        processes: Number of processes that share the budget.
        hours: Simulated hours.
        title: Its title in the plot; empty if it is not plotted.
    """

    name: str
    server: dict[str, Any] = field(default_factory=dict)
    budget: int | None = 500
    best: float | None = 500
    processes: int = 1
    hours: float = 2.0
    title: str = ""


SCENARIOS = (
    Scenario("500 per minute, sliding", title="allows 500 per minute"),
    Scenario("500 per minute of the clock", {"counting": "fixed"}),
    Scenario("up to 0.45 s from client to server", {"way": 0.45}),
    Scenario("two processes", processes=2),
    Scenario("four processes", processes=4),
    Scenario("allows only 300, responds with 429", {"per_minute": 300}, best=300, title="allows 300 of 500"),
    Scenario(
        "4 at full speed, then slower, no budget",
        {"per_minute": None, "capacity": 4, "way": 0.02},
        budget=None,
        best=4 * 60 / 0.1046,
        hours=0.5,
    ),
    Scenario(
        "2 at full speed in 0.4 s, then slower",
        {"capacity": 2, "way": 0.02, "seconds": 0.4},
        best=2 * 60 / 0.418,
        hours=1,
        title="2 at full speed",
    ),
    Scenario(
        "8 times as slow for ten minutes",
        {"slower": lambda now: 8.0 if _in_trouble(now) else 1.0},
        hours=1,
        title="slow for ten minutes",
    ),
    Scenario(
        "503 for ten minutes", {"sick": _in_trouble}, best=500 * 50 / 60, hours=1, title="503 for ten minutes"
    ),
)


@dataclass
class Outcome:
    """The results of a scenario.

    Attributes:
        scenario: The scenario.
        server: The server after all requests.
        places: Number of concurrent requests allowed, by time.
    """

    scenario: Scenario
    server: Server
    places: list[tuple[float, int]]

    def row(self) -> tuple[str, ...]:
        """Its row of the table."""
        scenario, server = self.scenario, self.server
        used = "" if scenario.best is None else f"{server.done / (scenario.hours * 60 * scenario.best):.1%}"
        return (
            scenario.name,
            f"{scenario.hours:g}",
            used,
            f"{server.refused:.2%}",
            f"{server.most_in_a_minute:,}",
            f"{mean(places for _, places in self.places):.1f}",
            f"{median(seconds for _, seconds in server.answers):.2f} s",
        )

    def points(self, span: float = 30.0) -> Iterator[dict[str, Any]]:
        """Its points in the plot, one per half minute and value."""
        requests = _by_span([(instant, 1.0) for instant, _ in self.server.arrivals], span)
        seconds = _by_span(self.server.answers, span)
        places = _by_span([(instant, float(number)) for instant, number in self.places], span)
        last = 0.0
        for number in range(int(self.scenario.hours * 3600 / span)):
            last = mean(places[number]) if places[number] else last
            minute = [each for near in range(number - 1, number + 1) for each in requests[near]]
            at = {"minutes": number * span / 60, "scenario": self.scenario.title}
            yield {**at, "what": "requests per minute", "value": float(len(minute))}
            yield {**at, "what": "concurrent requests", "value": last}
            if seconds[number]:
                yield {**at, "what": "response time, s", "value": median(seconds[number])}


def _by_span(values: Sequence[tuple[float, float]], span: float) -> dict[int, list[float]]:
    found: dict[int, list[float]] = defaultdict(list)
    for instant, value in values:
        found[int(instant // span)].append(value)
    return found


def simulate(scenario: Scenario, folder: Path) -> Outcome:
    """Run ten threads per process that request one thing after another and retry what is refused."""
    simulation = Simulation()
    server = Server(simulation, **scenario.server)
    outcome = Outcome(scenario, server, [])
    throttles = [
        simulation.throttle(
            requests_per_minute=scenario.budget,
            shared=SharedBudget(folder, url="https://wats.test", token=scenario.name, note=print)
            if scenario.processes > 1
            else None,
        )
        for _ in range(scenario.processes)
    ]
    until = scenario.hours * 3600
    simulation.run(10 * scenario.processes, partial(_work, server, throttles, outcome.places, until))
    return outcome


def _work(
    server: Server, throttles: list[Throttle], places: list[tuple[float, int]], until: float, number: int
) -> None:
    throttle = throttles[number % len(throttles)]
    note: Callable[[], None] = lambda: places.append((server.simulation.now, throttle.concurrency))  # noqa: E731
    persistent(server, throttle, until=until, then=note)


def plot(outcomes: Sequence[Outcome]) -> alt.VConcatChart:
    """Requests, concurrency and response times of the scenarios that have a title, over an hour."""
    shown = [each for each in outcomes if each.scenario.title]
    points = [point for each in shown for point in each.points() if point["minutes"] <= 60]
    frame = pl.DataFrame(points)
    titles = [each.scenario.title for each in shown]
    rows = []
    for what, colour in (
        ("requests per minute", "#1f77b4"),
        ("concurrent requests", "#2ca02c"),
        ("response time, s", "#d62728"),
    ):
        charts = [
            alt.Chart(frame.filter((pl.col("what") == what) & (pl.col("scenario") == title)))
            .mark_line(color=colour, strokeWidth=1.2, interpolate="step-after")
            .encode(
                x=alt.X("minutes:Q", title="minutes" if what.startswith("resp") else None)
                .scale(domain=[0, 60])
                .axis(values=[0, 15, 30, 45, 60]),
                y=alt.Y("value:Q", title=what if title == titles[0] else None)
                .scale(domain=_domain(what))
                .axis(tickCount=5),
            )
            .properties(width=150, height=90, title=title if what.startswith("requests") else "")
            for title in titles
        ]
        rows.append(alt.hconcat(*charts, spacing=12))
    return alt.vconcat(*rows, spacing=6).configure_view(stroke="#ddd").configure_title(fontSize=11)


def _domain(what: str) -> list[float]:
    return {"requests per minute": [0, 550], "concurrent requests": [0, 10.5]}.get(what, [0, 1.2])


def table(outcomes: Sequence[Outcome]) -> str:
    """The figures as a Markdown table."""
    head = ("server", "hours", "used", "refused", "most per minute", "concurrent requests", "response time")
    lines = [head, ("---", *["--:"] * (len(head) - 1)), *(each.row() for each in outcomes)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Simulate all scenarios, print the table and write the plot."""
    with tempfile.TemporaryDirectory() as folder:
        outcomes = [simulate(scenario, Path(folder)) for scenario in SCENARIOS]
    print(table(outcomes))
    plot(outcomes).save(PLOT)


if __name__ == "__main__":
    main()
