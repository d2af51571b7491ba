"""``wats-extract run``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from wats_extract.cli import summary
from wats_extract.cli.pipeline_file import demo_option, file_argument
from wats_extract.cli.running import ReportingCommand, run_command
from wats_extract.frontends.pipelines import run_pipeline
from wats_extract.pipeline.job import Overrides


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
@click.option("--only", multiple=True, metavar="NAME", help="Extract only this resource. Repeatable.")
@click.option("--since", metavar="WHEN", help="Override the file's since: a date, or '30 days ago'.")
@click.option("--until", metavar="WHEN", help="Override the file's until (exclusive).")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop each resource after N items.")
@click.option("--full-refresh", is_flag=True, help="Extract everything again, even if it is loaded already.")
@demo_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the summary.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def command(
    file: Path,
    only: tuple[str, ...],
    since: str | None,
    until: str | None,
    limit: int | None,
    full_refresh: bool,  # noqa: FBT001 - click gives it by name
    demo: bool,  # noqa: FBT001 - click gives it by name
    as_json: bool,  # noqa: FBT001
    quiet: bool,  # noqa: FBT001
) -> int:
    """Extract what FILE selects, incrementally.

    A second run fetches only what is new. Ctrl-C stops after the current commit, and the next run resumes
    from there.

    \b
    Exit codes:
      0    everything is loaded, or failures are within max_failures
      1    the destination failed
      2    the file, the command line or the token is wrong
      3    everything else is loaded, but some items failed
      4    incomplete: max_requests, stop_at_failures or a row cap was reached
      5    the server is unreachable
      6    another process runs this pipeline
      130  interrupted by Ctrl-C (143: by SIGTERM)
    """  # noqa: D301 - \b tells click to keep the line breaks
    overrides = Overrides(only, since, until, limit, full_refresh)
    return run_command(
        file,
        partial(run_pipeline, overrides=overrides),
        partial(summary.show_run, file=file, limit=limit),
        demo=demo,
        as_json=as_json,
        quiet=quiet,
    )
