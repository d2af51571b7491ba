"""Computes what many reports take, and writes it into ``docs/scale.md``.

``python -m benchmarks.scale`` writes the tables and the plot again; with ``--reports`` and ``--kilobytes`` it
shows them for other numbers instead. ``--measure`` first measures what a report takes, with the demo.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any

from benchmarks.contestants import PIPELINE
from benchmarks.measure import BIN, ROOT, run

PAGE = ROOT / "docs" / "scale.md"
PLOT = PAGE.with_suffix(".svg")
MEASURED = Path(__file__).with_name("scale.json")

ROWS_OF_A_PAGE = 10_000
LIST_REQUESTS_BESIDE = 2
"""One that finds nothing more, and one that looks for what became visible late."""

BUDGET = 500
"""Requests a minute for one token."""

IN_FLIGHT = 10
ANSWER_SECONDS = (1.2, 0.2)
CPU_SECONDS = 0.0012
"""For a full report, all included: the target that results.md holds the measured figure against."""

NIGHT_HOURS = 8
TOKENS = (1, 2, 4, 10)
CHUNK_SIZES = (200, 2_000, 10_000)


@dataclass(frozen=True)
class Measured:
    """What a report of the demo takes.

    Attributes:
        document: Bytes of its document, inflated.
        packed: The same, compressed by gzip.
        header: Bytes of its row in the list, inflated.
        packed_header: The same, compressed by gzip.
        duckdb: Bytes of a DuckDB file, header and document.
        parquet: Bytes of Parquet files.
        index: Bytes of the index of keys that lies beside these.
        rows: Rows by table.
        chunk_memory: Peak memory of a run into Parquet, in bytes, by the size of chunks.
    """

    document: float
    packed: float
    header: float
    packed_header: float
    duckdb: float
    parquet: float
    index: float
    rows: Mapping[str, float]
    chunk_memory: Mapping[str, int]

    @classmethod
    def last(cls) -> Measured:
        """As it was measured last."""
        return cls(**json.loads(MEASURED.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Plan:
    """So many reports of such a size."""

    reports: int
    kilobytes: float
    measured: Measured

    @property
    def larger(self) -> float:
        """How much larger a document is than the demo's; what it holds grows with it."""
        return self.kilobytes * 1e3 / self.measured.document

    @property
    def list_requests(self) -> int:
        """To list all reports."""
        return ceil(self.reports / ROWS_OF_A_PAGE) + LIST_REQUESTS_BESIDE

    @property
    def requests(self) -> int:
        """For headers and full reports; each resource lists for itself."""
        return 2 * self.list_requests + self.reports

    @property
    def wire(self) -> float:
        """Bytes of a report on the wire."""
        return self.measured.packed * self.larger + self.measured.packed_header

    def hours(self, requests: int, *, tokens: float = 1) -> float:
        """At the whole budget of so many tokens."""
        return requests / (BUDGET * tokens * 60)


DEFAULT = Plan(10_000_000, 43, Measured.last())
"""What the page is about."""


# ── the tables ──

Cells = Sequence[str]


def requests(plan: Plan) -> list[Cells]:
    """What is asked, and how long that takes one token."""
    shares = (
        ("report headers", plan.list_requests),
        ("the list that full reports follow", plan.list_requests),
        ("full reports", plan.reports),
        ("together", plan.requests),
    )
    return [
        ("", "requests", "at 500 a minute"),
        *((what, f"{count:,}", _duration(plan.hours(count))) for what, count in shares),
    ]


def tokens(plan: Plan) -> list[Cells]:
    """How several tokens would change that, where each has its own budget."""
    return [
        (
            "tokens",
            "reports a second",
            "time",
            f"nights of {NIGHT_HOURS} h",
            "on the line",
            "of one core",
        ),
        *(
            (
                str(count),
                f"{rate:.1f}",
                _duration(hours),
                f"{ceil(hours / NIGHT_HOURS)}",
                f"{rate * plan.wire * 8 / 1e6:.1f} Mbit/s",
                f"{100 * rate * CPU_SECONDS:.0f} %",
            )
            for count in TOKENS
            for rate in [count * BUDGET / 60]
            for hours in [plan.hours(plan.requests, tokens=count)]
        ),
    ]


def limits(plan: Plan) -> list[Cells]:
    """Reports a minute that each limit lets through, the tightest first."""
    found = sorted(_limits(plan).items(), key=lambda limit: limit[1])
    return [
        ("limit", "reports a minute", "used up by"),
        *(
            (name, f"{rate:,.0f}", f"{rate / BUDGET:.0f} token{'s' if rate > BUDGET else ''}")
            for name, rate in found
        ),
    ]


