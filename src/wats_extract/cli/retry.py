"""``wats-extract retry``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from wats_extract.cli.command import ReportingCommand
from wats_extract.cli.pipeline_file import file_argument


@click.command(
    "retry",
    cls=ReportingCommand,
    examples=(
        "retry pipelines/reports.yaml",
        "retry pipelines/reports.yaml --code TIMEOUT",
        "retry pipelines/reports.yaml --key 6f3e…-…-…",
    ),
)
@file_argument
@click.option("--code", metavar="CODE", help="Only failures with this error code, such as TIMEOUT.")
@click.option(
    "--key", "keys", multiple=True, metavar="KEY", help="Only this key; may be given several times."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the summary.")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but errors.")
def command(
    file: Path,
    code: str | None,
    keys: tuple[str, ...],
    as_json: bool,  # noqa: FBT001 - click gives it by name
    quiet: bool,  # noqa: FBT001
) -> int:
    """Fetch just the items of FILE that failed again.

    What heals is marked as resolved in the commit that lands it. Cursors do not move. Exit codes are those
    of run.
    """
    from wats_extract.cli import running, summary
    from wats_extract.frontends.pipelines import retry_pipeline

    return running.carry_out(
        file,
        lambda pipeline, listen, stopping: retry_pipeline(
            pipeline, code=code, keys=keys, listen=listen, stopping=stopping
        ),
        partial(summary.retry, file=file),
        as_json=as_json,
        quiet=quiet,
    )
