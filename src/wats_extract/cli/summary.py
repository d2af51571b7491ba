"""What a run did, for people: a sentence, the rows by table, and what to do next."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from wats_extract.cli import output
from wats_extract.cli.output import Column
from wats_extract.engine.job import RunReport
from wats_extract.pipeline.model import Pipeline

_GOES_ON = "What was committed stays; the next run goes on from there."
_ENDED = {
    "incomplete": f"Stopped before the end. {_GOES_ON}",
    "unreachable": f"The server is out of reach. {_GOES_ON}",
    "interrupted": f"Interrupted. {_GOES_ON}",
    "refused": "The server refused to answer.",
    "failed": "Failed. What was committed stays.",
}
_LABELS = {"incomplete": "Stopped", "different": "Different"}
_STYLES = {"succeeded": "bold green", "failures": "bold yellow", "incomplete": "bold yellow"}


class Outcome(Protocol):
    """How a command that asks the server ended."""

    @property
    def status(self) -> str:
        """``succeeded``, ``failures``, …."""

    @property
    def exit_code(self) -> int:
        """What the command exits with."""

    @property
    def message(self) -> str:
        """Why it stopped, where it did."""

    @property
    def open_failures(self) -> int:
        """Failures that are open now."""

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""


def run(report: RunReport, pipeline: Pipeline, *, file: Path, limit: int | None = None) -> None:
    """Tell what ``run`` did."""
    _tell(_run_sentence(report, limit), report, pipeline, file)


def retry(report: RunReport, pipeline: Pipeline, *, file: Path) -> None:
    """Tell what ``retry`` did."""
    _tell(_retry_sentence(report), report, pipeline, file)


def complain(report: Outcome, file: Path, *, told: bool) -> None:
    """Say on stderr why it stopped, but for what a summary has ``told``: that items failed, or Ctrl-C."""
    if told and report.status in ("failures", "different", "interrupted"):
        return
    if report.status == "interrupted":
        output.complain("Interrupted", _GOES_ON)
    elif report.status == "failures":
        hint = f"See what, and why: {output.shell('wats-extract', 'failures', str(file))}"
        output.complain("Failures", f"{_items(report.open_failures)} could not be extracted", hint=hint)
    elif report.exit_code:
        output.complain(_LABELS.get(report.status, "Error"), report.message)


def where(pipeline: Pipeline, table: str) -> None:
    """Say where the tables are, and how to look at one of them."""
    destination = pipeline.destination
    path = destination.path.as_posix()
    if destination.type == "duckdb":
        name = table if destination.schema_name == "main" else f"{destination.schema_name}.{table}"
        how = f'duckdb.connect("{path}", read_only=True).sql("FROM {name} LIMIT 5").show()'
    else:
        how = f'pl.scan_parquet("{path}/{table}/*.parquet").head().collect()'
    output.say(f"The tables are in {path}. In Python:")
    output.say_exactly(f"  {how}", "cyan")


def _tell(sentence: str, report: RunReport, pipeline: Pipeline, file: Path) -> None:
    output.say(sentence, _STYLES.get(report.status, "bold red"))
    if any(each.rows for each in report.resources.values()):
        _rows(report)
    _effort(report)
    if report.open_failures:
        _next_steps(report, file)
    if tables := _to_look_at(report):
        output.say()
        where(pipeline, tables[0])


def _to_look_at(report: RunReport) -> list[str]:
    """Tables to begin with: those that rows landed in, else all, where the run came to its end."""
    counts = {table: count for each in report.resources.values() for table, count in each.tables.items()}
    landed = [table for table, count in counts.items() if count]
    return landed or (list(counts) if report.exit_code in (0, 3) else [])


def _run_sentence(report: RunReport, limit: int | None) -> str:
    if report.status in _ENDED:
        return _ENDED[report.status]
    landed = any(each.items for each in report.resources.values())
    if report.status == "failures" or report.open_failures:
        within = ", within max_failures" if report.status == "succeeded" else ""
        return f"Done, but {_items(report.open_failures)} could not be extracted{within}."
    if limit and landed:
        return (
            f"Done: up to {output.several(limit, 'item')} of each resource; the next run goes on from there."
        )
    return "Done: everything new has landed." if landed else "Done: there was nothing new."


def _retry_sentence(report: RunReport) -> str:
    if report.status in _ENDED:
        return _ENDED[report.status]
    healed = sum(each.items for each in report.resources.values())
    if not healed and not report.open_failures:
        return "Done: there was nothing to retry."
    still = (
        f"{output.number(report.open_failures)} still open" if report.open_failures else "none is open now"
    )
    return f"Done: {_items(healed)} landed now, {still}."


def _items(count: int) -> str:
    return output.several(count, "item")


def _rows(report: RunReport) -> None:
    rows, empty = [], []
    for name, each in report.resources.items():
        filled = [(table, count) for table, count in each.tables.items() if count]
        empty += [table for table, count in each.tables.items() if not count]
        rows += [
            (name if not index else "", table, output.number(count))
            for index, (table, count) in enumerate(filled)
        ]
    output.say()
    output.table([Column("resource"), Column("table"), Column("rows", right=True)], rows)
    if empty:
        output.say(f"no rows in {', '.join(empty)}", "dim")


def _effort(report: RunReport) -> None:
    output.say()
    output.say(
        f"{output.seconds(report.seconds)}, {output.several(report.requests, 'request')}, "
        f"{output.size(report.bytes)}, run {report.run_id}"
    )


def _next_steps(report: RunReport, file: Path) -> None:
    output.say()
    output.say(f"{output.several(report.open_failures, 'open failure')}:")
    for command, does in (("failures", "what, and why"), ("retry   ", "fetch them again")):
        output.say_exactly(f"  wats-extract {command} {output.shell(str(file))}    # {does}", "cyan")
