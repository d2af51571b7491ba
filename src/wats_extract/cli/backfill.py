"""``wats-extract backfill``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from wats_extract.cli.command import ReportingCommand
from wats_extract.cli.pipeline_file import file_argument


@click.command(
    "backfill",
    cls=ReportingCommand,
    examples=(
        "backfill pipelines/reports.yaml --from 2024-01-01 --to 2025-01-01",
        'backfill pipelines/reports.yaml --from 2024-01-01 --to "90 days ago" --only report_headers',
    ),
)
@file_argument
@click.option("--from", "since", required=True, metavar="WHEN", help="Reports that start at or after.")
@click.option("--to", "until", required=True, metavar="WHEN", help="Reports that start before.")
@click.option("--only", multiple=True, metavar="NAME", help="Only this resource; may be given several times.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the summary.")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but errors.")
def command(
    file: Path,
    since: str,
    until: str,
    only: tuple[str, ...],
    as_json: bool,  # noqa: FBT001 - click gives it by name
    quiet: bool,  # noqa: FBT001
) -> int:
    """Extract an older range of reports.

    It goes by the start of reports, with FILE's filters, and has a cursor of its own: that of run does not
    move. One that was stopped goes on where it was when the same range is asked for again, and what has
    landed already is not fetched again. Exit codes are those of run.
    """
    from wats_extract.cli import running, summary
    from wats_extract.frontends.pipelines import backfill_pipeline

    return running.carry_out(
        file,
        lambda pipeline, listen, stopping: backfill_pipeline(
            pipeline, since=since, until=until, only=only, listen=listen, stopping=stopping
        ),
        partial(summary.run, file=file),
        as_json=as_json,
        quiet=quiet,
    )
