"""The targets: one row each, with the function that computes its figure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TypeAlias

from benchmarks.contestants import COMMITS, DESTINATIONS, HELP, ON_CORES, RUNS, SHREDDING, WITHIN_BUDGET
from benchmarks.samples import Sample, Samples

PAGE = 10_000
"""Headers per request."""

ALLOWED = 500
"""Requests per minute that a server allows one token."""

Figures: TypeAlias = Callable[[Samples], Sequence[float]]
"""Computes the figures of all rounds; none where nothing was measured."""

Value: TypeAlias = Callable[[Sample], float]


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure and its target.

    Attributes:
        part: The part of the benchmark that measures it.
        name: A description; ``{size:,}`` stands for the largest number of reports.
        figures: Computes the figure of each round.
        unit: Unit of the figure.
        least: The target, if the figure must reach it.
        most: The target, if the figure must not exceed it. A row without a target is for orientation.
    """

    part: str
    name: str
    figures: Figures
    unit: str
    least: float | None = None
    most: float | None = None

    @property
    def target(self) -> str:
        """The target as text."""
        if self.least is not None:
            return f"≥ {self.least:g} {self.unit}".strip()
        return f"≤ {self.most:g} {self.unit}".strip() if self.most is not None else ""

    def met(self, figure: float) -> bool | None:
        """Whether a figure meets the target; ``None`` without a target."""
        if self.least is not None:
            return figure >= self.least
        return figure <= self.most if self.most is not None else None


# ── figures ──


def ratio(part: str, upper: str, lower: str, value: Value) -> Figures:
    """The value of one contestant divided by that of another, in each round."""

    def figures(samples: Samples) -> list[float]:
        pairs = zip(samples.of(part, upper), samples.of(part, lower), strict=False)
        return [value(above) / value(below) for above, below in pairs]

    return figures


def each(part: str, contestant: str, value: Value) -> Figures:
    """A value of one contestant at the largest size, in each round."""
    return lambda samples: [value(sample) for sample in samples.of(part, contestant)]


def growth(part: str, contestant: str, value: Value, *, small: int | None = None) -> Figures:
    """A value at the largest size divided by that at a small one, which is a tenth by default."""

    def figures(samples: Samples) -> list[float]:
        most = samples.of(part, contestant)
        less = samples.of(part, contestant, small or most[0].size // 10) if most else []
        return [value(above) / value(below) for above, below in zip(most, less, strict=False)]

    return figures


def wall(sample: Sample) -> float:
    """Elapsed seconds, including the start of the interpreter."""
    return sample.usage.wall


def seconds_per_item(sample: Sample) -> float:
    """Seconds per header or report, without the start of the interpreter."""
    return sample.seconds / sample.size


def cpu_milliseconds(sample: Sample) -> float:
    """CPU milliseconds per item, including the start of the interpreter."""
    return 1e3 * sample.usage.cpu / sample.size


def megabytes(sample: Sample) -> float:
    """Peak memory in megabytes."""
    return sample.usage.memory / 1e6


def extra_list_requests(sample: Sample) -> float:
    """Requests in excess of the pages of the list."""
    return sample.requests - ceil(sample.size / PAGE)


def extra_report_requests(sample: Sample) -> float:
    """Requests in excess of the pages of the list and one per report."""
    return extra_list_requests(sample) - sample.size


def budget_used(sample: Sample) -> float:
    """Percentage of the requests allowed in that time."""
    return 100 * (sample.requests - sample.refused) / (ALLOWED * sample.seconds / 60)


# ── the table ──


def _rows() -> Iterator[Row]:
    places = [(place, f"wats-extract, {place}") for place in DESTINATIONS]

    for place, ours in places:
        figures = ratio("reports", f"dlt, {place}", ours, wall)
        yield Row("reports", f"full reports into {place}, compared with dlt", figures, "×", least=10)
    for place, ours in places:
        figures = ratio("reports", "httpx, asyncio", ours, wall)
        name = f"full reports into {place}, compared with httpx (asyncio) that only downloads and parses"
        yield Row("reports", name, figures, "×", least=1.0)
        for other in ("httpx", "urllib3"):
            figures = ratio("reports", f"{other}, threads", ours, wall)
            yield Row("reports", f"the same, compared with {other} in threads", figures, "×")
    for place, ours in places:
        figures = ratio("headers", f"dlt, {place}", ours, wall)
        yield Row("headers", f"{{size:,}} headers into {place}, compared with dlt", figures, "×", least=12)

    for place, ours in places:
        figures = each("reports", ours, cpu_milliseconds)
        yield Row("reports", f"CPU time per full report, into {place}", figures, "ms", most=1.2)
    figures = each("shredding", SHREDDING.name, lambda sample: sample.usage.output["megabytes_per_second"])
    yield Row("shredding", "decoding and shredding only, on one core", figures, "MB/s", least=150)

    for part, items in (("header-scale", "headers"), ("report-scale", "full reports")):
        for place, ours in places:
            figures = each(part, ours, megabytes)
            yield Row(part, f"peak memory, {{size:,}} {items} into {place}", figures, "MB", most=250)
            figures = growth(part, ours, megabytes)
            yield Row(part, "the same, relative to a tenth of the items", figures, "×", most=1.1)

    for place, ours in places:
        figures = growth("header-scale", ours, seconds_per_item, small=10_000)
        name = f"time per header into {place}, {{size:,}} headers relative to 10,000"
        yield Row("header-scale", name, figures, "×", most=1.1)
    for commit in COMMITS:
        for rows in ("new", "replaced"):
            figures = each("commits", commit.name, lambda s, rows=rows: s.usage.output["growth"][rows])
            name = f"{commit.name}: 10,000 {rows} rows, time in a table ten times larger"
            yield Row("commits", name, figures, "×", most=1.5)
    for runs in RUNS:
        figures = each("runs", runs.name, lambda sample: sample.usage.output["growth"]["run"])
        name = f"{runs.name}: time of run {{size:,}} with ten new headers, compared with run 10"
        yield Row("runs", name, figures, "×", most=1.5)

    for place, ours in places:
        figures = each("headers", ours, extra_list_requests)
        name = f"requests in excess of the pages of {{size:,}} headers, into {place}"
        yield Row("headers", name, figures, "", most=2)
    for place, ours in places:
        figures = each("reports", ours, extra_report_requests)
        name = f"requests in excess of {{size:,}} full reports and the pages of their list, into {place}"
        yield Row("reports", name, figures, "", most=2)
    for place, ours in places:
        figures = each("nothing-new", ours, lambda sample: sample.requests)
        yield Row("nothing-new", f"requests of a run that finds nothing new, {place}", figures, "", most=2)

    figures = each("real-budget", WITHIN_BUDGET.name, budget_used)
    yield Row("real-budget", "share of 500 requests per minute that was used", figures, "%", least=98)
    figures = each("real-budget", WITHIN_BUDGET.name, lambda sample: 100 * sample.refused / sample.requests)
    yield Row("real-budget", "share of requests that were refused", figures, "%", most=0.5)

    yield Row("help", "`wats-extract --help`", each("help", HELP.name, wall), "s", most=0.25)
    for place, ours in places:
        figures = each("nothing-new", ours, wall)
        yield Row("nothing-new", f"a run that finds nothing new, {place}", figures, "s", most=1.0)

    one, two = (contestant.name for contestant in ON_CORES)
    figures = ratio("cores", one, two, lambda sample: sample.seconds)
    yield Row("cores", "full reports on two cores relative to one, server simulated", figures, "×", least=1.7)


ROWS = tuple(_rows())
