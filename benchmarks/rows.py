"""What is to be reached: a row a target, with the figure that says whether it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TypeAlias

from benchmarks.contestants import COMMITS, DESTINATIONS, HELP, ON_CORES, SHREDDING, WITHIN_BUDGET
from benchmarks.samples import Sample, Samples

PAGE = 10_000
"""Headers that one request brings."""

ALLOWED = 500
"""Requests that a server allows one token in a minute."""

Figures: TypeAlias = Callable[[Samples], Sequence[float]]
"""The figures of all rounds; none where it was not measured."""

Value: TypeAlias = Callable[[Sample], float]


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that is measured.

    Attributes:
        part: The part of the benchmark that measures it.
        what: What it is, for people; ``{size:,}`` stands for the most reports that there were.
        figures: Its figure in each round.
        unit: Of the figures.
        least: What the figure is to reach, where it is to be large.
        most: What it is not to exceed, where it is to be small. A row with neither is for orientation.
    """

    part: str
    what: str
    figures: Figures
    unit: str
    least: float | None = None
    most: float | None = None

    @property
    def target(self) -> str:
        """The target as people write it."""
        if self.least is not None:
            return f"≥ {self.least:g} {self.unit}".strip()
        return f"≤ {self.most:g} {self.unit}".strip() if self.most is not None else ""

    def met(self, figure: float) -> bool | None:
        """Whether a figure reaches the target; ``None`` without one."""
        if self.least is not None:
            return figure >= self.least
        return figure <= self.most if self.most is not None else None


# ── figures ──


def ratio(part: str, upper: str, lower: str, value: Value) -> Figures:
    """What one contestant takes as a multiple of what another one takes, round by round."""

    def figures(samples: Samples) -> list[float]:
        pairs = zip(samples.of(part, upper), samples.of(part, lower), strict=False)
        return [value(above) / value(below) for above, below in pairs]

    return figures


def each(part: str, contestant: str, value: Value) -> Figures:
    """A value of one contestant, at the largest size."""
    return lambda samples: [value(sample) for sample in samples.of(part, contestant)]


def growth(part: str, contestant: str, value: Value, *, small: int | None = None) -> Figures:
    """A value at the largest size as a multiple of that at a small one, a tenth unless it is said."""

    def figures(samples: Samples) -> list[float]:
        most = samples.of(part, contestant)
        less = samples.of(part, contestant, small or most[0].size // 10) if most else []
        return [value(above) / value(below) for above, below in zip(most, less, strict=False)]

    return figures


def wall(sample: Sample) -> float:
    """Seconds, with the start of the interpreter."""
    return sample.took.wall


def seconds_an_item(sample: Sample) -> float:
    """Seconds for one header or report, without the start of the interpreter."""
    return sample.seconds / sample.size


def cpu_milliseconds(sample: Sample) -> float:
    """Milliseconds of CPU time for one report, all included."""
    return 1e3 * sample.took.cpu / sample.size


def megabytes(sample: Sample) -> float:
    """Memory at its peak."""
    return sample.took.memory / 1e6


def requests_beside_pages(sample: Sample) -> float:
    """Requests beside those for the pages of the list."""
    return sample.requests - ceil(sample.size / PAGE)


def requests_beside_reports(sample: Sample) -> float:
    """Requests beside those for the pages of the list and for each report."""
    return requests_beside_pages(sample) - sample.size


def budget_used(sample: Sample) -> float:
    """Percent of the requests that the server allowed in that time."""
    return 100 * (sample.requests - sample.refused) / (ALLOWED * sample.seconds / 60)


# ── the table ──


def _rows() -> Iterator[Row]:
    places = [(place, f"wats-extract, {place}") for place in DESTINATIONS]

    for place, ours in places:
        figures = ratio("reports", f"dlt, {place}", ours, wall)
        yield Row("reports", f"full reports into {place}, against dlt", figures, "×", least=10)
    for place, ours in places:
        figures = ratio("reports", "httpx, asyncio", ours, wall)
        what = f"full reports into {place}, against httpx (asyncio) that only downloads and parses"
        yield Row("reports", what, figures, "×", least=1.0)
        for other in ("httpx", "urllib3"):
            figures = ratio("reports", f"{other}, threads", ours, wall)
            yield Row("reports", f"the same, against {other} in threads", figures, "×")
    for place, ours in places:
        figures = ratio("headers", f"dlt, {place}", ours, wall)
        yield Row("headers", f"{{size:,}} headers into {place}, against dlt", figures, "×", least=12)

    for place, ours in places:
        figures = each("reports", ours, cpu_milliseconds)
        yield Row("reports", f"CPU time a full report, into {place}", figures, "ms", most=1.2)
    figures = each("shredding", SHREDDING.name, lambda sample: sample.took.said["megabytes_a_second"])
    yield Row("shredding", "decoding and shredding alone, one core", figures, "MB/s", least=150)

    for part, items in (("header-scale", "headers"), ("report-scale", "full reports")):
        for place, ours in places:
            figures = each(part, ours, megabytes)
            yield Row(part, f"peak memory, {{size:,}} {items} into {place}", figures, "MB", most=250)
            figures = growth(part, ours, megabytes)
            yield Row(part, "the same, against that of a tenth of them", figures, "×", most=1.1)

    for place, ours in places:
        figures = growth("header-scale", ours, seconds_an_item, small=10_000)
        what = f"time a header into {place}, {{size:,}} against 10,000"
        yield Row("header-scale", what, figures, "×", most=1.1)
    for commit in COMMITS:
        for rows in ("new", "replaced"):
            figures = each("commits", commit.name, lambda s, rows=rows: s.took.said["growth"][rows])
            what = f"{commit.name}: 10,000 {rows} rows into a table ten times larger"
            yield Row("commits", what, figures, "×", most=1.5)

    for place, ours in places:
        figures = each("headers", ours, requests_beside_pages)
        what = f"requests for {{size:,}} headers beside their pages, into {place}"
        yield Row("headers", what, figures, "", most=2)
    for place, ours in places:
        figures = each("reports", ours, requests_beside_reports)
        what = f"requests for {{size:,}} full reports beside these and the pages of their list, into {place}"
        yield Row("reports", what, figures, "", most=2)
    for place, ours in places:
        figures = each("nothing-new", ours, lambda sample: sample.requests)
        yield Row("nothing-new", f"requests where nothing is new, {place}", figures, "", most=2)

    figures = each("real-budget", WITHIN_BUDGET.name, budget_used)
    yield Row("real-budget", "of 500 requests a minute used", figures, "%", least=98)
    figures = each("real-budget", WITHIN_BUDGET.name, lambda sample: 100 * sample.refused / sample.requests)
    yield Row("real-budget", "of them refused", figures, "%", most=0.5)

    yield Row("help", "`wats-extract --help`", each("help", HELP.name, wall), "s", most=0.25)
    for place, ours in places:
        figures = each("nothing-new", ours, wall)
        yield Row("nothing-new", f"a run with nothing new, {place}", figures, "s", most=1.0)

    one, two = (contestant.name for contestant in ON_CORES)
    figures = ratio("cores", one, two, lambda sample: sample.seconds)
    yield Row("cores", "full reports on two cores against one, server simulated", figures, "×", least=1.7)


ROWS = tuple(_rows())
