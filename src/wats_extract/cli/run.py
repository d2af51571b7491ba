"""``wats-extract run``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from wats_extract.cli.command import ReportingCommand
from wats_extract.cli.pipeline_file import file_argument


@click.command(
    "run",
    cls=ReportingCommand,
    examples=(
        "run pipelines/reports.yaml",
        'run pipelines/reports.yaml --only report_headers --since "30 days ago"',
        "run pipelines/reports.yaml --json --quiet",
    ),
)
@file_argument
@click.option("--only", multiple=True, metavar="NAME", help="Only this resource; may be given several times.")
@click.option("--since", metavar="WHEN", help="Instead of the file's since: a date, or '30 days ago'.")
@click.option("--until", metavar="WHEN", help="Instead of the file's until.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop each resource after N items.")
@click.option("--full-refresh", is_flag=True, help="Read everything again, whatever has landed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the summary.")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but errors.")
def command(
    file: Path,
    only: tuple[str, ...],
    since: str | None,
    until: str | None,
    limit: int | None,
    full_refresh: bool,  # noqa: FBT001 - click gives it by name
    as_json: bool,  # noqa: FBT001
    quiet: bool,  # noqa: FBT001
) -> int:
    """Extract what FILE says, incrementally.

    A second run fetches only what is new. Ctrl-C stops after the current commit, and the next run goes on
    from there.

    Exits with 0 when everything has landed, 3 when items failed, 4 when it stopped early, 5 when the server
    is out of reach, 6 when the pipeline is running already, 2 when the file or the token is wrong.
    """
    from wats_extract.cli import running, summary
    from wats_extract.frontends.pipelines import run_pipeline
    from wats_extract.pipeline.job import Overrides

    overrides = Overrides(only, since, until, limit, full_refresh)
    return running.carry_out(
        file,
        lambda pipeline, listen, stopping: run_pipeline(
            pipeline, overrides, listen=listen, stopping=stopping
        ),
        partial(summary.run, file=file, limit=limit),
        as_json=as_json,
        quiet=quiet,
    )
