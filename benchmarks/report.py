"""Formats the results: tables on the terminal, and the page ``results.md``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.race import Race
from benchmarks.rows import ROWS, Row, cpu_milliseconds, megabytes, wall
from benchmarks.samples import Sample, Samples

VERDICTS = {True: "reached", False: "**missed**", None: ""}

Cells = Sequence[str]


# ── figures as text ──


def digits(figure: float) -> str:
    """A number with three significant digits, but never without digits before the decimal point."""
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


def target_cells(row: Row, samples: Samples) -> Cells:
    """Name, target, figure, lowest to highest, verdict."""
    name = row.name.format(size=max(samples.sizes(row.part), default=0))
    figures = row.figures(samples)
    if not figures:
        return name, row.target, "not measured", "", ""
    figure = median(figures)
    spread = f"{digits(min(figures))} … {digits(max(figures))}" if len(figures) > 1 else ""
    return name, row.target, f"{digits(figure)} {row.unit}".strip(), spread, VERDICTS[row.met(figure)]


def contestant_cells(samples: Sequence[Sample]) -> Cells:
    """Contestant, items per second with and without its start, CPU time per item, memory, failures."""
    size = samples[0].size
    failures = max(sample.usage.output.get("failures", 0) for sample in samples)
    return (
        samples[0].contestant,
        digits(size / median(wall(sample) for sample in samples)),
        digits(size / median(sample.seconds for sample in samples)),
        digits(median(cpu_milliseconds(sample) for sample in samples)),
        digits(median(megabytes(sample) for sample in samples)),
        f"{100 * failures / size:.0f} %" if failures else "",
    )


def size_cells(samples: Sequence[Sample]) -> Cells:
    """Size, contestant, seconds with and without its start, CPU time per item, memory."""
    return (
        f"{samples[0].size:,}",
        samples[0].contestant,
        digits(median(wall(sample) for sample in samples)),
        digits(median(sample.seconds for sample in samples)),
        digits(median(cpu_milliseconds(sample) for sample in samples)),
        digits(median(megabytes(sample) for sample in samples)),
    )


# ── tables ──

TARGETS: Cells = ("figure", "target", "measured", "lowest … highest", "")
CONTESTANTS: Cells = ("", "items/s", "items/s without start", "CPU ms per item", "peak MB", "failed")
SIZES: Cells = ("size", "", "s", "s without start", "CPU ms per item", "peak MB")


def targets(samples: Samples) -> list[Cells]:
    """The targets of all parts that were run."""
    parts = {sample.part for sample in samples.all}
    return [target_cells(row, samples) for row in ROWS if row.part in parts]


def contestants(samples: Samples, part: str) -> list[Cells]:
    """The contestants of a part, the fastest first."""
    found = [samples.of(part, name) for name in samples.contestants(part)]
    found.sort(key=lambda some: median(wall(sample) for sample in some))
    return [contestant_cells(some) for some in found]


def sizes(samples: Samples, part: str) -> list[Cells]:
    """The sizes of a part, each with all contestants."""
    return [
        size_cells(some)
        for size in samples.sizes(part)
        for name in samples.contestants(part)
        if (some := samples.of(part, name, size))
    ]


def absences(race: Race) -> Iterator[str]:
    """The contestants that could not take part, with the reason."""
    for (part, name), reason in race.absent.items():
        yield f"{name} did not take part in {part}: {reason}"


def sections(samples: Samples) -> Iterator[tuple[str, str, Cells, list[Cells]]]:
    """Title, part, head and rows of the table of each part that was run."""
    for title, part, head, rows in (
        ("Full reports", "reports", CONTESTANTS, contestants),
        ("Headers", "headers", CONTESTANTS, contestants),
        ("Headers by size", "header-scale", SIZES, sizes),
        ("Full reports by size", "report-scale", SIZES, sizes),
    ):
        if samples.sizes(part):
            yield title, part, head, rows(samples, part)


# ── the terminal ──


def show(race: Race, console: Console) -> None:
    """Print all tables."""
    console.print(_terminal_table("Targets", TARGETS, targets(race.samples)))
    for title, _, head, rows in sections(race.samples):
        console.print(_terminal_table(title, head, rows))
    for absence in absences(race):
        console.print(absence, style="yellow")


def _terminal_table(title: str, head: Cells, rows: Sequence[Cells]) -> Table:
    table = Table(*head, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(cell.replace("**missed**", "[red]missed[/red]").replace("`", "") for cell in row))
    return table


# ── the page ──

HEAD = """\
# Results

`make bench` wrote this page on {day}. [README.md](README.md) explains what is measured and how. Each
figure is the median of its rounds. Speeds are ratios within one round: 2 × means twice as fast. Times are
those of a whole process with the start of Python and all imports, unless the column says *without start*.

## Targets

{targets}"""


def page(race: Race) -> str:
    """The text of ``results.md``."""
    text = HEAD.format(day=f"{datetime.now(UTC):%Y-%m-%d}", targets=_table(TARGETS, targets(race.samples)))
    for title, part, head, rows in sections(race.samples):
        text += f"\n## {title}\n\n![{title}]({part}.svg)\n\n{_table(head, rows)}"
    if notes := [f"- {absence}\n" for absence in absences(race)]:
        text += "\n## Not measured\n\n" + "".join(notes)
    described = {**machine.described(), "load average before the start": f"{race.load:.1f}"}
    return text + f"\n## Machine\n\n{_table(('', ''), list(described.items()))}"


def _table(head: Cells, rows: Sequence[Cells]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
