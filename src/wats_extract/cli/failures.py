"""``wats-extract failures``."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import click

from wats_extract.cli import output
from wats_extract.cli.command import Command
from wats_extract.cli.output import Column
from wats_extract.cli.pipeline_file import file_argument, loaded


@click.command(
    "failures",
    cls=Command,
    examples=(
        "failures pipelines/reports.yaml",
        "failures pipelines/reports.yaml --all --format csv > failures.csv",
    ),
)
@file_argument
@click.option("--all", "resolved_too", is_flag=True, help="Those that have healed, too.")
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="json and csv have all columns.",
)
def command(file: Path, resolved_too: bool, style: str) -> None:  # noqa: FBT001 - click gives it by name
    """Show what FILE could not extract, and why.

    These are the open rows of the table _wats_failures. To fetch them again: wats-extract retry FILE.
    """
    from wats_extract.cli.reading import reading
    from wats_extract.state.tables import FAILURES

    pipeline = loaded(file)
    wanted = {"pipeline": pipeline.name} | ({} if resolved_too else {"status": "open"})
    with reading(pipeline) as destination:
        rows = destination.read(FAILURES, **wanted).to_pylist()
    rows.sort(key=lambda row: (row["resource"], row["first_failed_at"], row["key"]))
    _SHOWN[style](rows)


def _as_table(rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        output.say("There are no failures.")
        return
    several = len({row["resource"] for row in rows}) > 1
    healed = any(row["status"] != "open" for row in rows)
    columns = [Column("key"), Column("code"), Column("stage", spare=True)]
    columns += [Column("attempts", right=True, spare=True), Column("last failed (UTC)", spare=True)]
    columns += [Column("message", shrinks=True)]
    front = ["resource"] * several + ["status"] * healed
    output.table(
        [*(Column(name) for name in front), *columns],
        [[*(row[name] for name in front), *_main_cells(row)] for row in rows],
    )


def _main_cells(row: dict[str, Any]) -> list[object]:
    cells = [row[name] for name in ("key", "error_code", "stage", "attempts")]
    return [*cells, output.moment(row["last_failed_at"]), row["message"]]


def _as_json(rows: Sequence[dict[str, Any]]) -> None:
    told = [{name: _plain(value) for name, value in row.items()} for row in rows]
    output.write(json.dumps(told, indent=2, ensure_ascii=False) + "\n")


def _as_csv(rows: Sequence[dict[str, Any]]) -> None:
    from wats_extract.state.tables import FAILURES

    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FAILURES.schema.names)
    writer.writerows([_plain(value) for value in row.values()] for row in rows)
    output.write(text.getvalue())


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


_SHOWN: dict[str, Callable[[Sequence[dict[str, Any]]], None]] = {
    "table": _as_table,
    "json": _as_json,
    "csv": _as_csv,
}