def _limits(plan: Plan) -> dict[str, float]:
    return {
        "budget of one token": BUDGET,
        **{
            f"one process, {IN_FLIGHT} at a time, answers in {seconds} s": round(IN_FLIGHT / seconds * 60)
            for seconds in ANSWER_SECONDS
        },
        "line of 10 Mbit/s": 10e6 / 8 / plan.wire * 60,
        "line of 100 Mbit/s": 100e6 / 8 / plan.wire * 60,
        "one core": 60 / CPU_SECONDS,
    }


def volumes(plan: Plan) -> list[Cells]:
    """Bytes, of one report and of all."""
    measured = plan.measured
    shares = (
        ("on the wire, gzip", plan.wire),
        ("inflated", measured.document * plan.larger + measured.header),
        ("in DuckDB", measured.duckdb * plan.larger),
        ("in Parquet", measured.parquet * plan.larger),
        ("index of keys beside Parquet", measured.index),
    )
    return [
        ("", "one report", "all"),
        *((what, _bytes(size), _bytes(size * plan.reports)) for what, size in shares),
    ]


def rows(plan: Plan) -> list[Cells]:
    """Rows by table; what a report has once does not grow with its document."""
    once = ("report_headers", "reports")
    found = {
        table: rows * (1 if table in once else plan.larger) for table, rows in plan.measured.rows.items()
    }
    return [
        ("table", "rows a report", "all, in millions"),
        *(
            (f"`{table}`", f"{count:.3g}", f"{count * plan.reports / 1e6:,.1f}")
            for table, count in found.items()
        ),
        ("together", f"{sum(found.values()):.0f}", f"{sum(found.values()) * plan.reports / 1e6:,.0f}"),
    ]


def chunks(plan: Plan) -> list[Cells]:
    """What the size of chunks decides."""
    tables = sum(table != "report_headers" for table in plan.measured.rows)
    return [
        ("`chunk_size`", "files a table", "files", "each", "budget of a chunk", "peak memory"),
        *(
            (
                f"{size:,}",
                f"{files:,}",
                f"{files * tables:,}",
                _bytes(plan.measured.parquet * plan.larger * size / tables),
                _duration(plan.hours(size)),
                _bytes(plan.measured.chunk_memory[str(size)]),
            )
            for size in CHUNK_SIZES
            for files in [ceil(plan.reports / size)]
        ),
    ]


TABLES: tuple[Callable[[Plan], list[Cells]], ...] = (requests, tokens, limits, volumes, rows, chunks)


def table(cells: list[Cells]) -> str:
    """A table as the page has it; figures stand on the right."""
    head, *rows = cells
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *rows))


def _duration(hours: float) -> str:
    if hours < 1:
        return f"{60 * hours:.0f} minutes" if hours > 1 / 60 else f"{3600 * hours:.0f} seconds"
    return f"{hours:.0f} hours" if hours < 48 else f"{hours:.0f} hours, {hours / 24:.1f} days"


def _bytes(size: float) -> str:
    for unit, power in (("TB", 12), ("GB", 9), ("MB", 6), ("kB", 3)):
        if size >= 10**power:
            return f"{size / 10**power:.3g} {unit}"
    return f"{size:.0f} B"


# ── the page and its plot ──


def embedded(page: str, plan: Plan) -> str:
    """The page, with its tables written again between their marks."""
    for make in TABLES:
        head, mark, rest = page.partition(f"<!-- {make.__name__} -->\n")
        _, end, tail = rest.partition("<!-- end -->")
        assert end, f"no marks for the table {make.__name__}"
        page = f"{head}{mark}\n{table(make(plan))}\n{end}{tail}"
    return page


def draw(plan: Plan, path: Path) -> None:
    """Draw days by the number of tokens, down to where another limit binds."""
    import altair as alt

    numbers = [1, 2, 4, 10, 20, 40, 100, 200]
    points = [{"tokens": n, "days": plan.hours(plan.requests, tokens=n) / 24} for n in numbers]
    floors = [
        {"limit": name, "days": plan.reports / rate / 60 / 24}
        for name, rate in _limits(plan).items()
        if name.startswith(("line", "one core"))
    ]
    days = alt.Y(
        "days:Q",
        scale=alt.Scale(type="log", domain=[0.05, 20], nice=False),
        axis=alt.Axis(title=None, values=[0.1, 1, 10], format="~g"),
    )
    line = (
        alt.Chart(alt.Data(values=points), width=520, height=260)
        .mark_line(color="#0b6e99", point=alt.OverlayMarkDef(size=50, color="#0b6e99"))
        .encode(
            x=alt.X(
                "tokens:Q",
                scale=alt.Scale(type="log", domain=[1, max(numbers)], nice=False),
                axis=alt.Axis(title="tokens, each with 500 requests a minute", values=numbers, grid=False),
            ),
            y=days,
        )
    )
    base = alt.Chart(alt.Data(values=floors)).encode(y=days)
    rules = base.mark_rule(color="gray", strokeDash=[4, 4])
    names = base.mark_text(align="left", dy=-6, color="#555").encode(x=alt.value(4), text="limit:N")
    title = f"Days for {plan.reports:,} full reports, and what other limits need for them"
    chart = (line + rules + names).properties(title=title)
    chart.configure(
        background="white",
        font="Helvetica, Arial, sans-serif",
        padding=12,
        title=alt.TitleConfig(anchor="start"),
        view=alt.ViewConfig(stroke=None),
    ).save(path)


