"""The summary after `run`, `retry` and `backfill`: outcome, rows by table, and the next steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from wats_extract.cli import output
from wats_extract.cli.output import Column
from wats_extract.engine.job import RunReport
from wats_extract.pipeline.model import Pipeline
from wats_extract.pipeline.source import DEMO

_RESUMES = "Committed data is kept; the next run resumes from there."
_ENDED_EARLY = {
    "incomplete": f"Stopped early. {_RESUMES}",
    "unreachable": f"The server is unreachable. {_RESUMES}",
    "interrupted": f"Interrupted. {_RESUMES}",
    "refused": "The server refused the request.",
    "failed": "Failed. Committed data is kept.",
}
_LABELS = {"incomplete": "Stopped", "different": "Different"}
_STYLES = {"succeeded": "bold green", "failures": "bold yellow", "incomplete": "bold yellow"}


class Outcome(Protocol):
    """The report of a pipeline command."""

    @property
    def status(self) -> str:
        """``succeeded``, ``failures``, ``incomplete``, …."""

    @property
    def exit_code(self) -> int:
        """The exit code of the command."""

    @property
    def message(self) -> str:
        """Why the command stopped early, or an empty string."""

    @property
    def open_failures(self) -> int:
        """The number of failures that are open now."""

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""


def show_run(report: RunReport, pipeline: Pipeline, *, file: Path, limit: int | None = None) -> None:
    """Print the summary of a run or a backfill."""
    _show(_run_sentence(report, limit), report, pipeline, file)


def show_retry(report: RunReport, pipeline: Pipeline, *, file: Path) -> None:
    """Print the summary of a retry."""
    _show(_retry_sentence(report), report, pipeline, file)


def show_places(server: str | None, destination: str | None) -> None:
    """Print which server was read, and where the tables are."""
    output.say_unwrapped(places(server, destination), "dim")


def places(server: str | None, destination: str | None) -> str:
    """Which server was read, and where the tables are."""
    named = "the embedded demo server" if server == DEMO else server or "no server"
    return f"from {named} into {destination}"


def report_problem(report: Outcome, file: Path, *, summarized: bool) -> None:
    """Print on stderr why a command did not succeed.

    Args:
        report: The report of the command.
        file: The pipeline file, for the hint.
        summarized: Whether a summary was printed, which already covers failures and interrupts.
    """
    if summarized and report.status in ("failures", "different", "interrupted"):
        return
    if report.status == "interrupted":
        output.problem("Interrupted", _RESUMES)
    elif report.status == "failures":
        hint = f"List them with: {output.quoted('wats-extract', 'failures', str(file))}"
        output.problem("Failures", f"{_items(report.open_failures)} could not be extracted", hint=hint)
    elif report.exit_code:
        output.problem(_LABELS.get(report.status, "Error"), report.message)


def _show(sentence: str, report: RunReport, pipeline: Pipeline, file: Path) -> None:
    output.say(sentence, _STYLES.get(report.status, "bold red"))
    if any(each.rows for each in report.resources.values()):
        _show_rows(report)
    output.say()
    show_places(report.server, report.destination)
    output.say(
        f"{output.seconds(report.seconds)}, {output.plural(report.requests, 'request')}, "
        f"{output.size(report.bytes)}, run {report.run_id}"
    )
    if kept := report.values_kept_in_extra:
        output.say(f"{output.plural(kept, 'value')} did not fit the column and went to _extra of the row")
    if report.open_failures:
        _show_next_steps(report, file)
    if table := _table_to_look_at(report):
        output.say()
        _show_how_to_read(pipeline, table)


# ── the first sentence ──────────────────────────────────────────────────────────────────────────


def _run_sentence(report: RunReport, limit: int | None) -> str:
    if report.status in _ENDED_EARLY:
        return _ENDED_EARLY[report.status]
    loaded = any(each.items for each in report.resources.values())
    if report.status == "failures" or report.open_failures:
        within = " (within max_failures)" if report.status == "succeeded" else ""
        return f"Done, but {_items(report.open_failures)} could not be extracted{within}."
    if limit and loaded:
        return f"Done: loaded up to {_items(limit)} per resource; the next run resumes from there."
    return "Done: everything new is loaded." if loaded else "Done: nothing new."


def _retry_sentence(report: RunReport) -> str:
    if report.status in _ENDED_EARLY:
        return _ENDED_EARLY[report.status]
    loaded = sum(each.items for each in report.resources.values())
    if not loaded and not report.open_failures:
        return "Done: nothing to retry."
    return f"Done: {_items(loaded)} loaded, {output.plural(report.open_failures, 'open failure')} left."


def _items(count: int) -> str:
    return output.plural(count, "item")


# ── what follows ────────────────────────────────────────────────────────────────────────────────


def _show_rows(report: RunReport) -> None:
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


def _show_next_steps(report: RunReport, file: Path) -> None:
    output.say()
    output.say(f"{output.plural(report.open_failures, 'open failure')}:")
    for command, does in (("failures", "what failed, and why"), ("retry   ", "fetch the failed items again")):
        output.say_unwrapped(f"  wats-extract {command} {output.quoted(str(file))}    # {does}", "cyan")


def _table_to_look_at(report: RunReport) -> str:
    """The first table with new rows; if there is none and the run was complete, the first table."""
    counts = {table: count for each in report.resources.values() for table, count in each.tables.items()}
    filled = [table for table, count in counts.items() if count]
    complete = report.exit_code in (0, 3)
    return next(iter(filled or (counts if complete else ())), "")


def _show_how_to_read(pipeline: Pipeline, table: str) -> None:
    destination = pipeline.destination
    path = destination.path.as_posix()
    if destination.type == "duckdb":
        name = table if destination.schema_name == "main" else f"{destination.schema_name}.{table}"
        code = f'duckdb.connect("{path}", read_only=True).sql("FROM {name} LIMIT 5").show()'
    else:
        code = f'pl.scan_parquet("{path}/{table}/*.parquet").head().collect()'
    output.say(f"The tables are in {path}. To read one in Python:")
    output.say_unwrapped(f"  {code}", "cyan")
