"""``wats-extract backfill``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from wats_extract.cli import summary
from wats_extract.cli.pipeline_file import demo_option, file_argument
from wats_extract.cli.running import ReportingCommand, run_command
from wats_extract.frontends.pipelines import backfill_pipeline


@click.command(
    "backfill",
    cls=ReportingCommand,
    examples=(
        "backfill pipelines/reports.yaml --from 2024-01-01 --to 2025-01-01",
        'backfill pipelines/reports.yaml --from 2024-01-01 --to "90 days ago" --only report_headers',
    ),
)
@file_argument
@click.option("--from", "since", required=True, metavar="WHEN", help="Reports that start at or after WHEN.")
@click.option("--to", "until", required=True, metavar="WHEN", help="Reports that start before WHEN.")
@click.option("--only", multiple=True, metavar="NAME", help="Extract only this resource. Repeatable.")
@demo_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the summary.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def command(
    file: Path,
    since: str,
    until: str,
    only: tuple[str, ...],
    demo: bool,  # noqa: FBT001 - click gives it by name
    as_json: bool,  # noqa: FBT001 - click gives it by name
    quiet: bool,  # noqa: FBT001
) -> int:
    """Extract an older range of reports.

    WHEN is a date, a timestamp or an age such as '90 days ago', and is compared with the start of a report.
    FILE's filters apply. A backfill has its own cursor and does not move the cursor of run. To resume a
    backfill, give the same range again. Reports that are already loaded are not fetched again. The exit codes
    are those of run.
    """
    return run_command(
        file,
        partial(backfill_pipeline, since=since, until=until, only=only),
        partial(summary.show_run, file=file),
        demo=demo,
        as_json=as_json,
        quiet=quiet,
    )