# ── measuring ──

FEW, MANY = 2_000, 8_000
"""Two numbers of reports; the difference is free of what is there once."""


def measure() -> Measured:
    """Extract the demo's reports, and look at what is there."""
    from benchmarks.server import Reports
    from wats_extract.fake.plant.data import Plant

    plant = Plant(400, seed=7)
    documents = [
        json.dumps(plant.document(uuid), separators=(",", ":"), ensure_ascii=False).encode()
        for uuid in plant.uuids()
    ]
    page = Reports(ROWS_OF_A_PAGE).headers.page(0, ROWS_OF_A_PAGE)
    few, many = _extracted(FEW), _extracted(MANY)
    more = {place: (many[place] - few[place]) / (MANY - FEW) for place in ("duckdb", "parquet", "index")}
    return Measured(
        document=sum(map(len, documents)) / len(documents),
        packed=sum(len(zlib.compress(document)) for document in documents) / len(documents),
        header=len(page) / ROWS_OF_A_PAGE,
        packed_header=len(zlib.compress(page)) / ROWS_OF_A_PAGE,
        rows=many["rows"],
        chunk_memory={str(size): _extract(MANY, "parquet", size)[1] for size in CHUNK_SIZES},
        **more,
    )


def _extracted(reports: int) -> dict[str, Any]:
    """Bytes by destination, and rows a report by table."""
    found: dict[str, Any] = {}
    for destination in ("duckdb", "parquet"):
        with tempfile.TemporaryDirectory() as folder:
            said, _ = _extract(reports, destination, 200, Path(folder))
            files = [path for path in Path(folder).rglob("*") if path.is_file()]
            index = sum(path.stat().st_size for path in files if path.name == "keys.sqlite")
            found[destination] = sum(path.stat().st_size for path in files) - index
    tables = (each["tables"] for each in said["resources"].values())
    counted = {table: rows / reports for some in tables for table, rows in some.items() if rows}
    return found | {"index": index, "rows": counted}


def _extract(
    reports: int, destination: str, chunk_size: int, folder: Path | None = None
) -> tuple[Mapping[str, Any], int]:
    """What a run says, and the memory it took."""
    with tempfile.TemporaryDirectory() as scratch:
        pipeline = Path(scratch) / "pipeline.yaml"
        text = PIPELINE.format(
            url=f"demo?reports={reports}",
            rate="null",
            destination=destination,
            path=((folder or Path(scratch)) / f"wats.{destination}").as_posix(),
            resources=f"{{name: report_headers}}, {{name: reports, chunk_size: {chunk_size}}}",
        )
        pipeline.write_text(text, encoding="utf-8")
        took = run([BIN / "wats-extract", "run", pipeline, "--json", "--quiet"])
    return took.said, took.memory


def main() -> None:
    """Write the page again, or show the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description="Computes what many reports take."
    )
    parser.add_argument("--reports", type=int, metavar="N", help="how many, instead of ten million")
    parser.add_argument("--kilobytes", type=float, metavar="KB", help="of a document, instead of 43")
    parser.add_argument("--measure", action="store_true", help="measure what a report takes, first")
    given = parser.parse_args()
    if given.measure:
        MEASURED.write_text(json.dumps(asdict(measure()), indent=2) + "\n", encoding="utf-8")
    plan = Plan(given.reports or DEFAULT.reports, given.kilobytes or DEFAULT.kilobytes, Measured.last())
    if given.reports or given.kilobytes:
        sys.stdout.write("\n".join(table(make(plan)) for make in TABLES))
        return
    PAGE.write_text(embedded(PAGE.read_text(encoding="utf-8"), plan), encoding="utf-8")
    draw(plan, PLOT)


if __name__ == "__main__":
    main()
