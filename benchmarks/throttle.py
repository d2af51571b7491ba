"""The rate limiter over hours of simulated time: a table of figures, and a picture.

``python -m benchmarks.throttle`` takes a minute or two, prints the table and writes ``docs/throttle.svg``.
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
from tests.simulation import Server, Simulation, persistent

from wats_extract.http.shared_budget import SharedBudget
from wats_extract.http.throttle import Throttle

PICTURE = Path(__file__).parents[1] / "docs" / "throttle.svg"
TEN_MINUTES = (1800.0, 2400.0)
"""From when to when servers are slow or sick, in the second half hour."""


def _then(now: float) -> bool:
    return TEN_MINUTES[0] <= now < TEN_MINUTES[1]


@dataclass(frozen=True)
class Scenario:
    """A server, and who asks it.

    Attributes:
        name: What the table calls it.
        server: How it differs from one that allows 500 a minute and answers within 0.1 s.
        budget: What each process is told; ``None`` for no limit.
        best: Requests a minute that could be served at most; ``None`` where it is not known.
        processes: How many share the budget.
        hours: Of simulated time.
        title: What the picture calls it; empty where it is not in the picture.
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
    Scenario("up to 0.45 s on the way", {"way": 0.45}),
    Scenario("two processes", processes=2),
    Scenario("four processes", processes=4),
    Scenario(
        "allows only 300, responds with 429",
        {"per_minute": 300},
        best=300,
        title="allows 300, configured 500",
    ),
    Scenario(
        "slower beyond 4 concurrent requests, no limit",
        {"per_minute": None, "capacity": 4, "way": 0.02},
        budget=None,
        best=4 * 60 / 0.1046,
        hours=0.5,
    ),
    Scenario(
        "slower beyond 2 concurrent requests of 0.4 s",
        {"capacity": 2, "way": 0.02, "seconds": 0.4},
        best=2 * 60 / 0.418,
        hours=1,
        title="slower beyond 2 requests",
    ),
    Scenario(
        "8 times as slow for ten minutes",
        {"slower": lambda now: 8.0 if _then(now) else 1.0},
        hours=1,
        title="slow for ten minutes",
    ),
    Scenario(
        "503 for ten minutes", {"sick": _then}, best=500 * 50 / 60, hours=1, title="503 for ten minutes"
    ),
)


@dataclass
class Seen:
    """What came of a scenario."""

    scenario: Scenario
    server: Server
    concurrency: list[tuple[float, int]]

    def row(self) -> tuple[str, ...]:
        """Its line of the table."""
        scenario, server = self.scenario, self.server
        used = "" if scenario.best is None else f"{server.done / (scenario.hours * 60 * scenario.best):.1%}"
        return (
            scenario.name,
            f"{scenario.hours:g}",
            used,
            f"{server.refused:.2%}",
            f"{server.most_in_a_minute:,}",
            f"{mean(concurrency for _, concurrency in self.concurrency):.1f}",
            f"{median(seconds for _, seconds in server.answers):.2f} s",
        )

    def points(self, span: float = 30.0) -> Iterator[dict[str, Any]]:
        """What the picture shows of each half minute."""
        asked = _by_span([(instant, 1.0) for instant, _ in self.server.arrivals], span)
        seconds = _by_span(self.server.answers, span)
        concurrency = _by_span([(instant, float(number)) for instant, number in self.concurrency], span)
        last = 0.0
        for number in range(int(self.scenario.hours * 3600 / span)):
            last = mean(concurrency[number]) if concurrency[number] else last
            minute = [each for near in range(number - 1, number + 1) for each in asked[near]]
            at = {"minutes": number * span / 60, "scenario": self.scenario.title}
            yield {**at, "what": "requests per minute", "value": float(len(minute))}
            yield {**at, "what": "concurrency", "value": last}
            if seconds[number]:
                yield {**at, "what": "response time, s", "value": median(seconds[number])}


def _by_span(values: Sequence[tuple[float, float]], span: float) -> dict[int, list[float]]:
    found: dict[int, list[float]] = defaultdict(list)
    for instant, value in values:
        found[int(instant // span)].append(value)
    return found


def simulate(scenario: Scenario, folder: Path) -> Seen:
    """Ten askers in each process, for hours, without another try only where one is refused."""
    simulation = Simulation()
    server = Server(simulation, **scenario.server)
    seen = Seen(scenario, server, [])
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
    simulation.run(10 * scenario.processes, partial(_work, server, throttles, seen.concurrency, until))
    return seen


def _work(
    server: Server, throttles: list[Throttle], concurrency: list[tuple[float, int]], until: float, number: int
) -> None:
    throttle = throttles[number % len(throttles)]
    note: Callable[[], None] = lambda: concurrency.append((server.simulation.now, throttle.concurrency))  # noqa: E731
    persistent(server, throttle, until=until, then=note)


def picture(seen: Sequence[Seen]) -> alt.VConcatChart:
    """Requests, concurrency and response times over an hour, of the scenarios that have a title."""
    points = [
        point for each in seen if each.scenario.title for point in each.points() if point["minutes"] <= 60
    ]
    frame = pl.DataFrame(points)
    titles = [each.scenario.title for each in seen if each.scenario.title]
    rows = []
    for what, colour in (
        ("requests per minute", "#1f77b4"),
        ("concurrency", "#2ca02c"),
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
    return {"requests per minute": [0, 550], "concurrency": [0, 10.5]}.get(what, [0, 1.2])


def table(seen: Sequence[Seen]) -> str:
    """The figures as a table of Markdown."""
    head = ("server", "hours", "used", "refused", "most in a minute", "concurrency", "response time")
    lines = [head, ("---", *["--:"] * (len(head) - 1)), *(each.row() for each in seen)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Simulate, print and draw."""
    with tempfile.TemporaryDirectory() as folder:
        seen = [simulate(scenario, Path(folder)) for scenario in SCENARIOS]
    print(table(seen))
    drawn = picture(seen)
    drawn.save(PICTURE)


if __name__ == "__main__":
    main()
