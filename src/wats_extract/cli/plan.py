"""``wats-extract plan``."""

from __future__ import annotations

from pathlib import Path

import click

from wats_extract.cli import output, summary
from wats_extract.cli.output import Column
from wats_extract.cli.pipeline_file import demo_option, file_argument
from wats_extract.cli.running import ReportingCommand, run_command
from wats_extract.engine.planning import Plan, PlannedResource
from wats_extract.frontends.pipelines import plan_pipeline
from wats_extract.pipeline.model import Pipeline


@click.command(
    "plan",
    cls=ReportingCommand,
    examples=("plan pipelines/reports.yaml", "plan pipelines/reports.yaml --json"),
)
@file_argument
@demo_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def command(file: Path, demo: bool, as_json: bool) -> int:  # noqa: FBT001 - click gives them by name
    """Show what a run of FILE would read.

    Shows for each resource the cursor to start from, the number of new items, the number of requests, and
    the time at the pipeline's request rate. Nothing is extracted. To count reports, plan reads their list,
    10,000 reports per request.
    """
    return run_command(file, plan_pipeline, _show, demo=demo, as_json=as_json, quiet=False)


def _show(plan: Plan, pipeline: Pipeline) -> None:
    columns = [
        Column("resource"),
        Column("starts from", shrinks=True),
        Column("new items", right=True),
        Column("size", right=True, optional=True),
        Column("requests", right=True),
        Column("time", right=True),
    ]
    output.say(f"A run of pipeline {pipeline.name} would read:", "bold")
    output.table(columns, [_cells(name, each) for name, each in plan.resources.items()])
    output.say()
    summary.show_places(plan.server, plan.destination)
    output.say(_total(plan))
    if plan.open_failures:
        failures = output.plural(plan.open_failures, "open failure")
        output.say(f"It would skip {failures}; use wats-extract retry for them.", "yellow")
    output.say(f"This plan took {output.plural(plan.requests, 'request')}.", "dim")


def _cells(name: str, each: PlannedResource) -> list[object]:
    cursor = {each.cursor.field: each.cursor.place} if each.cursor else {}
    at_least = "≥ " if each.at_least else ""
    return [
        name,
        output.pairs(cursor) or "the beginning",
        "?" if each.new is None else at_least + output.number(each.new),
        "" if not each.bytes else f"{at_least}{output.size(each.bytes)}",
        "?" if each.requests is None else at_least + output.number(each.requests),
        "" if each.seconds is None else at_least + output.seconds(each.seconds),
    ]


def _total(plan: Plan) -> str:
    planned = list(plan.resources.values())
    requests = sum(each.requests or 0 for each in planned)
    unsure = any(each.requests is None or each.at_least for each in planned)
    rate = plan.requests_per_minute
    duration = (
        f"{output.seconds(60 * requests / rate)} at {output.number(rate)} requests per minute"
        if rate
        else "without a rate limit"
    )
    return f"Total: {'at least ' if unsure else ''}{output.plural(requests, 'request')}, {duration}."
