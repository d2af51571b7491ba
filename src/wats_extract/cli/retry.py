"""``wats-extract retry``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from wats_extract.cli import summary
from wats_extract.cli.pipeline_file import demo_option, file_argument
from wats_extract.cli.running import ReportingCommand, run_command
from wats_extract.frontends.pipelines import retry_pipeline


@click.command(
    "retry",
    cls=ReportingCommand,
    examples=(
        "retry pipelines/reports.yaml",
        "retry pipelines/reports.yaml --code TIMEOUT",
        "retry pipelines/reports.yaml --key 5d7ce468-b036-4875-808f-376bb11029b0",
    ),
)
@file_argument
@click.option("--code", metavar="CODE", help="Retry only failures with this error code, such as TIMEOUT.")
@click.option("--key", "keys", multiple=True, metavar="KEY", help="Retry only this key. Repeatable.")
@demo_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the summary.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def command(
    file: Path,
    code: str | None,
    keys: tuple[str, ...],
    demo: bool,  # noqa: FBT001 - click gives it by name
    as_json: bool,  # noqa: FBT001 - click gives it by name
    quiet: bool,  # noqa: FBT001
) -> int:
    """Fetch the failed items of FILE again.

    An item that succeeds is marked as resolved in the commit that loads it. Cursors do not change. The exit
    codes are those of run.
    """
    return run_command(
        file,
        partial(retry_pipeline, code=code, keys=keys),
        partial(summary.show_retry, file=file),
        demo=demo,
        as_json=as_json,
        quiet=quiet,
    )
