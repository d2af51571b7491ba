"""``wats-extract plan``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wats_extract.cli import output
from wats_extract.cli.command import ReportingCommand
from wats_extract.cli.output import Column
from wats_extract.cli.pipeline_file import file_argument

if TYPE_CHECKING:
    from wats_extract.engine.planning import Plan, PlannedResource
    from wats_extract.pipeline.model import Pipeline


@click.command(
    "plan",
    cls=ReportingCommand,
    examples=("plan pipelines/reports.yaml", "plan pipelines/reports.yaml --json"),
)
@file_argument
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def command(file: Path, as_json: bool) -> int:  # noqa: FBT001 - click gives it by name
    """Show what a run of FILE would read; nothing is extracted.

    From which cursor, how many items are new, how many requests that takes, and how long at the pipeline's
    rate. Reports are counted from their list, 10,000 a request.
    """
    from wats_extract.cli import running
    from wats_extract.frontends.pipelines import plan_pipeline

    return running.carry_out(
        file,
        lambda pipeline, listen, stopping: plan_pipeline(pipeline, listen=listen, stopping=stopping),
        _tell,
        as_json=as_json,
        quiet=False,
    )


def _tell(plan: Plan, pipeline: Pipeline) -> None:
    columns = [
        Column("resource"),
        Column("goes on from", shrinks=True),
        Column("new items", right=True),
        Column("size", right=True, spare=True),
        Column("requests", right=True),
        Column("time", right=True),
    ]
    output.say(f"A run of pipeline {pipeline.name} would read:", "bold")
    output.table(columns, [_cells(name, each) for name, each in plan.resources.items()])
    output.say()
    output.say(_in_all(plan))
    if plan.open_failures:
        output.say(f"{output.several(plan.open_failures, 'open failure')} would be left to retry.", "yellow")
    output.say(f"To find this out took {output.several(plan.requests, 'request')}.", "dim")


def _cells(name: str, each: PlannedResource) -> list[object]:
    cursor = {key: value for key, value in (each.cursor or {}).items() if key != "overlap_from"}
    more = "≥ " if each.at_least else ""
    return [
        name,
        output.pairs(cursor) or "the beginning",
        "?" if each.new is None else more + output.number(each.new),
        "" if not each.bytes else f"{more}{output.size(each.bytes)}",
        "?" if each.requests is None else more + output.number(each.requests),
        "" if each.seconds is None else more + output.seconds(each.seconds),
    ]


def _in_all(plan: Plan) -> str:
    planned = list(plan.resources.values())
    requests = sum(each.requests or 0 for each in planned)
    unsure = any(each.requests is None or each.at_least for each in planned)
    rate = plan.requests_per_minute
    how_long = (
        f"{output.seconds(60 * requests / rate)} at {output.number(rate)} requests per minute"
        if rate
        else "as fast as the server answers"
    )
    return f"In all {'at least ' if unsure else ''}{output.several(requests, 'request')}, {how_long}."
