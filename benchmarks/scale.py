"""Computes time, bytes and rows for a large number of reports, and writes the tables of ``docs/scale.md``.

``python -m benchmarks.scale`` writes the tables and the plot. With ``--reports`` or ``--kilobytes`` it prints
the tables for other numbers instead. With ``--measure`` it first measures the size of the demo's reports.
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

ROWS_PER_PAGE = 10_000
EXTRA_LIST_REQUESTS = 2
"""One request that finds no more rows, and one for reports that became visible late."""

BUDGET = 500
"""Requests per minute and token."""

MAX_IN_FLIGHT = 10
RESPONSE_SECONDS = (1.2, 0.2)
CPU_SECONDS = 0.0012
"""CPU time per full report: the target in results.md."""

NIGHT_HOURS = 8
TOKENS = (1, 2, 4, 10)
CHUNK_SIZES = (200, 2_000, 10_000)


@dataclass(frozen=True)
class Measured:
    """Averages per report of the demo.

    Attributes:
        document: Bytes of its document, uncompressed.
        packed: Bytes of its document, compressed.
        header: Bytes of its row in the list, uncompressed.
        packed_header: Bytes of its row in the list, compressed.
        duckdb: Bytes in a DuckDB file, header and document.
        parquet: Bytes in Parquet files, header and document.
        index: Bytes in the index of keys beside the Parquet files.
        rows: Rows by table.
        chunk_memory: Peak memory of a run into Parquet in bytes, by chunk size.
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
        """The values of the last measurement."""
        return cls(**json.loads(MEASURED.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Plan:
    """A number of reports and their average size.

    Attributes:
        reports: Number of reports.
        kilobytes: Average size of a document, uncompressed.
        measured: Averages of the demo's reports.
    """

    reports: int
    kilobytes: float
    measured: Measured

    @property
    def larger(self) -> float:
        """Size of a document relative to the demo's; its rows are assumed to grow with it."""
        return self.kilobytes * 1e3 / self.measured.document

    @property
    def list_requests(self) -> int:
        """Requests for the list of all reports."""
        return ceil(self.reports / ROWS_PER_PAGE) + EXTRA_LIST_REQUESTS

    @property
    def requests(self) -> int:
        """Requests for headers and full reports. Each of the two resources reads the list."""
        return 2 * self.list_requests + self.reports

    @property
    def transferred(self) -> float:
        """Bytes per report over the network."""
        return self.measured.packed * self.larger + self.measured.packed_header

    def hours(self, requests: int, *, tokens: float = 1) -> float:
        """Hours for a number of requests at the full budget of some tokens."""
        return requests / (BUDGET * tokens * 60)


DEFAULT = Plan(10_000_000, 43, Measured.last())
"""The numbers of ``docs/scale.md``."""


# ── the tables ──

Cells = Sequence[str]


def requests(plan: Plan) -> list[Cells]:
    """Requests by purpose, and how long they take with one token."""
    shares = (
        ("report headers", plan.list_requests),
        ("list of full reports", plan.list_requests),
        ("full reports", plan.reports),
        ("total", plan.requests),
    )
    return [
        ("", "requests", "at 500 per minute"),
        *((name, f"{count:,}", _duration(plan.hours(count))) for name, count in shares),
    ]


def tokens(plan: Plan) -> list[Cells]:
    """Time with several tokens, if each has a budget of its own."""
    return [
        (
            "tokens",
            "reports per second",
            "time",
            f"nights of {NIGHT_HOURS} h",
            "network",
            "share of one core",
        ),
        *(
            (
                str(count),
                f"{rate:.1f}",
                _duration(hours),
                f"{ceil(hours / NIGHT_HOURS)}",
                f"{rate * plan.transferred * 8 / 1e6:.1f} Mbit/s",
                f"{100 * rate * CPU_SECONDS:.0f} %",
            )
            for count in TOKENS
            for rate in [count * BUDGET / 60]
            for hours in [plan.hours(plan.requests, tokens=count)]
        ),
    ]


def limits(plan: Plan) -> list[Cells]:
    """Reports per minute that each limit allows, the tightest first."""
    found = sorted(_limits(plan).items(), key=lambda limit: limit[1])
    return [
        ("limit", "reports per minute", "reached with"),
        *(
            (name, f"{rate:,.0f}", f"{rate / BUDGET:.0f} token{'s' if rate > BUDGET else ''}")
            for name, rate in found
        ),
    ]


def _limits(plan: Plan) -> dict[str, float]:
    return {
        "budget of one token": BUDGET,
        **{
            f"one process, {MAX_IN_FLIGHT} concurrent requests, responses in {seconds} s": round(
                MAX_IN_FLIGHT / seconds * 60
            )
            for seconds in RESPONSE_SECONDS
        },
        "network of 10 Mbit/s": 10e6 / 8 / plan.transferred * 60,
        "network of 100 Mbit/s": 100e6 / 8 / plan.transferred * 60,
        "one core": 60 / CPU_SECONDS,
    }


def volumes(plan: Plan) -> list[Cells]:
    """Bytes per report and in total."""
    measured = plan.measured
    shares = (
        ("over the network, compressed", plan.transferred),
        ("uncompressed", measured.document * plan.larger + measured.header),
        ("in DuckDB", measured.duckdb * plan.larger),
        ("in Parquet", measured.parquet * plan.larger),
        ("index of keys beside Parquet", measured.index),
    )
    return [
        ("", "per report", "total"),
        *((name, _bytes(size), _bytes(size * plan.reports)) for name, size in shares),
    ]


def rows(plan: Plan) -> list[Cells]:
    """Rows by table. The number of headers and reports does not grow with the size of documents."""
    once = ("report_headers", "reports")
    found = {
        table: rows * (1 if table in once else plan.larger) for table, rows in plan.measured.rows.items()
    }
    return [
        ("table", "rows per report", "total, in millions"),
        *(
            (f"`{table}`", f"{count:.3g}", f"{count * plan.reports / 1e6:,.1f}")
            for table, count in found.items()
        ),
        ("total", f"{sum(found.values()):.0f}", f"{sum(found.values()) * plan.reports / 1e6:,.0f}"),
    ]


def chunks(plan: Plan) -> list[Cells]:
    """Files, time and memory by chunk size."""
    tables = sum(table != "report_headers" for table in plan.measured.rows)
    return [
        ("`chunk_size`", "files per table", "files", "size of a file", "time per chunk", "peak memory"),
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
    """A Markdown table with its figures aligned right."""
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
    """Replace the tables of a page, which are between comments with their names."""
    for make in TABLES:
        head, mark, rest = page.partition(f"<!-- {make.__name__} -->\n")
        _, end, tail = rest.partition("<!-- end -->")
        assert end, f"the page has no comments around the table {make.__name__}"
        page = f"{head}{mark}\n{table(make(plan))}\n{end}{tail}"
    return page


def draw(plan: Plan, path: Path) -> None:
    """Draw the number of days by tokens, and the other limits as horizontal lines."""
    import altair as alt

    numbers = [1, 2, 4, 10, 20, 40, 100, 200]
    points = [{"tokens": n, "days": plan.hours(plan.requests, tokens=n) / 24} for n in numbers]
    floors = [
        {"limit": name, "days": plan.reports / rate / 60 / 24}
        for name, rate in _limits(plan).items()
        if name.startswith(("network", "one core"))
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
                axis=alt.Axis(title="tokens, each with 500 requests per minute", values=numbers, grid=False),
            ),
            y=days,
        )
    )
    base = alt.Chart(alt.Data(values=floors)).encode(y=days)
    rules = base.mark_rule(color="gray", strokeDash=[4, 4])
    names = base.mark_text(align="left", dy=-6, color="#555").encode(x=alt.value(4), text="limit:N")
    title = f"Days for {plan.reports:,} full reports, by number of tokens and for other limits"
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
"""Two numbers of reports. Their difference excludes fixed sizes."""


def measure() -> Measured:
    """Extract the demo's reports and measure them."""
    from benchmarks.internals import Plant
    from benchmarks.server import Reports

    plant = Plant(400, seed=7)
    documents = [
        json.dumps(plant.document(uuid), separators=(",", ":"), ensure_ascii=False).encode()
        for uuid in plant.uuids()
    ]
    page = Reports(ROWS_PER_PAGE).headers.page(0, ROWS_PER_PAGE)
    few, many = _extracted(FEW), _extracted(MANY)
    more = {place: (many[place] - few[place]) / (MANY - FEW) for place in ("duckdb", "parquet", "index")}
    return Measured(
        document=sum(map(len, documents)) / len(documents),
        packed=sum(len(zlib.compress(document)) for document in documents) / len(documents),
        header=len(page) / ROWS_PER_PAGE,
        packed_header=len(zlib.compress(page)) / ROWS_PER_PAGE,
        rows=many["rows"],
        chunk_memory={str(size): _extract(MANY, "parquet", size)[1] for size in CHUNK_SIZES},
        **more,
    )


def _extracted(reports: int) -> dict[str, Any]:
    """Bytes by destination, and rows per report by table."""
    found: dict[str, Any] = {}
    for destination in ("duckdb", "parquet"):
        with tempfile.TemporaryDirectory() as folder:
            output, _ = _extract(reports, destination, 200, Path(folder))
            files = [path for path in Path(folder).rglob("*") if path.is_file()]
            index = sum(path.stat().st_size for path in files if path.name == "keys.sqlite")
            found[destination] = sum(path.stat().st_size for path in files) - index
    tables = (each["tables"] for each in output["resources"].values())
    counted = {table: rows / reports for some in tables for table, rows in some.items() if rows}
    return found | {"index": index, "rows": counted}


def _extract(
    reports: int, destination: str, chunk_size: int, folder: Path | None = None
) -> tuple[Mapping[str, Any], int]:
    """The JSON output of a run, and its peak memory."""
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
        usage = run([BIN / "wats-extract", "run", pipeline, "--json", "--quiet"])
    return usage.output, usage.memory


def main() -> None:
    """Write the page, or print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description="Compute time, bytes and rows for many reports."
    )
    parser.add_argument("--reports", type=int, metavar="N", help="number of reports (default ten million)")
    parser.add_argument(
        "--kilobytes", type=float, metavar="KB", help="average size of a document (default 43)"
    )
    parser.add_argument("--measure", action="store_true", help="first measure the demo's reports")
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
